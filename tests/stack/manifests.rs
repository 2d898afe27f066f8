//! Every manifest in the documentation and the examples is one that the API server takes.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{Discovery, Scope};
use serde_json::Value;

use crate::support::{Stack, ecr_operator, eventually, unique};

/// Groups of other projects, which this API server does not know. testbed/scripts/check-chart checks them against their
/// own CustomResourceDefinitions.
const OTHERS: [&str; 6] = [
    "argoproj.io",
    "external-secrets.io",
    "helm.toolkit.fluxcd.io",
    "kustomize.config.k8s.io",
    "kustomize.toolkit.fluxcd.io",
    "source.toolkit.fluxcd.io",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// All files below a folder whose names end so.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.to_string_lossy();
        if path.is_dir() {
            files(&path, endings, found);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// The YAML blocks of a document, but for those that say that they are no whole manifests.
fn blocks(document: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, Vec<&str>)> = None;
    for line in document.lines() {
        let indent = line.len() - line.trim_start().len();
        match (line.trim().strip_prefix("```"), &mut block) {
            (Some(info), None) => {
                let mut words = info.split([',', ' ']);
                let is_yaml = words.next() == Some("yaml") && !words.any(|word| ["fragment", "values"].contains(&word));
                block = Some((if is_yaml { indent } else { usize::MAX }, Vec::new()));
            }
            (Some(_), Some((indent, lines))) => {
                if *indent != usize::MAX {
                    blocks.push(lines.join("\n"));
                }
                block = None;
            }
            (None, Some((indent, lines))) => lines.push(line.get(*indent..).unwrap_or_default()),
            (None, None) => {}
        }
    }
    blocks
}

/// The objects in a text: what has an apiVersion and a kind.
fn objects(text: &str, place: &str) -> Vec<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{place} is no YAML: {error}\n{text}"));
    documents.into_iter().filter(|it| it["apiVersion"].is_string() && it["kind"].is_string()).collect()
}

/// All objects that users are shown, with where they are.
fn shown() -> Vec<(String, Value)> {
    let mut paths = vec![root().join("README.md")];
    files(&root().join("docs"), &[".md"], &mut paths);
    files(&root().join("examples"), &[".md", ".yaml", ".yml"], &mut paths);
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let place = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let texts = if place.ends_with(".md") { blocks(&text) } else { vec![text] };
        for text in texts.iter().filter(|text| text.contains("apiVersion:")) {
            all.extend(objects(text, &place).into_iter().map(|object| (place.clone(), object)));
        }
    }
    all
}

#[tokio::test]
async fn the_api_server_takes_every_manifest_in_documentation_and_examples() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("manifests").await;
    let accounts = namespace.api::<ServiceAccount>();
    eventually("there is a service account for pods", || async { accounts.get_opt("default").await.unwrap() }).await;
    let discovery = Discovery::new(stack.client.clone()).run().await.unwrap();
    let params = PatchParams { dry_run: true, ..PatchParams::apply("manifests").force() }.validation_strict();

    let (mut ours, mut taken, mut problems) = (0, 0, Vec::new());
    for (place, object) in shown() {
        let mut object: DynamicObject = serde_json::from_value(object).unwrap();
        let types = object.types.clone().unwrap();
        let TypeMeta { api_version, kind } = types;
        let what = format!("{place}: {kind} {}", object.name_any());
        let gvk: GroupVersionKind = TypeMeta { api_version, kind }.try_into().unwrap();
        if OTHERS.contains(&gvk.group.as_str()) {
            continue;
        }
        let Some((resource, capabilities)) = discovery.resolve_gvk(&gvk) else {
            problems.push(format!("{what}: the API server knows no {}", gvk.api_version()));
            continue;
        };
        // What the documentation calls them is in use, or not there.
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Namespaced => {
                object.metadata.namespace = Some(namespace.name.clone());
                Api::namespaced_with(stack.client.clone(), &namespace.name, &resource)
            }
            Scope::Cluster => {
                object.metadata.name = Some(unique("manifest"));
                Api::all_with(stack.client.clone(), &resource)
            }
        };
        let name = object.name_any();
        match api.patch(&name, &params, &Patch::Apply(&object)).await {
            Ok(_) => taken += 1,
            Err(error) => problems.push(format!("{what}: {error}")),
        }
        ours += usize::from(gvk.group == ecr_operator::api::GROUP);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(ours > 45 && taken > ours, "{ours} objects of ours, {taken} in all: is the search for them broken?");
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_field_that_is_not_there_is_found() {
    let stack = Stack::connect().await;
    let object = serde_json::json!({
        "apiVersion": "ecr-operator.io/v1alpha1", "kind": "EcrRepository",
        "metadata": {"name": "typo", "namespace": "default"}, "spec": {"scanOnPsh": true},
    });
    let resource = kube::core::ApiResource::erase::<ecr_operator::api::EcrRepository>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(stack.client.clone(), "default", &resource);
    let params = PatchParams { dry_run: true, ..PatchParams::apply("manifests").force() }.validation_strict();
    let error = api.patch("typo", &params, &Patch::Apply(&object)).await.expect_err("it has a typo").to_string();
    assert!(error.contains("scanOnPsh"), "{error}");
}

#[tokio::test]
async fn a_plan_of_the_layout_for_many_teams_refuses_nothing() {
    let layout = root().join("examples/layout-many-teams");
    let text = std::fs::read_to_string(layout.join("platform/registry.yaml")).unwrap();
    // The registry of the example is not the stack's: all else is as it is.
    let ours = text.replace(r#"accountId: "123456789012""#, &format!("accountId: {:?}", account().await));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("registry.yaml"), ours).unwrap();
    let (platform, teams) = (layout.join("platform"), layout.join("teams"));
    let mut arguments = vec!["plan".to_owned(), "-f".into(), directory.path().to_string_lossy().into_owned()];
    for path in
        [platform.join("namespaces.yaml"), platform.join("base-images.yaml"), platform.join("pull-secret.yaml"), teams]
    {
        arguments.extend(["-f".to_owned(), path.to_string_lossy().into_owned()]);
    }
    let ran = ecr_operator(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(ran.code, Some(2), "{}{}", ran.out, ran.err);
    for words in ["EcrRepository team-a/api", "EcrRepository team-b/jobs", "5 to create, 0 to change", ", 0 refused"] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
}

/// The account of the stack's registry.
async fn account() -> String {
    let stack = Stack::connect().await;
    stack.ecr.describe_registry().send().await.unwrap().registry_id.unwrap()
}

#[test]
fn blocks_are_found_and_those_that_are_fragments_are_not() {
    let text = "a\n```yaml\nx: 1\n```\n- b\n\n  ```yaml\n  y:\n    z: 2\n  ```\n```yaml,fragment\nn: 1\n```\n```yaml values\nn: 2\n```\n```bash\nn: 3\n```\n";
    assert_eq!(blocks(text), ["x: 1", "y:\n  z: 2"]);
}
