use super::policy::{Wanted, policy};
use super::*;
use crate::api::EnforcementFailurePolicy;

/// What the table is about; the test on the stack asks the API server about the same.
fn allowed(require_digest: bool) -> Allowed {
    let prefixes = include_str!("testdata/allowed.txt").lines().map(str::to_owned).collect();
    Allowed { prefixes, require_digest }
}

#[test]
fn every_image_of_the_table_gets_its_answer() {
    let lines = include_str!("testdata/images.tsv").lines().filter(|line| !line.starts_with('#'));
    let cases: Vec<(&str, &str)> = lines.map(|line| line.split_once('\t').expect("a tab")).collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    for (image, expected) in cases {
        let (with, without) = match expected {
            "allowed" => (Verdict::Allowed, Verdict::Allowed),
            "no-digest" => (Verdict::NoDigest, Verdict::Allowed),
            _ => (Verdict::NotAllowed, Verdict::NotAllowed),
        };
        assert_eq!(judge(image, &allowed(true)), with, "{image}, digests required");
        assert_eq!(judge(image, &allowed(false)), without, "{image}");
    }
}

#[test]
fn what_is_not_listed_is_not_allowed() {
    assert_eq!(judge("nginx", &Allowed::default()), Verdict::NotAllowed);
}

fn wanted() -> Wanted {
    Wanted { allowed: allowed(true), told: vec!["quay.io".into()], ..Wanted::default() }
}

#[test]
fn the_policy_uses_nothing_but_its_own_variables_each_after_its_definition() {
    let spec = policy(&wanted());
    let variables: Vec<(&str, &str)> = spec["variables"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| (it["name"].as_str().expect("a name"), it["expression"].as_str().expect("an expression")))
        .collect();
    let names = |text: &str| -> Vec<String> {
        let used = text.split("variables.").skip(1);
        used.map(|used| used.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
    };
    for (position, (name, expression)) in variables.iter().enumerate() {
        for used in names(expression) {
            assert!(variables[..position].iter().any(|(known, _)| *known == used), "{name} uses {used}");
        }
    }
    for used in names(&spec["validations"].to_string()) {
        assert!(variables.iter().any(|(known, _)| *known == used), "{used} is not defined");
    }
}

#[test]
fn nothing_newer_than_kubernetes_1_30_is_used() {
    let text = policy(&wanted()).to_string();
    for newer in [".distinct()", ".transformList(", ".transformMap", ".slice(", ".flatten(", ".first(", "cel.bind"] {
        assert!(!text.contains(newer), "{newer}");
    }
}

#[test]
fn braces_and_quotes_of_the_message_come_in_pairs() {
    let registry = Some("eu".to_owned());
    for wanted in [wanted(), Wanted { registry, ..wanted() }, Wanted { allowed: allowed(false), ..wanted() }] {
        let spec = policy(&wanted);
        let message = spec["validations"][0]["messageExpression"].as_str().expect("an expression");
        assert_eq!(message.matches('{').count(), message.matches('}').count(), "{message}");
        assert_eq!(message.replace("\\'", "").matches('\'').count() % 2, 0, "{message}");
    }
}

#[test]
fn digests_are_asked_for_where_they_are_required() {
    let count = |require_digest| {
        let spec = policy(&Wanted { allowed: allowed(require_digest), ..wanted() });
        spec["validations"].as_array().expect("a list").len()
    };
    assert_eq!((count(true), count(false)), (2, 1));
}

#[test]
fn what_is_allowed_is_no_way_into_the_expressions() {
    let evil = "quay.io\"] + ['x".to_owned();
    let spec = policy(&Wanted { allowed: Allowed { prefixes: vec![evil], ..Allowed::default() }, ..wanted() });
    assert_eq!(spec["variables"][0]["expression"], r#"["quay.io\"] + ['x/"]"#);
}

#[test]
fn long_lists_are_cut_in_messages() {
    let told = (0..12).map(|n| format!("r{n}.example.com")).collect();
    let spec = policy(&Wanted { told, ..wanted() });
    let message = spec["validations"][0]["message"].as_str().expect("a text");
    assert!(message.ends_with("r9.example.com and 2 more"), "{message}");
}

#[test]
fn a_pod_that_can_not_be_judged_is_treated_as_the_spec_says() {
    let of = |failure_policy| policy(&Wanted { failure_policy, ..wanted() })["failurePolicy"].clone();
    assert_eq!(
        (of(EnforcementFailurePolicy::Fail), of(EnforcementFailurePolicy::Ignore)),
        ("Fail".into(), "Ignore".into())
    );
}
