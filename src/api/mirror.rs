//! `ImageMirror`: a source repository, which of its tags, and the registries they are mirrored to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{RegistryRef, SecretRef, has_status};
use super::mirror_status::ImageMirrorStatus;
use super::repository::RepositorySettings;
use super::rewrite::Rewrite;
use super::verification::MirrorVerification;

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
    printcolumn(name = "Next sync", type_ = "string", json_path = ".status.nextSyncTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message")
)]
#[x_kube(
    validation = Rule::new("has(self.source.fromWorkloads) || has(self.digests) || (has(self.tags) && (has(self.tags.names) || has(self.tags.include) || has(self.tags.regex) || has(self.tags.semver) || has(self.tags.latest)))").message("nothing is selected: give tags.names, tags.include, tags.regex, tags.semver, tags.latest or digests"),
    validation = Rule::new("!has(self.source.fromWorkloads) || (!has(self.digests) && (!has(self.tags) || !(has(self.tags.names) || has(self.tags.include) || has(self.tags.regex) || has(self.tags.semver) || has(self.tags.latest))))").message("source.fromWorkloads mirrors what workloads name: only tags.minAge goes with it, no other condition and no digests"),
    validation = Rule::new("!has(self.source.fromWorkloads) || !has(self.destinations) || self.destinations.all(d, !has(d.repositoryName) || (d.repositoryName.contains('{path}') && (d.repositoryName.contains('{host}') || size(self.source.fromWorkloads.registries) == 1)))").message("destinations.repositoryName: source.fromWorkloads has many sources, so it needs {path} in it, and {host} where there are several registries")
)]
pub struct ImageMirrorSpec {
    /// Where the images come from.
    pub source: MirrorSource,

    /// Which tags are mirrored. What they select beside `names` is what every given condition accepts.
    #[serde(default, skip_serializing_if = "TagSelection::is_empty")]
    pub tags: TagSelection,

    /// Images that are mirrored by digest, without a tag and with all their platforms, whether or not a tag of the source
    /// names them. At most 250.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 250), inner(length(max = 71)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(d, d.matches('^sha256:[0-9a-f]{64}$'))").message("digests must look like sha256: and 64 hexadecimal digits"))]
    pub digests: Vec<String>,

    /// Platforms to mirror, as `os/architecture` or `os/architecture/variant`. Default: all, and then every digest stays
    /// the upstream one. With a list, an index is rewritten to hold these platforms only and so gets a digest of its own,
    /// which the status shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$'))").message("platforms must look like linux/amd64 or linux/arm/v7"))]
    pub platforms: Option<Vec<String>>,

    /// What an image needs before it is copied: no image without it is tagged in a destination. It is asked of the digest
    /// that the tag names at the source; where that is an index, of the index. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<MirrorVerification>,

    /// The repositories that the images are mirrored to.
    #[serde(default = "default_destinations")]
    #[schemars(length(min = 1, max = 10))]
    pub destinations: Vec<MirrorDestination>,

    /// What happens when a tag names another image at the source than the one that was mirrored.
    #[serde(default)]
    pub on_tag_change: OnTagChange,

    /// Before a tag moves in a destination, what it names there gets this tag too: `{tag}-{digest12}`. `{tag}` is the tag,
    /// `{digest12}` the first 12 digits of the digest that it names there, `{digest}` all 64. The pattern needs one of the
    /// two digests. Default: no such tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("(self.contains('{digest12}') || self.contains('{digest}')) && self.replace('{tag}', 't').replace('{digest12}', 'd').replace('{digest}', 'd').matches('^[a-zA-Z0-9_][a-zA-Z0-9._-]*$')").message("backupTag must be a tag with {digest12} or {digest} in it, such as {tag}-{digest12}; {tag} may be in it too"))]
    pub backup_tag: Option<String>,

    /// How often the source is looked at, at least 10 seconds: `30s`, `10m`, `1h`, `24h`. Up to a tenth is added, so that
    /// mirrors spread. An unchanged tag costs one HEAD request at the source.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('720h')").message("interval must be a duration from 10s to 720h, such as 30m or 1h30m"))]
    pub interval: String,

    /// When the source is looked at, in place of `interval`: minute, hour, day of the month, month, day of the week, as cron
    /// has them. `0 3 * * *` is every day at three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[^ ]+( [^ ]+){4}$')").message("schedule must have five fields with a space between them, such as 0 3 * * *"))]
    pub schedule: Option<String>,

    /// The time zone of `schedule`, by its name in the IANA database: `Europe/Berlin`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z0-9_+-]+(/[a-zA-Z0-9_+-]+)*$')").message("timeZone must be a name such as Europe/Berlin or UTC"))]
    pub time_zone: Option<String>,

    /// Whether tags are deleted in the destinations that this mirror wrote and no longer selects. Only the tag goes, and with
    /// its last tag the image. What pods, workloads or cron jobs of this cluster use stays, and so does what another mirror
    /// selects, and what was there before this mirror.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prune: bool,

    /// With `prune`: how long a tag stays after it was last selected, from 1 second to 8760 hours.
    #[serde(default = "default_prune_after")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("pruneAfter must be a duration from 1s to 8760h, such as 168h"))]
    pub prune_after: String,

    /// New pods get the mirrored images in place of the source's, without an edit of what makes them. Off by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,

    /// Stops looking and copying while true. What was mirrored stays.
    #[serde(default)]
    pub suspend: bool,
}

fn default_interval() -> String {
    "1h".to_owned()
}

fn default_prune_after() -> String {
    "168h".to_owned()
}

fn default_destinations() -> Vec<MirrorDestination> {
    vec![MirrorDestination::default()]
}

/// Where the images come from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.image) != has(self.fromWorkloads)").message("source needs either image or fromWorkloads"))]
pub struct MirrorSource {
    /// The source repository, without a tag: `docker.io/library/nginx`, or a short name as Docker reads it (`nginx`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*$')").message("source.image must be a repository without a tag or digest, such as docker.io/library/nginx"))]
    pub image: String,

    /// A Secret of type `kubernetes.io/dockerconfigjson` in this namespace, with the credentials for the source's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,

    /// Instead of `image`: whatever the cluster's workloads use. For each source repository that they name, this mirror makes
    /// an ImageMirror of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_workloads: Option<FromWorkloads>,
}

/// Images that pods, and what makes pods, name in their containers and image volumes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FromWorkloads {
    /// The namespaces, by their labels; `{}` is every namespace. Default: the mirror's own. For others every EcrRegistry that
    /// is mirrored to has to let it (`access[].servesNamespaces`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// The registries whose images are mirrored, by the host in an image's name: `docker.io`, `quay.io`. At most 50.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(r, r.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$'))").message("source.fromWorkloads.registries: each is a host, with a port if need be, such as docker.io or registry.example.com:5000"))]
    pub registries: Vec<String>,

    /// How long a tag or digest is mirrored on after no workload names it any more, from 1 second to 8760 hours.
    #[serde(default = "default_retention")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("source.fromWorkloads.retention must be a duration from 1s to 8760h, such as 168h"))]
    pub retention: String,
}

fn default_retention() -> String {
    "168h".to_owned()
}

/// Which tags are mirrored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.exclude) || has(self.include) || has(self.regex) || has(self.semver) || has(self.latest)").message("tags.exclude takes away from what include, regex, semver or latest select: give one of them"),
    validation = Rule::new("!has(self.prereleases) || !self.prereleases || has(self.semver) || has(self.latest)").message("tags.prereleases is about versions: give semver or latest too")
)]
pub struct TagSelection {
    /// These tags, whatever the other conditions say. At most 250.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 250), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(t, t.matches('^[a-zA-Z0-9_][a-zA-Z0-9._-]*$'))").message("tags.names: a tag is letters, digits, '_', '.' and '-', and begins with neither '.' nor '-'"))]
    pub names: Vec<String>,

    /// Tags that match one of these globs: `*` stands for any characters, `?` for one. At most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 128)))]
    #[x_kube(validation = Rule::new("self.all(t, t.matches('^[a-zA-Z0-9._*?-]+$'))").message("tags.include: a glob is letters, digits, '_', '.' and '-', with the wildcards * and ?"))]
    pub include: Vec<String>,

    /// No tag that matches one of these globs, unless `names` has it. At most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 128)))]
    #[x_kube(validation = Rule::new("self.all(t, t.matches('^[a-zA-Z0-9._*?-]+$'))").message("tags.exclude: a glob is letters, digits, '_', '.' and '-', with the wildcards * and ?"))]
    pub exclude: Vec<String>,

    /// Tags in which this regular expression is found; `^` and `$` tie it to their ends. If it has a group named `version`,
    /// that part of the tag is what `semver` and `latest` read: `^(?<version>[0-9.]+)-alpine$`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub regex: Option<String>,

    /// Tags that are versions in this range: `>=1.25, <2`, `1.27.x`, `~1.2`, `^1.2`, `1.2 - 1.4`, `>=1 <2 || >=3`. A `v` before
    /// a version does not matter, `1.27` as a tag is 1.27.0, and one number alone is no version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub semver: Option<String>,

    /// Whether `semver` and `latest` take prereleases too. By the rules of semantic versions every version with a suffix is
    /// one: `1.28.0-rc.1`, and `1.27.3-alpine` as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prereleases: bool,

    /// Only so many of the tags that the other conditions accept: the newest by version. Where none of them is a version,
    /// they are ordered by name, with runs of digits as numbers. At most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub latest: Option<u32>,

    /// A tag is mirrored once its digest has been seen unchanged for so long, from 10 seconds to 8760 hours: `72h`. A tag that
    /// moves starts anew. The annotation `ecr-operator.io/release` lets a digest through at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('8760h')").message("tags.minAge must be a duration from 10s to 8760h, such as 72h"))]
    pub min_age: Option<String>,
}

impl TagSelection {
    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it has conditions that select tags of a list.
    pub fn has_filters(&self) -> bool {
        !self.include.is_empty() || self.regex.is_some() || self.semver.is_some() || self.latest.is_some()
    }
}

/// What happens when a tag names another image at the source than the one that was mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OnTagChange {
    /// The tag moves in the destination too.
    #[default]
    Copy,
    /// The destination keeps what it has; the status and an event tell.
    Warn,
    /// The destination keeps what it has.
    Ignore,
}

/// A repository that images are mirrored to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.repository) || self.createRepository").message("destinations: repository sets up the repository that the mirror creates, so createRepository can't be false beside it"))]
pub struct MirrorDestination {
    /// The registry that the repository is in.
    #[serde(default)]
    pub registry_ref: RegistryRef,

    /// Name of the repository in ECR, 2 to 256 characters. `{host}` stands for the source's host, `{path}` for its path,
    /// `{name}` for the path's last part, `{namespace}` for the mirror's namespace. Default: `{host}/{path}`, such as
    /// `docker.io/library/nginx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 256))]
    #[x_kube(validation = Rule::new("self.replace('{host}', 'h').replace('{path}', 'p').replace('{name}', 'n').replace('{namespace}', 's').matches('^([a-z0-9]+([._-][a-z0-9]+)*/)*[a-z0-9]+([._-][a-z0-9]+)*$')").message("repositoryName must be lower-case letters and digits, with single '.', '_' or '-' inside, in parts separated by '/'; {host}, {path}, {name} and {namespace} may stand in it"))]
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
            digests: Vec::new(),
            platforms: None,
            verify: None,
            destinations: default_destinations(),
            on_tag_change: OnTagChange::default(),
            backup_tag: None,
            interval: default_interval(),
            schedule: None,
            time_zone: None,
            prune: false,
            prune_after: default_prune_after(),
            rewrite: None,
            suspend: false,
        }
    }
}

has_status!(ImageMirror, ImageMirrorStatus);
