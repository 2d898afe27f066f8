//! How pods get mirrored images in place of those that they name: `ImageMirror.spec.rewrite`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The label by which a namespace, or a pod, keeps its images as they are (`disabled`), and by which a namespace of the control
/// plane lets its own be rewritten (`enabled`).
pub const REWRITE_LABEL: &str = "ecr-operator.io/rewrite";

/// On a binding of the policy: whose pods it is for. `own` for those of the mirrors' own namespaces, else a name that stands for a
/// selector.
pub const REWRITES_FOR_LABEL: &str = "ecr-operator.io/rewrites-for";

/// What annotations on pods begin with that name the image that a container had: what follows is the container's name.
pub const ORIGINAL_IMAGE: &str = "image.ecr-operator.io/";

/// What annotations on pods begin with that name the image that a volume had: what follows is the volume's name.
pub const ORIGINAL_VOLUME: &str = "volume.ecr-operator.io/";

/// Which new pods get the mirrored images.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.pods == 'SelectedNamespaces') == has(self.namespaceSelector)").message("rewrite: namespaceSelector goes with pods: SelectedNamespaces, and that needs it"))]
pub struct Rewrite {
    /// Which pods: those of the mirror's namespace (`SameNamespace`), or those of the namespaces that `namespaceSelector`
    /// matches (`SelectedNamespaces`). The registry that they pull from has to let the mirror serve other namespaces
    /// (`access[].servesNamespaces` of the EcrRegistry).
    pub pods: RewritePods,

    /// With `pods: SelectedNamespaces`: the namespaces, by their labels; `{}` is every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// Whether the digest that was mirrored is put behind the tag: `repo:tag@sha256:...`. A pod then runs that image, whatever
    /// the tag names when it starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pin: bool,
}

/// Whose pods are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RewritePods {
    /// Those of the mirror's own namespace.
    SameNamespace,
    /// Those of the namespaces that the selector matches.
    SelectedNamespaces,
}
