//! What an `ImageMirror` says of itself.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::CommonStatus;

/// What is mirrored, and what the mirror waits for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageMirrorStatus {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub common: CommonStatus,

    /// Images that are mirrored to all destinations, of those that are selected, such as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<String>,

    /// How many tags the source has, and what became of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<MirrorCounts>,

    /// When the source and the destinations were looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,

    /// When they are looked at next. While the mirror tries again after a failure it is there only if a rate limit lets it go
    /// on at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_sync_time: Option<Time>,

    /// With `source.fromWorkloads`: what was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,

    /// While images are copied: how far that is. Brought up to date about every 10 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<CopyProgress>,

    /// The platforms that the digests below belong to: those of the spec at the last sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,

    /// The source repository that the tags below belong to: that of the spec at the last sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// With `tags.minAge`: since when each selected tag has been seen with its digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["tag"]))]
    pub seen: Vec<SeenDigest>,

    /// The state of each destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationStatus>,
}

/// How many tags the source has, and what became of them. An image counts as mirrored when all destinations have it, and as
/// kept, waiting or failed when it is so in one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorCounts {
    /// Tags of the source, where its list was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<u32>,

    /// Tags and digests that are selected.
    pub selected: u32,

    /// Those of them that all destinations have as the source has them.
    pub mirrored: u32,

    /// Those that moved upstream while `onTagChange` says to keep what is there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept: u32,

    /// Those that wait for `minAge`, or for a rate limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waiting: u32,

    /// Those that failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u32,

    /// Tags that are not selected, by the rule that rejects them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, u32>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What workloads use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// Namespaces whose workloads use images of the registries.
    pub namespaces: u32,

    /// Source repositories, each of which has an ImageMirror of its own.
    pub repositories: u32,

    /// Tags and digests for which there is no room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

/// How far the copies are that are going on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyProgress {
    /// Images that were copied or failed, of those to copy in all destinations together, such as `3/12`.
    pub images: String,

    /// Bytes of blobs that have reached their destination or were there already.
    pub bytes: i64,

    /// Bytes of the blobs of all images that were begun.
    pub total_bytes: i64,
}

/// A digest that a tag was seen with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeenDigest {
    /// The tag.
    pub tag: String,

    /// The digest that it names at the source.
    pub digest: String,

    /// Since when.
    pub since: Time,

    /// Whether the annotation `ecr-operator.io/release` let it through.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
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

    /// With `verify`: a fingerprint of what the mirrored tags below were verified with. Another one has them all verified
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_with: Option<String>,

    /// The state of the selected tags and digests: those that failed first, then those that wait, then the others, the newest
    /// first. Of many only some are here; `moreTags` counts the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tags: Vec<TagStatus>,

    /// How many selected tags and digests are not in `tags`, which would get too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_tags: u32,

    /// With `prune`: tags that this mirror wrote and that are no longer selected, those that left first in front. They are
    /// deleted `pruneAfter` that, unless something keeps them. At most 300 in all destinations together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub unselected: Vec<UnselectedTag>,
}

/// A tag that the mirror wrote and no longer selects.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnselectedTag {
    /// The tag.
    pub name: String,

    /// The digest that it was mirrored with.
    pub digest: String,

    /// When the image was copied.
    pub mirrored_at: Time,

    /// Since when it is not selected.
    pub since: Time,

    /// Why it is still there although its time has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The state of one tag in one destination.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TagStatus {
    /// The tag, or the digest of `spec.digests`.
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

impl TagStatus {
    /// A tag of which nothing is known yet.
    pub fn pending(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: TagState::Pending,
            source_digest: None,
            digest: None,
            mirrored_at: None,
            reason: None,
            message: None,
        }
    }
}

/// Whether a destination has what the source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum TagState {
    /// It has.
    Mirrored,
    /// It will be copied.
    Pending,
    /// It will be copied when `minAge` is over, or a rate limit lets it; the last mirrored image, if any, is still there.
    Waiting,
    /// The tag moved upstream, and `onTagChange` says to keep what is there.
    Kept,
    /// It could not be copied; the last mirrored image, if any, is still there.
    Failed,
}
