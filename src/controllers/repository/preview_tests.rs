use super::*;
use crate::controllers::workloads::WorkloadName;

const DAY: i64 = 24 * 60 * 60;

fn policy(days: u32) -> Policy {
    let text = format!(
        r#"{{"rules":[{{"rulePriority":1,"selection":{{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":{days}}},"action":{{"type":"expire"}}}}]}}"#
    );
    Policy::parse(&text).expect("a policy")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

/// Asks at this second.
fn ask<'a>(policy: &'a Policy, previous: Option<&'a LifecyclePreview>, second: i64) -> Ask<'a> {
    Ask { name: "team/api", uris: &[], policy, previous, afresh: false, now: at(second) }
}

/// A preview of these rules in this state, started at second 0.
fn preview(policy: &Policy, state: PreviewState) -> LifecyclePreview {
    LifecyclePreview { state, ..started(&ask(policy, None, 0)) }
}

fn image(digest: &str, tags: &[&str], action: PreviewAction) -> PreviewedImage {
    PreviewedImage {
        digest: digest.to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        action,
        rule: Some(1),
    }
}

fn result(policy: &Policy, images: Vec<PreviewedImage>) -> PreviewResult {
    let count = |action| length(images.iter().filter(|image| image.action == action).count());
    PreviewResult {
        policy: Some(policy.text()),
        expiring: count(PreviewAction::Expire),
        archiving: count(PreviewAction::Archive),
        images,
    }
}

/// Pods that use references: (reference, namespace, pod).
fn uses(used: &[(&str, &str, &str)]) -> Usage {
    let mut uses = Uses::default();
    for (reference, namespace, name) in used {
        let pod = WorkloadName { kind: "Pod".into(), namespace: (*namespace).into(), name: (*name).into() };
        uses.0.entry((*reference).to_owned()).or_default().insert(pod);
    }
    Usage::Known(uses)
}

fn judged(answer: Preview, usage: &Usage) -> LifecyclePreview {
    let (policy, running) = (policy(7), preview(&policy(7), PreviewState::InProgress));
    match judge(&answer, usage, &running, &ask(&policy, Some(&running), 3)) {
        Judgement::Say(preview) => preview,
        Judgement::StartAnew => panic!("started anew"),
    }
}

#[test]
fn a_preview_is_started_where_there_is_none_and_when_the_rules_change() {
    let (week, month) = (policy(7), policy(30));
    let known = preview(&week, PreviewState::Complete);
    assert_eq!(step(&ask(&week, None, 0)), Step::Start);
    assert_eq!(step(&ask(&month, Some(&known), 1)), Step::Start);
    let running = preview(&week, PreviewState::InProgress);
    assert_eq!(step(&ask(&month, Some(&running), 1)), Step::Start, "a preview of other rules is of no use");
}

#[test]
fn an_unchanged_reconcile_asks_nothing_for_a_day() {
    let week = policy(7);
    let known = preview(&week, PreviewState::Complete);
    for second in [0, 1, 600, DAY - 1] {
        assert_eq!(step(&ask(&week, Some(&known), second)), Step::Keep(&known), "after {second} s");
    }
    assert_eq!(step(&ask(&week, Some(&known), DAY)), Step::Start);
}

#[test]
fn a_preview_is_started_afresh_on_request_unless_one_is_going_on() {
    let week = policy(7);
    for (state, expected) in [
        (PreviewState::Complete, Step::Start),
        (PreviewState::Failed, Step::Start),
        (PreviewState::InProgress, Step::Poll(&preview(&week, PreviewState::InProgress))),
    ] {
        let known = preview(&week, state);
        let ask = Ask { afresh: true, ..ask(&week, Some(&known), 1) };
        assert_eq!(step(&ask), expected, "{state:?}");
    }
}

#[test]
fn a_preview_that_failed_is_tried_again_after_an_hour() {
    let week = policy(7);
    let known = preview(&week, PreviewState::Failed);
    assert_eq!(step(&ask(&week, Some(&known), 3599)), Step::Keep(&known));
    assert_eq!(step(&ask(&week, Some(&known), 3600)), Step::Start);
}

#[test]
fn a_preview_that_goes_on_is_looked_at_again_soon_and_then_less_often() {
    let running = preview(&policy(7), PreviewState::InProgress);
    for (second, wait) in [(0, 2), (3, 3), (20, 20), (500, 60)] {
        assert_eq!(again(&running, at(second)), Duration::from_secs(wait), "after {second} s");
    }
}

#[test]
fn the_next_look_comes_when_there_is_something_to_do() {
    let week = policy(7);
    for state in [PreviewState::Complete, PreviewState::Failed] {
        let known = preview(&week, state);
        let wait = i64::try_from(again(&known, at(60)).as_secs()).expect("a day at most");
        assert_eq!(step(&ask(&week, Some(&known), 60 + wait - 1)), Step::Keep(&known), "{state:?}");
        assert_eq!(step(&ask(&week, Some(&known), 60 + wait)), Step::Start, "{state:?}");
        assert_eq!(again(&known, at(60 + wait + 1)), Duration::ZERO);
    }
}

#[test]
fn the_counts_of_the_last_preview_stay_while_the_next_one_goes_on_and_not_those_of_other_rules() {
    let week = policy(7);
    let known = LifecyclePreview { expiring: Some(3), in_use: Some(1), ..preview(&week, PreviewState::Complete) };
    let next = started(&ask(&week, Some(&known), DAY));
    assert_eq!((next.state, next.expiring, next.in_use), (PreviewState::InProgress, Some(3), Some(1)));
    assert_eq!(next.started_at, Time(at(DAY)));
    assert_eq!(started(&ask(&policy(30), Some(&known), DAY)).expiring, None);
}

#[test]
fn a_preview_of_other_rules_or_none_at_all_is_started_anew() {
    let (week, running) = (policy(7), preview(&policy(7), PreviewState::InProgress));
    let others = Preview::Complete(result(&policy(30), Vec::new()));
    for answer in [Preview::None, others] {
        let judgement = judge(&answer, &uses(&[]), &running, &ask(&week, Some(&running), 3));
        assert_eq!(judgement, Judgement::StartAnew, "{answer:?}");
    }
}

#[test]
fn a_preview_that_does_not_say_of_which_rules_it_is_counts_as_the_one_that_was_asked_for() {
    let said = judged(Preview::Complete(PreviewResult { expiring: 2, ..PreviewResult::default() }), &uses(&[]));
    assert_eq!((said.state, said.expiring), (PreviewState::Complete, Some(2)));
}

#[test]
fn a_preview_that_never_ends_or_fails_says_so() {
    let (week, running) = (policy(7), preview(&policy(7), PreviewState::InProgress));
    let judge = |answer, second| judge(&answer, &uses(&[]), &running, &ask(&week, Some(&running), second));
    assert_eq!(judge(Preview::InProgress, 3599), Judgement::Say(running.clone()));
    let others = || Preview::Complete(result(&policy(30), Vec::new()));
    for (answer, second) in [(Preview::Failed, 1), (Preview::InProgress, 3600), (Preview::None, 3600), (others(), 3600)]
    {
        let Judgement::Say(preview) = judge(answer, second) else { panic!("started anew") };
        assert_eq!(preview.state, PreviewState::Failed);
        assert!(preview.message.starts_with("there is no preview: ECR "), "{}", preview.message);
    }
    let late = judge(Preview::Complete(result(&week, Vec::new())), 7200);
    assert!(matches!(late, Judgement::Say(preview) if preview.state == PreviewState::Complete), "late is not too late");
}

#[test]
fn a_preview_that_is_started_anew_is_looked_at_ever_less_often() {
    let (week, running) = (policy(7), preview(&policy(7), PreviewState::InProgress));
    let anew = started(&ask(&week, Some(&running), 50));
    assert_eq!(anew.started_at, Time(at(0)));
    assert_eq!(again(&anew, at(50)), Duration::from_secs(50));
}

#[test]
fn the_counts_are_told_in_words() {
    use PreviewAction::{Archive, Expire};
    let none = uses(&[]);
    for (actions, words) in [
        (vec![], "no image would expire or be archived"),
        (vec![Expire], "1 image would expire"),
        (vec![Archive, Archive], "2 images would be archived"),
        (vec![Expire, Expire, Archive], "2 images would expire and 1 be archived"),
    ] {
        let images = actions.iter().zip(0..).map(|(action, number)| image(&format!("sha256:{number}"), &[], *action));
        let said = judged(Preview::Complete(result(&policy(7), images.collect())), &none);
        assert_eq!(said.message, words);
        assert_eq!((said.state, said.in_use), (PreviewState::Complete, Some(0)));
        assert_eq!(warning(None, &said), None);
    }
}

#[test]
fn images_that_pods_run_by_digest_or_name_by_tag_are_in_use() {
    let images = vec![
        image("sha256:a", &[], PreviewAction::Expire),
        image("sha256:b", &["v1", "v1.0"], PreviewAction::Archive),
        image("sha256:c", &["v2"], PreviewAction::Expire),
    ];
    let usage = uses(&[
        ("sha256:a", "team-a", "api-1"),
        ("v1", "team-a", "web-1"),
        ("sha256:b", "team-b", "web-1"),
        ("sha256:b", "team-a", "web-1"),
        ("v3", "team-c", "other"),
    ]);
    let said = judged(Preview::Complete(result(&policy(7), images)), &usage);
    assert_eq!(said.in_use, Some(2));
    assert_eq!(
        said.in_use_images,
        [
            ImageInUse {
                digest: "sha256:b".into(),
                tags: vec!["v1".into(), "v1.0".into()],
                action: PreviewAction::Archive,
                rule: Some(1),
                pods: 2,
                namespaces: vec!["team-a".into(), "team-b".into()],
            },
            ImageInUse {
                digest: "sha256:a".into(),
                tags: vec![],
                action: PreviewAction::Expire,
                rule: Some(1),
                pods: 1,
                namespaces: vec!["team-a".into()],
            },
        ]
    );
    assert_eq!(said.message, "2 images would expire and 1 be archived, and pods of this cluster run 2 of them");
    let warning = warning(None, &said).expect("a warning");
    assert!(
        warning.contains("sha256:b (v1, v1.0) would be archived by rule 1 and is used in team-a, team-b"),
        "{warning}"
    );
}

#[test]
fn a_warning_is_given_once_and_again_for_another_image() {
    let usage = uses(&[("sha256:a", "n", "p"), ("sha256:b", "n", "q")]);
    let one = vec![image("sha256:a", &[], PreviewAction::Expire)];
    let two = vec![image("sha256:b", &[], PreviewAction::Expire), image("sha256:a", &[], PreviewAction::Expire)];
    let first = judged(Preview::Complete(result(&policy(7), one)), &usage);
    assert!(warning(None, &first).is_some());
    assert_eq!(warning(Some(&first), &first), None);
    let running = started(&ask(&policy(7), Some(&first), DAY));
    assert_eq!(warning(Some(&first), &running), None, "nothing is known yet");
    let second = judged(Preview::Complete(result(&policy(7), two)), &usage);
    assert!(warning(Some(&running), &second).is_some_and(|words| words.contains("sha256:b")));
}

#[test]
fn the_status_stays_small_however_many_images_there_are() {
    let tags: Vec<String> = (0..100).map(|number| format!("v{number}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let images = (0..200).map(|number| image(&format!("sha256:{number:03}"), &tags, PreviewAction::Expire)).collect();
    let pods: Vec<String> = (0..50).map(|number| format!("n{number}")).collect();
    let usage = uses(&pods.iter().map(|name| ("v1", name.as_str(), "pod")).collect::<Vec<_>>());
    let said = judged(Preview::Complete(result(&policy(7), images)), &usage);
    assert_eq!(said.in_use, Some(200));
    assert_eq!(said.in_use_images.len(), EXAMPLES);
    assert!(said.in_use_images.iter().all(|image| image.tags.len() == NAMES && image.namespaces.len() == NAMES));
}

#[test]
fn what_could_not_be_compared_is_said() {
    let two = || result(&policy(7), vec![image("sha256:a", &[], PreviewAction::Expire)]);
    let more = PreviewResult { expiring: 7000, ..two() };
    let said = judged(Preview::Complete(more), &uses(&[("v1", "n", "p")]));
    assert!(said.message.ends_with("only 1 of them were compared with pods"), "{}", said.message);
    let said = judged(Preview::Complete(two()), &Usage::Unknown { problem: "forbidden".into() });
    assert_eq!((said.in_use, said.expiring), (None, Some(1)));
    assert!(said.message.contains("can't list pods: forbidden"), "{}", said.message);
    assert_eq!(warning(None, &said), None);
}
