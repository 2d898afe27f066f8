use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::api::{ClusterEcrPullSecret, EcrPullSecret, HasStatus, IgnoredEntry};
use crate::controllers::pull_secret::additional::Origin;
use crate::controllers::states::{Case, spec};
use crate::ecr::PullRole;

/// An object that wants nothing in particular.
pub(in super::super) fn wanted() -> Wanted {
    Wanted {
        registries: Vec::new(),
        additional_hosts: Vec::new(),
        repositories: None,
        additional: Origin { namespace: String::new(), must_be_shared: false, secrets: Vec::new() },
        accounts: None,
        secret_name: "pull".into(),
        owner: Default::default(),
        namespaces: BTreeSet::new(),
        out_of_scope: 0,
    }
}

fn served(namespaces: usize, failed: &[(&str, Failure)]) -> Served {
    Served {
        expires_at: (namespaces > 0).then(|| Timestamp::from_second(43_200).expect("in range")),
        namespaces: (0..namespaces).map(|n| format!("namespace-{n}")).collect(),
        failed: failed.iter().map(|(name, failure)| ((*name).to_owned(), failure.clone())).collect(),
        ..Served::default()
    }
}

fn message(served: &Served) -> String {
    match outcome(&wanted(), served) {
        Outcome::Ready { message } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ready_says_how_many_namespaces_are_served_and_until_when() {
    assert_eq!(message(&served(1, &[])), "Secret pull is good until 1970-01-01T12:00:00Z");
    assert_eq!(message(&served(3, &[])), "Secret pull in 3 namespaces is good until 1970-01-01T12:00:00Z");
    assert_eq!(message(&served(0, &[])), "no namespace is selected");
}

#[test]
fn a_secret_that_works_is_ready_also_while_it_can_not_be_renewed() {
    let mut away = served(2, &[]);
    away.not_renewed = Some(Failure::transient(Reason::Unreachable, "AWS is away"));
    let words = message(&away);
    assert!(words.contains("good until") && words.contains("AWS is away"), "{words}");
}

#[test]
fn one_namespace_that_fails_gives_its_reason_and_several_are_counted() {
    let foreign = Failure::stalled(Reason::SecretNotOwned, "theirs");
    let away = Failure::transient(Reason::Retrying, "away");
    let Outcome::Failed(one) = outcome(&wanted(), &served(5, &[("a", foreign.clone())])) else { panic!("not ready") };
    assert_eq!((one.reason, one.message.as_str(), one.retry), (Reason::SecretNotOwned, "theirs", Retry::Stalled));
    let Outcome::Failed(two) = outcome(&wanted(), &served(5, &[("a", foreign), ("b", away)])) else {
        panic!("not ready")
    };
    assert_eq!((two.reason, two.retry), (Reason::SomeNamespacesFailed, Retry::Backoff));
    assert!(two.message.contains("2 namespaces"), "{two}");
}

#[test]
fn the_status_names_a_bounded_number_of_namespaces() {
    let failure = Failure::stalled(Reason::SecretNotOwned, "theirs");
    let names: Vec<String> = (0..100).map(|n| format!("namespace-{n}")).collect();
    let failed: Vec<_> = names.iter().map(|name| (name.as_str(), failure.clone())).collect();
    assert_eq!(status(&wanted(), &served(0, &failed), None).failed.len(), NAMED);
}

#[test]
fn each_failed_namespace_has_its_reason_and_they_are_counted() {
    let long = Failure::transient(Reason::Retrying, "x".repeat(5000));
    let failed = [("a", Failure::stalled(Reason::SecretNotOwned, "theirs")), ("b", long)];
    let status = status(&wanted(), &served(3, &failed), None);
    assert_eq!((status.namespaces, status.failed_namespaces), (Some(3), Some(2)));
    assert_eq!((status.failed[0].namespace.as_str(), status.failed[0].reason.as_str()), ("a", "SecretNotOwned"));
    assert!(status.failed[1].message.len() <= LONGEST);
}

#[test]
fn a_secret_that_can_not_be_merged_in_is_told_and_takes_nothing_from_the_rest() {
    let not_merged = Some(Failure::stalled(Reason::SecretNotFound, "Secret a/hub does not exist"));
    let served = Served { not_merged, ..served(2, &[]) };
    let Outcome::Failed(failure) = outcome(&wanted(), &served) else { panic!("not ready") };
    assert_eq!((failure.reason, failure.retry), (Reason::SecretNotFound, Retry::Stalled));
    assert!(failure.message.contains("a/hub") && failure.message.contains("all the same"), "{failure}");
    assert_eq!(status(&wanted(), &served, None).namespaces, Some(2));
}

#[test]
fn entries_that_are_left_out_and_namespaces_out_of_reach_are_told() {
    let entry = |n| IgnoredEntry { secret_name: "hub".into(), host: format!("{n}.example.com"), message: "no".into() };
    let served = Served { ignored: (0..30).map(entry).collect(), accounts: Some(4), ..served(2, &[]) };
    assert!(message(&served).contains("30 of the entries"), "{}", message(&served));
    let told = status(&wanted(), &served, None);
    assert_eq!((told.ignored_entries.len(), told.service_accounts), (NAMED, Some(4)));
    let Outcome::Ready { message } = outcome(&Wanted { out_of_scope: 7, ..wanted() }, &served) else { panic!("ready") };
    assert!(message.contains("7 more are selected") && message.contains("--namespaces"), "{message}");
}

#[test]
fn what_the_statuses_come_to_is_the_sum_and_the_first_expiry() {
    let at = |second| Timestamp::from_second(second).ok();
    let with = |expires_at, namespaces| status(&wanted(), &Served { expires_at, ..served(namespaces, &[]) }, None);
    let statuses = [with(at(300), 2), with(at(200), 3), with(None, 0), PullSecretStatus::default()];
    let tally = tally("EcrPullSecret", statuses.iter());
    assert_eq!(tally, Tally { kind: "EcrPullSecret", served: 5, failed: 0, expires_at: at(200) });
}

#[test]
fn a_token_that_can_push_is_told_and_what_to_do() {
    let condition = |can_push: &[&str]| {
        let can_push = can_push.iter().map(|name| (*name).to_owned()).collect();
        status(&wanted(), &Served { can_push, ..served(1, &[]) }, Some(3)).common.conditions.remove(0)
    };
    let can_push = condition(&["default"]);
    assert_eq!((can_push.type_.as_str(), can_push.status.as_str()), ("PullOnly", "False"));
    assert_eq!((can_push.reason.as_str(), can_push.observed_generation), ("TokenCanPush", Some(3)));
    assert!(can_push.message.contains("EcrRegistry default a spec.pullRole"), "{}", can_push.message);
    let narrowed = condition(&[]);
    assert_eq!((narrowed.status.as_str(), narrowed.reason.as_str()), ("True", "SessionPolicy"));
}

#[test]
fn no_token_that_can_push_is_handed_out_where_that_was_ruled_out() {
    let can_push = ["default".to_owned()];
    assert_eq!(must_not_push(&[], true, true), None);
    assert_eq!(must_not_push(&can_push, false, false), None, "it is told in a condition");
    for (narrowed, required, words) in [(true, false, "spec.repositories"), (false, true, "--require-pull-only")] {
        let failure = must_not_push(&can_push, narrowed, required).expect("refused");
        assert!(failure.is_stalled() && failure.reason == Reason::TokenCanPush);
        assert!(failure.message.contains(words) && failure.message.contains("spec.pullRole"), "{failure}");
        let told = failed(status(&wanted(), &served(3, &[]), None), &failure);
        assert_eq!((told.namespaces, told.expires_at), (Some(0), None), "they were taken away");
    }
}

#[test]
fn a_role_that_can_not_be_assumed_is_named_with_what_it_lacks() {
    let key = |tags: &[&str]| MintKey {
        account: "123456789012".into(),
        region: "eu-west-1".into(),
        endpoints: Default::default(),
        narrowed: Some((
            PullRole {
                arn: "arn:aws:iam::123456789012:role/pull".into(),
                external_id: None,
                tags: tags.iter().map(|key| ((*key).to_owned(), String::new())).collect(),
                within_session: false,
            },
            String::new(),
        )),
    };
    let denied =
        EcrError { operation: "sts:AssumeRole", kind: ErrorKind::AccessDenied, message: "AccessDenied: no".into() };
    let plain = not_minted(&key(&[]), denied.clone()).message;
    assert!(plain.contains("trust policy of arn:aws:iam::123456789012:role/pull") && !plain.contains("Tag"), "{plain}");
    assert!(not_minted(&key(&["cluster"]), denied).message.contains("sts:TagSession"));
}

/// What can become of a pull secret of one namespace, and of one of many.
pub(in crate::controllers) fn cases() -> (Vec<Case<EcrPullSecret>>, Vec<Case<ClusterEcrPullSecret>>) {
    let one = || EcrPullSecret::new("judged", spec(json!({"registries": [{"name": "default"}]})));
    let many = || {
        let selected = json!({"registries": [{"name": "default"}], "namespaceSelector": {}});
        ClusterEcrPullSecret::new("judged", spec(selected))
    };
    (cases_of(one), cases_of(many))
}

fn cases_of<K: HasStatus<Status = PullSecretStatus>>(object: impl Fn() -> K) -> Vec<Case<K>> {
    let foreign = || Failure::stalled(Reason::SecretNotOwned, "theirs");
    let away = || Failure::transient(Reason::Unreachable, "AWS is away");
    let case = |what, served: Served| {
        let status = status(&wanted(), &served, Some(3));
        Case { what, object: object(), status, outcome: outcome(&wanted(), &served) }
    };
    let nothing = |what, failure: Failure| {
        let status = failed(status(&wanted(), &served(1, &[]), Some(3)), &failure);
        Case { what, object: object(), status, outcome: Outcome::Failed(failure) }
    };
    let push = must_not_push(&["default".to_owned()], true, false).expect("refused");
    vec![
        case("the Secret is there", served(1, &[])),
        case("no namespace is selected", served(0, &[])),
        case(
            "the Secret is there, with a token that can push",
            Served { can_push: vec!["default".into()], ..served(1, &[]) },
        ),
        case("the Secret works and can't be renewed", Served { not_renewed: Some(away()), ..served(1, &[]) }),
        case("another Secret can't be merged in", Served { not_merged: Some(foreign()), ..served(1, &[]) }),
        case("a namespace has a Secret of that name", served(1, &[("a", foreign())])),
        case("a namespace could not be served", served(1, &[("a", away())])),
        case("several namespaces could not be served", served(1, &[("a", foreign()), ("b", away())])),
        nothing("tokens could push, and that is ruled out", push),
        nothing("the EcrRegistry is missing", Failure::stalled(Reason::RegistryNotFound, "no EcrRegistry")),
        nothing("AWS does not answer", away()),
    ]
}
