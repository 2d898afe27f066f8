use super::*;

const PULL: &str = "arn:aws:iam::123456789012:role/pull";
const REACHED_BY: &str = "arn:aws:iam::123456789012:role/ecr-operator";

fn registry(more: &str) -> EcrRegistrySpec {
    serde_saphyr::from_str(&format!("{{region: eu-west-1, {more}}}")).expect("a spec")
}

fn with_pull_role(more: &str) -> EcrRegistrySpec {
    registry(&format!("pullRole: {{roleArn: '{PULL}'{more}}}"))
}

fn ask(
    registry: &EcrRegistrySpec,
    granted: &Granted,
    namespace: &str,
    repositories: Option<&[&str]>,
) -> Result<MintKey, Failure> {
    let repositories: Option<Vec<String>> =
        repositories.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let place = Place { account: "123456789012", region: "eu-west-1", endpoints: &ApiEndpoints::default() };
    key(registry, "default", place, granted, Asker { cluster: "uid", namespace, repositories: repositories.as_deref() })
}

fn matching(patterns: &[&str]) -> Granted {
    Granted::Matching(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
}

/// The names that the policy lets pull from.
fn pullable(key: &MintKey) -> Vec<String> {
    let (_, policy) = key.narrowed.as_ref().expect("a policy");
    let policy: serde_json::Value = serde_json::from_str(policy).expect("JSON");
    let resource = match &policy["Statement"][1]["Resource"] {
        serde_json::Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let prefix = "arn:aws:ecr:eu-west-1:123456789012:repository/";
    resource
        .iter()
        .map(|arn| arn.as_str().and_then(|arn| arn.strip_prefix(prefix)).expect("an ARN").to_owned())
        .collect()
}

#[test]
fn the_pull_role_comes_before_the_role_that_the_registry_is_reached_by() {
    let assumed = format!("credentials: {{assumeRole: {{roleArn: '{REACHED_BY}', externalId: prod}}}}");
    let both = registry(&format!("{assumed}, pullRole: {{roleArn: '{PULL}'}}"));
    let arn = |registry: &EcrRegistrySpec| {
        ask(registry, &Granted::All, "a", None).expect("a key").narrowed.map(|(role, _)| (role.arn, role.external_id))
    };
    assert_eq!(arn(&both), Some((PULL.into(), None)));
    assert_eq!(arn(&registry(&assumed)), Some((REACHED_BY.into(), Some("prod".into()))));
    let neither = registry("accountId: '123456789012'");
    assert_eq!(arn(&neither), None);
    assert!(!can_be_narrowed(&neither) && can_be_narrowed(&both));
}

#[test]
fn a_namespace_can_pull_what_it_may_use_and_no_more_than_the_object_asks_for() {
    let registry = with_pull_role("");
    let all = ask(&registry, &Granted::All, "a", None).expect("a key");
    assert_eq!(pullable(&all), ["*"]);
    let granted = matching(&["team-a/*", "base/*"]);
    assert_eq!(pullable(&ask(&registry, &granted, "a", None).expect("a key")), ["base/*", "team-a/*"]);
    let narrowed = ask(&registry, &granted, "team-a", Some(&["{namespace}/api"])).expect("a key");
    assert_eq!(pullable(&narrowed), ["team-a/api"]);
}

#[test]
fn what_can_not_be_told_exactly_or_leaves_nothing_is_refused() {
    let registry = with_pull_role("");
    let refusal =
        |granted: &[&str], wanted: &[&str]| ask(&registry, &matching(granted), "a", Some(wanted)).expect_err("refused");
    let overlap = refusal(&["team-*/api"], &["team-a/*"]);
    assert_eq!(overlap.reason, Reason::InvalidSpec);
    assert!(overlap.message.contains("team-*/api") && overlap.message.contains("team-a/*"), "{overlap}");
    assert_eq!(refusal(&["team-a/*"], &["team-b/*"]).reason, Reason::NamespaceNotAllowed);
    let many: Vec<String> = (0..60).map(|n| format!("a-rather-long-name-{n}/*")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let too_large = ask(&registry, &matching(&many), "a", None).expect_err("refused");
    assert!(too_large.is_stalled() && too_large.reason == Reason::PolicyTooLarge, "{too_large}");
    assert!(too_large.message.contains("coarser patterns"), "{too_large}");
}

#[test]
fn namespaces_with_the_same_rights_share_a_token_unless_a_tag_tells_them_apart() {
    let shared = with_pull_role(", sessionTags: {cluster: '{cluster}'}");
    let of = |registry: &EcrRegistrySpec, granted: &Granted, namespace: &str| {
        ask(registry, granted, namespace, None).expect("a key")
    };
    assert_eq!(of(&shared, &matching(&["x", "y"]), "a"), of(&shared, &matching(&["y", "x", "y"]), "b"));
    assert_ne!(of(&shared, &matching(&["x"]), "a"), of(&shared, &matching(&["y"]), "a"));
    let tags = |key: MintKey| key.narrowed.expect("narrowed").0.tags;
    assert_eq!(tags(of(&shared, &Granted::All, "a"))["cluster"], "uid");
    let apart = with_pull_role(", sessionTags: {k8s-namespace: 'ns-{namespace}'}");
    assert_ne!(of(&apart, &Granted::All, "a"), of(&apart, &Granted::All, "b"));
    assert_eq!(tags(of(&apart, &Granted::All, "a"))["k8s-namespace"], "ns-a");
}

#[test]
fn other_rights_other_hosts_and_another_role_have_other_fingerprints() {
    let registry = with_pull_role("");
    let rights = |registry: &EcrRegistrySpec, granted: &Granted, host: &str| {
        let key = ask(registry, granted, "a", None).expect("a key");
        Rights(vec![Grant { hosts: vec![host.to_owned()], key, source: 0 }]).fingerprint()
    };
    let one = rights(&registry, &Granted::All, "host");
    assert_eq!(one, rights(&registry, &Granted::All, "host"));
    for other in [
        rights(&registry, &matching(&["a"]), "host"),
        rights(&registry, &Granted::All, "other"),
        rights(&with_pull_role(", renewWithin: Session"), &Granted::All, "host"),
        rights(&self::registry("accountId: '123456789012'"), &Granted::All, "host"),
    ] {
        assert_ne!(one, other);
    }
}

#[test]
fn a_token_is_put_under_the_hosts_that_are_asked_for_once_each() {
    use AdditionalHost::{DualStack, DualStackFips, Fips, Standard};
    let own = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let names = |own: &str, region: &str, more: &[AdditionalHost]| hosts(own, "123456789012", region, more);
    assert_eq!(names(own, "eu-west-1", &[]), [own]);
    assert_eq!(
        names(own, "eu-west-1", &[Standard, Fips, DualStack, DualStackFips]),
        [
            own,
            "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
            "123456789012.dkr-ecr.eu-west-1.on.aws",
            "123456789012.dkr-ecr-fips.eu-west-1.on.aws",
        ]
    );
    assert_eq!(
        names("registry.internal:5000", "cn-north-1", &[Standard, DualStack]),
        [
            "registry.internal:5000",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
        ],
        "by the region's partition, beside an endpoint of one's own"
    );
}
