//! `EcrRepository`: one repository in a registry.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::AccessGrant;
use super::common::{CommonStatus, RegistryRef, has_status};
use super::lifecycle::{Lifecycle, LifecyclePreview};

/// One repository. What the spec leaves out is created with ECR's defaults and left alone after that.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "ecr-operator.io",
    version = "v1alpha1",
    kind = "EcrRepository",
    plural = "ecrrepositories",
    shortname = "ecrrepo",
    category = "ecr",
    namespaced,
    status = "EcrRepositoryStatus",
    derive = "PartialEq",
    doc = "One repository in a private Amazon ECR registry.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "URI", type_ = "string", json_path = ".status.repositoryUri"),
    printcolumn(name = "Mutability", type_ = "string", priority = 1, json_path = ".spec.tagMutability"),
    printcolumn(name = "Deletion", type_ = "string", priority = 1, json_path = ".spec.deletionPolicy"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].message"
    )
)]
#[x_kube(
    validation = Rule::new("has(self.repositoryName) == has(oldSelf.repositoryName) && (!has(self.repositoryName) || self.repositoryName == oldSelf.repositoryName)").message("repositoryName is fixed once set: ECR can't rename a repository, create another EcrRepository"),
    validation = Rule::new("has(self.encryption) == has(oldSelf.encryption) && (!has(self.encryption) || self.encryption == oldSelf.encryption)").message("encryption is fixed once set: ECR can't change it, create another EcrRepository")
)]
pub struct EcrRepositorySpec {
    /// The registry that the repository is in. Fixed once set.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("registryRef is fixed once set: create another EcrRepository for another registry"))]
    pub registry_ref: RegistryRef,

    /// Name of the repository in ECR, 2 to 256 characters. Default: `<namespace>/<name>`. Fixed once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9]+([._-][a-z0-9]+)*/)*[a-z0-9]+([._-][a-z0-9]+)*$')").message("repositoryName must be lower-case letters and digits, with single '.', '_' or '-' inside, in parts separated by '/'"))]
    pub repository_name: Option<String>,

    #[allow(missing_docs)]
    #[serde(flatten)]
    pub settings: RepositorySettings,

    /// What happens to the repository when this object is deleted. A repository that existed before and was adopted is
    /// always retained.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Whether a repository that exists already and that no object owns is taken over.
    #[serde(default)]
    pub adoption: Adoption,

    /// Whether the operator changes anything in AWS for this object.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
}

/// How a repository is set up: what an EcrRepository and an ImageMirror's destination have in common.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.mutableTags) || (has(self.tagMutability) && self.tagMutability == 'Immutable')").message("mutableTags are exceptions from tagMutability Immutable: set tagMutability to Immutable, or leave mutableTags out"),
    validation = Rule::new("!has(self.immutableTags) || (has(self.tagMutability) && self.tagMutability == 'Mutable')").message("immutableTags are exceptions from tagMutability Mutable: set tagMutability to Mutable, or leave immutableTags out"),
    validation = Rule::new("!has(self.access) || !has(self.policy)").message("the repository's policy is either access or policy, and not both")
)]
pub struct RepositorySettings {
    /// Whether a tag can be moved to another image once it is pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_mutability: Option<TagMutability>,

    /// With `tagMutability: Immutable`: tags that can be moved all the same, as ECR's exclusion filters. `*` stands for any
    /// characters, at most two in a filter. At most 5.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 5), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(f, f.matches('^[0-9a-zA-Z._-]*([*][0-9a-zA-Z._-]*){0,2}$'))").message("mutableTags: a filter is letters, digits, '.', '_' and '-', with at most two wildcards (*)"))]
    pub mutable_tags: BTreeSet<String>,

    /// With `tagMutability: Mutable`: tags that can't be moved all the same, as ECR's exclusion filters. `*` stands for any
    /// characters, at most two in a filter. At most 5.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 5), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(f, f.matches('^[0-9a-zA-Z._-]*([*][0-9a-zA-Z._-]*){0,2}$'))").message("immutableTags: a filter is letters, digits, '.', '_' and '-', with at most two wildcards (*)"))]
    pub immutable_tags: BTreeSet<String>,

    /// Whether ECR scans images for vulnerabilities when they are pushed (basic scanning).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan_on_push: Option<bool>,

    /// How images are encrypted at rest. Default: AES256. Fixed once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,

    /// When images expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,

    /// Who may pull and push beside the principals that IAM policies of the repository's own account let: grants, which
    /// become the repository's policy. At most 20. Without it, and without `policy`, the repository's policy is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub access: Option<Vec<AccessGrant>>,

    /// The repository's policy as an IAM policy document, for what `access` can't say: JSON, at most 10,240 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10240))]
    pub policy: Option<String>,

    /// AWS tags of the repository, at most 45. Tags that somebody else put there stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 45))]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('aws:') && !k.startsWith('ecr-operator.io/'))").message("tags: keys that begin with aws: or ecr-operator.io/ are reserved"),
        validation = Rule::new("self.all(k, size(k) <= 128 && size(self[k]) <= 256)").message("tags: a key has at most 128 characters, a value at most 256")
    )]
    pub tags: BTreeMap<String, String>,
}

/// Whether tags can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TagMutability {
    /// A push may move a tag.
    Mutable,
    /// A push of an existing tag is refused.
    Immutable,
}

/// Encryption at rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.kmsKey) || self.type != 'AES256'").message("encryption.kmsKey goes with type KMS or KMS_DSSE only"))]
pub struct Encryption {
    /// `AES256`: keys that ECR manages. `KMS`: a key in AWS KMS. `KMS_DSSE`: two layers with a key in AWS KMS.
    #[serde(rename = "type")]
    pub type_: EncryptionType,

    /// ARN, id or alias of the KMS key. Default: the AWS managed key `aws/ecr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub kms_key: Option<String>,
}

/// ECR's kinds of encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum EncryptionType {
    /// Keys that ECR manages.
    #[serde(rename = "AES256")]
    Aes256,
    /// A key in AWS KMS.
    #[serde(rename = "KMS")]
    Kms,
    /// Two layers of encryption with a key in AWS KMS.
    #[serde(rename = "KMS_DSSE")]
    KmsDsse,
}

/// What happens to the repository when its object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays, without the operator's owner tags.
    #[default]
    Retain,
    /// It is deleted, once no image is left in it. Until then the object waits.
    Delete,
    /// It is deleted with all its images.
    DeleteWithImages,
}

/// Whether an existing repository is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Adoption {
    /// Yes, when it has no owner tags.
    #[default]
    IfUnowned,
    /// No.
    Never,
}

/// Whether the operator changes anything in AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ManagementPolicy {
    /// The repository is created, kept as the spec says, and let go as `deletionPolicy` says.
    #[default]
    Manage,
    /// Nothing is created, changed or deleted, and no owner tags are set: the status says how the repository differs from
    /// the spec.
    Observe,
}

/// A repository as it was found when it was adopted, before anything was changed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundRepository {
    /// Whether tags could be moved, with ECR's exclusion filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_mutability: Option<String>,

    /// Whether images were scanned when they were pushed.
    pub scan_on_push: bool,

    /// How images are encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,

    /// The lifecycle policy, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_policy: Option<String>,

    /// The repository policy, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_policy: Option<String>,

    /// The AWS tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// What the operator found out about the repository.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EcrRepositoryStatus {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub common: CommonStatus,

    /// Name of the repository in ECR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_name: Option<String>,

    /// What image names begin with: `<registry host>/<repository name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_uri: Option<String>,

    /// ARN of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_arn: Option<String>,

    /// When the repository was created, by AWS's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,

    /// How the repository differs from the spec, with `managementPolicy: Observe`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,

    /// The repository as it was before this object adopted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundRepository>,

    /// Whether the repository's lifecycle policy comes from this object. When the spec no longer has one, a policy that
    /// came from it is deleted, and one that did not is left alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manages_lifecycle: bool,

    /// Whether the repository's policy comes from this object, as for `managesLifecycle`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manages_policy: bool,

    /// Keys of the AWS tags that come from this object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_tag_keys: Vec<String>,

    /// What the lifecycle rules would do to the images that are there now, where `lifecycle.preview` asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_preview: Option<LifecyclePreview>,
}

has_status!(EcrRepository, EcrRepositoryStatus);

impl EcrRepository {
    /// The repository's name in ECR: the spec's, or `<namespace>/<name>`.
    pub fn repository_name(&self) -> String {
        match &self.spec.repository_name {
            Some(name) => name.clone(),
            None => format!("{}/{}", self.namespace().unwrap_or_default(), self.name_any()),
        }
    }
}
