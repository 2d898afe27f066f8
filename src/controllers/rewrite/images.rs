//! What a mirror has for pods: the images of its source repository that are in the registry which this cluster pulls from.

use oci_copy::Repository;

use crate::api::conditions::Reason;
use crate::api::{DestinationStatus, ImageMirror, MirrorDestination, TagState, TagStatus};
use crate::controllers::failure::Failure;
use crate::controllers::mirror::is_digest;
use crate::controllers::mirror::unshown::OfMirror;
use crate::ecr::host::RegistryHost;
use crate::rewrite::RewrittenImages;

/// The images of one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrored {
    /// The source repository, in full.
    pub(crate) source: String,
    /// Name of the EcrRegistry that they are pulled from.
    pub(super) registry: String,
    pub(crate) images: RewrittenImages,
    /// How many images neither the mirror's status has, which has no room for all, nor the operator's memory, until the next look.
    pub(super) left_out: usize,
}

/// The images of a mirror, in the registry that the cluster calls its own if the mirror has it, else in the first of the spec.
/// `unshown` are those that its status has no room for.
pub(super) fn of(
    mirror: &ImageMirror,
    own_registry: Option<&str>,
    pin: bool,
    unshown: Option<&OfMirror>,
) -> Result<Mirrored, Failure> {
    let source = &mirror.spec.source.image;
    let repository: Repository = source.parse().map_err(|error| {
        Failure::stalled(Reason::InvalidSpec, format!("spec.source.image names no repository: {error}"))
    })?;
    let registry = destination(&mirror.spec.destinations, own_registry).registry_ref.name.clone();
    let mut mirrored =
        Mirrored { source: repository.to_string(), registry, images: RewrittenImages::default(), left_out: 0 };
    mirrored.images.pin = pin;
    let Some(status) = &mirror.status else { return Ok(mirrored) };
    // What the status says of another source is not about this one.
    let is_current = status.source.as_ref() == Some(source);
    let there = status.destinations.iter().find(|there| there.registry == mirrored.registry).filter(|_| is_current);
    // What was mirrored before the spec asked to verify, or by other keys, counts once it was verified.
    let is_looked_at = status.common.observed_generation == mirror.metadata.generation;
    let there = there.filter(|there| mirror.spec.verify.is_none() || (there.verified_with.is_some() && is_looked_at));
    let Some((there, uri)) = there.and_then(|there| Some((there, there.repository_uri.as_ref()?))) else {
        return Ok(mirrored);
    };
    if is_in_ecr(repository.host(), &status.destinations) {
        return Err(Failure::stalled(
            Reason::InvalidSpec,
            format!("{} is in ECR already: pods that pull from there are left alone", repository.host()),
        ));
    }
    mirrored.images.repository = uri.clone();
    let unshown = unshown.map(|unshown| unshown.tags(uri)).filter(|_| there.more_tags > 0).unwrap_or_default();
    mirrored.left_out = usize::try_from(there.more_tags).unwrap_or_default().saturating_sub(unshown.len());
    for tag in unshown.iter().chain(&there.tags).filter(|tag| is_there(tag)) {
        let Some(digest) = &tag.digest else { continue };
        if is_digest(&tag.name) {
            mirrored.images.digests.push(tag.name.clone());
        } else {
            mirrored.images.tags.insert(tag.name.clone(), digest.clone());
        }
    }
    mirrored.images.digests.sort_unstable();
    Ok(mirrored)
}

fn destination<'d>(destinations: &'d [MirrorDestination], own_registry: Option<&str>) -> &'d MirrorDestination {
    let own = destinations.iter().find(|destination| Some(destination.registry_ref.name.as_str()) == own_registry);
    // The API server refuses an empty list.
    own.unwrap_or(&destinations[0])
}

fn is_in_ecr(host: &str, destinations: &[DestinationStatus]) -> bool {
    let mut own = destinations.iter().filter_map(|there| there.repository_uri.as_ref()?.split('/').next());
    RegistryHost::parse(host).is_some() || own.any(|own| own == host)
}

/// Whether the destination has the image that the status tells of. A tag that waits or is kept has the image that it is to have
/// for now. One that failed has the last that was mirrored if it is the source that failed: that is when a mirror is needed most.
fn is_there(tag: &TagStatus) -> bool {
    const OF_THE_SOURCE: [Reason; 10] = [
        Reason::RateLimited,
        Reason::Unreachable,
        Reason::SourceNotFound,
        Reason::SourceUnauthorized,
        Reason::SecretNotFound,
        Reason::TagNotFound,
        Reason::PlatformNotFound,
        Reason::DigestMismatch,
        Reason::TooManyTags,
        Reason::Retrying,
    ];
    let was_mirrored = tag.source_digest.is_some() && tag.digest.is_some();
    was_mirrored
        && match tag.state {
            TagState::Mirrored | TagState::Kept | TagState::Waiting => true,
            TagState::Failed => OF_THE_SOURCE.iter().any(|reason| tag.reason.as_deref() == Some(reason.as_str())),
            TagState::Pending => false,
        }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::{ImageMirrorSpec, ImageMirrorStatus, MirrorVerification};

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    pub(in crate::controllers::rewrite) fn tag(name: &str, state: TagState, reason: Option<Reason>) -> TagStatus {
        TagStatus {
            state,
            source_digest: Some(DIGEST.into()),
            digest: Some(DIGEST.into()),
            reason: reason.map(|reason| reason.to_string()),
            ..TagStatus::pending(name)
        }
    }

    pub(in crate::controllers::rewrite) fn mirror(name: &str, spec: &str, tags: Vec<TagStatus>) -> ImageMirror {
        let spec: ImageMirrorSpec = serde_saphyr::from_str(spec).expect("a spec");
        let destinations = spec.destinations.iter().map(|destination| {
            let registry = destination.registry_ref.name.clone();
            DestinationStatus {
                repository_uri: Some(format!("{registry}.ecr/{}", spec.source.image)),
                registry,
                tags: tags.clone(),
                ..DestinationStatus::default()
            }
        });
        let status = ImageMirrorStatus {
            source: Some(spec.source.image.clone()),
            destinations: destinations.collect(),
            ..ImageMirrorStatus::default()
        };
        let mut mirror = ImageMirror::new(name, spec);
        mirror.metadata.namespace = Some("team-a".into());
        mirror.status = Some(status);
        mirror
    }

    fn tags(mirror: &ImageMirror) -> Vec<String> {
        of(mirror, None, false, None).expect("images").images.tags.into_keys().collect()
    }

    #[test]
    fn what_the_destination_has_is_there_for_pods() {
        let all = vec![
            tag("mirrored", TagState::Mirrored, None),
            tag("kept", TagState::Kept, None),
            tag("waiting", TagState::Waiting, Some(Reason::TooYoung)),
            tag("limited", TagState::Failed, Some(Reason::RateLimited)),
            tag("gone-upstream", TagState::Failed, Some(Reason::TagNotFound)),
            tag("immutable", TagState::Failed, Some(Reason::TagImmutable)),
            tag("denied", TagState::Failed, Some(Reason::AccessDenied)),
            tag("pending", TagState::Pending, None),
            TagStatus { source_digest: None, ..tag("never", TagState::Kept, None) },
            TagStatus { digest: None, ..tag("first-failed", TagState::Failed, Some(Reason::RateLimited)) },
        ];
        let mirror = mirror("nginx", "{source: {image: nginx}, tags: {names: [a]}}", all);
        assert_eq!(tags(&mirror), ["gone-upstream", "kept", "limited", "mirrored", "waiting"]);
    }

    #[test]
    fn digests_without_a_tag_stand_apart() {
        let mirror = mirror("nginx", "{source: {image: nginx}}", vec![tag(DIGEST, TagState::Mirrored, None)]);
        let mirrored = of(&mirror, None, true, None).expect("images");
        assert_eq!(
            (mirrored.source.as_str(), &mirrored.images.digests[..]),
            ("docker.io/library/nginx", &[DIGEST.to_owned()][..])
        );
        assert!(mirrored.images.tags.is_empty() && mirrored.images.pin);
        assert_eq!(mirrored.images.repository, "default.ecr/nginx");
    }

    #[test]
    fn the_clusters_own_registry_is_pulled_from_where_the_mirror_has_it() {
        let spec = "{source: {image: nginx}, destinations: [{registryRef: {name: eu}}, {registryRef: {name: us}}]}";
        let mirror = mirror("nginx", spec, vec![tag("1", TagState::Mirrored, None)]);
        let repository = |own| of(&mirror, own, false, None).expect("images").images.repository;
        assert_eq!(repository(Some("us")), "us.ecr/nginx");
        assert_eq!((repository(None), repository(Some("other"))), ("eu.ecr/nginx".into(), "eu.ecr/nginx".into()));
    }

    #[test]
    fn a_status_of_another_source_says_nothing_of_this_one() {
        let mut mirror = mirror("nginx", "{source: {image: nginx}}", vec![tag("1", TagState::Mirrored, None)]);
        mirror.spec.source.image = "httpd".into();
        assert!(tags(&mirror).is_empty());
    }

    #[test]
    fn a_mirror_that_verifies_has_what_was_verified() {
        let mut mirror = mirror("nginx", "{source: {image: nginx}}", vec![tag("1", TagState::Mirrored, None)]);
        mirror.spec.verify = Some(MirrorVerification::default());
        assert!(tags(&mirror).is_empty());
        mirror.status.as_mut().expect("a status").destinations[0].verified_with = Some("keys".into());
        assert_eq!(tags(&mirror), ["1"]);
        mirror.metadata.generation = Some(2);
        assert!(tags(&mirror).is_empty(), "the spec is newer than the status");
    }

    #[test]
    fn images_of_ecr_are_left_alone() {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let spec = format!("{{source: {{image: {host}/nginx}}}}");
        let mirror = mirror("nginx", &spec, vec![tag("1", TagState::Mirrored, None)]);
        assert!(of(&mirror, None, false, None).expect_err("refused").message.contains("in ECR already"));
    }
}
