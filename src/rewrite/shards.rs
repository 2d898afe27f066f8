//! Puts many images into several bindings.
//!
//! Where an image stands follows from its key alone and from how many bindings there are, which is always a power of two. So a change
//! of one mirror changes one binding or a few, and when their number doubles, what moves, moves from an old binding to a new one.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::entry::Entry;

/// How large a binding gets, in bytes. The API server takes annotations of 256 KiB, and whoever watches bindings is sent all of one at
/// every change.
pub const LARGEST: usize = 240 * 1024;

/// The annotation with the last parts of the names of all repositories, a line each, with whose pods they are for.
pub const NAMES: &str = "ecr-operator.io/names";

/// What keys begin with in a binding for the pods that a selector finds. For those of the mirrors' own namespaces it is the
/// namespace.
pub const SELECTED: &str = "selected";

/// The annotations of one binding.
pub type Shard = BTreeMap<String, String>;

/// Shards by their numbers.
pub type Shards = BTreeMap<usize, Shard>;

/// An entry, and whose pods it is for: a namespace, or [`SELECTED`].
pub type Whose = (String, Entry);

/// The bindings' annotations. A key stands in one only once, so two entries with one key stand in two.
pub fn shards(entries: &[Whose]) -> Shards {
    let total: usize = entries.iter().map(size).sum();
    // Some are fuller than others.
    let mut count = total.div_ceil(LARGEST / 10 * 9).next_power_of_two();
    let full = loop {
        match placed(entries, count) {
            Some(shards) => break shards,
            None => count *= 2,
        }
    };
    full.into_iter().enumerate().filter(|(_, shard)| !shard.is_empty()).collect()
}

/// The entries in so many bindings; `None` if they are too few.
fn placed(entries: &[Whose], count: usize) -> Option<Vec<Shard>> {
    let mut shards = vec![Shard::new(); count];
    let mut used = vec![0; count];
    for entry in entries {
        let (whose, Entry { key, name, text }) = entry;
        let key = format!("{whose}/{key}");
        let size = size(entry);
        let first = hash(&key);
        let has_room = |at: &usize| !shards[*at].contains_key(&key) && (used[*at] == 0 || used[*at] + size <= LARGEST);
        let at = (0..count).map(|step| first.wrapping_add(step) % count).find(has_room)?;
        used[at] += size;
        let names = shards[at].entry(NAMES.to_owned()).or_insert_with(|| "\n".to_owned());
        let line = format!("{whose}/{name}\n");
        if !names.contains(&format!("\n{line}")) {
            names.push_str(&line);
        }
        shards[at].insert(key, text.clone());
    }
    Some(shards)
}

/// What an entry takes in a binding: its text, as JSON has it, its name, and its key, which stands in the managed fields once more.
fn size((whose, Entry { key, name, text }): &Whose) -> usize {
    let lines = text.bytes().filter(|byte| *byte == b'\n').count();
    3 * whose.len() + 2 * key.len() + name.len() + text.len() + lines + 32
}

fn hash(key: &str) -> usize {
    let digest = Sha256::digest(key);
    digest.iter().take(4).fold(0, |hash, byte| hash << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, size: usize) -> Whose {
        ("team-a".into(), Entry { key: key.into(), name: key.into(), text: "x".repeat(size) })
    }

    fn many(count: usize, size: usize) -> Vec<Whose> {
        (0..count).map(|number| entry(&format!("r{number}"), size)).collect()
    }

    #[test]
    fn few_images_are_in_one_binding_with_their_names() {
        let shards = shards(&[entry("ra", 3), entry("rb", 3)]);
        let keys: Vec<_> = shards.values().map(|shard| shard.keys().collect::<Vec<_>>()).collect();
        assert_eq!(keys, [[NAMES, "team-a/ra", "team-a/rb"]]);
        assert_eq!(shards[&0][NAMES], "\nteam-a/ra\nteam-a/rb\n");
    }

    #[test]
    fn no_images_need_no_binding() {
        assert!(shards(&[]).is_empty());
    }

    #[test]
    fn many_images_fill_bindings_of_which_none_is_too_large() {
        let entries = many(1_000, 1_500);
        let shards = shards(&entries);
        assert_eq!(shards.len(), 8);
        for shard in shards.values() {
            let bytes: usize = shard.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert!(bytes <= LARGEST, "{bytes}");
        }
        let there = shards.values().flat_map(|shard| shard.keys().filter(|key| *key != NAMES)).count();
        assert_eq!(there, entries.len());
    }

    #[test]
    fn two_entries_with_one_key_stand_in_two_bindings() {
        let shards = shards(&[entry("ra", 3), entry("ra", 4), entry("ra", 5)]);
        let mut sizes: Vec<_> = shards.values().map(|shard| shard["team-a/ra"].len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [3, 4, 5]);
    }

    #[test]
    fn another_mirror_changes_one_binding() {
        let before = shards(&many(1_000, 1_500));
        let after = shards(&many(1_001, 1_500));
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!((before.len(), after.len(), changed), (8, 8, 1));
    }

    #[test]
    fn when_their_number_doubles_what_moves_goes_to_new_ones() {
        let entries = many(100, 10);
        let (few, more) = (placed(&entries, 4).expect("room"), placed(&entries, 8).expect("room"));
        for (before, after) in few.iter().zip(&more) {
            assert!(after.keys().all(|key| before.contains_key(key)));
        }
        assert!(more[4..].iter().any(|shard| !shard.is_empty()));
    }

    #[test]
    fn one_name_stands_there_once() {
        let shards = placed(
            &[entry("ra", 1), ("team-a".into(), Entry { key: "rb".into(), name: "ra".into(), text: "x".into() })],
            1,
        );
        assert_eq!(shards.expect("room")[0][NAMES], "\nteam-a/ra\n");
    }
}
