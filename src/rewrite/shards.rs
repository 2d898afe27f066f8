//! Splits many images over several objects.

use std::collections::BTreeMap;

/// How large the images in one object may get, in bytes. etcd takes 1.5 MiB, and whoever watches is sent all of it at every change.
pub const LARGEST: usize = 512 * 1024;

/// The entries of one object, by source repository.
pub type Shard = BTreeMap<String, String>;

/// Puts each entry into the first shard that has room for it, and none yet of its key. Of two with the same key the first comes
/// first, image by image: the API server evaluates the shards one after another.
pub fn shards(entries: Vec<(String, String)>, largest: usize) -> Vec<Shard> {
    let mut shards: Vec<(usize, Shard)> = Vec::new();
    for (key, value) in entries {
        let size = key.len() + value.len();
        let place = match shards.iter().position(|(used, shard)| used + size <= largest && !shard.contains_key(&key)) {
            Some(place) => place,
            None => {
                shards.push(Default::default());
                shards.len() - 1
            }
        };
        let (used, shard) = &mut shards[place];
        *used += size;
        shard.insert(key, value);
    }
    shards.into_iter().map(|(_, shard)| shard).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(entries: &[(&str, usize)], largest: usize) -> Vec<Vec<String>> {
        let entries = entries.iter().map(|(key, size)| ((*key).to_owned(), "x".repeat(*size))).collect();
        shards(entries, largest).into_iter().map(|shard| shard.into_keys().collect()).collect()
    }

    #[test]
    fn few_images_are_in_one_object() {
        assert_eq!(keys(&[("a", 3), ("b", 3)], LARGEST), [["a", "b"]]);
        assert!(shards(Vec::new(), LARGEST).is_empty());
    }

    #[test]
    fn what_does_not_fit_goes_into_the_next_one() {
        assert_eq!(keys(&[("a", 50), ("b", 50), ("c", 5)], 60), [vec!["a", "c"], vec!["b"]]);
    }

    #[test]
    fn two_mirrors_of_one_source_stand_in_two_objects() {
        let entries = vec![("a".to_owned(), "elder".to_owned()), ("a".to_owned(), "younger".to_owned())];
        let values: Vec<_> = shards(entries, LARGEST).into_iter().map(|shard| shard["a"].clone()).collect();
        assert_eq!(values, ["elder", "younger"]);
    }

    #[test]
    fn one_that_is_too_large_by_itself_stands_alone() {
        assert_eq!(keys(&[("a", 5), ("b", 5)], 1), [["a"], ["b"]]);
    }
}
