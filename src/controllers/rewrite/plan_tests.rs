use super::super::images::tests::{mirror, tag};
use super::*;
use crate::api::TagState;
use crate::rewrite::shards;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

const OWN_PODS: &str = "{source: {image: nginx}, tags: {names: ['1']}, rewrite: {pods: SameNamespace}}";
const SELECTED: &str = "{source: {image: nginx}, tags: {names: ['1']}, rewrite: {pods: SelectedNamespaces, namespaceSelector: {matchLabels: {mirror: on}}, pin: true}}";

fn mirrored(name: &str, spec: &str) -> ImageMirror {
    mirror(name, spec, vec![tag("1", TagState::Mirrored, None)])
}

fn planned(mirrors: Vec<ImageMirror>) -> Plan {
    planned_with(mirrors, &[("team-a", "{}"), ("shop", "{mirror: on}"), ("bank", "{mirror: on, secret: yes}")])
}

fn planned_with(mirrors: Vec<ImageMirror>, namespaces: &[(&str, &str)]) -> Plan {
    let labels = |text: &str| serde_saphyr::from_str(text).expect("labels");
    let namespaces = namespaces.iter().map(|(name, text)| ((*name).to_owned(), labels(text))).collect();
    let spec = "{region: eu-west-1, access: [{namespaceSelector: {}, repositories: ['*'], servesNamespaces: {matchExpressions: [{key: secret, operator: DoesNotExist}]}}]}";
    let registry = EcrRegistry::new("default", serde_saphyr::from_str(spec).expect("a spec"));
    let mirrors: Vec<_> = mirrors.into_iter().map(Arc::new).collect();
    plan(&Given {
        mirrors: &mirrors,
        namespaces: &namespaces,
        registries: &[("default".to_owned(), Arc::new(registry))].into(),
        own_registry: None,
        unshown: &HashMap::new(),
        own_namespace: None,
    })
}

/// Whose pods the texts are for, and what they begin with.
fn texts(layer: &Layer) -> Vec<(&str, &str)> {
    let shown = |text: &'_ str| text.rfind(' ').map_or(0, |at| at + 1);
    layer.entries.iter().map(|(whose, entry)| (whose.as_str(), &entry.text[..shown(&entry.text)])).collect()
}

/// The namespaces that the selector lists.
fn listed(layer: &Layer) -> Vec<String> {
    let expressions = layer.selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    expressions.flat_map(|expression| expression.values.clone().unwrap_or_default()).collect()
}

fn failure(plan: &Plan) -> &Failure {
    plan.verdicts[0].1.outcome.as_ref().expect_err("it reaches nobody")
}

#[test]
fn mirrors_that_ask_for_nothing_reach_nobody() {
    assert_eq!(planned(vec![mirrored("nginx", "{source: {image: nginx}}")]), Plan::default());
    let mut deleted = mirrored("nginx", OWN_PODS);
    deleted.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    assert_eq!(planned(vec![deleted]), Plan::default());
    let finder = OWN_PODS.replace("image: nginx", "fromWorkloads: {registries: [docker.io], retention: 1h}");
    assert_eq!(planned(vec![mirrored("found", &finder)]), Plan::default());
}

#[test]
fn a_mirror_reaches_the_pods_of_its_namespace() {
    let plan = planned(vec![mirrored("nginx", OWN_PODS)]);
    let layer = &plan.layers[0];
    assert_eq!((layer.id.as_str(), listed(layer)), (OWN, vec!["team-a".to_owned()]));
    assert_eq!(texts(layer), [("team-a", "docker.io/library/nginx\ndefault.ecr/nginx\ntag\n1 ")]);
    let reached = plan.verdicts[0].1.outcome.as_ref().expect("it reaches pods");
    assert_eq!((reached.images, reached.namespaces, reached.repository.as_str()), (1, 1, "default.ecr/nginx"));
}

#[test]
fn a_selector_reaches_other_namespaces_and_those_that_are_refused_are_told() {
    let plan = planned(vec![mirrored("nginx", SELECTED)]);
    assert!(plan.layers[0].selector.is_some() && plan.layers[0].id != OWN);
    assert_eq!(texts(&plan.layers[0]), [(shards::SELECTED, "docker.io/library/nginx\ndefault.ecr/nginx\npin\n1 ")]);
    let reached = plan.verdicts[0].1.outcome.as_ref().expect("it reaches pods");
    assert_eq!((reached.namespaces, &reached.refused[..]), (1, &["bank".to_owned()][..]));
}

#[test]
fn mirrors_with_one_selector_share_a_layer_whose_name_stays_while_namespaces_come() {
    let other = SELECTED.replace("nginx", "redis");
    let two = planned(vec![mirrored("nginx", SELECTED), mirrored("redis", &other)]);
    assert_eq!((two.layers.len(), two.layers[0].entries.len()), (1, 2));
    let more = planned_with(vec![mirrored("nginx", SELECTED)], &[("shop", "{mirror: on}"), ("new", "{mirror: on}")]);
    assert_eq!(more.layers[0].id, two.layers[0].id);
}

#[test]
fn of_two_mirrors_of_one_source_the_younger_counts_for_what_the_elder_does_not_have() {
    let at = |name, second, tags: &[&str]| {
        let tags = tags.iter().map(|name| tag(name, TagState::Mirrored, None)).collect();
        let mut mirror = mirror(name, OWN_PODS, tags);
        mirror.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).expect("in range")));
        mirror.status.as_mut().expect("a status").destinations[0].repository_uri = Some(format!("ecr/{name}"));
        mirror
    };
    let plan = planned(vec![at("younger", 2, &["1", "2"]), at("elder", 1, &["1"])]);
    let texts: Vec<_> = texts(&plan.layers[0]).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["docker.io/library/nginx\necr/elder\ntag\n1 ", "docker.io/library/nginx\necr/younger\ntag\n2 "]);
    let same = planned(vec![at("younger", 2, &["1"]), at("elder", 1, &["1"])]);
    assert_eq!(same.layers[0].entries.len(), 1);
}

#[test]
fn few_namespaces_are_listed_and_many_are_found_by_the_keys() {
    let labels = |count| (0..count).map(|number| (format!("ns-{number}"), Default::default())).collect();
    let planned = |count| {
        let mirrors = (0..count).map(|number| {
            let mut mirror = mirrored("nginx", OWN_PODS);
            mirror.metadata.namespace = Some(format!("ns-{number}"));
            Arc::new(mirror)
        });
        let registry = EcrRegistry::new("default", serde_saphyr::from_str("{region: eu-west-1}").expect("a spec"));
        let mirrors: Vec<_> = mirrors.collect();
        plan(&Given {
            mirrors: &mirrors,
            namespaces: &labels(count),
            registries: &[("default".to_owned(), Arc::new(registry))].into(),
            own_registry: None,
            unshown: &HashMap::new(),
            own_namespace: None,
        })
    };
    let (few, many) = (planned(LISTED), planned(LISTED + 1));
    assert_eq!((few.layers.len(), listed(&few.layers[0]).len(), few.layers[0].entries.len()), (1, LISTED, LISTED));
    assert_eq!((many.layers.len(), &many.layers[0].selector), (1, &None));
    assert_eq!(many.layers[0].entries[1].0, "ns-1");
}

#[test]
fn why_a_mirror_reaches_nobody_is_told() {
    let nothing = planned(vec![mirror("nginx", OWN_PODS, vec![])]);
    assert_eq!(failure(&nothing).reason, Reason::Progressing);
    assert!(nothing.layers.is_empty());
    let refused = planned_with(vec![mirrored("nginx", SELECTED)], &[("bank", "{mirror: on, secret: yes}")]);
    assert_eq!(failure(&refused).reason, Reason::NamespaceNotAllowed);
    let off = planned_with(vec![mirrored("nginx", OWN_PODS)], &[("team-a", "{ecr-operator.io/rewrite: disabled}")]);
    assert_eq!(failure(&off).reason, Reason::NoNamespace);
    let nobody = planned_with(vec![mirrored("nginx", SELECTED)], &[("team-a", "{}")]);
    assert_eq!(failure(&nobody).reason, Reason::NoNamespace);
    let elsewhere = OWN_PODS.replace("tags:", "destinations: [{registryRef: {name: gone}}], tags:");
    assert_eq!(failure(&planned(vec![mirrored("nginx", &elsewhere)])).reason, Reason::RegistryNotFound);
}

#[test]
fn the_control_plane_is_spared_unless_it_asks() {
    let in_system = |labels| {
        let mut mirror = mirrored("nginx", OWN_PODS);
        mirror.metadata.namespace = Some("kube-system".into());
        planned_with(vec![mirror], &[("kube-system", labels)]).layers.len()
    };
    assert_eq!((in_system("{}"), in_system("{ecr-operator.io/rewrite: enabled}")), (0, 1));
}
