//! What holds of any text that is read as a host of ECR: for the fuzz target `ecr_host`, which includes this file and
//! `host.rs` alone, and for the test below, which runs the target's corpus on a stable compiler.

use super::host::{RegistryHost, is_public};

/// What is read as a host prints the same, and is not the public registry.
pub fn read(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(read) = RegistryHost::parse(text) {
        assert_eq!(read.to_string(), text);
        assert!(!is_public(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes a few bytes, cuts some out, or doubles some.
    fn mutate(state: &mut u64, input: &[u8]) -> Vec<u8> {
        let mut next = || {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(*state >> 33).expect("a number of 31 bits")
        };
        let mut data = input.to_vec();
        for _ in 0..=next() % 3 {
            if data.is_empty() {
                break;
            }
            let (at, length) = (next() % data.len(), next() % 12);
            let end = (at + length).min(data.len());
            match next() % 4 {
                0 => data[at] ^= 1 << (next() % 8),
                1 => data[at] = b"-./:@0aA\0\xff"[next() % 10],
                2 => drop(data.drain(at..end)),
                _ => {
                    let piece = data[at..end].to_vec();
                    data.splice(at..at, piece);
                }
            }
        }
        data
    }

    #[test]
    fn no_corpus_file_and_no_mutation_of_one_is_read_as_another_host() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/ecr_host");
        let files = std::fs::read_dir(folder).expect("the corpus is there");
        let mut inputs: Vec<_> = files.map(|file| std::fs::read(file.expect("a file").path()).expect("text")).collect();
        inputs.sort();
        assert!(inputs.len() >= 5);
        let mut state = 17;
        for input in &inputs {
            read(input);
            for _ in 0..2_000 {
                read(&mutate(&mut state, input));
            }
        }
    }
}
