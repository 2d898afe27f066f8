//! Which objects use an image, and which images a namespace names.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::object::Images;
use super::{PodImages, Uses, WorkloadName};

/// A repository, and a tag or digest in it.
type Image = (Arc<str>, Arc<str>);

/// Objects by repository and reference, and back. Texts are kept once, however many objects share them.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) objects: HashMap<WorkloadName, Kept>,
    pub(super) repositories: HashMap<Arc<str>, HashMap<Arc<str>, HashSet<WorkloadName>>>,
    /// The names of images in each namespace, and how many objects have them.
    pub(super) named: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
    /// In each namespace, how many objects have an image in place of another: the other, and the image.
    pub(super) rewritten: HashMap<Arc<str>, HashMap<Rewritten, usize>>,
    /// In each namespace, how many objects have an image and want it not to be rewritten.
    pub(super) kept: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
}

/// The name of an image that an object was made with, and what stands in its place.
type Rewritten = (Arc<str>, Arc<str>);

/// What an object contributes to the index.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) used: Box<[Image]>,
    named: Box<[Arc<str>]>,
    rewritten: Box<[Rewritten]>,
    keeps_names: bool,
}

impl Index {
    /// Takes note of what an object is like now. Says whether its namespace names an image that it did not before.
    pub(super) fn put(&mut self, mut name: WorkloadName, images: &Images) -> bool {
        let before = self.take(&name);
        if images.used.is_empty() {
            return false;
        }
        name.namespace = known(&mut self.named, &name.namespace).0;
        let mut news = false;
        let named = images.named.iter().map(|image| {
            let (image, count) = known(known(&mut self.named, &name.namespace).1, image);
            news |= *count == 0 && !before.named.contains(&image);
            *count += 1;
            image
        });
        let named: Box<[Arc<str>]> = named.collect();
        if images.keeps_names {
            let kept = self.kept.entry(name.namespace.clone()).or_default();
            named.iter().for_each(|image| *kept.entry(image.clone()).or_default() += 1);
        }
        let mut rewritten = Vec::new();
        for (original, image) in &images.rewritten {
            // The image is one of those that are named, and its text is there.
            let image =
                named.iter().find(|named| named.as_ref() == image).cloned().unwrap_or_else(|| image.as_str().into());
            let pairs = self.rewritten.entry(name.namespace.clone()).or_default();
            let pair = (Arc::from(original.as_str()), image);
            let pair = pairs.get_key_value(&pair).map_or(pair, |(known, _)| known.clone());
            *pairs.entry(pair.clone()).or_default() += 1;
            rewritten.push(pair);
        }
        let used = images.used.iter().map(|(repository, reference)| self.link(repository, reference, &name));
        let used = used.collect();
        self.objects.insert(name, Kept { used, named, rewritten: rewritten.into(), keeps_names: images.keeps_names });
        news
    }

    fn link(&mut self, repository: &str, reference: &str, name: &WorkloadName) -> Image {
        let (repository, references) = known(&mut self.repositories, repository);
        let (reference, objects) = known(references, reference);
        objects.insert(name.clone());
        (repository, reference)
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, name: &WorkloadName) {
        self.take(name);
    }

    fn take(&mut self, name: &WorkloadName) -> Kept {
        let kept = self.objects.remove(name).unwrap_or_default();
        for (repository, reference) in &kept.used {
            let Some(references) = self.repositories.get_mut(repository) else { continue };
            if let Some(objects) = references.get_mut(reference) {
                objects.remove(name);
                if objects.is_empty() {
                    references.remove(reference);
                }
            }
            if references.is_empty() {
                self.repositories.remove(repository);
            }
        }
        less(&mut self.named, &name.namespace, &kept.named);
        less(&mut self.rewritten, &name.namespace, &kept.rewritten);
        if kept.keeps_names {
            less(&mut self.kept, &name.namespace, &kept.named);
        }
        kept
    }

    /// Adds who uses images of these repositories.
    pub(super) fn add_uses(&self, uris: &[String], uses: &mut Uses) {
        for (reference, objects) in uris.iter().filter_map(|uri| self.repositories.get(uri.as_str())).flatten() {
            uses.0.entry(reference.to_string()).or_default().extend(objects.iter().cloned());
        }
    }

    /// Adds how many objects have which images, in the namespaces that are wanted.
    pub(super) fn add_counts(&self, wanted: &dyn Fn(&str) -> bool, images: &mut PodImages) {
        for (namespace, named) in self.named.iter().filter(|(namespace, _)| wanted(namespace)) {
            let of = images.entry(namespace.clone()).or_default();
            for (pair, count) in self.rewritten.get(namespace).into_iter().flatten() {
                *of.rewritten.entry(pair.clone()).or_default() += *count as u64;
            }
            for (image, count) in named {
                *of.named.entry(image.clone()).or_default() += *count as u64;
            }
            for (image, count) in self.kept.get(namespace).into_iter().flatten() {
                *of.kept.entry(image.clone()).or_default() += *count as u64;
            }
        }
    }

    /// Adds the names of images in the namespaces that are wanted. Where an image was rewritten, the one that the object was made with
    /// counts too: one that nothing makes anew from a template still needs it.
    pub(super) fn add_named(&self, wanted: &dyn Fn(&str) -> bool, images: &mut BTreeMap<Arc<str>, BTreeSet<Arc<str>>>) {
        for (namespace, named) in self.named.iter().filter(|(namespace, _)| wanted(namespace)) {
            let images = images.entry(namespace.clone()).or_default();
            images.extend(named.keys().cloned());
            let rewritten = self.rewritten.get(namespace).into_iter().flatten();
            images.extend(rewritten.map(|((original, _), _)| original.clone()));
        }
    }
}

/// Counts less by one of each in a namespace, and forgets what there is none of any more.
fn less<T: Hash + Eq>(all: &mut HashMap<Arc<str>, HashMap<T, usize>>, namespace: &Arc<str>, gone: &[T]) {
    let Some(counts) = all.get_mut(namespace) else { return };
    for it in gone {
        if let Some(count) = counts.get_mut(it) {
            *count -= 1;
            if *count == 0 {
                counts.remove(it);
            }
        }
    }
    if counts.is_empty() {
        all.remove(namespace);
    }
}

/// The entry of a text, and the text as it is kept.
fn known<'m, V: Default>(map: &'m mut HashMap<Arc<str>, V>, text: &str) -> (Arc<str>, &'m mut V)
where
    Arc<str>: Hash + Eq,
{
    match map.entry(text.into()) {
        Entry::Occupied(entry) => (entry.key().clone(), entry.into_mut()),
        Entry::Vacant(entry) => (entry.key().clone(), entry.insert(V::default())),
    }
}
