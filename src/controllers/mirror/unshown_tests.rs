use super::super::apply::{Ended, Mirrored};
use super::super::observe::Selected;
use super::super::status::DestinationOutcome;
use super::*;
use crate::api::conditions::Reason;
use crate::controllers::failure::Failure;

const URI: &str = "ecr/nginx";
const COUNT: usize = 1_000;

fn mirror() -> ImageMirror {
    let spec = "{source: {image: nginx}, tags: {include: ['*']}, rewrite: {pods: SameNamespace}}";
    let mut mirror = ImageMirror::new("nginx", serde_saphyr::from_str(spec).expect("a spec"));
    mirror.metadata.uid = Some("uid".into());
    mirror
}

fn names() -> Vec<String> {
    (0..COUNT).map(|number| format!("1.{number}")).collect()
}

fn looked(ended: impl Fn(&str) -> Ended) -> Looked {
    let tags = names().into_iter().map(|name| (name.clone(), ended(&name))).collect();
    let there = DestinationOutcome {
        registry: "default".into(),
        uri: Some(URI.into()),
        tags: Ok(tags),
        unselected: Vec::new(),
        verified_with: None,
    };
    let selected = Selected { tags: names(), ..Selected::default() };
    Looked { selected, seen: Vec::new(), destinations: vec![there], prune_due: None }
}

fn found(name: &str) -> Ended {
    let digest = format!("sha256:{name}");
    Ended::Mirrored(Mirrored { source_digest: digest.clone(), digest, copied: false })
}

/// Looks once, and gives the mirror the status.
fn look(unshown: &Unshown, mirror: &mut ImageMirror, looked: &Looked) {
    let now = Timestamp::UNIX_EPOCH;
    let complete = unshown.complete(mirror);
    let status = status::status(&complete, looked, None, now);
    unshown.remember(&complete, looked, &status, now);
    mirror.status = Some(status);
}

/// The tags of the status and the others, with their digests.
fn all(unshown: &Unshown, mirror: &ImageMirror) -> BTreeMap<String, Option<String>> {
    let of = unshown.of(&["uid".to_owned()].into());
    let shown = mirror.status.iter().flat_map(|status| &status.destinations).flat_map(|there| &there.tags);
    let unshown = of.values().flat_map(|of| of.tags(URI));
    shown.chain(unshown).map(|tag| (tag.name.clone(), tag.digest.clone())).collect()
}

fn mirrored() -> BTreeMap<String, Option<String>> {
    names().into_iter().map(|name| (name.clone(), Some(format!("sha256:{name}")))).collect()
}

#[test]
fn with_the_status_there_are_all_tags() {
    let (unshown, mut mirror) = (Unshown::default(), mirror());
    look(&unshown, &mut mirror, &looked(found));
    assert!(mirror.status.as_ref().expect("a status").destinations[0].more_tags > 0);
    assert_eq!(all(&unshown, &mirror), mirrored());
}

#[test]
fn what_was_mirrored_stays_known_while_the_source_is_down() {
    let (unshown, mut mirror) = (Unshown::default(), mirror());
    look(&unshown, &mut mirror, &looked(found));
    // Those that fail come first in the status, which had no room for the last of them before.
    let fails = |name: &str| Ended::Failed(Failure::transient(Reason::Unreachable, format!("no {name}")));
    look(&unshown, &mut mirror, &looked(|name| if name > "1.5" { fails(name) } else { found(name) }));
    assert_eq!(all(&unshown, &mirror), mirrored());
    look(&unshown, &mut mirror, &looked(fails));
    assert_eq!(all(&unshown, &mirror), mirrored());
}

#[test]
fn after_a_restart_they_are_recalled_until_the_next_look() {
    let (unshown, mut mirror) = (Unshown::default(), mirror());
    look(&unshown, &mut mirror, &looked(found));
    let restarted = Unshown::default();
    let digests = names().into_iter().map(|name| (name.clone(), format!("sha256:{name}"))).collect();
    restarted.recall(&mirror, "ecr/another", &digests);
    assert!(all(&restarted, &mirror).len() < COUNT);
    restarted.recall(&mirror, URI, &digests);
    assert_eq!(all(&restarted, &mirror), mirrored());
    restarted.recall(&mirror, URI, &BTreeMap::new());
    assert_eq!(all(&restarted, &mirror), mirrored(), "what is known counts");
}

#[test]
fn tags_of_another_source_are_none_of_this_one() {
    let (unshown, mut mirror) = (Unshown::default(), mirror());
    look(&unshown, &mut mirror, &looked(found));
    mirror.spec.source.image = "httpd".into();
    look(&unshown, &mut mirror, &looked(|_| Ended::Failed(Failure::transient(Reason::Unreachable, "no"))));
    let of = unshown.of(&["uid".to_owned()].into());
    assert!(of["uid"].tags(URI).iter().all(|tag| tag.source_digest.is_none()));
}

#[test]
fn mirrors_that_are_gone_or_rewrite_nothing_are_forgotten() {
    let (unshown, mut mirror) = (Unshown::default(), mirror());
    look(&unshown, &mut mirror, &looked(found));
    assert!(unshown.of(&HashSet::new()).is_empty() && unshown.of(&["uid".to_owned()].into()).is_empty());
    mirror.spec.rewrite = None;
    look(&unshown, &mut mirror, &looked(found));
    assert!(unshown.of(&["uid".to_owned()].into()).is_empty());
}
