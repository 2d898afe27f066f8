//! `ImageMirror`: a source repository, which of its tags, and the registries they are mirrored to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{CommonStatus, RegistryRef, SecretRef, has_status};
use super::repository::RepositorySettings;

/// A source repository, which of its tags, and the registries they are mirrored to.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "ecr-operator.io",
    version = "v1alpha1",
    kind = "ImageMirror",
    shortname = "ecrmirror",
    category = "ecr",
    namespaced,
    status = "ImageMirrorStatus",
    derive = "PartialEq",
    doc = "Mirrors tags of a source repository into private Amazon ECR registries.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.source.image"),
    printcolumn(name = "Mirrored", type_ = "string", json_path = ".status.mirrored"),
    printcolumn(name = "Last sync", type_ = "date", json_path = ".status.lastSyncTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type=='Ready')].message"
    )
)]
pub struct ImageMirrorSpec {
    /// Where the images come from.
    pub source: MirrorSource,

    /// Which tags are mirrored.
    pub tags: TagSelection,

    /// Platforms to mirror, as `os/architecture` or `os/architecture/variant`. Default: all, and then every digest stays
    /// the upstream one. With a list, an index is rewritten to hold these platforms only and so gets a digest of its own,
    /// which the status shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$'))").message("platforms must look like linux/amd64 or linux/arm/v7"))]
    pub platforms: Option<Vec<String>>,

    /// The repositories that the images are mirrored to.
    #[serde(default = "default_destinations")]
    #[schemars(length(min = 1, max = 10))]
    pub destinations: Vec<MirrorDestination>,

    /// How often the source is looked at, at least 10 seconds: `30s`, `10m`, `1h`, `24h`. An unchanged tag costs one HEAD
    /// request at the source and one at each destination.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('720h')").message("interval must be a duration from 10s to 720h, such as 30m or 1h30m"))]
    pub interval: String,

    /// Stops looking and copying while true. What was mirrored stays.
    #[serde(default)]
    pub suspend: bool,
}

fn default_interval() -> String {
    "1h".to_owned()
}

fn default_destinations() -> Vec<MirrorDestination> {
    vec![MirrorDestination::default()]
}

/// Where the images come from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorSource {
    /// The source repository, without a tag: `docker.io/library/nginx`, or a short name as Docker reads it (`nginx`).
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*$')").message("source.image must be a repository without a tag or digest, such as docker.io/library/nginx"))]
    pub image: String,

    /// A Secret of type `kubernetes.io/dockerconfigjson` in this namespace, with the credentials for the source's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// Which tags are mirrored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TagSelection {
    /// These tags. At most 250.
    #[schemars(length(min = 1, max = 250), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(t, t.matches('^[a-zA-Z0-9_][a-zA-Z0-9._-]*$'))").message("tags.names: a tag is letters, digits, '_', '.' and '-', and begins with neither '.' nor '-'"))]
    pub names: Vec<String>,
}

/// A repository that images are mirrored to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.repository) || self.createRepository").message("destinations: repository sets up the repository that the mirror creates, so createRepository can't be false beside it"))]
pub struct MirrorDestination {
    /// The registry that the repository is in.
    #[serde(default)]
    pub registry_ref: RegistryRef,

    /// Name of the repository in ECR, 2 to 256 characters. Default: `<source host>/<source path>`, such as
    /// `docker.io/library/nginx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9]+([._-][a-z0-9]+)*/)*[a-z0-9]+([._-][a-z0-9]+)*$')").message("repositoryName must be lower-case letters and digits, with single '.', '_' or '-' inside, in parts separated by '/'"))]
    pub repository_name: Option<String>,

    /// How the repository is set up. It is an EcrRepository that this mirror owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositorySettings>,

    /// Whether the mirror creates the repository. With false somebody else does, another EcrRepository for one.
    #[serde(default = "yes")]
    pub create_repository: bool,
}

fn yes() -> bool {
    true
}

impl Default for MirrorDestination {
    fn default() -> Self {
        Self { registry_ref: RegistryRef::default(), repository_name: None, repository: None, create_repository: yes() }
    }
}

impl Default for ImageMirrorSpec {
    fn default() -> Self {
        Self {
            source: MirrorSource::default(),
            tags: TagSelection::default(),
            platforms: None,
            destinations: default_destinations(),
            interval: default_interval(),
            suspend: false,
        }
    }
}

/// What is mirrored, and what the mirror waits for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageMirrorStatus {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub common: CommonStatus,

    /// Tags that are mirrored to all destinations, of those that are selected, such as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<String>,

    /// When all tags were looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,

    /// The platforms that the digests below belong to: those of the spec at the last sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,

    /// The state of each destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationStatus>,
}

/// The state of one destination.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStatus {
    /// Name of the EcrRegistry.
    pub registry: String,

    /// What image names begin with: `<registry host>/<repository name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_uri: Option<String>,

    /// Why nothing can be mirrored to this destination now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// The state of each selected tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tags: Vec<TagStatus>,
}

/// The state of one tag in one destination.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TagStatus {
    /// The tag.
    pub name: String,

    /// Whether the destination has what the source has.
    pub state: TagState,

    /// The digest that the tag had at the source when it was mirrored last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,

    /// The digest of the mirrored image. The same as `sourceDigest` unless the spec names platforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,

    /// When the image was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored_at: Option<Time>,

    /// Why the tag is not mirrored: a reason from the same list as the conditions'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,

    /// Why the tag is not mirrored, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a destination has what the source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TagState {
    /// It has.
    Mirrored,
    /// It will be copied.
    Pending,
    /// It could not be copied; the last mirrored image, if any, is still there.
    Failed,
}

has_status!(ImageMirror, ImageMirrorStatus);
