//! Parts of the specs of pull secrets: which namespaces, which hosts, which service accounts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Namespaces by name, beside a selector by label.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.names) || has(self.exclude)").message("namespaces: give names, exclude, or both"),
    validation = Rule::new("!has(self.names) || !has(self.exclude) || !self.names.exists(n, n in self.exclude)").message("namespaces: a name is in names and in exclude: leave it out of one of them")
)]
pub struct NamespaceNames {
    /// These namespaces, whatever their labels, beside those that `namespaceSelector` matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = Rule::new("self.all(n, n.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'))").message("namespaces.names: a name of a namespace has lower-case letters, digits and '-'; namespaces.exclude takes wildcards, and labels select many at once"))]
    pub names: Option<Vec<String>>,

    /// Not these, whatever selects them. `*` stands for any characters, `?` for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = Rule::new("self.all(n, n.matches('^[a-z0-9*?-]+$'))").message("namespaces.exclude: a pattern is a name of a namespace, in which * stands for any characters and ? for one"))]
    pub exclude: Option<Vec<String>>,
}

/// A name of ECR's own for a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum AdditionalHost {
    /// `<account>.dkr.ecr.<region>.amazonaws.com`, or what it is in the region's partition.
    Standard,
    /// `<account>.dkr.ecr-fips.<region>.amazonaws.com`, with FIPS 140-3 validated cryptography.
    Fips,
    /// `<account>.dkr-ecr.<region>.on.aws`, with IPv6 addresses beside IPv4 ones.
    DualStack,
    /// `<account>.dkr-ecr-fips.<region>.on.aws`, with both.
    DualStackFips,
}

/// Service accounts of the namespace that the Secret is in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.names) || has(self.selector)").message("serviceAccounts: give names, a selector, or both"))]
pub struct ServiceAccounts {
    /// Those of these names, such as `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = Rule::new("self.all(n, n.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$'))").message("serviceAccounts.names: a name of a ServiceAccount has lower-case letters, digits, '-' and '.'"))]
    pub names: Option<Vec<String>>,

    /// Those with these labels, beside those of `names`. An empty selector (`{}`) matches all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}
