//! How the images of a source repository stand in an ImageRewrite: one text a repository.
//!
//! The API server writes out and reads again the whole object for every pod that it is asked about. A text costs it a fraction of what
//! as many fields would.

use super::RewrittenImages;

/// The text for the images of a repository: the repository in ECR, `pin` or `tag`, and a line for each image.
pub fn value(images: &RewrittenImages) -> String {
    let RewrittenImages { repository, pin, tags, digests } = images;
    let mode = if *pin { "pin" } else { "tag" };
    let mut value = format!("{repository}\n{mode}\n");
    let untagged = digests.iter().map(|digest| ("@", digest));
    for (tag, digest) in tags.iter().map(|(tag, digest)| (tag.as_str(), digest)).chain(untagged) {
        value.push_str(tag);
        value.push(' ');
        value.push_str(digest);
        value.push('\n');
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_all_of_a_repository() {
        let images = RewrittenImages {
            repository: "ecr/nginx".into(),
            pin: true,
            tags: [("1".to_owned(), "sha256:a".to_owned())].into(),
            digests: vec!["sha256:b".into()],
        };
        assert_eq!(value(&images), "ecr/nginx\npin\n1 sha256:a\n@ sha256:b\n");
    }
}
