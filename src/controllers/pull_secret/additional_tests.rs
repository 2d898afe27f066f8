use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::*;

const OURS: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn from(must_be_shared: bool) -> Origin {
    Origin { namespace: "here".into(), must_be_shared, secrets: Vec::new() }
}

fn secret(config: &Value, labels: &[(&str, &str)]) -> Secret {
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| (*key, *value)).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "static", "labels": labels},
        "data": {DATA_KEY: BASE64.encode(config.to_string())},
    }))
    .expect("a Secret")
}

fn merged(configs: &[Value]) -> Additional {
    let hosts = BTreeSet::from([OURS.to_owned()]);
    let mut additional = Additional::default();
    for (n, config) in configs.iter().enumerate() {
        let entries = content(&from(false), "static", Some(&secret(config, &[]))).expect("a docker config");
        additional.merge(&format!("static-{n}"), entries, &hosts);
    }
    additional
}

fn entry(key: &str) -> Value {
    json!({"auths": {key: {"username": "user", "password": "canary"}}})
}

#[test]
fn entries_are_taken_over_under_their_own_keys() {
    let additional = merged(&[entry("https://index.docker.io/v1/"), entry("ghcr.io")]);
    let keys: Vec<_> = additional.entries.keys().collect();
    assert_eq!(keys, ["ghcr.io", "https://index.docker.io/v1/"]);
    assert!(additional.ignored.is_empty());
}

#[test]
fn no_entry_stands_before_ours_in_whatever_form_it_comes() {
    for key in [
        OURS.to_owned(),
        format!("https://{OURS}"),
        format!("https://{OURS}/v2/"),
        format!("{OURS}/team-a/api"),
        OURS.to_ascii_uppercase(),
        "*.dkr.ecr.eu-west-1.amazonaws.com".to_owned(),
        "*.dkr.ecr.*.amazonaws.com".to_owned(),
        "*.*.*.*.*.*".to_owned(),
        "12345678901?.dkr.ecr.eu-west-1.amazonaws.com".to_owned(),
        "[0-9]*.dkr.ecr.eu-west-1.amazonaws.com".to_owned(),
        "*".to_owned(),
    ] {
        let additional = merged(&[entry(&key)]);
        assert!(additional.entries.is_empty(), "{key}");
        let [ignored] = additional.ignored.as_slice() else { panic!("{key}: {:?}", additional.ignored) };
        assert_eq!((ignored.host.as_str(), ignored.secret_name.as_str()), (OURS, "static-0"), "{key}");
    }
}

#[test]
fn entries_for_other_hosts_stand_however_much_they_look_like_ours() {
    for key in [
        "999999999999.dkr.ecr.eu-west-1.amazonaws.com".to_owned(),
        format!("{OURS}.example.com"),
        format!("x{OURS}"),
        format!("{OURS}:443"),
        format!("example.com/{OURS}"),
    ] {
        let additional = merged(&[entry(&key)]);
        assert_eq!(additional.entries.keys().collect::<Vec<_>>(), [&key]);
    }
}

#[test]
fn of_two_secrets_with_the_same_key_the_first_counts_and_the_other_is_told() {
    let second = json!({"auths": {"ghcr.io": {"auth": BASE64.encode("other:password")}}});
    let additional = merged(&[entry("ghcr.io"), second]);
    assert_eq!(additional.entries["ghcr.io"].username, "user");
    assert_eq!(
        (additional.ignored[0].secret_name.as_str(), additional.ignored[0].host.as_str()),
        ("static-1", "ghcr.io")
    );
}

#[test]
fn an_entry_without_credentials_is_told_and_a_key_that_is_no_host_is_passed_over() {
    let additional = merged(&[
        json!({"auths": {"ghcr.io": {"identitytoken": "canary"}, "": {"username": "a", "password": "b"}, "a b": {"username": "a", "password": "b"}}}),
    ]);
    assert!(additional.entries.is_empty());
    assert_eq!(additional.ignored.iter().map(|it| it.host.as_str()).collect::<Vec<_>>(), ["ghcr.io"]);
}

#[test]
fn a_secret_that_can_not_be_used_is_told_without_its_content() {
    let refusal = |from: &Origin, secret: Option<&Secret>| content(from, "static", secret).expect_err("refused");
    let missing = refusal(&from(false), None);
    assert_eq!(missing.reason, Reason::SecretNotFound);
    assert!(missing.is_stalled() && missing.message.contains("here/static"), "{missing}");
    let broken = refusal(&from(false), Some(&secret(&json!({"auths": {"ghcr.io": {"auth": "canary"}}}), &[])));
    assert!(!broken.message.contains("canary"), "{broken}");
    let other_type: Secret = serde_json::from_value(json!({"data": {"password": "Y2FuYXJ5"}})).expect("a Secret");
    assert!(refusal(&from(false), Some(&other_type)).message.contains("kubernetes.io/dockerconfigjson"));
    let written = secret(&entry("ghcr.io"), &[(MANAGED_BY_LABEL, MANAGED_BY)]);
    assert_eq!(refusal(&from(false), Some(&written)).reason, Reason::InvalidSpec);
}

#[test]
fn what_goes_to_other_namespaces_has_to_say_that_it_may() {
    for labels in [&[][..], &[(SHARED_LABEL, "false")], &[(SHARED_LABEL, "")]] {
        let refused = content(&from(true), "static", Some(&secret(&entry("ghcr.io"), labels))).expect_err("refused");
        assert_eq!(refused.reason, Reason::SecretNotShared);
        assert!(refused.message.contains("ecr-operator.io/shared=true"), "{refused}");
    }
    let shared = secret(&entry("ghcr.io"), &[(SHARED_LABEL, "true")]);
    assert_eq!(content(&from(true), "static", Some(&shared)).expect("shared").len(), 1);
}

#[test]
fn other_entries_have_another_mark_and_none_have_that_of_the_rights() {
    let mark = |configs: &[Value]| merged(configs).marked("rights".into());
    assert_eq!(mark(&[]), "rights");
    assert_ne!(mark(&[entry("ghcr.io")]), "rights");
    assert_eq!(mark(&[entry("ghcr.io")]), mark(&[entry("ghcr.io")]));
    assert_ne!(mark(&[entry("ghcr.io")]), mark(&[entry("quay.io")]));
}

#[test]
fn no_more_is_taken_over_than_a_secret_holds() {
    let large = "x".repeat(100_000);
    let configs: Vec<_> =
        (0..4).map(|n| json!({"auths": {format!("{n}.example.com"): {"username": "u", "password": large}}})).collect();
    let additional = merged(&configs);
    assert_eq!((additional.entries.len(), additional.ignored.len()), (1, 3));
}
