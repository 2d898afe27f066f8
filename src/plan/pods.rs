//! Which pods a rewrite would change at their next start, and which of them an ImageEnforcement does not allow then, by what the
//! files have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::api::{EcrRegistry, ImageEnforcement, REWRITE_LABEL, ValidationAction};
use crate::controllers::enforcement::plan::{self as enforcement, Plan};
use crate::controllers::rewrite::plan::serving_by_status;
use crate::controllers::rewrite::usage::Mirrors;
use crate::enforcement::Verdict;
use crate::manifests::{Manifest, Object};
use crate::rewrite::policy::DISABLED;

/// The label that every namespace has, with its name.
const NAME: &str = "kubernetes.io/metadata.name";

/// What a rewrite would do to pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// How many pods the files have that may be rewritten.
    pub pods: usize,
    /// Their images that a mirror with `spec.rewrite` is about.
    pub images: Vec<PodImage>,
    /// What ImageEnforcement objects say of the images that pods have at their next start, if the files have such objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Judged>,
}

/// What ImageEnforcement objects say of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// How many pods are judged.
    pub pods: usize,
    /// Images that are not allowed.
    pub not_allowed: Vec<NotAllowed>,
    /// Objects that judge nothing, each with why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// An image that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotAllowed {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container, or `volume NAME`.
    pub container: String,
    /// The image that the pod has at its next start.
    pub image: String,
    /// The ImageEnforcement.
    pub enforcement: String,
    /// What it does about such a pod.
    pub validation_actions: Vec<ValidationAction>,
    /// Whether it is from an allowed registry, and lacks a digest.
    pub lacks_digest: bool,
}

/// An image of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodImage {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container, or `volume NAME`.
    pub container: String,
    /// The image that the pod names.
    pub image: String,
    /// What the pod gets at its next start. Without it, the image is not mirrored and stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub becomes: Option<String>,
    /// The mirror, as `<namespace>/<name>`.
    pub mirror: String,
}

/// Looks at all pods of the files.
pub(super) fn pods(
    manifests: &[Manifest],
    registries: &BTreeMap<String, EcrRegistry>,
    own_registry: Option<&str>,
) -> Pods {
    let mirrors: Vec<_> = manifests
        .iter()
        .filter_map(|manifest| match &manifest.object {
            Some(Object::Mirror(mirror)) => Some(Arc::new(mirror.clone())),
            _ => None,
        })
        .collect();
    let pods: Vec<Pod> =
        of_kind(manifests, "Pod").filter_map(|it| serde_json::from_value(it.value.clone()).ok()).collect();
    let mut namespaces: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let named = pods.iter().map(namespace).chain(mirrors.iter().filter_map(|mirror| mirror.namespace()));
    namespaces.extend(named.map(|name| (name, BTreeMap::new())));
    for manifest in of_kind(manifests, "Namespace") {
        let name = manifest.value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let labels = serde_json::from_value(manifest.value["metadata"]["labels"].clone()).unwrap_or_default();
        namespaces.insert(name, labels);
    }
    for (name, labels) in &mut namespaces {
        labels.insert(NAME.to_owned(), name.clone());
    }
    let registries: BTreeMap<_, _> =
        registries.iter().map(|(name, registry)| (name.clone(), Arc::new(registry.clone()))).collect();
    let serving = serving_by_status(&mirrors, &namespaces, &registries, own_registry);
    let mirrors = Mirrors::of(&serving);
    let mut judges = Judges::of(manifests, &registries, &namespaces);
    let mut found = Pods::default();
    for pod in pods.iter().filter(|pod| starts_again(pod)) {
        let is_rewritten = may_be_rewritten(pod);
        found.pods += usize::from(is_rewritten);
        let namespace = namespace(pod);
        judges.pods += usize::from(judges.are_about(&namespace));
        for (container, image) in images(pod) {
            let fate = is_rewritten.then(|| mirrors.fate(&namespace, image)).flatten();
            let becomes = fate.as_ref().and_then(|(_, becomes)| becomes.clone());
            judges.judge(pod, &namespace, &container, becomes.as_deref().unwrap_or(image));
            let Some((mirror, _)) = fate else { continue };
            found.images.push(PodImage {
                namespace: namespace.clone(),
                pod: pod.name_any(),
                container,
                image: image.to_owned(),
                becomes,
                mirror: format!("{}/{}", mirror.namespace, mirror.name),
            });
        }
    }
    found.images.sort();
    found.enforcement = judges.judged();
    found
}

/// The ImageEnforcement objects of the files, and what they found.
#[derive(Default)]
struct Judges {
    plans: Vec<(ImageEnforcement, Plan)>,
    failed: Vec<String>,
    pods: usize,
    not_allowed: Vec<NotAllowed>,
}

impl Judges {
    fn of(
        manifests: &[Manifest],
        registries: &BTreeMap<String, Arc<EcrRegistry>>,
        namespaces: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Self {
        let mut judges = Self::default();
        for manifest in manifests {
            let Some(Object::Enforcement(object)) = &manifest.object else { continue };
            let registry = |name: &str| registries.get(name).map(AsRef::as_ref);
            match enforcement::plan(object, registry, namespaces, None) {
                Ok(plan) => judges.plans.push((object.clone(), plan)),
                Err(failure) => {
                    judges.failed.push(format!("ImageEnforcement {}: {}", object.name_any(), failure.message))
                }
            }
        }
        judges
    }

    fn are_about(&self, namespace: &str) -> bool {
        self.plans.iter().any(|(_, plan)| plan.namespaces.contains(namespace))
    }

    fn judge(&mut self, pod: &Pod, namespace: &str, container: &str, image: &str) {
        for (object, plan) in self.plans.iter().filter(|(_, plan)| plan.namespaces.contains(namespace)) {
            let verdict = crate::enforcement::judge(image, &plan.wanted.allowed);
            if verdict == Verdict::Allowed {
                continue;
            }
            self.not_allowed.push(NotAllowed {
                namespace: namespace.to_owned(),
                pod: pod.name_any(),
                container: container.to_owned(),
                image: image.to_owned(),
                enforcement: object.name_any(),
                validation_actions: object.spec.validation_actions.clone(),
                lacks_digest: verdict == Verdict::NoDigest,
            });
        }
    }

    fn judged(mut self) -> Option<Judged> {
        let nothing = self.plans.is_empty() && self.failed.is_empty();
        self.not_allowed.sort();
        (!nothing).then_some(Judged { pods: self.pods, not_allowed: self.not_allowed, failed: self.failed })
    }
}

fn of_kind<'m>(manifests: &'m [Manifest], kind: &'m str) -> impl Iterator<Item = &'m Manifest> {
    manifests.iter().filter(move |manifest| manifest.value["apiVersion"] == "v1" && manifest.value["kind"] == kind)
}

fn namespace(pod: &Pod) -> String {
    pod.namespace().unwrap_or_else(|| "default".to_owned())
}

/// Whether the API server will be asked about a pod like this one. One that has come to its end has no next start, and nobody is
/// asked about static pods.
fn starts_again(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) && !pod.annotations().contains_key("kubernetes.io/config.mirror")
}

fn may_be_rewritten(pod: &Pod) -> bool {
    pod.labels().get(REWRITE_LABEL).is_none_or(|value| value != DISABLED)
}

/// The images of a pod, each with what has it.
fn images(pod: &Pod) -> Vec<(String, &str)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let containers = containers.filter_map(|it| Some((it.name.clone(), it.image.as_deref()?)));
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| {
        let image = volume.image.as_ref()?.reference.as_deref()?;
        Some((format!("volume {}", volume.name), image))
    });
    containers.chain(volumes).collect()
}

impl Pods {
    /// A table for people, with what is not mirrored after it.
    pub(super) fn text(&self) -> String {
        let (changed, others): (Vec<_>, Vec<_>) = self.images.iter().partition(|image| image.becomes.is_some());
        let mut text = String::new();
        if !changed.is_empty() {
            let heading = ["NAMESPACE", "POD", "CONTAINER", "IMAGE", "AT ITS NEXT START"].map(str::to_owned);
            let rows = changed.iter().map(|it| {
                let becomes = it.becomes.clone().unwrap_or_default();
                [it.namespace.clone(), it.pod.clone(), it.container.clone(), it.image.clone(), becomes]
            });
            table(&mut text, std::iter::once(heading).chain(rows).collect());
            text.push('\n');
        }
        for it in &others {
            let PodImage { namespace, pod, container, image, mirror, becomes: _ } = it;
            let _ = writeln!(text, "not mirrored: {image} of {namespace}/{pod} ({container}), by ImageMirror {mirror}");
        }
        let pods: BTreeSet<_> = changed.iter().map(|it| (&it.namespace, &it.pod)).collect();
        let _ = writeln!(
            text,
            "{} of {} pods would change at their next start; {} images are not mirrored",
            pods.len(),
            self.pods,
            others.len()
        );
        if let Some(judged) = &self.enforcement {
            text.push_str(&judged.text());
        }
        text
    }
}

impl Judged {
    fn text(&self) -> String {
        let mut text = String::from("\n");
        for it in &self.not_allowed {
            let NotAllowed { namespace, pod, container, image, enforcement, validation_actions, lacks_digest } = it;
            let what = if *lacks_digest { "no digest" } else { "not allowed" };
            let actions = validation_actions.iter().map(|action| format!("{action:?}")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                text,
                "{what}: {image} of {namespace}/{pod} ({container}), by ImageEnforcement {enforcement} ({actions})"
            );
        }
        for failed in &self.failed {
            let _ = writeln!(text, "not judged: {failed}");
        }
        let pods: BTreeSet<_> = self.not_allowed.iter().map(|it| (&it.namespace, &it.pod)).collect();
        let _ = writeln!(
            text,
            "{} of {} pods would have images at their next start that an ImageEnforcement does not allow",
            pods.len(),
            self.pods
        );
        text
    }
}

/// Columns that are as wide as what is in them.
fn table<const N: usize>(text: &mut String, rows: Vec<[String; N]>) {
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
