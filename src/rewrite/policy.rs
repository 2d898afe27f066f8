//! The MutatingAdmissionPolicy, in the API server's own language.
//!
//! It finds names of images by exact look-ups: a name that is no name of an image is not found, and stays as it is. So the
//! expressions need not check all that Docker's grammar checks, only split and complete names as Docker does.
//!
//! The images are in objects of a kind of our own. ConfigMaps would be read field by field and cost less where images are many, but
//! the API server (1.37) stops to follow ConfigMaps for good once the last policy with them has gone.

use serde_json::{Value, json};

use super::names::in_full;
use crate::api::{GROUP, ORIGINAL_IMAGE, ORIGINAL_VOLUME, REWRITE_LABEL};

/// The name of the policy.
pub const POLICY: &str = "rewrite.ecr-operator.io";

/// The label's value of images for the pods of the mirrors' own namespaces.
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

/// The images that the pod names, and that may be rewritten: a list of lists of the name, its repository in full, the tag with
/// its colon, and the digest with its @; either of the last two may be empty. Only those whose repository is mirrored.
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
    format!("{}.filter(it, it[1] in params.spec.images)", in_full(&names))
}

/// Whether an image of [`mirrored`] is there, in `it`.
const IS_THERE: &str = "(it[3] == '' ? \
      (it[2] == '' || it[2].matches('^:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$')) && params.spec.images[it[1]].contains('\\n' + (it[2] == '' ? 'latest' : it[2].substring(1)) + ' ') : \
      (it[2] == '' || it[2].matches('^:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$')) && it[3].matches('^@sha256:[0-9a-f]{64}$') && params.spec.images[it[1]].contains(' ' + it[3].substring(1) + '\\n'))";

/// What a pod gets for an image of [`mirrored`] that is there, in `it`.
const REPLACEMENT: &str = "params.spec.images[it[1]].split('\\n', 2)[0] + (it[3] != '' ? it[3] : \
      (it[2] == '' ? ':latest' : it[2]) + (params.spec.images[it[1]].split('\\n', 3)[1] == 'pin' ? \
      '@' + params.spec.images[it[1]].split('\\n' + (it[2] == '' ? 'latest' : it[2].substring(1)) + ' ', 2)[1].split('\\n', 2)[0] : ''))";

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

/// The spec of the policy.
pub fn policy(failure_policy: FailurePolicy) -> Value {
    let mirrored = mirrored();
    let found = format!("{mirrored}.filter(it, {IS_THERE}).transformMapEntry(i, it, {{it[0]: {REPLACEMENT}}})");
    let on = json!({"matchExpressions": [{"key": REWRITE_LABEL, "operator": "NotIn", "values": [DISABLED]}]});
    json!({
        "failurePolicy": failure_policy.as_str(),
        "reinvocationPolicy": "IfNeeded",
        "paramKind": {"apiVersion": format!("{GROUP}/v1alpha1"), "kind": "ImageRewrite"},
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
            {"name": "has-images", "expression": "has(params.spec)"},
            {"name": "names-a-mirrored-image", "expression": format!("has(params.spec) && {mirrored}.exists(it, {IS_THERE})")},
        ],
        "variables": [{"name": "found", "expression": found}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": mutation()}}],
    })
}
