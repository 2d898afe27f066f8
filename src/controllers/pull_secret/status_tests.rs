use super::*;
use crate::ecr::PullRole;

fn served(namespaces: usize, failed: &[(&str, Failure)]) -> Served {
    Served {
        expires_at: (namespaces > 0).then(|| Timestamp::from_second(43_200).expect("in range")),
        renew_at: None,
        namespaces,
        not_renewed: None,
        failed: failed.iter().map(|(name, failure)| ((*name).to_owned(), failure.clone())).collect(),
        can_push: Vec::new(),
    }
}

fn message(served: &Served) -> String {
    match outcome("pull", served) {
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
    let Outcome::Failed(one) = outcome("pull", &served(5, &[("a", foreign.clone())])) else { panic!("not ready") };
    assert_eq!((one.reason, one.message.as_str(), one.retry), (Reason::SecretNotOwned, "theirs", Retry::Stalled));
    let Outcome::Failed(two) = outcome("pull", &served(5, &[("a", foreign), ("b", away)])) else { panic!("not ready") };
    assert_eq!((two.reason, two.retry), (Reason::SomeNamespacesFailed, Retry::Backoff));
    assert!(two.message.contains("2 namespaces"), "{two}");
}

#[test]
fn the_status_names_a_bounded_number_of_namespaces() {
    let failure = Failure::stalled(Reason::SecretNotOwned, "theirs");
    let names: Vec<String> = (0..100).map(|n| format!("namespace-{n}")).collect();
    let failed: Vec<_> = names.iter().map(|name| (name.as_str(), failure.clone())).collect();
    assert_eq!(status("pull", &served(0, &failed), None).failed.len(), NAMED);
}

#[test]
fn a_token_that_can_push_is_told_and_what_to_do() {
    let condition = |can_push: &[&str]| {
        let can_push = can_push.iter().map(|name| (*name).to_owned()).collect();
        status("pull", &Served { can_push, ..served(1, &[]) }, Some(3)).common.conditions.remove(0)
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
        let told = failed(status("pull", &served(3, &[]), None), &failure);
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
