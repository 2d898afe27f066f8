//! Statuses and conditions, by how the tags ended.

use super::super::apply::Mirrored;
use super::*;
use crate::api::ImageMirrorSpec;
use crate::controllers::states::Case;

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).expect("in range")
}

fn mirror(tags: &[&str]) -> ImageMirror {
    let mut spec = ImageMirrorSpec::default();
    spec.tags.names = tags.iter().map(|tag| (*tag).to_owned()).collect();
    ImageMirror::new("nginx", spec)
}

fn mirrored(digest: &str, copied: bool) -> Ended {
    Ended::Mirrored(Mirrored { source_digest: digest.into(), digest: digest.into(), copied })
}

fn failed(reason: Reason, retry: Retry) -> Ended {
    Ended::Failed(Failure { reason, message: format!("because of {reason}"), retry })
}

fn waiting(digest: &str) -> Ended {
    Ended::Waiting { source_digest: digest.into(), until: now() }
}

fn destination(tags: Vec<(&str, Ended)>) -> DestinationOutcome {
    let tags = tags.into_iter().map(|(tag, outcome)| (tag.to_owned(), outcome)).collect();
    DestinationOutcome {
        registry: "default".into(),
        uri: Some("ecr/nginx".into()),
        tags: Ok(tags),
        unselected: Vec::new(),
        verified_with: None,
    }
}

fn looked(mirror: &ImageMirror, destinations: Vec<DestinationOutcome>) -> Looked {
    let selected = Selected { tags: mirror.spec.tags.names.clone(), ..Selected::default() };
    Looked { selected, seen: Vec::new(), destinations, prune_due: None }
}

fn after(mirror: &ImageMirror, destinations: Vec<DestinationOutcome>, at: Timestamp) -> ImageMirrorStatus {
    status(mirror, &looked(mirror, destinations), None, at)
}

fn failure(outcomes: &[DestinationOutcome]) -> Failure {
    match outcome(outcomes) {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn names(status: &DestinationStatus) -> Vec<&str> {
    status.tags.iter().map(|tag| tag.name.as_str()).collect()
}

#[test]
fn a_tag_counts_when_it_is_in_every_destination() {
    let everywhere = destination(vec![("1", mirrored("a", true)), ("2", mirrored("b", true)), ("3", waiting("c"))]);
    let partly = destination(vec![
        ("1", mirrored("a", true)),
        ("2", failed(Reason::TagImmutable, Retry::Stalled)),
        ("3", waiting("c")),
    ]);
    let status = after(&mirror(&["1", "2", "3"]), vec![everywhere, partly], now());
    assert_eq!(status.mirrored.as_deref(), Some("1/3"));
    assert_eq!(status.last_sync_time, Some(Time(now())));
    let expected = MirrorCounts { selected: 3, mirrored: 1, failed: 1, waiting: 1, ..MirrorCounts::default() };
    assert_eq!(status.counts, Some(expected));
}

#[test]
fn what_was_mirrored_last_stays_in_the_status_of_a_tag_that_fails_or_waits() {
    let mut object = mirror(&["1"]);
    object.status = Some(after(&object, vec![destination(vec![("1", mirrored("a", true))])], now()));
    for (ended, state, reason) in [
        (failed(Reason::Unreachable, Retry::Backoff), TagState::Failed, "Unreachable"),
        (waiting("b"), TagState::Waiting, "TooYoung"),
    ] {
        let after = after(&object, vec![destination(vec![("1", ended)])], Timestamp::MAX);
        let tag = &after.destinations[0].tags[0];
        assert_eq!((tag.state, tag.digest.as_deref()), (state, Some("a")));
        assert_eq!((tag.mirrored_at.clone(), tag.reason.as_deref()), (Some(Time(now())), Some(reason)));
    }
}

#[test]
fn a_tag_that_is_kept_is_told_with_words_where_the_spec_asks_to_be_warned() {
    let mut object = mirror(&["1"]);
    object.status = Some(after(&object, vec![destination(vec![("1", mirrored("a", true))])], now()));
    for (on_tag_change, reason) in [(OnTagChange::Warn, Some("TagMoved")), (OnTagChange::Ignore, None)] {
        object.spec.on_tag_change = on_tag_change;
        let kept = Ended::Kept { digest: "a".into(), upstream: "b".into() };
        let status = after(&object, vec![destination(vec![("1", kept)])], Timestamp::MAX);
        let tag = &status.destinations[0].tags[0];
        assert_eq!((tag.state, tag.reason.as_deref()), (TagState::Kept, reason));
        assert_eq!(tag.source_digest.as_deref(), Some("a"), "what was mirrored last");
    }
}

#[test]
fn the_time_of_a_copy_stays_while_nothing_is_copied() {
    let mut object = mirror(&["1"]);
    object.status = Some(after(&object, vec![destination(vec![("1", mirrored("a", true))])], now()));
    let after = after(&object, vec![destination(vec![("1", mirrored("a", false))])], Timestamp::MAX);
    assert_eq!(after.destinations[0].tags[0].mirrored_at, Some(Time(now())));
}

#[test]
fn a_tag_that_was_there_already_has_no_time_of_a_copy_and_one_that_comes_back_has_its_old_one() {
    let mut object = mirror(&["1", "2"]);
    let unselected = UnselectedTag {
        name: "2".into(),
        digest: "b".into(),
        mirrored_at: Time(Timestamp::UNIX_EPOCH),
        since: Time(now()),
        message: None,
    };
    let mut before = after(&mirror(&["1"]), vec![destination(vec![("1", mirrored("a", false))])], now());
    before.destinations[0].unselected.push(unselected);
    object.status = Some(before);
    let both = vec![("1", mirrored("a", false)), ("2", mirrored("b", false))];
    let after = after(&object, vec![destination(both)], now());
    let times: Vec<_> = after.destinations[0].tags.iter().map(|tag| (&tag.name, tag.mirrored_at.clone())).collect();
    assert_eq!(times, [(&"2".to_owned(), Some(Time(Timestamp::UNIX_EPOCH))), (&"1".to_owned(), None)]);
}

#[test]
fn a_destination_that_can_not_be_used_keeps_what_was_known_and_says_why() {
    let mut object = mirror(&["1", "2"]);
    object.status = Some(after(&object, vec![destination(vec![("1", mirrored("a", true))])], now()));
    let blocked = DestinationOutcome {
        registry: "default".into(),
        uri: Some("ecr/nginx".into()),
        tags: Err(Failure::stalled(Reason::RegistryNotFound, "no registry")),
        unselected: Vec::new(),
        verified_with: Some("policy".into()),
    };
    let after = after(&object, vec![blocked], Timestamp::MAX);
    let there = &after.destinations[0];
    assert_eq!(there.message.as_deref(), Some("no registry"));
    assert_eq!(there.verified_with.as_deref(), Some("policy"));
    assert_eq!(there.tags.iter().find(|tag| tag.name == "1").and_then(|tag| tag.digest.as_deref()), Some("a"));
    assert_eq!(there.tags.iter().find(|tag| tag.name == "2").map(|tag| tag.state), Some(TagState::Pending));
    assert_eq!(after.last_sync_time, Some(Time(now())), "nothing was looked at since");
}

#[test]
fn what_needs_a_person_comes_first_and_then_the_newest() {
    let object = mirror(&["1.0", "1.1", "1.2", "1.10", "stable"]);
    let ended = vec![
        ("1.0", failed(Reason::TagNotFound, Retry::Stalled)),
        ("1.1", waiting("a")),
        ("1.2", mirrored("b", true)),
        ("1.10", mirrored("c", true)),
        ("stable", mirrored("d", true)),
    ];
    let status = after(&object, vec![destination(ended)], now());
    assert_eq!(names(&status.destinations[0]), ["1.0", "1.1", "1.10", "1.2", "stable"]);
}

#[test]
fn a_thousand_tags_in_ten_destinations_have_less_than_250_kilobytes() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let tags: Vec<String> = (0..1000).map(|n| format!("1.27.{n}-bookworm-slim")).collect();
    let object = mirror(&tags.iter().map(String::as_str).collect::<Vec<_>>());
    for count in [1, 3, 10] {
        let outcomes = (0..count).map(|_| {
            let ended = tags.iter().enumerate().map(|(n, tag)| match n % 3 {
                0 => (tag.as_str(), failed(Reason::Unreachable, Retry::Backoff)),
                1 => (tag.as_str(), waiting(&digest)),
                _ => (tag.as_str(), mirrored(&digest, true)),
            });
            destination(ended.collect())
        });
        let mut looked = looked(&object, outcomes.collect());
        let seen =
            |tag: &String| SeenDigest { tag: tag.clone(), digest: digest.clone(), since: Time(now()), released: false };
        looked.seen = tags.iter().map(seen).collect();
        let status = status(&object, &looked, Some(now()), now());
        let size = serde_json::to_vec(&status).expect("JSON").len();
        assert!(size < 250_000, "{size} bytes with {count} destinations");
        let there = &status.destinations[0];
        assert_eq!(there.tags.len() + there.more_tags as usize, 1000);
    }
}

#[test]
fn a_mirror_that_waits_as_it_is_told_is_ready_and_says_until_when() {
    let waits = destination(vec![("1", mirrored("a", false)), ("2", waiting("b"))]);
    match outcome(&[waits]) {
        Outcome::Ready { message } => {
            assert!(message.contains("1 of 2") && message.contains("1970-01-12T13:46:40Z"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_reason_for_all_failures_is_the_reason_of_the_whole() {
    let same = destination(vec![
        ("1", failed(Reason::TagNotFound, Retry::Stalled)),
        ("2", failed(Reason::TagNotFound, Retry::Stalled)),
        ("3", mirrored("a", true)),
    ]);
    let whole = failure(&[same]);
    assert_eq!((whole.reason, whole.retry), (Reason::TagNotFound, Retry::Stalled));
    assert!(whole.message.contains("1 of 3") && whole.message.contains("tag 1"), "{whole}");
}

#[test]
fn the_soonest_retry_of_several_failures_is_that_of_the_whole() {
    let mixed = destination(vec![
        ("1", failed(Reason::TagNotFound, Retry::Stalled)),
        ("2", failed(Reason::RateLimited, Retry::At(now()))),
    ]);
    let whole = failure(&[mixed]);
    assert_eq!((whole.reason, whole.retry), (Reason::SomeTagsFailed, Retry::At(now())));
}

#[test]
fn images_of_another_source_are_none_of_this_one() {
    let mut mirror = mirror(&["1.0"]);
    mirror.spec.source.image = "nginx".into();
    mirror.status = Some(after(&mirror, vec![destination(vec![("1.0", mirrored("a", true))])], now()));
    let running =
        |mirror: &ImageMirror| after(mirror, vec![destination(vec![])], now()).destinations[0].tags[0].clone();
    assert_eq!(running(&mirror).state, TagState::Mirrored);
    mirror.spec.source.image = "httpd".into();
    let tag = running(&mirror);
    assert_eq!((tag.state, tag.source_digest), (TagState::Pending, None));
    assert!(tag.mirrored_at.is_some(), "it wrote the tag all the same");
}

fn limited(message: &str, until: i64) -> Ended {
    let time = Timestamp::from_second(until).expect("in range");
    Ended::Limited(Failure { reason: Reason::RateLimited, message: message.into(), retry: Retry::At(time) })
}

#[test]
fn a_tag_that_waits_for_a_limit_waits_and_the_mirror_is_not_ready_until_its_time() {
    let tags = || vec![("1", mirrored("a", true)), ("2", limited("no pulls", 500)), ("3", limited("no pulls", 400))];
    let outcomes = [destination(tags())];
    let failure = failure(&outcomes);
    assert_eq!(failure.reason, Reason::RateLimited);
    assert_eq!(failure.retry, Retry::At(Timestamp::from_second(400).expect("in range")));
    assert_eq!(failure.message, "1 of 3 images are mirrored; 2 wait, tag 2 for one: no pulls");

    let status = after(&mirror(&["1", "2", "3"]), vec![destination(tags())], now());
    let tag = &status.destinations[0].tags[0];
    assert_eq!((tag.state, tag.reason.as_deref()), (TagState::Waiting, Some("RateLimited")));
    let expected = MirrorCounts { selected: 3, mirrored: 1, waiting: 2, ..MirrorCounts::default() };
    assert_eq!(status.counts, Some(expected));
}

#[test]
fn a_limit_beside_another_failure_is_not_the_only_reason() {
    let tags = vec![("1", failed(Reason::TagNotFound, Retry::Stalled)), ("2", limited("no pulls", 500))];
    let failure = failure(&[destination(tags)]);
    assert_eq!(failure.reason, Reason::SomeTagsFailed);
    assert!(failure.message.contains("2 failed or wait"), "{}", failure.message);
}

/// What can become of a mirror of tags.
pub(in crate::controllers) fn cases() -> Vec<Case<ImageMirror>> {
    let looked_at = |what, destinations: Vec<DestinationOutcome>| {
        let object = mirror(&["1", "2"]);
        let outcome = outcome(&destinations);
        Case { what, status: after(&object, destinations, now()), object, outcome }
    };
    let second = |ended| vec![destination(vec![("1", mirrored("a", true)), ("2", ended)])];
    let blocked = |failure| {
        let blocked = DestinationOutcome { tags: Err(failure), ..destination(Vec::new()) };
        vec![blocked, destination(vec![("1", mirrored("a", true)), ("2", mirrored("b", false))])]
    };
    let failed_before = |what, failure: Failure| {
        let object = mirror(&["1"]);
        Case { what, object, status: ImageMirrorStatus::default(), outcome: Outcome::Failed(failure) }
    };
    let mut cases = vec![
        looked_at("all images are mirrored", second(mirrored("b", false))),
        looked_at("an image waits for its age", second(waiting("b"))),
        looked_at("a tag moved and is kept", second(Ended::Kept { digest: "b".into(), upstream: "c".into() })),
        looked_at("a tag is missing in the source", second(failed(Reason::TagNotFound, Retry::Stalled))),
        looked_at("the source does not answer", second(failed(Reason::Unreachable, Retry::Backoff))),
        looked_at("a pull limit is used up", second(limited("no pulls", 500))),
        looked_at(
            "one tag is missing, another waits for a limit",
            vec![destination(vec![
                ("1", failed(Reason::TagNotFound, Retry::Stalled)),
                ("2", limited("no pulls", 500)),
            ])],
        ),
        looked_at(
            "one of two registries is not there",
            blocked(Failure::stalled(Reason::RegistryNotFound, "no EcrRegistry")),
        ),
        looked_at(
            "one of two repositories is not ready",
            blocked(Failure::transient(Reason::DestinationNotReady, "not ready")),
        ),
        failed_before("too many tags", super::super::check_count(5000, Some(6000)).expect_err("too many")),
        failed_before(
            "it waits for its repository",
            Failure::transient(Reason::Progressing, "waiting for the repository"),
        ),
    ];
    let object = mirror(&["1"]);
    let progress = CopyProgress { images: "0/1".into(), bytes: 0, total_bytes: 10 };
    let status = status_so_far(&object, &looked(&object, vec![destination(Vec::new())]), progress, now());
    let outcome = Outcome::Progressing { message: "copying images".into() };
    cases.push(Case { what: "images are copied", object, status, outcome });
    let mut object = mirror(&["1"]);
    object.spec.suspend = true;
    let status = after(&object, vec![destination(vec![("1", mirrored("a", true))])], now());
    cases.push(Case { what: "it is suspended", object, status, outcome: Outcome::Suspended });
    cases
}
