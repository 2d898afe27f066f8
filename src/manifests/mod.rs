//! Manifests in files: what `plan` and `check` work on, without a cluster.
//!
//! Objects of this project's kinds are checked as the API server checks them: against the schema and the CEL rules of the
//! CustomResourceDefinitions. Two things only a cluster can tell: rules about a change (`... is fixed once set`), and what
//! admission policies of the cluster say.

mod schema;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kube::core::cel::{ErrorKind, Validator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{
    self, ClusterEcrPullSecret, EcrPullSecret, EcrRegistry, EcrRepository, ImageEnforcement, ImageMirror,
};

/// One object and where it came from.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file, or `-`.
    pub file: String,
    /// The object as it was written, with what the API server would have filled in.
    pub value: Value,
    /// The object, if it is of one of our kinds.
    pub object: Option<Object>,
}

/// An object of one of our kinds.
#[derive(Clone, Debug)]
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum Object {
    Registry(EcrRegistry),
    Repository(EcrRepository),
    Mirror(ImageMirror),
    PullSecret(EcrPullSecret),
    ClusterPullSecret(ClusterEcrPullSecret),
    Enforcement(ImageEnforcement),
}

/// Why manifests can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file or directory can't be read.
    #[error("can't read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A directory has no manifests.
    #[error("{0} has no files that end in .yaml, .yml or .json")]
    Empty(String),
    /// A file is not YAML.
    #[error("{file} is not YAML: {message}")]
    NotYaml {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The API server would refuse objects.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

impl Manifest {
    /// Kind, namespace and name, such as `EcrRepository team-a/api`.
    pub fn title(&self) -> String {
        title(&self.value)
    }
}

fn title(value: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let (kind, name) = (text(&value["kind"]), text(&value["metadata"]["name"]));
    match value["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Reads all objects of these files and directories; `-` is the standard input. Directories are read with all that is
/// below them. Namespaced objects without a namespace get `namespace`.
///
/// # Errors
/// A file that can't be read or is not YAML, or else everything that the API server would refuse, at once.
pub fn read(paths: &[PathBuf], namespace: &str) -> Result<Vec<Manifest>, ManifestError> {
    let mut manifests = Vec::new();
    let mut refused = Vec::new();
    for path in paths {
        for (file, text) in texts(path)? {
            parse(&file, &text, namespace, &mut manifests, &mut refused)?;
        }
    }
    twice(&manifests, &mut refused);
    if refused.is_empty() { Ok(manifests) } else { Err(ManifestError::Refused(refused)) }
}

/// The texts of a path, each with the name of its file.
fn texts(path: &Path) -> Result<Vec<(String, String)>, ManifestError> {
    let file = path.display().to_string();
    let failed = |source| ManifestError::Read { file: file.clone(), source };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(vec![(file, text)]);
    }
    if !path.is_dir() {
        return Ok(vec![(file.clone(), std::fs::read_to_string(path).map_err(failed)?)]);
    }
    let mut files = Vec::new();
    files_below(path, &mut files).map_err(failed)?;
    if files.is_empty() {
        return Err(ManifestError::Empty(file));
    }
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let file = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((file, text)),
                Err(source) => Err(ManifestError::Read { file, source }),
            }
        })
        .collect()
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json") {
            files.push(path);
        }
    }
    Ok(())
}

fn parse(
    file: &str,
    text: &str,
    namespace: &str,
    manifests: &mut Vec<Manifest>,
    refused: &mut Vec<String>,
) -> Result<(), ManifestError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| ManifestError::NotYaml { file: file.to_owned(), message: error.to_string() })?;
    for document in documents {
        let objects = match document {
            Value::Null => continue,
            // What `kubectl get -o yaml` prints.
            Value::Object(list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                list.get("items").and_then(Value::as_array).cloned().unwrap_or_default()
            }
            one => vec![one],
        };
        for value in objects {
            match object(value, namespace) {
                Ok((value, object)) => manifests.push(Manifest { file: file.to_owned(), value, object }),
                Err(problems) => refused.extend(problems.into_iter().map(|problem| format!("{file}: {problem}"))),
            }
        }
    }
    Ok(())
}

/// What is known of one of our kinds.
struct Kind {
    name: String,
    api_version: String,
    namespaced: bool,
    /// The schema of the whole object, with its CEL rules.
    schema: Value,
}

fn kind_of(name: &str) -> Option<&'static Kind> {
    static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
        let kinds = api::crds().into_iter().filter_map(|crd| {
            let version = crd.spec.versions.into_iter().next()?;
            Some(Kind {
                name: crd.spec.names.kind,
                api_version: format!("{}/{}", api::GROUP, version.name),
                namespaced: crd.spec.scope == "Namespaced",
                schema: serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?,
            })
        });
        kinds.collect()
    });
    KINDS.iter().find(|kind| kind.name == name)
}

/// Reads one object, or says everything that the API server would have against it.
fn object(mut value: Value, namespace: &str) -> Result<(Value, Option<Object>), Vec<String>> {
    let (Some(api_version), Some(kind)) = (value["apiVersion"].as_str(), value["kind"].as_str()) else {
        return Err(vec!["an object without apiVersion and kind".to_owned()]);
    };
    if api_version.split('/').next() != Some(api::GROUP) {
        return Ok((value, None));
    }
    let kind = kind.to_owned();
    let Some(known) = kind_of(&kind) else {
        return Err(vec![format!("{}: there is no kind {kind} in {}", title(&value), api::GROUP)]);
    };
    if api_version != known.api_version {
        return Err(vec![format!("{}: apiVersion must be {}", title(&value), known.api_version)]);
    }
    if value["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        return Err(vec![format!("{}: metadata.name is missing", title(&value))]);
    }
    if known.namespaced && value["metadata"]["namespace"].is_null() {
        value["metadata"]["namespace"] = json!(namespace);
    }
    let read = match kind.as_str() {
        "EcrRegistry" => typed(value, &known.schema, Object::Registry),
        "EcrRepository" => typed(value, &known.schema, Object::Repository),
        "ImageMirror" => typed(value, &known.schema, Object::Mirror),
        "EcrPullSecret" => typed(value, &known.schema, Object::PullSecret),
        "ImageEnforcement" => typed(value, &known.schema, Object::Enforcement),
        "ClusterEcrPullSecret" => typed(value, &known.schema, Object::ClusterPullSecret),
        _ => return Ok((value, None)),
    };
    read.map(|(value, object)| (value, Some(object)))
}

/// Checks the schema, fills in the defaults, checks the rules.
fn typed<K: DeserializeOwned + Serialize>(
    value: Value,
    schema: &Value,
    object: impl Fn(K) -> Object,
) -> Result<(Value, Object), Vec<String>> {
    let title = title(&value);
    let told = |problem: String| format!("{title}: {problem}");
    let problems = schema::problems(schema, &value);
    if !problems.is_empty() {
        return Err(problems.into_iter().map(told).collect());
    }
    let read: K = serde_json::from_value(value).map_err(|error| vec![told(error.to_string())])?;
    let value = serde_json::to_value(&read).map_err(|error| vec![told(error.to_string())])?;
    let broken: Vec<String> = broken_rules(schema, &value, None).into_iter().map(told).collect();
    if broken.is_empty() { Ok((value, object(read))) } else { Err(broken) }
}

/// Checks what may change from one set of manifests to another: the rules that look at an object's old self.
///
/// # Errors
/// Every object that the API server would refuse as an update.
pub fn compare(before: &[Manifest], after: &[Manifest]) -> Result<(), ManifestError> {
    let mut refused = Vec::new();
    for manifest in after.iter().filter(|manifest| manifest.object.is_some()) {
        let title = manifest.title();
        let Some(old) = before.iter().find(|old| old.object.is_some() && old.title() == title) else { continue };
        let Some(known) = manifest.value["kind"].as_str().and_then(kind_of) else { continue };
        refused.extend(
            broken_rules(&known.schema, &manifest.value, Some(&old.value))
                .into_iter()
                .map(|problem| format!("{}: {title}: {problem}", manifest.file)),
        );
    }
    if refused.is_empty() { Ok(()) } else { Err(ManifestError::Refused(refused)) }
}

/// The messages of the CEL rules that a value breaks.
fn broken_rules(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(schema, value, old) {
        Ok(()) => Vec::new(),
        // A rule that can't be evaluated here is left to the API server.
        Err(errors) => errors
            .into_vec()
            .into_iter()
            .filter(|error| error.kind == ErrorKind::ValidationFailure)
            .map(|error| format!("{}: {}", error.field_path, error.message))
            .collect(),
    }
}

/// Two objects of one name: the second would replace the first when they are applied.
fn twice(manifests: &[Manifest], refused: &mut Vec<String>) {
    for (index, manifest) in manifests.iter().enumerate().filter(|(_, manifest)| manifest.object.is_some()) {
        let title = manifest.title();
        if let Some(earlier) = manifests[..index].iter().find(|earlier| earlier.title() == title) {
            refused.push(format!("{}: {title} is already in {}", manifest.file, earlier.file));
        }
    }
}

#[cfg(test)]
mod tests;
