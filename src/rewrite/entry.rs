//! How the images of a source repository stand in an annotation of a binding: as text.
//!
//! ```text
//! docker.io/library/nginx
//! 123456789012.dkr.ecr.eu-west-1.amazonaws.com/docker.io/library/nginx
//! pin
//! 1.27.3 6784fb08...
//! @ 0b70ea2a...
//! ```
//!
//! The source repository, that in ECR, `pin` or `tag`, and a line for each image: its tag, or `@` where it has none, and the
//! hexadecimal digits of its digest.

use super::RewrittenImages;

/// How long the lines of one text get. For each image that a pod names the policy reads a text once or twice, and the API server
/// lets it read so much and no more: with this a pod may name a hundred images of one repository.
const LONGEST: usize = 24 * 1024;

/// How much of a repository's name is in its key, from the end. A name in an annotation's key has 63 characters at most.
pub const KEY: usize = 60;

/// The digests that there are.
const SHA256: &str = "sha256:";

/// Some images of one source repository, for the same pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key of the annotation, behind what tells whose pods they are for.
    pub key: String,
    /// The last part of the source repository's name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// The entries for the images of a source repository: one, or as many as there are texts to fill.
pub fn entries(source: &str, images: &RewrittenImages) -> Vec<Entry> {
    let RewrittenImages { repository, pin, tags, digests } = images;
    let mode = if *pin { "pin" } else { "tag" };
    let head = format!("{source}\n{repository}\n{mode}\n");
    let tagged = tags.iter().map(|(tag, digest)| (tag.as_str(), digest));
    let untagged = digests.iter().map(|digest| ("@", digest));
    let mut texts = vec![head.clone()];
    for (tag, digest) in tagged.chain(untagged) {
        let Some(digits) = digest.strip_prefix(SHA256) else { continue };
        let line = format!("{tag} {digits}\n");
        let is_full = texts.last().is_none_or(|text| text.len() + line.len() > head.len() + LONGEST);
        if is_full {
            texts.push(head.clone());
        }
        texts.last_mut().into_iter().for_each(|text| text.push_str(&line));
    }
    let name = source.rsplit('/').next().unwrap_or(source);
    texts.into_iter().map(|text| Entry { key: key(source), name: name.to_owned(), text }).collect()
}

/// The key for a source repository. Two may share one: the text says which it is of.
fn key(source: &str) -> String {
    let plain = source.replace([':', '/', '[', ']'], "_");
    let end = plain.char_indices().rev().nth(KEY - 1).map_or(0, |(at, _)| at);
    format!("r{}", &plain[end..])
}

/// What a text says: the source repository, and its images. `None`: it is none of these texts.
pub fn read(text: &str) -> Option<(String, RewrittenImages)> {
    let mut lines = text.lines();
    let (source, repository) = (lines.next()?, lines.next()?);
    let pin = match lines.next()? {
        "pin" => true,
        "tag" => false,
        _ => return None,
    };
    let mut images = RewrittenImages { repository: repository.to_owned(), pin, ..RewrittenImages::default() };
    for line in lines {
        let (tag, digits) = line.split_once(' ')?;
        let digest = format!("{SHA256}{digits}");
        match tag {
            "@" => images.digests.push(digest),
            tag => {
                images.tags.insert(tag.to_owned(), digest);
            }
        }
    }
    Some((source.to_owned(), images))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(tags: usize) -> RewrittenImages {
        RewrittenImages {
            repository: "ecr/nginx".into(),
            pin: true,
            tags: (0..tags).map(|tag| (format!("v{tag:04}"), format!("{SHA256}{tag:064x}"))).collect(),
            digests: vec![format!("{SHA256}b")],
        }
    }

    #[test]
    fn a_text_has_all_of_a_repository() {
        let digit = "0".repeat(64);
        let entries = entries("docker.io/library/nginx", &images(1));
        assert_eq!(entries[0].text, format!("docker.io/library/nginx\necr/nginx\npin\nv0000 {digit}\n@ b\n"));
        assert_eq!((entries[0].key.as_str(), entries[0].name.as_str()), ("rdocker.io_library_nginx", "nginx"));
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn many_images_fill_several_texts_and_none_is_lost() {
        let all = images(2_000);
        let entries = entries("docker.io/library/nginx", &all);
        assert!(entries.len() > 4, "{}", entries.len());
        let mut read_back = RewrittenImages { repository: all.repository.clone(), pin: true, ..Default::default() };
        for entry in &entries {
            assert!(entry.text.len() < LONGEST + 100);
            let (source, images) = read(&entry.text).expect("a text of ours");
            assert_eq!((source.as_str(), &entry.key), ("docker.io/library/nginx", &entries[0].key));
            read_back.tags.extend(images.tags);
            read_back.digests.extend(images.digests);
        }
        assert_eq!(read_back, all);
    }

    #[test]
    fn keys_are_names_that_annotations_may_have() {
        let long = format!("registry.example.com:5000/{}/app", "deep/".repeat(20).trim_end_matches('/'));
        for source in ["docker.io/library/nginx", "127.0.0.1:5000/a/b", "[::1]:5000/x", "Registry/x", &long] {
            let key = key(source);
            let may_stand = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
            assert!(key.len() <= 63 && key.chars().all(may_stand), "{key}");
            assert!(key.starts_with('r') && key.ends_with(|it: char| it.is_ascii_alphanumeric()), "{key}");
        }
        assert_eq!(key(&long).len(), 61);
    }

    #[test]
    fn other_texts_are_not_read() {
        for text in ["", "a\nb\n", "a\nb\nmode\n", "a\nb\ntag\nno-digest\n"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
