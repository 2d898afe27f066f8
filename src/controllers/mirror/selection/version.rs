//! Versions as tags spell them.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

/// A version that was read from a tag: `1.27.3`, `v1.27`, `1.28.0-rc.1`, `1.2.3_4` (Helm's spelling of `1.2.3+4`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagVersion {
    pub(super) version: Version,
    /// Whether the tag has all three parts. `1.27` moves to every 1.27.x; of two tags of one version the fixed one counts
    /// as the newer.
    full: bool,
}

impl TagVersion {
    /// Reads a tag, or the part of it that is to be read as a version.
    ///
    /// One number alone is no version: repositories have dates (`20240101`), builds and hashes of digits only among their
    /// tags, and any of them would be newer than every release.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (text, build) = match text.split_once(['_', '+']) {
            Some((text, build)) => (text, BuildMetadata::new(&build.replace('_', ".")).ok()?),
            None => (text, BuildMetadata::EMPTY),
        };
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Prerelease::new(pre).ok().filter(|pre| !pre.is_empty())?),
            None => (text, Prerelease::EMPTY),
        };
        let numbers: Vec<u64> = core.split('.').map(number).collect::<Option<_>>()?;
        let (major, minor, patch) = match numbers[..] {
            [major, minor] => (major, minor, 0),
            [major, minor, patch] => (major, minor, patch),
            _ => return None,
        };
        Some(Self { version: Version { major, minor, patch, pre, build }, full: numbers.len() == 3 })
    }

    /// Whether it comes before the release of its number. Every suffix says so by the rules of semantic versions, `-alpine`
    /// too.
    pub(crate) fn is_prerelease(&self) -> bool {
        !self.version.pre.is_empty()
    }
}

impl PartialOrd for TagVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TagVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.version, self.full).cmp(&(&other.version, other.full))
    }
}

/// A number as tags have it. Unlike semantic versions they have leading zeros: `22.04`.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The order of tags that are no versions: letter by letter, but runs of digits as numbers, so that `build-10` comes after
/// `build-9` and dates sort as dates. Equal only if the texts are.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    loop {
        let order = match (left.first(), right.first()) {
            (None, _) | (_, None) => return left.len().cmp(&right.len()).then_with(|| a.cmp(b)),
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (digits(&mut left), digits(&mut right));
                x.len().cmp(&y.len()).then_with(|| x.cmp(y))
            }
            (Some(x), Some(y)) => {
                let order = x.cmp(y);
                (left, right) = (&left[1..], &right[1..]);
                order
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Takes a run of digits off the front, without its leading zeros.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    &run[run.iter().position(|byte| *byte != b'0').unwrap_or(run.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: &str) -> Option<String> {
        TagVersion::read(tag).map(|version| version.version.to_string())
    }

    #[test]
    fn versions_are_read_as_tags_spell_them() {
        for (tag, version) in [
            ("1.27.3", Some("1.27.3")),
            ("v1.27.3", Some("1.27.3")),
            ("V2.0.0", Some("2.0.0")),
            ("1.27", Some("1.27.0")),
            ("v1.27", Some("1.27.0")),
            ("22.04", Some("22.4.0")),
            ("1.28.0-rc.1", Some("1.28.0-rc.1")),
            ("1.27-alpine", Some("1.27.0-alpine")),
            ("1.27.3-alpine3.20", Some("1.27.3-alpine3.20")),
            ("1.2.3_4", Some("1.2.3+4")),
            ("1.2.3-rc.1_build_7", Some("1.2.3-rc.1+build.7")),
            ("0.0.0", Some("0.0.0")),
            ("7", None),
            ("v7", None),
            ("20240101", None),
            ("1.2.3.4", None),
            ("latest", None),
            ("vnext", None),
            ("1.", None),
            (".1", None),
            ("1.x", None),
            ("1.2.3-", None),
            ("", None),
            ("99999999999999999999.1", None),
            ("sha-0123456", None),
        ] {
            assert_eq!(read(tag).as_deref(), version, "{tag}");
        }
    }

    #[test]
    fn versions_have_the_order_of_semantic_versions_and_a_full_one_is_newer_than_its_short_form() {
        let ascending = ["1.9", "1.10.0-rc.1", "1.10", "1.10.0", "1.10.1", "2.0.0-alpha", "2.0.0-alpha.1", "2.0"];
        for pair in ascending.windows(2) {
            assert!(TagVersion::read(pair[0]) < TagVersion::read(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn what_is_no_version_is_ordered_with_its_numbers_as_numbers() {
        let ascending = ["9", "10", "20240101", "20240102", "a", "build-9", "build-010", "build-10", "build-10a", "c"];
        for (index, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(natural(a, b), index.cmp(&other), "{a} {b}");
            }
        }
    }
}
