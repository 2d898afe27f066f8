//! Names: of the repository in ECR, and of tags for backups.

use oci_copy::Repository;

/// The longest tag.
const MAX_TAG: usize = 128;

/// The name of a destination's repository in ECR: the template's, or the source's host and path. ECR's names have no colon,
/// so that of a port becomes a hyphen.
pub(crate) fn repository_name(template: Option<&str>, source: &Repository, namespace: &str) -> String {
    let name = source.path().rsplit('/').next().unwrap_or_default();
    template
        .unwrap_or("{host}/{path}")
        .replace("{host}", &source.host().replace(':', "-"))
        .replace("{path}", source.path())
        .replace("{name}", name)
        .replace("{namespace}", namespace)
}

/// The tag that keeps what `tag` names, before it moves. A tag that is too long loses some of its end: what tells backups
/// apart is the digest.
pub(super) fn backup_tag(pattern: &str, tag: &str, digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    let short = hex.get(..12).unwrap_or(hex);
    let render = |tag: &str| {
        let with_digest = pattern.replace("{digest12}", short).replace("{digest}", hex);
        with_digest.replace("{tag}", tag)
    };
    let rest = render("").len();
    let room = MAX_TAG.saturating_sub(rest) / pattern.matches("{tag}").count().max(1);
    render(&tag[..tag.floor_char_boundary(room)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_parts_of_the_source() {
        let source: Repository = "registry.example.com:5000/team/app/web".parse().expect("a repository");
        for (template, expected) in [
            (None, "registry.example.com-5000/team/app/web"),
            (Some("{host}/{path}"), "registry.example.com-5000/team/app/web"),
            (Some("mirror/{path}"), "mirror/team/app/web"),
            (Some("{namespace}/{name}"), "team-a/web"),
            (Some("fixed"), "fixed"),
        ] {
            assert_eq!(repository_name(template, &source, "team-a"), expected);
        }
        let hub: Repository = "nginx".parse().expect("a repository");
        assert_eq!(repository_name(None, &hub, "team-a"), "docker.io/library/nginx");
    }

    #[test]
    fn a_backup_has_the_digest_that_the_tag_had() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(backup_tag("{tag}-{digest12}", "1.27", &digest), "1.27-0123456789ab");
        assert_eq!(backup_tag("old-{digest12}", "1.27", &digest), "old-0123456789ab");
        assert_eq!(backup_tag("{digest}", "1.27", &digest).len(), 64);
    }

    #[test]
    fn a_backup_is_never_longer_than_a_tag_may_be() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        for pattern in ["{tag}-{digest12}", "{tag}.{digest}", "{tag}-{tag}-{digest12}"] {
            let backup = backup_tag(pattern, &"x".repeat(128), &digest);
            assert!(backup.len() <= 128 && backup.contains("0123456789ab"), "{backup}");
        }
    }
}
