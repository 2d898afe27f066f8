//! From the mirrors to what the API server is told, and what each mirror is told. Nothing here does I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use sha2::{Digest as _, Sha256};

use super::audience::{Audience, Namespaces, is_spared, selected};
use super::images::{self, Mirrored};
use super::usage::Serving;

use crate::api::conditions::Reason;
use crate::api::{EcrRegistry, ImageMirror, REWRITE_LABEL, Rewrite, RewritePods};
use crate::controllers::failure::Failure;
use crate::rewrite::RewrittenImages;
use crate::rewrite::entry;
use crate::rewrite::policy::OWN;
use crate::rewrite::shards::{LARGEST, Shard, shards};

/// All that decides.
pub(crate) struct Given<'g> {
    pub(crate) mirrors: &'g [Arc<ImageMirror>],
    pub(crate) namespaces: &'g Namespaces,
    pub(crate) registries: &'g BTreeMap<String, Arc<EcrRegistry>>,
    /// Name of the EcrRegistry that this cluster pulls from where there are several.
    pub(crate) own_registry: Option<&'g str>,
    /// The namespace that the operator runs in.
    pub(crate) own_namespace: Option<&'g str>,
}

/// The images for some pods: those of the mirrors' own namespaces, or those of the namespaces that a selector finds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    /// The namespace of the mirrors, and so of the objects with the images.
    pub(super) namespace: String,
    /// [`OWN`], or what tells this layer from the others.
    pub(super) id: String,
    /// Whose pods, if not those of `namespace`.
    pub(super) selector: Option<LabelSelector>,
    pub(super) shards: Vec<Shard>,
}

/// What becomes of one mirror's wish.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// How many images, of which repository, and for how many namespaces; or why none.
    pub(super) outcome: Result<Reached, Failure>,
}

/// What pods get of one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) images: usize,
    pub(super) repository: String,
    pub(super) namespaces: usize,
    /// Namespaces that the registry does not let the mirror serve.
    pub(super) refused: Vec<String>,
    /// Images that the mirror's status has no room for.
    pub(super) left_out: u32,
}

/// What there is to tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) layers: Vec<Layer>,
    pub(super) verdicts: Vec<(ObjectRef<ImageMirror>, Verdict)>,
}

/// A layer while it grows.
#[derive(Default)]
struct Gathered {
    selector: Option<LabelSelector>,
    entries: Vec<(String, String)>,
}

pub(super) fn plan(given: &Given<'_>) -> Plan {
    let mirrors = eldest_first(given);
    let mut layers: BTreeMap<(String, String), Gathered> = BTreeMap::new();
    let mut plan = Plan::default();
    for mirror in mirrors {
        let outcome = wants(mirror).map_or_else(|| Err(nothing_mirrored()), |rewrite| one(mirror, rewrite, given));
        let outcome = outcome.map(|One { id, audience, mirrored }| {
            let reached = Reached {
                images: mirrored.images.tags.len() + mirrored.images.digests.len(),
                repository: mirrored.images.repository.clone(),
                namespaces: audience.namespaces.len(),
                refused: audience.refused.into_iter().collect(),
                left_out: mirrored.left_out,
            };
            let selector = (id != OWN).then_some(audience.selector);
            let layer = layers.entry((mirror.namespace().unwrap_or_default(), id)).or_default();
            layer.selector = selector;
            layer.entries.push((mirrored.source, entry::value(&mirrored.images)));
            reached
        });
        plan.verdicts.push((ObjectRef::from_obj(mirror.as_ref()), Verdict { outcome }));
    }
    plan.layers = layers
        .into_iter()
        .map(|((namespace, id), Gathered { selector, entries })| Layer {
            namespace,
            id,
            selector,
            shards: shards(entries, LARGEST),
        })
        .collect();
    plan
}

/// The mirrors whose images pods are to get, the eldest first, though they may have none yet.
pub(crate) fn serving(given: &Given<'_>) -> Vec<Serving> {
    let all = eldest_first(given).into_iter().filter_map(|mirror| {
        let One { audience, mirrored, .. } = asked(mirror, wants(mirror)?, given).ok()?;
        let (namespace, name) = (mirror.namespace().unwrap_or_default(), mirror.name_any());
        Some(Serving { namespace, name, namespaces: audience.namespaces, mirrored })
    });
    all.collect()
}

/// The mirrors that ask for it. Of two mirrors of one source the elder counts.
fn eldest_first<'g>(given: &'g Given<'_>) -> Vec<&'g Arc<ImageMirror>> {
    let mut mirrors: Vec<&Arc<ImageMirror>> = given.mirrors.iter().filter(|mirror| wants(mirror).is_some()).collect();
    mirrors.sort_by_key(|mirror| {
        (mirror.metadata.creation_timestamp.as_ref().map(|time| time.0), mirror.namespace(), mirror.name_any())
    });
    mirrors
}

/// What a mirror asks for. One that makes others hands its wish to them, and has no images of its own.
fn wants(mirror: &ImageMirror) -> Option<&Rewrite> {
    let is_there = mirror.metadata.deletion_timestamp.is_none() && mirror.spec.source.from_workloads.is_none();
    mirror.spec.rewrite.as_ref().filter(|_| is_there)
}

/// The images of one mirror, and whose pods get them.
struct One {
    id: String,
    audience: Audience,
    mirrored: Mirrored,
}

fn one(mirror: &ImageMirror, rewrite: &Rewrite, given: &Given<'_>) -> Result<One, Failure> {
    let one = asked(mirror, rewrite, given)?;
    let RewrittenImages { tags, digests, .. } = &one.mirrored.images;
    if tags.is_empty() && digests.is_empty() { Err(nothing_mirrored()) } else { Ok(one) }
}

/// The same, though no image may be mirrored yet.
fn asked(mirror: &ImageMirror, rewrite: &Rewrite, given: &Given<'_>) -> Result<One, Failure> {
    let namespace = mirror.namespace().unwrap_or_default();
    let mirrored = images::of(mirror, given.own_registry, rewrite.pin)?;
    let registry = given.registries.get(&mirrored.registry).ok_or_else(|| {
        let message =
            format!("there is no EcrRegistry {:?}: create it, or correct registryRef.name", mirrored.registry);
        Failure::stalled(Reason::RegistryNotFound, message)
    })?;
    let (id, audience) = match (rewrite.pods, &rewrite.namespace_selector) {
        (RewritePods::SelectedNamespaces, Some(selector)) => {
            let audience = selected(&namespace, selector, registry, given.namespaces, given.own_namespace);
            let audience = audience.map_err(|error| {
                let message = format!("spec.rewrite.namespaceSelector can't be used: {error}");
                Failure::stalled(Reason::InvalidSpec, message)
            })?;
            (id(&namespace, selector, &mirrored.registry), audience)
        }
        _ => (OWN.to_owned(), own(&namespace, given)),
    };
    if audience.namespaces.is_empty() {
        return Err(nobody(&namespace, rewrite.pods, &audience));
    }
    Ok(One { id, audience, mirrored })
}

/// Those of the mirror's own namespace.
fn own(namespace: &str, given: &Given<'_>) -> Audience {
    let nothing = BTreeMap::new();
    let labels = given.namespaces.get(namespace).unwrap_or(&nothing);
    let spared = is_spared(namespace, labels, given.own_namespace);
    let namespaces = if spared { Default::default() } else { [namespace.to_owned()].into() };
    Audience { namespaces, ..Audience::default() }
}

fn nothing_mirrored() -> Failure {
    Failure::transient(Reason::Progressing, "no image is mirrored yet: pods keep the images that they name")
}

fn nobody(namespace: &str, pods: RewritePods, audience: &Audience) -> Failure {
    if !audience.refused.is_empty() {
        let message = format!(
            "no entry of the EcrRegistry's spec.access has these namespaces in servesNamespaces: {}",
            some(&audience.refused.iter().cloned().collect::<Vec<_>>())
        );
        return Failure::stalled(Reason::NamespaceNotAllowed, message);
    }
    let message = if pods == RewritePods::SameNamespace {
        format!(
            "the pods of namespace {namespace} keep their images: its label {REWRITE_LABEL} says so, or it is of the control plane and needs {REWRITE_LABEL}=enabled"
        )
    } else {
        format!(
            "spec.rewrite.namespaceSelector matches no namespace whose pods may be rewritten; those of the control plane need the label {REWRITE_LABEL}=enabled"
        )
    };
    Failure::stalled(Reason::NoNamespace, message)
}

/// The first of many names.
pub(super) fn some(names: &[String]) -> String {
    const NAMED: usize = 5;
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED { format!("{first}, …") } else { first }
}

/// Stays the same while namespaces come and go.
fn id(namespace: &str, selector: &LabelSelector, registry: &str) -> String {
    let selector = serde_json::to_string(selector).unwrap_or_default();
    let digest = Sha256::digest(format!("{namespace}\n{registry}\n{selector}"));
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
