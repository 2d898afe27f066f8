//! `EcrRegistry`: one private registry, that is one AWS account in one region.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{CommonStatus, has_status};
use super::pull_role::PullRole;
use super::registry_settings::{RegistrySettings, SettingStatus};

/// One private registry: one AWS account in one region, and how to reach it.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "ecr-operator.io",
    version = "v1alpha1",
    kind = "EcrRegistry",
    plural = "ecrregistries",
    shortname = "ecrreg",
    category = "ecr",
    status = "EcrRegistryStatus",
    derive = "PartialEq",
    doc = "One private Amazon ECR registry: one AWS account in one region, and how to reach it.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Account", type_ = "string", json_path = ".status.accountId"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Registry", type_ = "string", json_path = ".status.registryHost"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].message"
    )
)]
#[x_kube(
    validation = Rule::new("!has(self.accountId) || !has(self.credentials) || self.credentials.assumeRole.roleArn.contains('::' + self.accountId + ':')").message("credentials.assumeRole.roleArn is a role of another account than accountId: correct one of them"),
    validation = Rule::new("!has(self.credentials) || self.credentials.assumeRole.roleArn.startsWith(self.region.startsWith('cn-') ? 'arn:aws-cn:' : self.region.startsWith('us-gov-') ? 'arn:aws-us-gov:' : self.region.startsWith('eusc-') ? 'arn:aws-eusc:' : self.region.startsWith('us-iso-') ? 'arn:aws-iso:' : self.region.startsWith('us-isob-') ? 'arn:aws-iso-b:' : self.region.startsWith('eu-isoe-') ? 'arn:aws-iso-e:' : self.region.startsWith('us-isof-') ? 'arn:aws-iso-f:' : 'arn:aws:')").message("credentials.assumeRole.roleArn is of another AWS partition than region: a role of arn:aws-cn belongs to cn- regions, arn:aws-us-gov to us-gov- regions, arn:aws to the commercial ones"),
    validation = Rule::new("!has(self.accountId) || !has(self.pullRole) || self.pullRole.roleArn.contains('::' + self.accountId + ':')").message("pullRole.roleArn is a role of another account than accountId: correct one of them"),
    validation = Rule::new("!has(self.pullRole) || self.pullRole.roleArn.startsWith(self.region.startsWith('cn-') ? 'arn:aws-cn:' : self.region.startsWith('us-gov-') ? 'arn:aws-us-gov:' : self.region.startsWith('eusc-') ? 'arn:aws-eusc:' : self.region.startsWith('us-iso-') ? 'arn:aws-iso:' : self.region.startsWith('us-isob-') ? 'arn:aws-iso-b:' : self.region.startsWith('eu-isoe-') ? 'arn:aws-iso-e:' : self.region.startsWith('us-isof-') ? 'arn:aws-iso-f:' : 'arn:aws:')").message("pullRole.roleArn is of another AWS partition than region: a role of arn:aws-cn belongs to cn- regions, arn:aws-us-gov to us-gov- regions, arn:aws to the commercial ones")
)]
pub struct EcrRegistrySpec {
    /// The AWS region, such as `eu-west-1`. Fixed once set: another region is another EcrRegistry.
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$')").message("region must be the name of an AWS region, such as eu-west-1"),
        validation = Rule::new("self == oldSelf").message("region is fixed once set: create another EcrRegistry for another region")
    )]
    pub region: String,

    /// The 12 digits of the AWS account that the credentials must reach. If they reach another one, nothing is done and
    /// the object says so. Without it, whatever account the credentials reach is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{12}$')").message("accountId must be the 12 digits of an AWS account, in quotes"))]
    pub account_id: Option<String>,

    /// How to get AWS credentials. Without it the operator's own identity is used: EKS Pod Identity, IAM roles for
    /// service accounts (IRSA), the environment, or the instance's role, in the order of the AWS SDK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AwsCredentials>,

    /// The role that the tokens of pull secrets are minted from. They can pull from the repositories that `access` gives a
    /// namespace, and nothing else. Without it the role of `credentials` serves; without both a pull secret has all rights
    /// of the operator's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_role: Option<PullRole>,

    /// Where the registry is reached, if not at AWS's public endpoints: VPC, FIPS or dual-stack endpoints, or a local
    /// stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,

    /// Which namespaces may use which repositories of this registry; what several entries grant adds up. Without it every
    /// namespace may use every repository. An empty list lets no namespace in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub access: Option<Vec<RegistryAccess>>,

    /// Registry-wide settings, each part managed only where it is present. Of several EcrRegistry objects for the same
    /// account and region the oldest with settings manages them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<RegistrySettings>,
}

/// Lets namespaces use repositories.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryAccess {
    /// The namespaces, by their labels. `{}` is every namespace; `kubernetes.io/metadata.name` is a namespace's name.
    pub namespace_selector: LabelSelector,

    /// The repositories, by name. `*` stands for any characters, also `/`, `?` for one, and `{namespace}` for the name of the
    /// namespace that asks.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 256)))]
    #[x_kube(validation = Rule::new("self.all(r, r.matches('^([a-z0-9._/*?-]|[{]namespace[}])+$'))").message("access.repositories: a pattern is a repository name, in which * stands for any characters, ? for one, and {namespace} for the namespace"))]
    pub repositories: Vec<String>,

    /// Other namespaces that mirrors in these namespaces may serve, by their labels: mirror what workloads there use
    /// (`source.fromWorkloads`), and give new pods there the mirrored images (`rewrite`). `{}` is every namespace. Default: none
    /// but the mirror's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves_namespaces: Option<LabelSelector>,
}

/// How to get AWS credentials.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsCredentials {
    /// A role that the operator's own identity assumes.
    pub assume_role: AssumeRole,
}

/// A role to assume with STS AssumeRole.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// ARN of the role.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$')").message("roleArn must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/ecr-operator"))]
    pub role_arn: String,

    /// The external ID that the role's trust policy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224))]
    pub external_id: Option<String>,

    /// Session tags, for role trust and permission policies that look at them. At most 50.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub session_tags: BTreeMap<String, String>,
}

/// Where the registry is reached: at AWS's own endpoints of a kind (`fips`, `dualStack`), or at URLs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!((has(self.fips) && self.fips) || (has(self.dualStack) && self.dualStack)) || !(has(self.api) || has(self.registry) || has(self.sts))").message("endpoints.fips and endpoints.dualStack choose among AWS's own endpoints: leave them out where api, registry or sts give a URL"))]
pub struct Endpoints {
    /// Whether AWS's FIPS 140-3 validated endpoints are used, for ECR, its registry and STS. They exist in some regions
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fips: Option<bool>,

    /// Whether AWS's dual-stack endpoints are used, which have IPv6 addresses beside IPv4 ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dual_stack: Option<bool>,

    /// URL of the ECR API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() == 'https'").message("endpoints.api must be an https URL"))]
    pub api: Option<String>,

    /// URL of the registry API, host and port only. Images are named after its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() == 'https' && url(self).getEscapedPath() in ['', '/']").message("endpoints.registry must be an https URL without a path"))]
    pub registry: Option<String>,

    /// URL of the STS API, where the role is assumed and the account asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() == 'https'").message("endpoints.sts must be an https URL"))]
    pub sts: Option<String>,

    /// PEM certificates that sign the endpoints' certificates, beside the system's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262144))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN CERTIFICATE-----')").message("endpoints.caBundle must hold PEM certificates"))]
    pub ca_bundle: Option<String>,
}

/// What the operator found out about the registry.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EcrRegistryStatus {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub common: CommonStatus,

    /// The AWS account that the credentials reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,

    /// The ARN that the operator acts as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_arn: Option<String>,

    /// The host (and port) in the names of the registry's images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_host: Option<String>,

    /// What became of each part of the settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub settings: Vec<SettingStatus>,
}

has_status!(EcrRegistry, EcrRegistryStatus);
