//! Ways into the parsers that read what others write, for the fuzz targets in `fuzz/` and for the tests below, which run
//! their corpus on a stable compiler. Not part of the crate's interface.

use bytes::Bytes;

use crate::auth::challenge;
use crate::client::tags;
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::platform::Platform;
use crate::reference::{Reference, Repository};
use crate::subset::{Tally, decide, rewrite};

/// A reference that is read prints as one that reads the same, and so does its repository.
pub fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
        let repository = reference.repository();
        assert_eq!(repository.to_string().parse(), Ok(repository.clone()));
        assert!(!repository.path().contains("..") && !repository.host().contains('/'));
    }
    let _ = text.parse::<Repository>();
    let _ = text.parse::<Platform>();
}

/// The challenge that is chosen has a realm that credentials could be sent to.
pub fn challenge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(challenge::Challenge::Bearer { realm, .. }) = challenge::choose(text.lines()) {
        assert!(matches!(realm.scheme(), "http" | "https") && realm.has_host());
        assert!(realm.username().is_empty() && realm.password().is_none());
    }
}

/// The next page is a part of the header.
pub fn link(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(target) = tags::next_link(&text) {
        assert!(text.contains(&format!("<{target}>")));
    }
}

/// A manifest that is read names nothing but valid digests, and its bytes stay.
pub fn manifest(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    for content_type in [None, Some(OCI_MANIFEST), Some(OCI_INDEX)] {
        if let Ok(manifest) = Manifest::read(bytes.clone(), Digest::sha256(data), content_type) {
            assert_eq!(manifest.bytes, bytes);
            let digests = manifest.blobs().map(|blob| &blob.digest);
            for digest in digests.chain(manifest.entries().iter().map(|entry| &entry.digest)) {
                assert!(digest.as_str().parse::<Digest>().is_ok());
            }
        }
    }
}

/// What is left of an index has only entries that it had, in their order, and reads as an index again.
pub fn selection(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let Ok(index) = Manifest::read(bytes, Digest::sha256(data), Some(OCI_INDEX)) else { return };
    let wanted = [Platform::new("linux", "amd64", None, None), Platform::new("linux", "arm64", None, None)];
    let mut tally = Tally::default();
    let fates = decide(index.entries(), &wanted, &mut tally, &std::collections::HashMap::new());
    let Ok(Some(left)) = rewrite(&index.bytes, &fates) else { return };
    let digest = Digest::sha256(&left);
    // Numbers that no reader keeps apart may come back as others; then it is refused.
    let Ok(left) = Manifest::read(left, digest, Some(OCI_INDEX)) else { return };
    let mut had = index.entries().iter();
    for entry in left.entries() {
        assert!(had.any(|own| own.digest == entry.digest), "{} was not in the index, or not there", entry.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    type Target = fn(&[u8]);
    const TARGETS: [(&str, Target); 5] = [
        ("reference", reference),
        ("challenge", challenge),
        ("link", link),
        ("manifest", manifest),
        ("selection", selection),
    ];

    /// The files of a target's corpus.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap()
    }

    /// Changes a few bytes, doubles a piece, cuts one out, or puts in one of another file.
    fn mutate(state: &mut u64, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut data = inputs[next(state) % inputs.len()].clone();
        for _ in 0..=next(state) % 4 {
            let end = data.len();
            if end == 0 {
                data.push(0);
                continue;
            }
            let (at, length) = (next(state) % end, next(state) % 24);
            match next(state) % 5 {
                0 => data[at] ^= 1 << (next(state) % 8),
                1 => data[at] = b"\"\\<>{}[]:,/@%=;\0\xff0a "[next(state) % 20],
                2 => drop(data.drain(at..(at + length).min(end))),
                3 => {
                    let piece = data[at..(at + length).min(end)].to_vec();
                    data.splice(at..at, piece);
                }
                _ => {
                    let other = &inputs[next(state) % inputs.len()];
                    let from = next(state) % (other.len() + 1);
                    let piece = &other[from..(from + length).min(other.len())];
                    data.splice(at..at, piece.iter().copied());
                }
            }
        }
        data
    }

    #[test]
    fn no_corpus_file_and_no_mutation_of_one_breaks_a_parser() {
        for (name, target) in TARGETS {
            let inputs = corpus(name);
            assert!(inputs.len() >= 3, "{name} has a corpus");
            inputs.iter().for_each(|input| target(input));
            let mut state = 17;
            for _ in 0..4_000 {
                target(&mutate(&mut state, &inputs));
            }
        }
    }
}
