//! How pods get mirrored images in place of those that they name: `ImageMirror.spec.rewrite`, and `ImageRewrite`, in which the
//! operator tells the API server what to put in whose place.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The label by which a namespace, or a pod, keeps its images as they are (`disabled`), and by which a namespace of the control
/// plane lets its own be rewritten (`enabled`).
pub const REWRITE_LABEL: &str = "ecr-operator.io/rewrite";

/// On an ImageRewrite: whose pods it is for. `own` for those of its namespace, else a name that a binding has too.
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

/// Which images new pods get in place of those that they name. The operator writes it and the API server's admission policy reads
/// it; it is not for people to write.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "ecr-operator.io",
    version = "v1alpha1",
    kind = "ImageRewrite",
    shortname = "ecrrewrite",
    namespaced,
    derive = "PartialEq",
    doc = "Which images new pods get in place of those that they name. The operator writes it for mirrors with spec.rewrite, and the API server's admission policy reads it; it is not for people to write.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ImageRewriteSpec {
    /// By the source repository, in full (`docker.io/library/nginx`): the repository in ECR, `pin` or `tag`, and after these a line
    /// for each image, with its tag and its digest. `@` stands in the tag's place for images without a tag.
    pub images: BTreeMap<String, String>,
}
