//! From the mirrors to what the API server is told, and what each mirror is told. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use sha2::{Digest as _, Sha256};

use super::audience::{Audience, Namespaces, is_spared, named, selected};
use super::images::{self, Mirrored};
use super::usage::Serving;

use crate::api::conditions::Reason;
use crate::api::{EcrRegistry, ImageMirror, REWRITE_LABEL, Rewrite, RewritePods};
use crate::controllers::failure::Failure;
use crate::controllers::mirror::unshown::OfMirror;
use crate::rewrite::RewrittenImages;
use crate::rewrite::entry;
use crate::rewrite::policy::OWN;
use crate::rewrite::shards::{SELECTED, Whose};

/// All that decides.
pub(super) struct Given<'g> {
    pub(super) mirrors: &'g [Arc<ImageMirror>],
    pub(super) namespaces: &'g Namespaces,
    pub(super) registries: &'g BTreeMap<String, Arc<EcrRegistry>>,
    /// Name of the EcrRegistry that this cluster pulls from where there are several.
    pub(super) own_registry: Option<&'g str>,
    /// The images that the statuses of mirrors have no room for, by the mirrors' UIDs.
    pub(super) unshown: &'g HashMap<String, Arc<OfMirror>>,
    /// The namespace that the operator runs in.
    pub(super) own_namespace: Option<&'g str>,
}

/// The images for some pods: those of the mirrors' own namespaces, or those of the namespaces that a selector finds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    /// [`OWN`], or what tells this layer from the others.
    pub(super) id: String,
    /// Whose pods, where the API server can tell by the namespace. `None`: by the keys of the entries.
    pub(super) selector: Option<LabelSelector>,
    pub(super) entries: Vec<Whose>,
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
    /// Images that are not known until the mirror is looked at again.
    pub(super) left_out: usize,
}

/// What there is to tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) layers: Vec<Layer>,
    pub(super) verdicts: Vec<(ObjectRef<ImageMirror>, Verdict)>,
}

/// How many namespaces a binding lists. The API server reads the list anew for every pod, wherever that is; where there are more,
/// looking into the binding is cheaper.
const LISTED: usize = 16;

/// A layer while it grows.
#[derive(Default)]
struct Gathered {
    selector: Option<LabelSelector>,
    /// By whose pods they are for, and the source repository: what mirrors have for them, the eldest first.
    images: BTreeMap<(String, String), Vec<RewrittenImages>>,
}

impl Gathered {
    /// Adds what no elder mirror has.
    fn add(&mut self, whose: &str, Mirrored { source, mut images, .. }: Mirrored) {
        let elders = self.images.entry((whose.to_owned(), source)).or_default();
        images.tags.retain(|tag, _| !elders.iter().any(|elder| elder.tags.contains_key(tag)));
        images.digests.retain(|digest| !elders.iter().any(|elder| elder.digests.contains(digest)));
        if !images.tags.is_empty() || !images.digests.is_empty() {
            elders.push(images);
        }
    }

    fn layer(self, id: String) -> Layer {
        let namespaces: BTreeSet<&str> = self.images.keys().map(|(whose, _)| whose.as_str()).collect();
        let selector = match id == OWN && namespaces.len() <= LISTED {
            true => Some(named("In", &namespaces.into_iter().map(str::to_owned).collect())),
            false => self.selector,
        };
        let entries = self.images.iter().flat_map(|((whose, source), all)| {
            all.iter().flat_map(|images| entry::entries(source, images)).map(|entry| (whose.clone(), entry))
        });
        Layer { selector, entries: entries.collect(), id }
    }
}

pub(super) fn plan(given: &Given<'_>) -> Plan {
    let mirrors = eldest_first(given);
    let mut layers: BTreeMap<String, Gathered> = BTreeMap::new();
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
            let namespace = mirror.namespace().unwrap_or_default();
            let (whose, selector) = match id == OWN {
                true => (namespace.as_str(), None),
                false => (SELECTED, Some(audience.selector)),
            };
            let layer = layers.entry(id).or_default();
            layer.selector = selector;
            layer.add(whose, mirrored);
            reached
        });
        plan.verdicts.push((ObjectRef::from_obj(mirror.as_ref()), Verdict { outcome }));
    }
    plan.layers = layers.into_iter().map(|(id, gathered)| gathered.layer(id)).collect();
    plan
}

/// The mirrors whose images pods are to get, the eldest first, though they may have none yet.
pub(super) fn serving(given: &Given<'_>) -> Vec<Serving> {
    let all = eldest_first(given).into_iter().filter_map(|mirror| {
        let One { audience, mirrored, .. } = asked(mirror, wants(mirror)?, given).ok()?;
        let (namespace, name) = (mirror.namespace().unwrap_or_default(), mirror.name_any());
        Some(Serving { namespace, name, namespaces: audience.namespaces, mirrored })
    });
    all.collect()
}

/// The same without an operator: of each mirror only what its status shows is known.
pub(crate) fn serving_by_status(
    mirrors: &[Arc<ImageMirror>],
    namespaces: &Namespaces,
    registries: &BTreeMap<String, Arc<EcrRegistry>>,
    own_registry: Option<&str>,
) -> Vec<Serving> {
    let unshown = HashMap::new();
    serving(&Given { mirrors, unshown: &unshown, namespaces, registries, own_registry, own_namespace: None })
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
    let unshown = given.unshown.get(&mirror.uid().unwrap_or_default());
    let mirrored = images::of(mirror, given.own_registry, rewrite.pin, unshown.map(Arc::as_ref))?;
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
