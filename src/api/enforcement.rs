//! `ImageEnforcement`: which registries the images of pods may come from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{CommonStatus, RegistryRef, has_status};

/// The label by which a namespace is left out (`disabled`), and by which one of the control plane takes part (`enabled`).
pub const ENFORCE_LABEL: &str = "ecr-operator.io/enforce";

/// Which registries the images of pods may come from.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "ecr-operator.io",
    version = "v1alpha1",
    kind = "ImageEnforcement",
    shortname = "ecrenforce",
    category = "ecr",
    status = "ImageEnforcementStatus",
    derive = "PartialEq",
    doc = "Which registries the images of pods may come from, and what becomes of pods with others.",
    validation = Rule::new("self.metadata.name.size() <= 200").message("metadata.name has more than 200 characters: the policy that is named after it would have more than a name may have"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Actions", type_ = "string", json_path = ".spec.validationActions"),
    printcolumn(name = "Namespaces", type_ = "integer", json_path = ".status.namespaces"),
    printcolumn(name = "Not-Allowed", type_ = "integer", json_path = ".status.inUse.notAllowed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].message"
    )
)]
#[x_kube(
    validation = Rule::new("!('Deny' in self.validationActions && 'Warn' in self.validationActions)").message("validationActions: Deny and Warn don't go together, since whoever is refused reads the same message"),
    validation = Rule::new("!has(self.registries) || self.registries.size() > 0 || (has(self.allow) && self.allow.size() > 0)").message("registries and allow are empty: that would allow no image at all")
)]
pub struct ImageEnforcementSpec {
    /// What happens when a pod has an image that is not allowed, as in a ValidatingAdmissionPolicyBinding: `Warn` tells whoever
    /// creates the pod, `Audit` puts it into the API server's audit log, `Deny` refuses the pod.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub validation_actions: Vec<ValidationAction>,

    /// Whose pods, by the labels of their namespaces; `{}` is every namespace. Those of the control plane and the operator's own
    /// are left out unless they have the label `ecr-operator.io/enforce: enabled`, and so is each with the value `disabled`.
    pub namespace_selector: LabelSelector,

    /// The EcrRegistry objects whose images are allowed, under all host names that ECR has for them. Default: the one named
    /// `default`.
    #[serde(default = "default_registries")]
    #[schemars(length(max = 20))]
    pub registries: Vec<RegistryRef>,

    /// What else is allowed: registries (`registry.k8s.io`), or what is below a path of one (`quay.io/team`,
    /// `docker.io/library/busybox`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(
        validation = Rule::new("self.all(a, a.matches('^([a-z0-9-]+([.][a-z0-9-]+)+(:[0-9]{1,5})?|[a-z0-9-]+:[0-9]{1,5}|localhost)(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)*$'))").message("allow: an entry is the host of a registry, or a host and a path, in lower case and without a scheme, a tag, a digest or a slash at the end: quay.io, quay.io/team, docker.io/library/busybox"),
        validation = Rule::new("!self.exists(a, a == 'index.docker.io' || a.startsWith('index.docker.io/'))").message("allow: Docker Hub is written docker.io")
    )]
    pub allow: Vec<String>,

    /// Whether images need a digest (`repo@sha256:...` or `repo:tag@sha256:...`), so that a pod runs the same bytes whenever it
    /// starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_digest: bool,

    /// What happens to a pod that the API server can't judge, such as one with thousands of containers, whose names cost more to
    /// read than it allows a policy: `Fail` treats it as one that is not allowed, `Ignore` lets it in.
    #[serde(default)]
    pub failure_policy: EnforcementFailurePolicy,
}

fn default_registries() -> Vec<RegistryRef> {
    vec![RegistryRef::default()]
}

/// What happens when a pod has an image that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub enum ValidationAction {
    Warn,
    Audit,
    Deny,
}

/// What happens to a pod that can't be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs)]
pub enum EnforcementFailurePolicy {
    #[default]
    Fail,
    Ignore,
}

/// What is enforced, and where.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageEnforcementStatus {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub common: CommonStatus,

    /// Name of the ValidatingAdmissionPolicy, and of its binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,

    /// What names of images may begin with: hosts of registries, and paths in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,

    /// How many namespaces it is for.
    #[serde(default)]
    pub namespaces: u32,

    /// Their names, the first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_names: Vec<String>,

    /// The images that pods in these namespaces have now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<EnforcedUse>,
}

/// The images that pods have now, each counted once for a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnforcedUse {
    /// How many.
    pub images: u32,

    /// How many of them are not allowed: their pods run on, and new ones like them meet `validationActions`.
    pub not_allowed: u32,

    /// The first 20 of those, as `<namespace>: <image>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_not_allowed: Vec<String>,
}

has_status!(ImageEnforcement, ImageEnforcementStatus);
