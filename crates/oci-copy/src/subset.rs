//! Leaving platforms out of an index.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use serde_json::Value;

use crate::digest::Digest;
use crate::manifest::Entry;
use crate::media_type::is_index;
use crate::platform::Platform;

/// What happens to an entry of an index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It stays.
    Keep,
    /// It goes.
    Drop,
    /// It is an index itself, and what stays of it is elsewhere.
    Replace { digest: Digest, size: u64 },
}

/// Which platforms were asked for, and what was found of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    matched: HashSet<usize>,
    available: BTreeSet<Platform>,
}

impl Tally {
    /// Whether an image of this platform was asked for.
    pub(crate) fn wants(&mut self, wanted: &[Platform], offered: &Platform) -> bool {
        self.available.insert(offered.clone());
        let mut any = false;
        for (at, platform) in wanted.iter().enumerate() {
            if platform.selects(offered) {
                self.matched.insert(at);
                any = true;
            }
        }
        any
    }

    /// What was asked for and didn't come up.
    pub(crate) fn missing(&self, wanted: &[Platform]) -> Vec<Platform> {
        let not_matched = wanted.iter().enumerate().filter(|(at, _)| !self.matched.contains(at));
        not_matched.map(|(_, platform)| platform.clone()).collect()
    }

    pub(crate) fn available(self) -> Vec<Platform> {
        self.available.into_iter().collect()
    }
}

/// Decides about every entry. `nested` has what became of the entries that are indexes themselves; one that isn't in it
/// is dropped.
///
/// An entry that tells about another (an attestation) follows that one. An entry that has no platform, and tells about
/// none, was not asked for.
pub(crate) fn decide(
    entries: &[Entry],
    wanted: &[Platform],
    tally: &mut Tally,
    nested: &HashMap<Digest, Fate>,
) -> Vec<Fate> {
    let mut fates: Vec<Fate> = entries
        .iter()
        .map(|entry| match &entry.platform {
            _ if is_index(&entry.media_type) => nested.get(&entry.digest).cloned().unwrap_or(Fate::Drop),
            _ if entry.about.is_some() => Fate::Drop,
            Some(platform) if tally.wants(wanted, platform) => Fate::Keep,
            _ => Fate::Drop,
        })
        .collect();
    let kept: HashSet<&Digest> =
        entries.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Keep).map(|(entry, _)| &entry.digest).collect();
    for (entry, fate) in entries.iter().zip(&mut fates) {
        if !is_index(&entry.media_type) && entry.about.as_ref().is_some_and(|about| kept.contains(about)) {
            *fate = Fate::Keep;
        }
    }
    fates
}

/// The index with every entry as its fate says, the order and all other fields as they were. None if nothing changes.
pub(crate) fn rewrite(index: &[u8], fates: &[Fate]) -> Result<Option<Bytes>, String> {
    if fates.iter().all(|fate| *fate == Fate::Keep) {
        return Ok(None);
    }
    let unreadable = || "its manifests can't be filtered".to_owned();
    let mut document: Value = serde_json::from_slice(index).map_err(|_| unreadable())?;
    let entries = document.get_mut("manifests").and_then(Value::as_array_mut).ok_or_else(unreadable)?;
    if entries.len() != fates.len() {
        return Err(unreadable());
    }
    let old = std::mem::take(entries);
    for (mut entry, fate) in old.into_iter().zip(fates) {
        match fate {
            Fate::Drop => continue,
            Fate::Keep => {}
            Fate::Replace { digest, size } => {
                let fields = entry.as_object_mut().ok_or_else(unreadable)?;
                fields.insert("digest".to_owned(), digest.as_str().into());
                fields.insert("size".to_owned(), (*size).into());
            }
        }
        entries.push(entry);
    }
    serde_json::to_vec(&document).map(|bytes| Some(bytes.into())).map_err(|_| unreadable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::media_type::{OCI_INDEX, OCI_MANIFEST};

    fn digest(name: &str) -> Digest {
        Digest::sha256(name.as_bytes())
    }

    fn descriptor(name: &str, rest: &str) -> String {
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":7{rest}}}"#, digest(name))
    }

    fn platform(name: &str, os: &str, architecture: &str, more: &str) -> String {
        let platform = format!(r#","platform":{{"architecture":"{architecture}","os":"{os}"{more}}},"x-own":"{name}""#);
        descriptor(name, &platform)
    }

    fn attestation(name: &str, about: &str) -> String {
        let rest = format!(
            r#","platform":{{"architecture":"unknown","os":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{}"}}"#,
            digest(about)
        );
        descriptor(name, &rest)
    }

    fn index(entries: &[String]) -> Manifest {
        let json = format!(
            "{{\n  \"schemaVersion\": 2,\n  \"zebra\": {{\"b\": 1, \"a\": 2}},\n  \"manifests\": [{}],\n  \"annotations\": {{\"k\": \"v\"}}\n}}",
            entries.join(", ")
        );
        let bytes = Bytes::from(json);
        let digest = Digest::sha256(&bytes);
        Manifest::read(bytes, digest, Some(OCI_INDEX)).unwrap()
    }

    fn filter(index: &Manifest, wanted: &[&str]) -> (Option<Manifest>, Vec<String>) {
        let wanted: Vec<Platform> = wanted.iter().map(|p| p.parse().unwrap()).collect();
        let mut tally = Tally::default();
        let fates = decide(index.entries(), &wanted, &mut tally, &HashMap::new());
        let bytes = rewrite(&index.bytes, &fates).unwrap();
        let missing = tally.missing(&wanted).iter().map(ToString::to_string).collect();
        let manifest = bytes.map(|bytes| {
            let digest = Digest::sha256(&bytes);
            Manifest::read(bytes, digest, Some(OCI_INDEX)).unwrap()
        });
        (manifest, missing)
    }

    fn kept(index: &Manifest) -> Vec<&Digest> {
        index.entries().iter().map(|entry| &entry.digest).collect()
    }

    fn multi() -> Manifest {
        index(&[
            platform("amd", "linux", "amd64", ""),
            attestation("about arm", "arm"),
            platform("arm", "linux", "arm64", r#","variant":"v8""#),
            platform("win", "windows", "amd64", r#","os.version":"10.0.1.2""#),
            attestation("about amd", "amd"),
            descriptor("plain", ""),
        ])
    }

    #[test]
    fn what_stays_keeps_its_order_and_attestations_follow_their_images() {
        let (filtered, missing) = filter(&multi(), &["linux/arm64"]);
        assert_eq!(kept(&filtered.unwrap()), [&digest("about arm"), &digest("arm")]);
        assert!(missing.is_empty());
        let (filtered, _) = filter(&multi(), &["windows/amd64", "linux/amd64"]);
        assert_eq!(kept(&filtered.unwrap()), [&digest("amd"), &digest("win"), &digest("about amd")]);
    }

    #[test]
    fn other_fields_and_their_order_stay() {
        let (filtered, _) = filter(&multi(), &["linux/amd64"]);
        let text = String::from_utf8(filtered.unwrap().bytes.to_vec()).unwrap();
        assert!(text.starts_with(r#"{"schemaVersion":2,"zebra":{"b":1,"a":2},"manifests":[{"mediaType""#), "{text}");
        assert!(text.ends_with(r#"],"annotations":{"k":"v"}}"#), "{text}");
        assert!(text.contains(r#""x-own":"amd""#), "{text}");
    }

    #[test]
    fn a_subset_that_is_everything_changes_no_byte() {
        let index = index(&[platform("amd", "linux", "amd64", ""), attestation("about amd", "amd")]);
        assert!(filter(&index, &["linux/amd64"]).0.is_none());
    }

    #[test]
    fn what_is_missing_is_named() {
        let (_, missing) = filter(&multi(), &["linux/amd64", "linux/s390x", "linux/arm64/v9"]);
        assert_eq!(missing, ["linux/s390x", "linux/arm64/v9"]);
    }

    #[test]
    fn an_index_within_an_index_is_replaced_by_what_stays_of_it() {
        let mut entries = vec![platform("amd", "linux", "amd64", "")];
        for name in ["kept", "cut", "gone"] {
            entries.push(descriptor(name, "").replace(OCI_MANIFEST, OCI_INDEX));
        }
        let index = index(&entries);
        let replaced = Fate::Replace { digest: digest("new"), size: 99 };
        let nested = HashMap::from([(digest("kept"), Fate::Keep), (digest("cut"), replaced)]);
        let wanted = ["linux/amd64".parse().unwrap()];
        let fates = decide(index.entries(), &wanted, &mut Tally::default(), &nested);
        let bytes = rewrite(&index.bytes, &fates).unwrap().unwrap();
        let filtered = Manifest::read(bytes, digest("x"), Some(OCI_INDEX)).unwrap();
        assert_eq!(kept(&filtered), [&digest("amd"), &digest("kept"), &digest("new")]);
        assert_eq!(filtered.entries()[2].size, 99);
    }
}
