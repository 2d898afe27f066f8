//! Which objects use an image, and which images a namespace names.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::object::Images;
use super::{Uses, WorkloadName};

/// A repository, and a tag or digest in it.
type Image = (Arc<str>, Arc<str>);

/// Objects by repository and reference, and back. Texts are kept once, however many objects share them.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) objects: HashMap<WorkloadName, Kept>,
    pub(super) repositories: HashMap<Arc<str>, HashMap<Arc<str>, HashSet<WorkloadName>>>,
    /// The names of images in each namespace, and how many objects have them.
    pub(super) named: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
}

/// What an object contributes to the index.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) used: Box<[Image]>,
    named: Box<[Arc<str>]>,
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
        let named = named.collect();
        let used = images.used.iter().map(|(repository, reference)| self.link(repository, reference, &name));
        let used = used.collect();
        self.objects.insert(name, Kept { used, named });
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
        if let Some(images) = self.named.get_mut(&name.namespace) {
            for image in &kept.named {
                if let Some(count) = images.get_mut(image) {
                    *count -= 1;
                    if *count == 0 {
                        images.remove(image);
                    }
                }
            }
            if images.is_empty() {
                self.named.remove(&name.namespace);
            }
        }
        kept
    }

    /// Adds who uses images of these repositories.
    pub(super) fn add_uses(&self, uris: &[String], uses: &mut Uses) {
        for (reference, objects) in uris.iter().filter_map(|uri| self.repositories.get(uri.as_str())).flatten() {
            uses.0.entry(reference.to_string()).or_default().extend(objects.iter().cloned());
        }
    }

    /// Adds the names of images in the namespaces that are wanted.
    pub(super) fn add_named(&self, wanted: &dyn Fn(&str) -> bool, images: &mut BTreeMap<Arc<str>, BTreeSet<Arc<str>>>) {
        for (namespace, named) in self.named.iter().filter(|(namespace, _)| wanted(namespace)) {
            images.entry(namespace.clone()).or_default().extend(named.keys().cloned());
        }
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
