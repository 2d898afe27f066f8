//! The typed form of an ECR lifecycle policy, and what a preview of one says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When ECR expires or archives images: typed `rules`, or ECR's own document in `policy`. ECR applies a change within 24
/// hours.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.rules) != has(self.policy)").message("lifecycle needs either rules or policy, and not both"))]
pub struct Lifecycle {
    /// The rules, first match first: their order is ECR's `rulePriority`. At most 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(
        validation = Rule::new("self.filter(r, has(r.any) && !has(r.expireArchivedAfterDays)).size() == 0 || (self.filter(r, has(r.any) && !has(r.expireArchivedAfterDays)).size() == 1 && self.filter(r, !has(r.expireArchivedAfterDays)).map(r, has(r.any))[self.filter(r, !has(r.expireArchivedAfterDays)).size() - 1])").message("lifecycle.rules: the rule for any image must be the last one, and there can be only one; rules with expireArchivedAfterDays count apart"),
        validation = Rule::new("self.filter(r, has(r.any) && has(r.expireArchivedAfterDays)).size() == 0 || (self.filter(r, has(r.any) && has(r.expireArchivedAfterDays)).size() == 1 && self.filter(r, has(r.expireArchivedAfterDays)).map(r, has(r.any))[self.filter(r, has(r.expireArchivedAfterDays)).size() - 1])").message("lifecycle.rules: of the rules with expireArchivedAfterDays, the one for any image must be the last one, and there can be only one"),
        validation = Rule::new("self.filter(r, has(r.untagged) && !has(r.expireArchivedAfterDays)).size() <= 1 && self.filter(r, has(r.untagged) && has(r.expireArchivedAfterDays)).size() <= 1").message("lifecycle.rules: there can be only one rule for untagged images, and one more with expireArchivedAfterDays")
    )]
    pub rules: Option<Vec<LifecycleRule>>,

    /// A lifecycle policy document as ECR's PutLifecyclePolicy takes it: JSON, 100 to 30,720 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 100, max = 30720))]
    #[x_kube(validation = Rule::new("self.matches('^\\\\s*[{]')").message("lifecycle.policy must be a JSON object: {\"rules\": [...]}"))]
    pub policy: Option<String>,

    /// Whether `status.lifecyclePreview` tells what the rules would do to the images that are there now, and warns when
    /// pods of this cluster run some of them. A preview costs two calls to AWS or a few more, at each change of the rules
    /// and once a day.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
}

/// One rule: which images (`untagged`, `tagged` or `any`), and what happens to them when (one of the other fields).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.untagged), has(self.tagged), has(self.any)].filter(x, x).size() == 1").message("a lifecycle rule needs exactly one of untagged, tagged and any"),
    validation = Rule::new("[has(self.expireAfterDays), has(self.keepLast), has(self.archiveAfterDays), has(self.archiveAllButLast), has(self.archiveUnpulledAfterDays), has(self.expireArchivedAfterDays)].filter(x, x).size() == 1").message("a lifecycle rule needs exactly one of expireAfterDays, keepLast, archiveAfterDays, archiveAllButLast, archiveUnpulledAfterDays and expireArchivedAfterDays")
)]
pub struct LifecycleRule {
    /// What the rule is for; ECR shows it in its console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub description: Option<String>,

    /// Images without any tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untagged: Option<Untagged>,

    /// Images with certain tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tagged: Option<Tagged>,

    /// All images that no earlier rule selects. Such a rule must be the last one; of the rules with
    /// `expireArchivedAfterDays`, the last of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any: Option<Any>,

    /// Images expire when they were pushed more than so many days ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub expire_after_days: Option<i32>,

    /// All but the so many most recently pushed images expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub keep_last: Option<i32>,

    /// Images are archived when they were pushed more than so many days ago. An archived image can't be pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub archive_after_days: Option<i32>,

    /// All but the so many most recently pushed images are archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub archive_all_but_last: Option<i32>,

    /// Images are archived when their last pull, or their push if they never were pulled, is more than so many days ago.
    /// ECR can't expire images by their last pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub archive_unpulled_after_days: Option<i32>,

    /// Archived images expire when they were archived more than so many days ago, at least 90. The rule selects archived
    /// images only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 90, max = 36500))]
    pub expire_archived_after_days: Option<i32>,
}

/// Selects images without any tag.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
pub struct Untagged {}

/// Selects every image.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
pub struct Any {}

/// Selects images by their tags. An image is selected when it has a tag for every entry of the list.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.patterns) != has(self.prefixes)").message("tagged needs either patterns or prefixes, and not both"))]
pub struct Tagged {
    /// Patterns with `*` as wildcard, at most four in one pattern. At most 20 patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^([a-zA-Z0-9_.-]*[*]){0,4}[a-zA-Z0-9_.-]*$'))").message("tagged.patterns: a pattern has letters, digits, '_', '.' and '-', as tags have, and at most four wildcards (*)"))]
    pub patterns: Option<Vec<String>>,

    /// Prefixes of tags. At most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^[a-zA-Z0-9_.-]*$'))").message("tagged.prefixes: tags have letters, digits, '_', '.' and '-' only: with another character a prefix matches none; use patterns for wildcards (*)"))]
    pub prefixes: Option<Vec<String>>,
}

/// What the rules would do to the images that are in the repository now, as ECR's lifecycle policy preview tells.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LifecyclePreview {
    /// How far the preview is.
    pub state: PreviewState,

    /// When the preview was started last.
    pub started_at: Time,

    /// Which rules it is about: a fingerprint of their meaning. Other rules have another one.
    pub policy: String,

    /// How many images would expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiring: Option<u32>,

    /// How many images would be archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archiving: Option<u32>,

    /// How many of these images pods of this cluster run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<u32>,

    /// Some of the images in use, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_use_images: Vec<ImageInUse>,

    /// The result in words, or why there is none.
    pub message: String,
}

/// How far a preview is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PreviewState {
    /// ECR works on it. Counts, if there are any, are those of the one before.
    InProgress,
    /// The counts are there.
    Complete,
    /// There is no result; the message says why. It is tried again a day later, and when the rules change.
    Failed,
}

/// An image that a rule would take away and that pods run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageInUse {
    /// Digest of the image.
    pub digest: String,

    /// Its tags, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,

    /// What would happen to it.
    pub action: PreviewAction,

    /// The rule that it would happen by: its place in `lifecycle.rules`, beginning with 1, or its `rulePriority` in
    /// `lifecycle.policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,

    /// How many pods run it.
    pub pods: u32,

    /// The namespaces of these pods, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
}

/// What a rule does to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PreviewAction {
    /// It is deleted.
    Expire,
    /// It is archived, and can't be pulled until it is restored.
    Archive,
}
