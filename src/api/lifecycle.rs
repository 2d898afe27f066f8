//! The typed form of an ECR lifecycle policy.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// When ECR expires images: typed `rules`, or ECR's own document in `policy`. ECR applies a change within 24 hours.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.rules) != has(self.policy)").message("lifecycle needs either rules or policy, and not both"))]
pub struct Lifecycle {
    /// The rules, first match first: their order is ECR's `rulePriority`. At most 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = Rule::new("self.filter(r, has(r.any)).size() == 0 || (self.filter(r, has(r.any)).size() == 1 && has(self[size(self) - 1].any))").message("lifecycle.rules: the rule for any image must be the last one, and there can be only one"))]
    pub rules: Option<Vec<LifecycleRule>>,

    /// A lifecycle policy document as ECR's PutLifecyclePolicy takes it: JSON, 100 to 30,720 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 100, max = 30720))]
    pub policy: Option<String>,
}

/// One rule: which images (`untagged`, `tagged` or `any`) and when they expire (`expireAfterDays` or `keepLast`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.untagged), has(self.tagged), has(self.any)].filter(x, x).size() == 1").message("a lifecycle rule needs exactly one of untagged, tagged and any"),
    validation = Rule::new("has(self.expireAfterDays) != has(self.keepLast)").message("a lifecycle rule needs either expireAfterDays or keepLast, and not both")
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

    /// All images that no earlier rule selects. Such a rule must be the last one.
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
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 128)))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^([^*]*[*]){0,4}[^*]*$'))").message("tagged.patterns: a pattern can have at most four wildcards (*)"))]
    pub patterns: Option<Vec<String>>,

    /// Prefixes of tags. At most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 128)))]
    pub prefixes: Option<Vec<String>>,
}
