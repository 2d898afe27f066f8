//! The mirrors that a discovering mirror makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use super::plan::{Names, Plan};
use crate::api::{ImageMirror, ImageMirrorSpec, MirrorSource, SYNC_AT, TagSelection, UNUSED_SINCE};
use crate::controllers::claims::{Claim, Claimant};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::mirror::child::children as repositories;
use crate::controllers::mirror::prepare::source_config;
use crate::controllers::mirror::{is_digest, owned};

/// How many children are written at once.
const AT_ONCE: usize = 8;

/// The mirrors that this mirror made, by their source.
pub(super) fn present(mirror: &ImageMirror, context: &Context) -> BTreeMap<String, Arc<ImageMirror>> {
    let all = context.mirrors.store.state().into_iter();
    let ours =
        all.filter(|child| owned::belongs(child.as_ref(), mirror) && child.metadata.deletion_timestamp.is_none());
    ours.map(|child| (child.spec.source.image.clone(), child)).collect()
}

/// The tags and digests that the mirrors have, each with the time since when no workload names it.
pub(super) fn names(present: &BTreeMap<String, Arc<ImageMirror>>) -> BTreeMap<String, Names> {
    present
        .iter()
        .map(|(source, child)| {
            let unused: BTreeMap<String, Timestamp> = child
                .annotations()
                .get(UNUSED_SINCE)
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default();
            let all = child.spec.tags.names.iter().chain(&child.spec.digests);
            (source.clone(), all.map(|name| (name.clone(), unused.get(name).copied())).collect())
        })
        .collect()
}

/// The mirror for one source repository.
fn child(mirror: &ImageMirror, source: &str, names: &Names, has_credentials: bool) -> ImageMirror {
    // The repositories of the child have a suffix more.
    const LONGEST: usize = 253 - 2 * owned::SUFFIX;
    let (digests, tags): (Vec<String>, Vec<String>) = names.keys().cloned().partition(|name| is_digest(name));
    let credentials_secret_ref = mirror.spec.source.credentials_secret_ref.clone().filter(|_| has_credentials);
    let mut child = ImageMirror::new(
        &owned::name(mirror, LONGEST, source),
        ImageMirrorSpec {
            source: MirrorSource { image: source.to_owned(), credentials_secret_ref, from_workloads: None },
            tags: TagSelection { names: tags, min_age: mirror.spec.tags.min_age.clone(), ..TagSelection::default() },
            digests,
            ..mirror.spec.clone()
        },
    );
    let unused: BTreeMap<&String, &Timestamp> =
        names.iter().filter_map(|(name, since)| Some((name, since.as_ref()?))).collect();
    let mut annotations = BTreeMap::new();
    if let (false, Ok(text)) = (unused.is_empty(), serde_json::to_string(&unused)) {
        annotations.insert(UNUSED_SINCE.to_owned(), text);
    }
    // To look at the one now is to look at the others.
    annotations.extend(mirror.annotations().get(SYNC_AT).map(|asked| (SYNC_AT.to_owned(), asked.clone())));
    child.metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    owned::adopt(mirror, &mut child);
    child
}

/// Leaves the repositories to others that others have: what several mirrors find is mirrored to one repository, which one of
/// them makes.
fn share_repositories(mirror: &mut ImageMirror, holder: impl Fn(&Claim) -> Option<Claimant>) {
    // In the order of the destinations that have one.
    let own = repositories(mirror);
    let destinations = mirror.spec.destinations.iter_mut().filter(|destination| destination.create_repository);
    for (destination, own) in destinations.zip(own) {
        let has_other = Claim::of(&own)
            .and_then(|claim| holder(&claim))
            .is_some_and(|holder| Some(holder.namespace) != own.namespace() || holder.name != own.name_any());
        if has_other {
            destination.create_repository = false;
            destination.repository = None;
        }
    }
}

/// Makes the mirrors what they should be, and deletes those that should not be.
pub(super) async fn make(
    mirror: &ImageMirror,
    context: &Context,
    plan: &Plan,
    present: &BTreeMap<String, Arc<ImageMirror>>,
) -> Result<Vec<Arc<ImageMirror>>, Failure> {
    let credentials = source_config(mirror, context).await?;
    let (mut made, mut to_apply) = (Vec::new(), Vec::new());
    for (source, names) in &plan.mirrors {
        let host = source.split('/').next().unwrap_or_default();
        let mut child = child(mirror, source, names, credentials.credentials(host).is_some());
        share_repositories(&mut child, |claim| context.claims.holder(claim));
        match present.get(source).filter(|present| is_as(present, &child)) {
            Some(present) => made.push(present.clone()),
            None => to_apply.push(apply(mirror, context, child)),
        }
    }
    let applied: Vec<ImageMirror> = stream::iter(to_apply).buffered(AT_ONCE).try_collect().await?;
    made.extend(applied.into_iter().map(Arc::new));
    for (_, child) in present.iter().filter(|(source, _)| !plan.mirrors.contains_key(*source)) {
        owned::delete(context, child.as_ref()).await?;
    }
    Ok(made)
}

fn is_as(present: &ImageMirror, wanted: &ImageMirror) -> bool {
    let annotation = |mirror: &ImageMirror, key: &str| mirror.annotations().get(key).cloned();
    present.spec == wanted.spec
        && [UNUSED_SINCE, SYNC_AT].iter().all(|key| annotation(present, key) == annotation(wanted, key))
}

async fn apply(mirror: &ImageMirror, context: &Context, child: ImageMirror) -> Result<ImageMirror, Failure> {
    owned::check_owner(context.mirrors.store.get(&ObjectRef::from_obj(&child)).as_deref(), mirror)?;
    let what = format!("ImageMirror {} for {}", child.name_any(), child.spec.source.image);
    owned::apply(context, &child, &what).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> ImageMirror {
        let spec = "{source: {fromWorkloads: {registries: [docker.io]}, credentialsSecretRef: {name: hub}}, tags: {minAge: 72h}, platforms: [linux/amd64], prune: true}";
        let mut mirror = ImageMirror::new("found", serde_saphyr::from_str(spec).expect("a spec"));
        mirror.metadata.namespace = Some("team-a".into());
        mirror.metadata.uid = Some("uid".into());
        mirror
    }

    fn names(pairs: &[(&str, Option<i64>)]) -> Names {
        let time = |second| Timestamp::from_second(second).expect("in range");
        pairs.iter().map(|(name, since)| ((*name).to_owned(), since.map(time))).collect()
    }

    #[test]
    fn a_child_is_the_mirror_with_a_source_and_names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let child = child(&parent(), "docker.io/library/nginx", &names(&[("1.27", None), (&digest, None)]), true);
        let spec = &child.spec;
        assert_eq!((spec.source.image.as_str(), &spec.source.from_workloads), ("docker.io/library/nginx", &None));
        assert_eq!((&spec.tags.names, &spec.digests), (&vec!["1.27".to_owned()], &vec![digest]));
        assert_eq!((spec.tags.min_age.as_deref(), spec.prune, spec.platforms.is_some()), (Some("72h"), true, true));
        assert!(owned::belongs(&child, &parent()));
        assert_eq!(child.annotations().len(), 0);
    }

    #[test]
    fn a_repository_that_another_object_has_is_left_to_it() {
        let of = |holder: Option<Claimant>| {
            let mut child = child(&parent(), "docker.io/library/nginx", &names(&[("1", None)]), false);
            share_repositories(&mut child, |claim| {
                holder.clone().filter(|_| claim.repository == "docker.io/library/nginx")
            });
            child
        };
        assert!(of(None).spec.destinations[0].create_repository);
        let own = &repositories(&of(None))[0];
        let claimant = |namespace: &str, name: String| Some(Claimant { namespace: namespace.to_owned(), name });
        assert!(of(claimant("team-a", own.name_any())).spec.destinations[0].create_repository);
        for other in [claimant("team-b", own.name_any()), claimant("team-a", "other".to_owned())] {
            assert!(!of(other).spec.destinations[0].create_repository);
        }
    }

    #[test]
    fn only_a_source_that_the_secret_has_credentials_for_names_the_secret() {
        let of = |has| child(&parent(), "quay.io/a", &names(&[("1", None)]), has).spec.source.credentials_secret_ref;
        assert!(of(true).is_some() && of(false).is_none());
    }

    #[test]
    fn since_when_a_name_is_unused_is_read_as_it_was_written() {
        let wanted = names(&[("1", None), ("2", Some(5))]);
        let child = child(&parent(), "docker.io/library/nginx", &wanted, false);
        let present = [(child.spec.source.image.clone(), Arc::new(child.clone()))].into();
        assert_eq!(super::names(&present)["docker.io/library/nginx"], wanted);
        assert!(is_as(&child, &child));
    }
}
