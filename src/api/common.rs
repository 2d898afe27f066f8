//! What the kinds share: references, the common part of a status, and well-known names.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{KubeSchema, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The finalizer on objects whose deletion needs work in AWS first.
pub const FINALIZER: &str = "ecr-operator.io/finalizer";

/// Give this annotation any new value to have the object reconciled now.
pub const SYNC_AT: &str = "ecr-operator.io/sync-at";

/// On an ImageMirror with `tags.minAge`: `<digest>` or `<tag>@<digest>`, or several with commas between them, are mirrored at
/// once.
pub const RELEASE: &str = "ecr-operator.io/release";

/// On an ImageMirror that another one made for what workloads use: since when no workload names a tag or digest, as a JSON
/// object.
pub const UNUSED_SINCE: &str = "ecr-operator.io/unused-since";

/// The label value by which objects that the operator wrote are recognised.
pub const MANAGED_BY: &str = "ecr-operator";

/// The label key that carries [`MANAGED_BY`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// The label of Secrets whose entries a ClusterEcrPullSecret may hand to every namespace that it selects: `"true"`.
pub const SHARED_LABEL: &str = "ecr-operator.io/shared";

/// Names an EcrRegistry, which is cluster-scoped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
pub struct RegistryRef {
    /// Name of the EcrRegistry.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default = "default_registry_name")]
    pub name: String,
}

fn default_registry_name() -> String {
    "default".to_owned()
}

impl Default for RegistryRef {
    fn default() -> Self {
        Self { name: default_registry_name() }
    }
}

/// Names a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The part of the status that every kind has.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommonStatus {
    /// The `metadata.generation` that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`, `Reconciling` and `Stalled`, as kstatus, Flux and Argo CD read them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The value of the `ecr-operator.io/sync-at` annotation that was acted upon last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_sync_at: Option<String>,
}

impl CommonStatus {
    /// The condition of this type, if the status has it.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

/// A kind whose status has the common part.
pub trait HasStatus: Resource<DynamicType = ()> {
    /// The whole status of the kind.
    type Status: Clone + Default + PartialEq + Serialize + Send + Sync;

    /// The object's present status.
    fn status(&self) -> Option<&Self::Status>;

    /// The common part of a status of this kind.
    fn common(status: &Self::Status) -> &CommonStatus;

    /// The common part of a status of this kind, to change it.
    fn common_mut(status: &mut Self::Status) -> &mut CommonStatus;
}

/// Implements [`HasStatus`] for a kind whose status struct has a field `common`.
macro_rules! has_status {
    ($kind:ty, $status:ty) => {
        impl crate::api::HasStatus for $kind {
            type Status = $status;

            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }

            fn common(status: &$status) -> &crate::api::CommonStatus {
                &status.common
            }

            fn common_mut(status: &mut $status) -> &mut crate::api::CommonStatus {
                &mut status.common
            }
        }
    };
}
pub(crate) use has_status;
