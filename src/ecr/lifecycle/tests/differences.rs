//! What is said about the difference between two policies.

use super::{a_week_of_untagged, any, patterns, raw, tagged, ten_releases, typed};
use crate::api::LifecycleRule;
use crate::ecr::lifecycle::Policy;

fn diff(old: Vec<LifecycleRule>, new: Vec<LifecycleRule>) -> Vec<String> {
    typed(old).diff(&typed(new))
}

fn keep_any(last: i32) -> LifecycleRule {
    LifecycleRule { keep_last: Some(last), ..any() }
}

#[test]
fn another_number_is_told_as_such() {
    let twenty = LifecycleRule { keep_last: Some(20), ..ten_releases() };
    assert_eq!(
        diff(vec![a_week_of_untagged(), ten_releases()], vec![a_week_of_untagged(), twenty]),
        ["rule 2: keepLast 10 -> 20"]
    );
}

#[test]
fn another_effect_selection_or_description_is_told_as_a_change_of_the_rule() {
    let old = || vec![LifecycleRule { keep_last: Some(3), ..tagged(patterns(&["v*"])) }];
    let archive = LifecycleRule { archive_after_days: Some(30), ..tagged(patterns(&["v*"])) };
    assert_eq!(diff(old(), vec![archive]), ["rule 1: keepLast 3 -> archiveAfterDays 30"]);
    let wider = LifecycleRule { keep_last: Some(3), ..tagged(patterns(&["v*", "*-rc"])) };
    assert_eq!(diff(old(), vec![wider]), ["rule 1: tagged v* -> tagged *-rc and v*"]);
    let described = LifecycleRule { description: Some("all".into()), ..old().remove(0) };
    assert_eq!(diff(old(), vec![described]), ["rule 1: description none -> \"all\""]);
}

#[test]
fn rules_that_come_and_go_are_told_in_words() {
    assert_eq!(
        diff(vec![a_week_of_untagged(), keep_any(3)], vec![ten_releases(), keep_any(3)]),
        [
            "rule 1 added: images tagged *-rc* and v*: expire all but the last 10 (\"ten releases\")",
            "rule 1 removed: untagged images: expire 7 days after their push",
        ]
    );
    assert_eq!(
        diff(vec![keep_any(3)], vec![a_week_of_untagged(), keep_any(3)]),
        ["rule 1 added: untagged images: expire 7 days after their push"],
        "a rule that only stands elsewhere now is not mentioned"
    );
}

#[test]
fn rules_that_changed_places_are_told() {
    let lines = diff(vec![a_week_of_untagged(), ten_releases()], vec![ten_releases(), a_week_of_untagged()]);
    assert_eq!(lines, ["rule 2 was rule 1: untagged images: expire 7 days after their push"]);
}

#[test]
fn an_archived_rule_is_no_change_of_one_for_other_images() {
    let archived = LifecycleRule { expire_archived_after_days: Some(90), ..any() };
    assert_eq!(diff(vec![keep_any(3)], vec![archived]).len(), 2);
}

#[test]
fn rules_that_have_no_words_here_are_told_as_they_are() {
    let foreign =
        Policy::parse(r#"{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "signed"}}]}"#).expect("JSON");
    let lines = foreign.diff(&typed(vec![keep_any(3)]));
    assert_eq!(lines[0], "rule 1 added: any image: expire all but the last 3");
    assert!(lines[1].starts_with("rule 1 removed: ") && lines[1].contains("signed"), "{lines:?}");
    assert!(raw(&foreign.text()).is_err(), "what can't be read is not taken from a spec");
}
