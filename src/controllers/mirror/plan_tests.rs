//! Each tag's fate, by what is there and what is asked for.

use super::*;
use crate::api::TagState;
use crate::ecr::TagMutability;

fn digests(tag: &str, digest: Option<&str>) -> Digests {
    Digests::from([(tag.to_owned(), Ok(digest.map(str::to_owned)))])
}

fn status(source_digest: &str, digest: &str) -> TagStatus {
    TagStatus {
        state: TagState::Mirrored,
        source_digest: Some(source_digest.into()),
        digest: Some(digest.into()),
        ..TagStatus::pending("1")
    }
}

fn one(source: Option<&str>, destination: Option<&str>, terms: &Terms<'_>) -> Step {
    plan(&digests("1", source), &digests("1", destination), terms).remove("1").expect("planned")
}

fn knowing<'a>(known: &'a TagStatus, terms: Terms<'a>) -> Terms<'a> {
    Terms { previous: BTreeMap::from([("1", known)]), ..terms }
}

fn keep(source_digest: &str, digest: &str) -> Step {
    Step::Keep { source_digest: source_digest.into(), digest: digest.into() }
}

fn copy(source_digest: &str, because: Because) -> Step {
    Step::Copy { source_digest: source_digest.into(), because, backup: None }
}

fn reason(step: Step) -> Reason {
    match step {
        Step::Fail(failure) => failure.reason,
        other => panic!("{other:?}"),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

#[test]
fn equal_digests_are_kept() {
    assert_eq!(one(Some("a"), Some("a"), &Terms::default()), keep("a", "a"));
}

#[test]
fn a_missing_or_other_image_is_copied() {
    assert_eq!(one(Some("a"), None, &Terms::default()), copy("a", Because::Missing));
    assert_eq!(one(Some("b"), Some("a"), &Terms::default()), copy("b", Because::Differs));
}

#[test]
fn a_subset_is_kept_while_both_digests_are_the_ones_of_the_last_copy() {
    let known = status("a", "x");
    let subset = || Terms { subset: true, ..Terms::default() };
    let terms = knowing(&known, subset());
    assert_eq!(one(Some("a"), Some("x"), &terms), keep("a", "x"));
    assert_eq!(one(Some("b"), Some("x"), &terms), copy("b", Because::Differs));
    assert_eq!(one(Some("a"), Some("y"), &terms), copy("a", Because::Differs));
    assert_eq!(one(Some("a"), Some("x"), &subset()), copy("a", Because::Differs), "the platforms changed");
}

#[test]
fn a_subset_that_the_status_has_no_room_for_is_known_by_what_its_image_becomes() {
    let rewritten = BTreeMap::from([("a".to_owned(), "x".to_owned())]);
    let terms = Terms { subset: true, rewritten, ..Terms::default() };
    assert_eq!(one(Some("a"), Some("x"), &terms), keep("a", "x"));
    assert_eq!(one(Some("a"), Some("y"), &terms), copy("a", Because::Differs));
}

#[test]
fn digests_of_the_spec_stay_what_they_are_with_any_platforms() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let found = digests(&digest, Some(&digest));
    let steps = plan(&found, &found, &Terms { subset: true, ..Terms::default() });
    assert_eq!(steps[&digest], keep(&digest, &digest));
}

#[test]
fn what_could_not_be_looked_at_fails_alone() {
    let failure = Failure::transient(Reason::Unreachable, "away");
    let mut source = digests("1", Some("a"));
    source.insert("2".into(), Err(failure.clone()));
    let mut destination = digests("1", Some("a"));
    destination.insert("2".into(), Ok(None));
    let steps = plan(&source, &destination, &Terms::default());
    assert_eq!(steps["1"], keep("a", "a"));
    assert_eq!(steps["2"], Step::Fail(failure));
}

#[test]
fn a_tag_that_moved_upstream_stays_where_the_spec_says_so() {
    let known = status("a", "a");
    let old = Step::KeepOld { digest: "a".into(), upstream: "b".into() };
    for (on_tag_change, expected) in [
        (OnTagChange::Copy, copy("b", Because::Differs)),
        (OnTagChange::Warn, old.clone()),
        (OnTagChange::Ignore, old.clone()),
    ] {
        let terms = knowing(&known, Terms { on_tag_change, ..Terms::default() });
        assert_eq!(one(Some("b"), Some("a"), &terms), expected);
        assert_eq!(one(Some("b"), None, &terms), copy("b", Because::Missing), "there is nothing to keep");
        assert_eq!(one(Some("a"), Some("x"), &terms), copy("a", Because::Differs), "it moved in the destination");
    }
    let terms = Terms { on_tag_change: OnTagChange::Warn, ..Terms::default() };
    assert_eq!(one(Some("b"), Some("a"), &terms), old, "who put it there is not known");
}

#[test]
fn an_immutable_tag_is_told_and_not_attempted() {
    let mutability = Mutability { except: ["1".to_owned()].into(), ..Mutability::from(TagMutability::Immutable) };
    let excepted = Terms { mutability: Some(&mutability), ..Terms::default() };
    assert_eq!(one(Some("b"), Some("a"), &excepted), copy("b", Because::Differs));

    let mutability = Mutability::from(TagMutability::Immutable);
    let terms = Terms { mutability: Some(&mutability), ..Terms::default() };
    assert_eq!(reason(one(Some("b"), Some("a"), &terms)), Reason::TagImmutable);
    assert_eq!(one(Some("b"), None, &terms), copy("b", Because::Missing), "a new tag can be pushed");
    assert_eq!(one(Some("a"), Some("a"), &terms), keep("a", "a"));
    let ignoring = Terms { on_tag_change: OnTagChange::Ignore, ..terms };
    assert!(matches!(one(Some("b"), Some("a"), &ignoring), Step::KeepOld { .. }), "it is to stay anyway");
}

#[test]
fn what_is_too_young_waits_and_what_is_there_already_does_not() {
    let waiting = BTreeMap::from([("1".to_owned(), at(1000))]);
    let terms = Terms { waiting, ..Terms::default() };
    let wait = Step::Wait { source_digest: "b".into(), until: at(1000) };
    assert_eq!(one(Some("b"), None, &terms), wait);
    assert_eq!(one(Some("b"), Some("a"), &terms), wait);
    assert_eq!(one(Some("b"), Some("b"), &terms), keep("b", "b"));
}

#[test]
fn what_lifecycle_would_take_away_again_is_told_and_not_copied() {
    let crowded_out = BTreeMap::from([("1".to_owned(), "rule 1: any image: expire all but the last 3".to_owned())]);
    let terms = Terms { crowded_out, ..Terms::default() };
    match one(Some("a"), None, &terms) {
        Step::Fail(failure) => {
            assert_eq!(failure.reason, Reason::LifecycleConflict);
            assert!(failure.message.contains("all but the last 3"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(one(Some("a"), Some("a"), &terms), keep("a", "a"), "it is there still");
}

#[test]
fn a_tag_that_an_older_mirror_writes_is_left_to_it() {
    let rivals = BTreeMap::from([("1".to_owned(), "ImageMirror ns/old".to_owned())]);
    let terms = Terms { rivals, ..Terms::default() };
    assert_eq!(reason(one(Some("b"), Some("a"), &terms)), Reason::OwnedByAnother);
    assert_eq!(reason(one(Some("b"), None, &terms)), Reason::OwnedByAnother);
    assert_eq!(one(Some("a"), Some("a"), &terms), keep("a", "a"), "there is nothing to disagree about");
}

#[test]
fn what_a_tag_named_gets_a_backup_tag_before_it_moves() {
    let terms = Terms { backup_tag: Some("{tag}-{digest12}"), ..Terms::default() };
    match one(Some("sha256:b"), Some("sha256:0123456789abcdef"), &terms) {
        Step::Copy { backup: Some(backup), .. } => {
            assert_eq!(backup, Backup { tag: "1-0123456789ab".into(), digest: "sha256:0123456789abcdef".into() });
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(one(Some("b"), None, &terms), copy("b", Because::Missing));
}
