//! Which pods a rewrite would change at their next start, by the pods and the mirrors that the files have.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::api::{EcrRegistry, REWRITE_LABEL};
use crate::controllers::rewrite::plan::serving_by_status;
use crate::controllers::rewrite::usage::Mirrors;
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
    let mut found = Pods::default();
    for pod in pods.iter().filter(|pod| may_be_rewritten(pod)) {
        found.pods += 1;
        let namespace = namespace(pod);
        for (container, image) in images(pod) {
            let Some((mirror, becomes)) = mirrors.fate(&namespace, image) else { continue };
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
    found
}

fn of_kind<'m>(manifests: &'m [Manifest], kind: &'m str) -> impl Iterator<Item = &'m Manifest> {
    manifests.iter().filter(move |manifest| manifest.value["apiVersion"] == "v1" && manifest.value["kind"] == kind)
}

fn namespace(pod: &Pod) -> String {
    pod.namespace().unwrap_or_else(|| "default".to_owned())
}

/// Whether a pod like this one would be asked about. One that has come to its end has no next start.
fn may_be_rewritten(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
        && !pod.annotations().contains_key("kubernetes.io/config.mirror")
        && pod.labels().get(REWRITE_LABEL).is_none_or(|value| value != DISABLED)
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
        let pods: std::collections::BTreeSet<_> = changed.iter().map(|it| (&it.namespace, &it.pod)).collect();
        let _ = writeln!(
            text,
            "{} of {} pods would change at their next start; {} images are not mirrored",
            pods.len(),
            self.pods,
            others.len()
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
