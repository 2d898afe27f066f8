//! Repository creation templates: how ECR sets up the repositories that it makes by itself.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lifecycle::Lifecycle;
use super::repository::{Encryption, TagMutability};

/// How ECR sets up repositories that it makes by itself. A change is for repositories that are made after it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.customRoleArn) || (!has(self.tags) && (!has(self.encryption) || self.encryption.type == 'AES256'))").message("creationTemplates.customRoleArn is needed where the template has tags or encryption with a key in KMS"),
    validation = Rule::new("!has(self.encryption) || !has(self.encryption.kmsKey) || self.encryption.kmsKey.matches('^arn:aws[a-z0-9-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]+$')").message("creationTemplates.encryption.kmsKey must be the ARN of a key: a template takes no alias"),
    validation = Rule::new("!has(self.mutableTags) || (has(self.tagMutability) && self.tagMutability == 'Immutable')").message("creationTemplates.mutableTags goes with tagMutability Immutable only"),
    validation = Rule::new("!has(self.immutableTags) || !has(self.tagMutability) || self.tagMutability == 'Mutable'").message("creationTemplates.immutableTags goes with tagMutability Mutable only")
)]
pub struct CreationTemplate {
    /// What the names of the repositories begin with, up to a `/`, or `ROOT` for all that no other template is for.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\\\.|_|__|-+)[a-z0-9]+)*)*|ROOT)$')").message("creationTemplates.prefix must be lower-case letters and digits, with '.', '_' or '-' inside, in parts separated by '/', or ROOT"))]
    pub prefix: String,

    /// What the template is for; ECR shows it in its console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub description: Option<String>,

    /// What makes the repositories: `REPLICATION`, `PULL_THROUGH_CACHE`, `CREATE_ON_PUSH`.
    #[schemars(length(min = 1, max = 3))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub applied_for: Vec<AppliedFor>,

    /// Whether a tag can be moved to another image once it is pushed. Default: Mutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_mutability: Option<TagMutability>,

    /// Tags that can be moved all the same, with `*` as wildcard, at most 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5), inner(length(min = 1, max = 128)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(t, t.matches('^[0-9a-zA-Z._*-]+$'))").message("creationTemplates.mutableTags: a filter is letters, digits, '.', '_', '-' and '*'"))]
    pub mutable_tags: Option<Vec<String>>,

    /// Tags that can't be moved all the same, with `*` as wildcard, at most 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5), inner(length(min = 1, max = 128)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(t, t.matches('^[0-9a-zA-Z._*-]+$'))").message("creationTemplates.immutableTags: a filter is letters, digits, '.', '_', '-' and '*'"))]
    pub immutable_tags: Option<Vec<String>>,

    /// How images are encrypted at rest. Default: AES256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,

    /// When images expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "lifecycle")]
    pub lifecycle: Option<Lifecycle>,

    /// Who may use the repositories: an IAM policy document, JSON, at most 10,240 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10240))]
    pub repository_policy: Option<String>,

    /// AWS tags of the repositories, at most 50.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    #[x_kube(
        validation = Rule::new("self.all(k, !k.startsWith('aws:') && !k.startsWith('ecr-operator.io/'))").message("creationTemplates.tags: keys that begin with aws: or ecr-operator.io/ are reserved"),
        validation = Rule::new("self.all(k, size(k) <= 128 && size(self[k]) <= 256)").message("creationTemplates.tags: a key has at most 128 characters, a value at most 256")
    )]
    pub tags: BTreeMap<String, String>,

    /// ARN of the role, in the registry's account, that ECR assumes to make the repositories. Default: ECR's own role,
    /// which can neither set tags nor use keys in KMS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$')").message("creationTemplates.customRoleArn must be the ARN of an IAM role"))]
    pub custom_role_arn: Option<String>,
}

/// The schema of a lifecycle without its CEL rules. For 50 templates the API server would find them too expensive, and
/// refuse the whole CustomResourceDefinition. The operator checks what they check, and more.
fn lifecycle(generator: &mut SchemaGenerator) -> Schema {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("x-kubernetes-validations");
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut schema = Option::<Lifecycle>::json_schema(generator).to_value();
    strip(&mut schema);
    Schema::try_from(schema).unwrap_or_default()
}

/// What makes a repository without anybody asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AppliedFor {
    /// Replication from another registry.
    Replication,
    /// A pull through the cache.
    PullThroughCache,
    /// A push to a repository that does not exist.
    CreateOnPush,
}
