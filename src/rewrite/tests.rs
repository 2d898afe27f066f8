use super::*;

fn images() -> BTreeMap<String, RewrittenImages> {
    serde_json::from_str(include_str!("testdata/images.json")).expect("mirrored images")
}

#[test]
fn every_reference_of_the_table_gets_its_answer() {
    let images = images();
    let lines = include_str!("testdata/references.tsv").lines().filter(|line| !line.starts_with('#'));
    let cases: Vec<(&str, &str)> = lines.map(|line| line.split_once('\t').expect("a tab")).collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    for (image, expected) in cases {
        assert_eq!(rewritten(image, &images).as_deref().unwrap_or("-"), expected, "{image}");
    }
}

#[test]
fn what_was_rewritten_is_not_rewritten_again() {
    let images = images();
    let all = include_str!("testdata/references.tsv").lines().filter_map(|line| line.split_once('\t'));
    for (_, expected) in all {
        assert_eq!(rewritten(expected, &images), None, "{expected}");
    }
}

#[test]
fn the_names_of_mirrored_repositories_are_those_that_references_are_read_as() {
    for name in images().keys() {
        let read = name.parse::<oci_copy::Repository>().map(|repository| repository.to_string());
        assert_eq!(read.as_ref(), Ok(name));
    }
}

#[test]
fn the_policy_uses_nothing_but_its_own_variables() {
    let text = policy::policy(policy::FailurePolicy::Ignore, "v1").to_string();
    let spec = policy::policy(policy::FailurePolicy::Fail, "v1");
    assert_eq!(spec["failurePolicy"], "Fail");
    let variables: Vec<&str> =
        spec["variables"].as_array().expect("a list").iter().filter_map(|it| it["name"].as_str()).collect();
    for used in text.split("variables.").skip(1) {
        let name: String = used.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(variables.contains(&name.as_str()), "variables.{name} is not defined");
    }
}
