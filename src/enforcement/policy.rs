//! The ValidatingAdmissionPolicy, in the API server's own language.
//!
//! It has nothing that Kubernetes 1.30 does not know: no two-variable comprehensions, no `distinct`. What is allowed stands in the
//! expressions and not in parameters: it changes seldom, and then the API server compiles one small policy anew.

use serde_json::{Value, json};

use super::Allowed;
use crate::api::{EnforcementFailurePolicy, GROUP};
use crate::rewrite::names::in_full;

/// What the names of policies and bindings end with.
pub const SUFFIX: &str = ".enforce.ecr-operator.io";

/// How many entries of what is allowed a message names.
const NAMED: usize = 10;

/// What a policy is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// What is allowed.
    pub allowed: Allowed,
    /// What of that messages name. ECR's other host names for a registry are of no use to a reader.
    pub told: Vec<String>,
    /// The EcrRegistry that a mirror would copy to, if not the one that it takes by default.
    pub registry: Option<String>,
    /// What happens to a pod that can't be judged.
    pub failure_policy: EnforcementFailurePolicy,
}

/// A text as a literal. JSON's are CEL's too.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    format!("[{}]", texts.into_iter().map(literal).collect::<Vec<_>>().join(", "))
}

/// The names of all images of a pod, as a list.
fn names_of(pod: &str) -> String {
    let containers = |list: &str| {
        format!("(has({pod}.spec.{list}) ? {pod}.spec.{list}.filter(c, has(c.image)).map(c, string(c.image)) : [])")
    };
    format!(
        "{} + {} + {} + (has({pod}.spec.volumes) ? {pod}.spec.volumes.filter(v, has(v.image) && has(v.image.reference)).map(v, string(v.image.reference)) : [])",
        containers("containers"),
        containers("initContainers"),
        containers("ephemeralContainers"),
    )
}

/// Whether an image, as [`in_full`] has it, follows the grammar of names. What follows it everybody reads in the same way, and it
/// has nothing that a shell would understand.
const IS_A_NAME: &str = "!it[0].matches('^[0-9a-f]{64}$') && \
    it[1].matches('^[]a-zA-Z0-9.:[-]+(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)+$') && it[1].size() - it[1].indexOf('/') <= 256 && \
    (it[2] == '' || it[2].matches('^:[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$')) && \
    (it[3] == '' || it[3].matches('^@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$'))";

/// Of the images that can be mirrored: the positions of the first of each repository, among the first eight.
const FIRSTS: &str = "[0, 1, 2, 3, 4, 5, 6, 7].filter(i, i < variables.repositories.size() && variables.repositories.indexOf(variables.repositories[i]) == i)";

/// An ImageMirror of the repository `r`, as one line of YAML.
fn mirror(wanted: &Wanted) -> String {
    let name = "(r.startsWith('docker.io/library/') ? r.substring(18) : r.startsWith('docker.io/') ? r.substring(10) : r).lowerAscii().replace('/', '-').replace('_', '-').replace('.', '-').replace(':', '-')";
    let of = |condition: &str, what: &str| {
        format!("variables.mirrorable.filter(it, it[1] == r && {condition}).map(it, '\"' + {what} + '\"').join(', ')")
    };
    let tags = of("it[3] == ''", "(it[2] == '' ? 'latest' : it[2].substring(1))");
    let digests = of("it[3] != ''", "it[3].substring(1)");
    let destinations = wanted.registry.as_ref().map_or(String::new(), |registry| {
        format!(" + {}", literal(&format!(", destinations: [{{registryRef: {{name: {registry}}}}}]")))
    });
    let pin = if wanted.allowed.require_digest { ", pin: true" } else { "" };
    format!(
        "'{{apiVersion: {GROUP}/v1alpha1, kind: ImageMirror, metadata: {{name: ' + {name} + ', namespace: ' + request.namespace + '}}, spec: {{source: {{image: ' + r + '}}' \
         + (variables.mirrorable.exists(it, it[1] == r && it[3] == '') ? ', tags: {{names: [' + {tags} + ']}}' : '') \
         + (variables.mirrorable.exists(it, it[1] == r && it[3] != '') ? ', digests: [' + {digests} + ']' : ''){destinations} \
         + ', rewrite: {{pods: SameNamespace{pin}}}}}}}'"
    )
}

/// The message about images that are not allowed. The API server takes one without line breaks, of 5 KiB at most, or else the
/// plain one.
fn not_allowed(wanted: &Wanted) -> String {
    let mirrors = format!("{FIRSTS}.map(i, variables.repositories[i]).map(r, {})", mirror(wanted));
    format!(
        "'not from an allowed registry: ' + variables.denied.map(it, it[0]).join(', ') + {} + (variables.mirrorable.size() == 0 ? '' : \
         '. To mirror: kubectl apply -f - <<< \\'' + (variables.repositories.all(r, r == variables.repositories[0]) ? '' : '{{apiVersion: v1, kind: List, items: [') + \
         {mirrors}.join(', ') + (variables.repositories.all(r, r == variables.repositories[0]) ? '' : ']}}') + '\\'')",
        literal(&format!("; allowed: {}", told(wanted))),
    )
}

fn told(wanted: &Wanted) -> String {
    let first = wanted.told.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match wanted.told.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The spec of the policy.
pub fn policy(wanted: &Wanted) -> Value {
    let prefixes: Vec<String> = wanted.allowed.prefixes.iter().map(|prefix| format!("{prefix}/")).collect();
    let is_allowed = "it[1].indexOf('/') > 0 && variables.allowed.exists(a, (it[1] + '/').startsWith(a))";
    let mut validations = vec![json!({
        "expression": "variables.denied.size() == 0",
        "messageExpression": not_allowed(wanted),
        "message": format!("an image is not from an allowed registry; allowed: {}", told(wanted)),
        "reason": "Forbidden",
    })];
    if wanted.allowed.require_digest {
        validations.push(json!({
            "expression": "variables.undigested.size() == 0",
            "messageExpression": "'no digest: ' + variables.undigested.map(it, it[0]).join(', ') + '; name images by digest (repository@sha256:...), or let an ImageMirror add it (spec.rewrite.pin: true)'",
            "message": "an image has no digest: name images by digest (repository@sha256:...), or let an ImageMirror add it (spec.rewrite.pin: true)",
            "reason": "Forbidden",
        }));
    }
    json!({
        "failurePolicy": match wanted.failure_policy {
            EnforcementFailurePolicy::Fail => "Fail",
            EnforcementFailurePolicy::Ignore => "Ignore",
        },
        "matchConstraints": {"resourceRules": [
            // An update can change the image of a container that runs.
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]},
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]},
        ]},
        "matchConditions": [
            // The kubelet makes them for static pods, which run whatever the API server says. One that somebody else makes is
            // deleted by the kubelet and never runs.
            {
                "name": "not-a-mirror-pod",
                "expression": "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)",
            },
        ],
        "variables": [
            {"name": "allowed", "expression": list(prefixes.iter().map(String::as_str))},
            // What the pod had before is left alone.
            {"name": "before", "expression": format!("oldObject == null ? [] : {}", names_of("oldObject"))},
            {"name": "names", "expression": format!("({}).filter(n, !(n in variables.before))", names_of("object"))},
            {"name": "images", "expression": in_full("variables.names")},
            {"name": "denied", "expression": format!("variables.images.filter(it, !({IS_A_NAME} && {is_allowed}))")},
            {"name": "mirrorable", "expression": format!("variables.denied.filter(it, {IS_A_NAME})")},
            {"name": "repositories", "expression": "variables.mirrorable.map(it, it[1])"},
            {"name": "undigested", "expression": format!("variables.images.filter(it, it[3] == '' && {IS_A_NAME} && {is_allowed})")},
        ],
        "validations": validations,
    })
}
