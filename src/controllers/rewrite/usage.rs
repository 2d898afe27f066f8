//! What the pods that are there have of the images that mirrors give to pods. Nothing here does I/O.
//!
//! No webhook counts what the API server rewrites. But pods tell: an annotation keeps the image that one named, and one without it has
//! the name that it was made with.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use oci_copy::Reference;

use super::images::Mirrored;
use super::plan::some;
use crate::controllers::report::cut;
use crate::controllers::workloads::PodImages;
use crate::rewrite::replacement;

/// How many images are named that are not mirrored.
const NAMED: usize = 6;

/// A mirror whose images pods are to get.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Serving {
    /// The mirror's namespace.
    pub(crate) namespace: String,
    /// The mirror's name.
    pub(crate) name: String,
    /// Whose pods.
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) mirrored: Mirrored,
}

/// The images of pods that a mirror is about, each counted once for a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InUse {
    /// The pod got the mirrored image.
    pub(crate) rewritten: u64,
    /// The pod has the source's, and a new one like it would get the mirrored one.
    pub(crate) next_start: u64,
    /// The pod has the source's, and so would a new one.
    pub(crate) not_mirrored: u64,
    /// Some of the latter.
    pub(crate) first_not_mirrored: BTreeSet<String>,
}

/// Mirrors, to be found by the images that pods name. The eldest come first, as they count before the younger ones.
pub(crate) struct Mirrors<'m> {
    all: &'m [Serving],
    by_source: HashMap<&'m str, Vec<usize>>,
}

impl<'m> Mirrors<'m> {
    pub(crate) fn of(all: &'m [Serving]) -> Self {
        let mut by_source: HashMap<&str, Vec<usize>> = HashMap::new();
        for (position, mirror) in all.iter().enumerate() {
            by_source.entry(&mirror.mirrored.source).or_default().push(position);
        }
        Self { all, by_source }
    }

    /// The mirror that a pod's image is of, and what a new pod gets in its place; nothing, if it is not mirrored. `None`: no
    /// mirror is about it.
    pub(crate) fn fate(&self, namespace: &str, image: &str) -> Option<(&'m Serving, Option<String>)> {
        let (position, becomes) = self.position(namespace, image)?;
        Some((&self.all[position], becomes))
    }

    fn position(&self, namespace: &str, image: &str) -> Option<(usize, Option<String>)> {
        let reference: Reference = image.parse().ok()?;
        let serving = self.serving(namespace, &reference);
        let has = |position: &usize| Some((*position, replacement(&reference, &self.all[*position].mirrored.images)?));
        match serving.iter().find_map(has) {
            Some((position, becomes)) => Some((position, Some(becomes))),
            None => serving.first().map(|position| (*position, None)),
        }
    }

    /// The mirrors of an image's repository that serve a namespace.
    fn serving(&self, namespace: &str, reference: &Reference) -> Vec<usize> {
        let positions = self.by_source.get(reference.repository().to_string().as_str());
        let serves = |position: &usize| self.all[*position].namespaces.contains(namespace);
        positions.into_iter().flatten().copied().filter(serves).collect()
    }

    /// The mirror whose image stands in the place of another.
    fn gave(&self, namespace: &str, original: &str, image: &str) -> Option<usize> {
        let gave = |position: &usize| {
            let rest = image.strip_prefix(self.all[*position].mirrored.images.repository.as_str());
            rest.is_some_and(|rest| rest.starts_with([':', '@']))
        };
        self.serving(namespace, &original.parse().ok()?).into_iter().find(gave)
    }
}

/// What pods have of each mirror.
pub(crate) fn in_use(all: &[Serving], pods: &PodImages) -> Vec<InUse> {
    let mirrors = Mirrors::of(all);
    let mut found = vec![InUse::default(); all.len()];
    for (namespace, images) in pods {
        for (image, count) in &images.named {
            let count = count.saturating_sub(images.kept.get(image).copied().unwrap_or_default());
            match mirrors.position(namespace, image) {
                Some((position, Some(_))) => found[position].next_start += count,
                Some((position, None)) if count > 0 => {
                    let found = &mut found[position];
                    found.not_mirrored += count;
                    if found.first_not_mirrored.len() < NAMED {
                        found.first_not_mirrored.insert(image.to_string());
                    }
                }
                _ => {}
            }
        }
        for ((original, image), count) in &images.rewritten {
            if let Some(position) = mirrors.gave(namespace, original, image) {
                found[position].rewritten += count;
            }
        }
    }
    found
}

/// The condition with what pods have in its message.
pub(super) fn told(mut condition: Condition, in_use: &InUse) -> Condition {
    let InUse { rewritten, next_start, not_mirrored, first_not_mirrored } = in_use;
    if rewritten + next_start + not_mirrored == 0 {
        return condition;
    }
    let mut words = format!("{}; images of pods that are there: {rewritten} rewritten", condition.message);
    if *next_start > 0 {
        words.push_str(&format!(", {next_start} at the pod's next start"));
    }
    if *not_mirrored > 0 {
        let names: Vec<String> = first_not_mirrored.iter().cloned().collect();
        words.push_str(&format!(", {not_mirrored} not mirrored ({})", some(&names)));
    }
    condition.message = cut(&words, 2000);
    condition
}

#[cfg(test)]
#[path = "usage_tests.rs"]
pub(super) mod tests;
