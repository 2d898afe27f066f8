use super::*;
use crate::api::{TagState, TagStatus};
use crate::controllers::workloads::Uses;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn written(name: &str) -> TagStatus {
    TagStatus {
        state: TagState::Mirrored,
        digest: Some(format!("sha256:{name}")),
        mirrored_at: Some(Time(at(1))),
        ..TagStatus::pending(name)
    }
}

fn unselected(name: &str, since: i64) -> UnselectedTag {
    let (name, digest) = (name.to_owned(), format!("sha256:{name}"));
    UnselectedTag { name, digest, mirrored_at: Time(at(1)), since: Time(at(since)), message: None }
}

fn destination(tags: Vec<TagStatus>, unselected: Vec<UnselectedTag>) -> DestinationStatus {
    DestinationStatus { tags, unselected, ..DestinationStatus::default() }
}

fn left(before: &DestinationStatus, selected: &[&str]) -> Vec<(String, i64)> {
    let selected = selected.iter().copied().collect();
    let departed = departed(Some(before), &selected, 1, at(100));
    departed.into_iter().map(|tag| (tag.name, tag.since.0.as_second())).collect()
}

#[test]
fn a_tag_that_the_mirror_wrote_and_no_longer_selects_is_remembered_from_now_on() {
    let before = destination(vec![written("1"), written("2")], Vec::new());
    assert_eq!(left(&before, &["2", "3"]), [("1".to_owned(), 100)]);
}

#[test]
fn a_tag_that_was_there_before_or_failed_is_not() {
    let found = TagStatus { mirrored_at: None, ..written("found") };
    let never_copied = TagStatus { digest: None, mirrored_at: None, state: TagState::Failed, ..written("failed") };
    let before = destination(vec![found, never_copied], Vec::new());
    assert!(left(&before, &["x"]).is_empty());
}

#[test]
fn a_digest_has_no_tag_to_take_away() {
    let digest = format!("sha256:{}", "a".repeat(64));
    assert!(left(&destination(vec![written(&digest)], Vec::new()), &["x"]).is_empty());
}

#[test]
fn what_left_before_keeps_its_time_and_what_comes_back_is_forgotten() {
    let before = destination(vec![written("3")], vec![unselected("1", 5), unselected("2", 6)]);
    assert_eq!(left(&before, &["2"]), [("1".to_owned(), 5), ("3".to_owned(), 100)]);
}

#[test]
fn a_source_that_lost_all_its_tags_makes_nothing_leave() {
    let before = destination(vec![written("1")], vec![unselected("0", 5)]);
    assert_eq!(left(&before, &[]), [("0".to_owned(), 5)]);
}

#[test]
fn what_is_remembered_is_bounded_and_those_that_left_first_come_first() {
    let tags = (0..2000).map(|n| written(&format!("{n}"))).collect();
    let before = destination(tags, vec![unselected("old", 5)]);
    let left = left(&before, &["x"]);
    assert_eq!((left.len(), left[0].0.as_str()), (REMEMBERED, "old"));
}

#[test]
fn the_first_date_is_that_of_a_tag_that_nothing_keeps() {
    let kept = UnselectedTag { message: Some("in use".into()), ..unselected("0", 0) };
    let tags = [kept, unselected("2", 20), unselected("1", 10)];
    assert_eq!(first_due(&tags, WEEK), Some(at(10 + 7 * 24 * 3600)));
    assert_eq!(first_due(&[], WEEK), None);
}

fn user(kind: &str, name: &str) -> WorkloadName {
    WorkloadName { kind: kind.into(), namespace: "team-a".into(), name: name.into() }
}

fn usage(uses: &[(&str, &[WorkloadName])]) -> Usage {
    Usage::Known(Uses(
        uses.iter().map(|(reference, users)| ((*reference).to_owned(), users.iter().cloned().collect())).collect(),
    ))
}

fn there() -> Result<Option<String>, Failure> {
    Ok(Some("sha256:1".into()))
}

#[test]
fn a_tag_goes_that_nobody_uses() {
    let verdict = judge(&unselected("1", 0), Some(&there()), &usage(&[]), &BTreeMap::new());
    assert_eq!(verdict, Verdict::Delete);
}

#[test]
fn a_tag_stays_that_a_workload_names_or_whose_digest_it_runs() {
    for reference in ["1", "sha256:1"] {
        let users = [user("CronJob", "nightly"), user("Pod", "a"), user("Pod", "b"), user("Pod", "c")];
        let verdict = judge(&unselected("1", 0), Some(&there()), &usage(&[(reference, &users)]), &BTreeMap::new());
        let because = "in use by CronJob team-a/nightly, Pod team-a/a, Pod team-a/b and 1 more".to_owned();
        assert_eq!(verdict, Verdict::Keep { because });
    }
}

#[test]
fn a_tag_stays_while_it_is_not_known_who_uses_it() {
    let refused = Usage::Unknown { problem: "cronjobs.batch is forbidden".into() };
    for (usage, words) in [(Usage::Filling, "are being read"), (refused, "cronjobs.batch is forbidden")] {
        match judge(&unselected("1", 0), Some(&there()), &usage, &BTreeMap::new()) {
            Verdict::Keep { because } => assert!(because.contains(words), "{because}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_tag_that_somebody_moved_or_deleted_is_forgotten() {
    let moved = Ok(Some("sha256:other".to_owned()));
    for present in [Some(&moved), Some(&Ok(None)), None] {
        assert_eq!(judge(&unselected("1", 0), present, &usage(&[]), &BTreeMap::new()), Verdict::Forget);
    }
}

#[test]
fn a_tag_stays_that_another_mirror_selects_or_that_can_not_be_looked_at() {
    let others = [("1".to_owned(), "ImageMirror b/other".to_owned())].into();
    let verdict = judge(&unselected("1", 0), Some(&there()), &usage(&[]), &others);
    assert_eq!(verdict, Verdict::Keep { because: "ImageMirror b/other selects it".into() });
    let failed = Err(Failure::transient(Reason::Unreachable, "no answer"));
    let verdict = judge(&unselected("1", 0), Some(&failed), &usage(&[]), &BTreeMap::new());
    assert!(matches!(verdict, Verdict::Keep { because } if because.contains("no answer")));
}
