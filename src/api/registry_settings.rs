//! The registry-wide settings of an EcrRegistry. Each part is managed only where it is present.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::creation_template::CreationTemplate;

/// Registry-wide settings. Each part is managed only where it is present; the rest is neither read nor changed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistrySettings {
    /// How images are scanned for vulnerabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanning: Option<Scanning>,

    /// Where images are replicated to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,

    /// What other accounts and principals may do with the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<RegistryPolicy>,

    /// Pull-through-cache rules, at most 50. Rules of others, with other prefixes, stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["ecrRepositoryPrefix"]))]
    pub pull_through_cache_rules: Option<Vec<PullThroughCacheRule>>,

    /// Repository creation templates, at most 50. Templates of others, with other prefixes, stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["prefix"]))]
    pub creation_templates: Option<Vec<CreationTemplate>>,

    /// Whether a push may take layers from another repository of the registry instead of sending them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_mounting: Option<Toggle>,

    /// Which images ECR signs when they are pushed (managed signing with AWS Signer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,

    /// ARNs of IAM roles and users whose pulls don't count as use of an image, at most 50. Exclusions of others stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), inner(length(max = 200)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(a, a.matches('^arn:aws(-[a-z]+)*:iam::[0-9]{12}:(role|user)/.+$'))").message("pullTimeUpdateExclusions: each must be the ARN of an IAM role or user, such as arn:aws:iam::123456789012:role/mirror"))]
    pub pull_time_update_exclusions: Option<Vec<String>>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Toggle {
    /// On.
    Enabled,
    /// Off.
    Disabled,
}

/// The registry's scanning configuration. It replaces the registry's present one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type == 'ENHANCED' || !has(self.rules) || self.rules.all(r, r.frequency != 'CONTINUOUS_SCAN')").message("scanning.rules: CONTINUOUS_SCAN goes with type ENHANCED only"),
    validation = Rule::new("self.type == 'BASIC' || !has(self.basicScanTypeVersion)").message("scanning.basicScanTypeVersion goes with type BASIC only")
)]
pub struct Scanning {
    /// `BASIC`: operating system packages. `ENHANCED`: Amazon Inspector, which also looks at language packages.
    #[serde(rename = "type")]
    pub type_: ScanType,

    /// Which repositories are scanned by themselves, and when: at most one rule for each frequency. Others are scanned
    /// on request (`BASIC`) or not at all (`ENHANCED`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["frequency"]))]
    pub rules: Vec<ScanningRule>,

    /// Which program does the basic scans: ECR's account setting `BASIC_SCAN_TYPE_VERSION`. `AWS_NATIVE` is the only one
    /// left; an old account may still have another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_scan_type_version: Option<BasicScanTypeVersion>,
}

/// ECR's kinds of scanning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ScanType {
    /// Operating system packages.
    Basic,
    /// Amazon Inspector.
    Enhanced,
}

/// The program that does basic scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum BasicScanTypeVersion {
    /// AWS's own.
    #[serde(rename = "AWS_NATIVE")]
    AwsNative,
}

/// Which repositories are scanned how often.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScanningRule {
    /// `SCAN_ON_PUSH`: when an image is pushed. `CONTINUOUS_SCAN`: also whenever a vulnerability becomes known.
    pub frequency: ScanFrequency,

    /// Names of repositories, with `*` as wildcard; a filter without one matches every name that has it in it. At most
    /// 100.
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 255)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(f, f.matches('^[a-z0-9*]([a-z0-9*._/-]*[a-z0-9*])?$'))").message("scanning.rules.repositoryFilters: a filter is lower-case letters, digits, '.', '_', '-', '/' and '*', such as prod/*"))]
    pub repository_filters: Vec<String>,
}

/// When images are scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ScanFrequency {
    /// When they are pushed.
    ScanOnPush,
    /// When they are pushed, and whenever a vulnerability becomes known.
    ContinuousScan,
}

/// The registry's replication configuration. It replaces the registry's present one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// The rules, at most 10, with at most 25 different destinations together. An empty list switches replication off.
    #[schemars(length(max = 10))]
    pub rules: Vec<ReplicationRule>,
}

/// Which repositories are replicated where.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationRule {
    /// The registries that get a copy of every image that is pushed.
    #[schemars(length(min = 1, max = 25))]
    #[x_kube(validation = Rule::new("self.all(d, self.exists_one(o, o == d))").message("replication.rules.destinations: a destination is named twice"))]
    pub destinations: Vec<ReplicationDestination>,

    /// Prefixes of the names of the repositories that are replicated, at most 100. Default: all repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 2, max = 256)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(f, f.matches('^[a-z0-9][a-z0-9._/-]*$'))").message("replication.rules.repositoryFilters: a filter is a prefix of repository names, without wildcards"))]
    pub repository_filters: Option<Vec<String>>,
}

/// A registry that images are replicated to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationDestination {
    /// The region, such as `eu-central-1`.
    #[schemars(length(max = 25))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$')").message("replication.rules.destinations.region must be the name of an AWS region, such as eu-central-1"))]
    pub region: String,

    /// The 12 digits of the account. Default: the registry's own account. Another one must allow it in its registry
    /// policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{12}$')").message("replication.rules.destinations.registryId must be the 12 digits of an AWS account, in quotes"))]
    pub registry_id: Option<String>,
}

/// The registry policy: typed `grants`, or an IAM policy document. It replaces the registry's present one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.grants) != has(self.document)").message("policy needs either grants or document, and not both"))]
pub struct RegistryPolicy {
    /// Who may replicate into this registry, and who may use its pull-through cache. At most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub grants: Option<Vec<RegistryGrant>>,

    /// An IAM policy document as ECR's PutRegistryPolicy takes it: JSON, at most 10,240 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10240))]
    pub document: Option<String>,

    /// Which actions a registry policy may name: ECR's account setting `REGISTRY_POLICY_SCOPE`. `V2`, all of ECR's, is
    /// the only one left; an old account may still have `V1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<RegistryPolicyScope>,
}

/// Which actions a registry policy may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RegistryPolicyScope {
    /// All of ECR's actions.
    V2,
}

/// What somebody may do with the registry.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryGrant {
    /// Who: the 12 digits of an account, in quotes, or the ARN of a principal. At most 20.
    #[schemars(length(min = 1, max = 20), inner(length(max = 320)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^([0-9]{12}|arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:.+)$'))").message("policy.grants.principals: each must be the 12 digits of an account or the ARN of a principal"))]
    pub principals: Vec<String>,

    /// `Replicate`: replicate images from their registry into this one. `PullThroughCache`: pull images that are not yet
    /// in the cache. Both include making the repositories for them.
    pub permissions: RegistryPermissions,

    /// Names of repositories, with `*` as wildcard, at most 20. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 256)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(r, r.matches('^[a-z0-9*][a-z0-9*._/-]*$'))").message("policy.grants.repositories: a name is lower-case letters, digits, '.', '_', '-', '/' and '*', such as prod/*"))]
    pub repositories: Option<Vec<String>>,
}

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RegistryPermissions {
    /// To replicate images into this registry.
    Replicate,
    /// To pull through the cache what is not in it yet.
    PullThroughCache,
}

/// A rule by which ECR fetches images of another registry when they are pulled.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.upstreamRegistry in ['docker-hub', 'github-container-registry', 'gitlab-container-registry', 'azure-container-registry', 'chainguard']) == has(self.credentialArn)").message("pullThroughCacheRules.credentialArn is needed for docker-hub, github-container-registry, gitlab-container-registry, azure-container-registry and chainguard, and goes with no other upstreamRegistry"),
    validation = Rule::new("(self.upstreamRegistry in ['ecr', 'azure-container-registry']) == has(self.upstreamRegistryUrl)").message("pullThroughCacheRules.upstreamRegistryUrl is needed for ecr and azure-container-registry, and goes with no other upstreamRegistry: theirs are known"),
    validation = Rule::new("self.upstreamRegistry == 'ecr' || !has(self.customRoleArn)").message("pullThroughCacheRules.customRoleArn goes with upstreamRegistry ecr only"),
    validation = Rule::new("self.upstreamRegistry != 'azure-container-registry' || !has(self.upstreamRegistryUrl) || self.upstreamRegistryUrl.matches('^[a-z0-9-]+[.]azurecr[.]io$')").message("pullThroughCacheRules.upstreamRegistryUrl must be <registry>.azurecr.io for azure-container-registry")
)]
pub struct PullThroughCacheRule {
    /// What the names of the cached repositories begin with, 2 to 30 characters, or `ROOT` for no prefix.
    #[schemars(length(min = 2, max = 30))]
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*)*|ROOT)$')").message("pullThroughCacheRules.ecrRepositoryPrefix must be lower-case letters and digits, with '.', '_' or '-' inside, in parts separated by '/', or ROOT"))]
    pub ecr_repository_prefix: String,

    /// The kind of the registry that images come from. ECR can't change it once the rule is there.
    pub upstream_registry: UpstreamRegistry,

    /// Host of the registry that images come from: `<account>.dkr.ecr.<region>.amazonaws.com` for `ecr`,
    /// `<registry>.azurecr.io` for `azure-container-registry`. ECR can't change it once the rule is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub upstream_registry_url: Option<String>,

    /// What the names of the upstream's repositories begin with, 2 to 30 characters. Default: `ROOT`, all of them. ECR
    /// can't change it once the rule is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 30))]
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*)*|ROOT)$')").message("pullThroughCacheRules.upstreamRepositoryPrefix must be lower-case letters and digits, with '.', '_' or '-' inside, in parts separated by '/', or ROOT"))]
    pub upstream_repository_prefix: Option<String>,

    /// ARN of the Secrets Manager secret with the credentials, in the registry's account and region. Its name begins
    /// with `ecr-pullthroughcache/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 50, max = 612))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:ecr-pullthroughcache/[a-zA-Z0-9/_+=.@-]+$')").message("pullThroughCacheRules.credentialArn must be the ARN of a Secrets Manager secret whose name begins with ecr-pullthroughcache/"))]
    pub credential_arn: Option<String>,

    /// ARN of the role, in the registry's account, that ECR assumes to pull from another account's registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$')").message("pullThroughCacheRules.customRoleArn must be the ARN of an IAM role"))]
    pub custom_role_arn: Option<String>,
}

/// The kinds of registries that ECR can cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamRegistry {
    /// Another private registry in ECR.
    Ecr,
    /// ECR Public, public.ecr.aws.
    EcrPublic,
    /// registry.k8s.io.
    K8s,
    /// quay.io.
    Quay,
    /// Docker Hub.
    DockerHub,
    /// ghcr.io.
    GithubContainerRegistry,
    /// registry.gitlab.com.
    GitlabContainerRegistry,
    /// A registry in Azure.
    AzureContainerRegistry,
    /// cgr.dev.
    Chainguard,
}

/// The registry's signing configuration. It replaces the registry's present one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signing {
    /// The rules, at most 10.
    #[schemars(length(min = 1, max = 10))]
    pub rules: Vec<SigningRule>,
}

/// Which images are signed with which profile.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningRule {
    /// ARN of the AWS Signer profile. Whoever pushes must be allowed to sign with it.
    #[schemars(length(max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws(-[a-z]+)*:signer:[a-z0-9-]+:[0-9]{12}:/signing-profiles/[a-zA-Z0-9_]{2,}$')").message("signing.rules.signingProfileArn must be the ARN of an AWS Signer profile, such as arn:aws:signer:eu-west-1:123456789012:/signing-profiles/release"))]
    pub signing_profile_arn: String,

    /// Names of repositories, with `*` as wildcard, at most 100. Default: all repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 256)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(f, f.matches('^[a-z0-9*][a-z0-9*._/-]*$'))").message("signing.rules.repositoryFilters: a filter is lower-case letters, digits, '.', '_', '-', '/' and '*', such as prod/*"))]
    pub repository_filters: Option<Vec<String>>,
}

/// What the operator found out about one part of the settings.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettingStatus {
    /// The field below `spec.settings`.
    pub name: String,

    /// Whether the registry is as the spec says in this part.
    pub ready: bool,

    /// Why not, as in conditions; `Succeeded` while it is.
    pub reason: String,

    /// What the registry has, or what is wrong and what to do.
    pub message: String,

    /// Whether this object made the registry policy or the signing configuration, which then goes with its part of the
    /// spec. One that was there before stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,

    /// The rules, templates or exclusions that this object manages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub entries: Vec<ManagedEntry>,
}

/// A rule, template or exclusion that an object manages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedEntry {
    /// Its prefix, or the ARN that is excluded.
    pub name: String,

    /// Whether this object made it: then it is deleted when it leaves the spec. One that was there before stays.
    pub created: bool,
}
