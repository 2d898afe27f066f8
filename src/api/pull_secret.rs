//! `EcrPullSecret` and `ClusterEcrPullSecret`: pull secrets that stay fresh.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{CommonStatus, RegistryRef, SecretRef, has_status};
use super::pull_secret_parts::{AdditionalHost, NamespaceNames, ServiceAccounts};

/// A pull secret in the object's own namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "ecr-operator.io",
    version = "v1alpha1",
    kind = "EcrPullSecret",
    shortname = "ecrps",
    category = "ecr",
    namespaced,
    status = "PullSecretStatus",
    derive = "PartialEq",
    doc = "A pull secret for Amazon ECR registries, kept fresh in this namespace.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].message"
    )
)]
#[x_kube(
    validation = Rule::new("!has(self.secretName) || !has(self.additionalSecretRefs) || !self.additionalSecretRefs.exists(r, r.name == self.secretName)").message("additionalSecretRefs: the Secret that is written, secretName, can't be one of those that it is made from")
)]
pub struct EcrPullSecretSpec {
    /// The registries that the secret has credentials for.
    #[serde(default = "default_registries")]
    #[schemars(length(min = 1, max = 20))]
    pub registries: Vec<RegistryRef>,

    /// The repositories that can be pulled, by name, of those that the registry's `access` gives the namespace. Default: all
    /// of those. `*` stands for any characters, also `/`, `?` for one, and `{namespace}` for the name of the secret's
    /// namespace. The registry needs a `pullRole` or `credentials.assumeRole` for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 256)))]
    #[x_kube(validation = Rule::new("self.all(r, r.matches('^([a-z0-9._/*?-]|[{]namespace[}])+$'))").message("repositories: a pattern is a repository name, in which * stands for any characters, ? for one, and {namespace} for the namespace"))]
    pub repositories: Option<Vec<String>>,

    /// Name of the Secret, of type `kubernetes.io/dockerconfigjson`. Default: this object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("secretName must be a valid name of a Secret: lower-case letters, digits, '-' and '.'"))]
    pub secret_name: Option<String>,

    /// Names of ECR's own for the registries that the secret has entries for too, beside the host that each EcrRegistry
    /// has in its status. The token is the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub additional_hosts: Vec<AdditionalHost>,

    /// Secrets of type `kubernetes.io/dockerconfigjson` in the same namespace whose entries are merged in, such as one with
    /// credentials for Docker Hub. An entry for a host that this secret has a token for is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub additional_secret_refs: Vec<SecretRef>,

    /// The service accounts whose `imagePullSecrets` get the secret. What others put there stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccounts>,
}

/// The same pull secret in every namespace that a selector matches.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "ecr-operator.io",
    version = "v1alpha1",
    kind = "ClusterEcrPullSecret",
    shortname = "cecrps",
    category = "ecr",
    status = "PullSecretStatus",
    derive = "PartialEq",
    doc = "A pull secret for Amazon ECR registries, kept fresh in every namespace that a selector matches.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Namespaces", type_ = "integer", json_path = ".status.namespaces"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].message"
    )
)]
#[x_kube(
    validation = Rule::new("has(self.namespaceSelector) || (has(self.namespaces) && has(self.namespaces.names))").message("namespaceSelector is needed unless namespaces.names has some; {} is every namespace")
)]
pub struct ClusterEcrPullSecretSpec {
    /// The registries that the secret has credentials for.
    #[serde(default = "default_registries")]
    #[schemars(length(min = 1, max = 20))]
    pub registries: Vec<RegistryRef>,

    /// The repositories that can be pulled, by name, of those that the registry's `access` gives the namespace. Default: all
    /// of those. `*` stands for any characters, also `/`, `?` for one, and `{namespace}` for the name of the secret's
    /// namespace. The registry needs a `pullRole` or `credentials.assumeRole` for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 256)))]
    #[x_kube(validation = Rule::new("self.all(r, r.matches('^([a-z0-9._/*?-]|[{]namespace[}])+$'))").message("repositories: a pattern is a repository name, in which * stands for any characters, ? for one, and {namespace} for the namespace"))]
    pub repositories: Option<Vec<String>>,

    /// Name of the Secrets, of type `kubernetes.io/dockerconfigjson`. Default: this object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message("secretName must be a valid name of a Secret: lower-case letters, digits, '-' and '.'"))]
    pub secret_name: Option<String>,

    /// The namespaces that get the secret, those created later included. An empty selector (`{}`) matches all. Needed unless
    /// `namespaces.names` has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// Namespaces by name: more than `namespaceSelector` matches, and some that never get the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceNames>,

    /// Names of ECR's own for the registries that the secret has entries for too, beside the host that each EcrRegistry
    /// has in its status. The token is the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub additional_hosts: Vec<AdditionalHost>,

    /// Secrets of type `kubernetes.io/dockerconfigjson` in the operator's own namespace whose entries are merged in, such as
    /// one with credentials for Docker Hub. Each needs the label `ecr-operator.io/shared: "true"`: every selected namespace
    /// gets its content. An entry for a host that this secret has a token for is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub additional_secret_refs: Vec<SecretRef>,

    /// The service accounts whose `imagePullSecrets` get the secret. What others put there stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccounts>,
}

fn default_registries() -> Vec<RegistryRef> {
    vec![RegistryRef::default()]
}

/// How fresh the secrets are, and where they could not be written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullSecretStatus {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub common: CommonStatus,

    /// Name of the Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,

    /// When the first of the tokens in the secret expires. It is renewed long before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,

    /// How many namespaces have the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<i32>,

    /// How many service accounts have the secret among their `imagePullSecrets` because of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<i32>,

    /// How many namespaces could not be served, or not wholly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_namespaces: Option<i32>,

    /// Namespaces that could not be served, or not wholly, the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedNamespace>,

    /// Entries of `additionalSecretRefs` that are not in the secret, the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_entries: Vec<IgnoredEntry>,
}

/// A namespace that could not be served, or not wholly.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct FailedNamespace {
    /// Name of the namespace.
    pub namespace: String,
    /// Why, in the terms of conditions.
    pub reason: String,
    /// Why.
    pub message: String,
}

/// An entry that is not taken over from a Secret of `additionalSecretRefs`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgnoredEntry {
    /// Name of the Secret.
    pub secret_name: String,
    /// The host that the entry is for.
    pub host: String,
    /// Why.
    pub message: String,
}

has_status!(EcrPullSecret, PullSecretStatus);
has_status!(ClusterEcrPullSecret, PullSecretStatus);
