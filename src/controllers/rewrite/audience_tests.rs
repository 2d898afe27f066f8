use super::*;

fn registry(access: &str) -> Arc<EcrRegistry> {
    let spec = format!("{{region: eu-west-1, access: {access}}}");
    Arc::new(EcrRegistry::new("default", serde_saphyr::from_str(&spec).expect("a spec")))
}

fn namespaces() -> Namespaces {
    let labels = |text: &str| serde_saphyr::from_str(text).expect("labels");
    [
        ("platform", "{team: platform, mirror: on}"),
        ("shop", "{mirror: on}"),
        ("bank", "{mirror: on, secret: yes}"),
        ("quiet", "{mirror: on, ecr-operator.io/rewrite: disabled}"),
        ("kube-system", "{mirror: on}"),
        ("operator", "{mirror: on}"),
        ("other", "{}"),
    ]
    .map(|(name, text)| (name.to_owned(), labels(text)))
    .into()
}

fn reached(namespaces: &Namespaces, selector: &str, access: &str) -> Audience {
    let selector = serde_saphyr::from_str(selector).expect("a selector");
    selected("platform", &selector, &registry(access), namespaces, Some("operator")).expect("a valid selector")
}

fn names(audience: &Audience) -> Vec<&str> {
    audience.namespaces.iter().map(String::as_str).collect()
}

/// Which namespaces the API server finds.
fn found(namespaces: &Namespaces, audience: &Audience) -> Vec<String> {
    let selector = Selector::try_from(audience.selector.clone()).expect("a selector");
    let all = namespaces.iter().filter(|(_, labels)| labels.get(REWRITE_LABEL).is_none_or(|it| it != DISABLED));
    all.filter(|(name, labels)| selector.matches(&with_name(name, labels))).map(|(name, _)| name.clone()).collect()
}

const ON: &str = "{matchLabels: {mirror: on}}";
const ALL: &str = "[{namespaceSelector: {matchLabels: {team: platform}}, repositories: ['*'], servesNamespaces: {}}]";
const NOT_SECRET: &str = "[{namespaceSelector: {}, repositories: ['*'], servesNamespaces: {matchExpressions: [{key: secret, operator: DoesNotExist}]}}]";

#[test]
fn a_selector_reaches_what_the_registry_lets_it_serve_and_no_namespace_that_is_spared() {
    let all = namespaces();
    assert_eq!(names(&reached(&all, ON, ALL)), ["bank", "platform", "shop"]);
    let audience = reached(&all, ON, NOT_SECRET);
    assert_eq!(names(&audience), ["platform", "shop"]);
    assert_eq!(audience.refused, ["bank".to_owned()].into());
    assert_eq!(names(&reached(&all, ON, "null")), ["platform"]);
    assert_eq!(names(&reached(&all, "{}", ALL)), ["bank", "other", "platform", "shop"]);
}

#[test]
fn the_control_plane_is_reached_when_it_asks_for_it() {
    let mut all = namespaces();
    for name in ["kube-system", "operator"] {
        all.get_mut(name).expect("there").insert(REWRITE_LABEL.into(), ENABLED.into());
    }
    assert_eq!(names(&reached(&all, ON, ALL)), ["bank", "kube-system", "operator", "platform", "shop"]);
}

#[test]
fn the_api_server_finds_the_same_namespaces() {
    let mut all = namespaces();
    let several = format!("{}, {}", ALL.trim_end_matches(']'), NOT_SECRET.trim_start_matches('['));
    let own_only = NOT_SECRET.replace("secret", "team");
    for _ in 0..2 {
        for selector in [ON, "{}", "{matchExpressions: [{key: secret, operator: Exists}]}"] {
            for access in [ALL, NOT_SECRET, "null", "[]", &several, &own_only] {
                let audience = reached(&all, selector, access);
                assert_eq!(found(&all, &audience), names(&audience), "{selector} {access}");
            }
        }
        all.get_mut("kube-system").expect("there").insert(REWRITE_LABEL.into(), ENABLED.into());
    }
}

#[test]
fn a_namespace_that_comes_is_found_by_its_labels_where_one_entry_decides() {
    let mut all = namespaces();
    all.remove("kube-system");
    let audience = reached(&all, ON, NOT_SECRET);
    for (name, labels, expected) in [
        ("new", "{mirror: on}", true),
        ("new-bank", "{mirror: on, secret: yes}", false),
        ("kube-system", "{mirror: on}", false),
    ] {
        let now: Namespaces = [(name.to_owned(), serde_saphyr::from_str(labels).expect("labels"))].into();
        assert_eq!(!found(&now, &audience).is_empty(), expected, "{name}");
    }
}
