//! The MutatingAdmissionPolicy, in the API server's own language.
//!
//! It finds names of images by exact look-ups: a name that is no name of an image is not found, and stays as it is. So the
//! expressions need not check all that Docker's grammar checks, only split and complete names as Docker does.
//!
//! The images are in annotations of the policy's bindings, and each binding is its own parameter. Bindings are the one kind of which
//! it is sure that the API server keeps them at hand, typed: an object of a kind of our own is written out and read again for every
//! pod, all of it; and the API server (1.37) stops to follow ConfigMaps for good once the last policy with them has gone.

use serde_json::{Value, json};

use super::names::in_full;
use super::shards::{NAMES, SELECTED};
use crate::api::{ORIGINAL_IMAGE, ORIGINAL_VOLUME, REWRITE_LABEL, REWRITES_FOR_LABEL};

/// The name of the policy.
pub const POLICY: &str = "rewrite.ecr-operator.io";

/// The kind of the bindings.
pub const BINDING: &str = "MutatingAdmissionPolicyBinding";

/// The label's value of bindings for the pods of the mirrors' own namespaces.
pub const OWN: &str = "own";

/// The label's value that switches rewriting off.
pub const DISABLED: &str = "disabled";

/// The label's value that switches rewriting on where it is off by itself.
pub const ENABLED: &str = "enabled";

/// What the API server does with a pod where the policy can't be evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FailurePolicy {
    /// The pod keeps the images that it names.
    #[default]
    Ignore,
    /// The pod is refused.
    Fail,
}

impl FailurePolicy {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

/// Whether a debug container is added. Nothing else of a pod changes then.
const DEBUGGING: &str = "(has(request.subResource) && request.subResource == 'ephemeralcontainers')";

/// Whether the container `c` is one that is added. What the pod has already is left alone.
const IS_NEW: &str = "(oldObject == null || !has(oldObject.spec.ephemeralContainers) || !oldObject.spec.ephemeralContainers.exists(o, o.name == c.name))";

/// Where the images are.
const IMAGES: &str = "params.metadata.annotations";

/// What the keys of the images for this pod begin with.
fn whose() -> String {
    format!(
        "(params.metadata.?labels['{REWRITES_FOR_LABEL}'].orValue('') == '{OWN}' ? request.namespace : '{SELECTED}')"
    )
}

/// Whether there may be an image for any that the pod names, by the last part of its repository's name. It costs a fraction of what
/// the exact answer does, and is the end of it for most pods.
fn may_be_any() -> String {
    // `w` has what a line of the names begins with for this pod, and all of the names: looked up once and not for each image.
    let there = |image: &str| {
        format!(
            "w[1].contains(w[0] + {image}.substring({image}.lastIndexOf('/') + 1).split('@', 2)[0].split(':', 2)[0] + '\\n')"
        )
    };
    let in_list = |list: &str, and: &str| {
        let there = there("c.image");
        format!("(has(object.spec.{list}) && object.spec.{list}.exists(c, has(c.image){and} && {there}))")
    };
    format!(
        "[['\\n' + {} + '/', string({IMAGES}['{NAMES}'])]].exists(w, {DEBUGGING} ? {} : {} || {} || \
         (has(object.spec.volumes) && object.spec.volumes.exists(v, has(v.image) && has(v.image.reference) && {})))",
        whose(),
        in_list("ephemeralContainers", &format!(" && {IS_NEW}")),
        in_list("containers", ""),
        in_list("initContainers", ""),
        there("v.image.reference"),
    )
}

/// The images that the pod names and that are mirrored: a list of two lists of strings each. The first has the name, the key of the
/// text with its repository's images, the repository, the tag with its colon, and the digest with its @; one of the last two may be
/// empty. The second has the text up to the image's line, and from what follows the tag, or behind the line of the digest.
fn mirrored() -> String {
    let images = |list: &str, and: &str| {
        format!(
            "(has(object.spec.{list}) ? object.spec.{list}.filter(c, has(c.image){and}).map(c, string(c.image)) : [])"
        )
    };
    let names = format!(
        "({DEBUGGING} ? {} : {} + {} + (has(object.spec.volumes) ? object.spec.volumes.filter(v, has(v.image) && has(v.image.reference)).map(v, string(v.image.reference)) : [])).distinct()",
        images("ephemeralContainers", &format!(" && {IS_NEW}")),
        images("containers", ""),
        images("initContainers", ""),
    );
    // Docker keeps 64 hexadecimal digits for the IDs of local images.
    let names = format!("{names}.filter(it, !it.matches('^[0-9a-f]{{64}}$'))");
    let valid = "filter(it, (it[2] == '' || it[2].matches('^:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$')) && (it[3] == '' || it[3].matches('^@sha256:[0-9a-f]{64}$')))";
    let with_key = format!(
        "map(it, [it[0], it[1]{}, it[1], it[2] == '' && it[3] == '' ? ':latest' : it[2], it[3]]).map(it, [it[0], {} + '/r' + (size(it[1]) > {KEY} ? it[1].substring(size(it[1]) - {KEY}) : it[1]), it[2], it[3], it[4]])",
        [":", "/", "[", "]"].map(|it| format!(".replace('{it}', '_')")).concat(),
        whose(),
        KEY = super::entry::KEY,
    );
    let known = format!("filter(it, it[1] in {IMAGES} && {IMAGES}[it[1]].startsWith(it[2] + '\\n'))");
    // One pass over a long text is cheap, and the API server counts how many there are.
    let found = format!(
        "map(it, [it, {IMAGES}[it[1]].split(it[4] == '' ? '\\n' + it[3].substring(1) + ' ' : ' ' + it[4].substring(8) + '\\n', 2)]).filter(it, size(it[1]) == 2)"
    );
    format!("{}.{valid}.{with_key}.{known}.{found}", in_full(&names))
}

/// What the pod gets for the images that [`mirrored`] lists, by their names.
fn found() -> String {
    format!(
        "{}.map(it, [it[0], it[1][0].split('\\n', 4), [it[1][1]]]).transformMapEntry(i, it, {{it[0][0]: it[1][1] + \
         (it[0][4] != '' ? it[0][4] : it[0][3] + (it[1][2] == 'pin' ? '@sha256:' + it[2][0].substring(0, 64) : ''))}})",
        mirrored()
    )
}

/// The patches that give the containers of a list their images.
fn patches(list: &str) -> String {
    format!(
        "(has(object.spec.{list}) ? object.spec.{list}.transformList(i, c, has(c.image) && c.image in variables.found, JSONPatch{{op: 'replace', path: '/spec/{list}/' + string(i) + '/image', value: variables.found[c.image]}}) : [])"
    )
}

/// The patches that keep what the containers of a list had.
fn annotations(list: &str) -> String {
    format!(
        "(has(object.spec.{list}) ? object.spec.{list}.filter(c, has(c.image) && c.image in variables.found).map(c, JSONPatch{{op: 'add', path: '/metadata/annotations/{}' + c.name, value: c.image}}) : [])",
        ORIGINAL_IMAGE.replace('/', "~1")
    )
}

/// All patches, as one expression.
fn mutation() -> String {
    let is_volume = "has(v.image) && has(v.image.reference) && v.image.reference in variables.found";
    let volumes = format!(
        "(has(object.spec.volumes) ? object.spec.volumes.transformList(i, v, {is_volume}, JSONPatch{{op: 'replace', path: '/spec/volumes/' + string(i) + '/image/reference', value: variables.found[v.image.reference]}}) + \
         object.spec.volumes.filter(v, {is_volume}).map(v, JSONPatch{{op: 'add', path: '/metadata/annotations/{}' + v.name, value: v.image.reference}}) : [])",
        ORIGINAL_VOLUME.replace('/', "~1")
    );
    let added = format!(
        "object.spec.ephemeralContainers.transformList(i, c, has(c.image) && {IS_NEW} && c.image in variables.found, JSONPatch{{op: 'replace', path: '/spec/ephemeralContainers/' + string(i) + '/image', value: variables.found[c.image]}})"
    );
    format!(
        "{DEBUGGING} ? {added} : \
         (has(object.metadata.annotations) ? [] : [JSONPatch{{op: 'add', path: '/metadata/annotations', value: dyn({{}})}}]) + {} + {} + {} + {} + {volumes}",
        patches("containers"),
        patches("initContainers"),
        annotations("containers"),
        annotations("initContainers"),
    )
}

/// The spec of the policy. `version` is that of the API `admissionregistration.k8s.io` in which the policy is written.
pub fn policy(failure_policy: FailurePolicy, version: &str) -> Value {
    let on = json!({"matchExpressions": [{"key": REWRITE_LABEL, "operator": "NotIn", "values": [DISABLED]}]});
    let has_images = format!("params != null && has({IMAGES}) && '{NAMES}' in {IMAGES}");
    json!({
        "failurePolicy": failure_policy.as_str(),
        "reinvocationPolicy": "IfNeeded",
        "paramKind": {"apiVersion": format!("admissionregistration.k8s.io/{version}"), "kind": BINDING},
        "matchConstraints": {
            "namespaceSelector": on,
            "objectSelector": on,
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
            ],
        },
        // What no condition stops is taken for changed by the API server, which then asks all its plug-ins once more.
        "matchConditions": [
            // The kubelet makes them for static pods, and expects them to be as it made them.
            {
                "name": "not-a-mirror-pod",
                "expression": "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)",
            },
            // The API server evaluates all conditions, whatever the first says: so this is one.
            {
                "name": "names-a-mirrored-image",
                "expression": format!("{has_images} && {} && size({}) > 0", may_be_any(), mirrored()),
            },
        ],
        "variables": [{"name": "found", "expression": found()}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": mutation()}}],
    })
}
