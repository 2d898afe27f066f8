use super::*;
use crate::api::{EcrRegistryStatus, ImageEnforcementSpec};

fn object(spec: &str) -> ImageEnforcement {
    let spec: ImageEnforcementSpec = serde_saphyr::from_str(spec).expect("a spec");
    ImageEnforcement::new("default", spec)
}

fn registry(name: &str, host: Option<&str>) -> EcrRegistry {
    let mut registry = EcrRegistry::new(name, serde_saphyr::from_str("{region: eu-west-1}").expect("a spec"));
    registry.status =
        Some(EcrRegistryStatus { registry_host: host.map(str::to_owned), ..EcrRegistryStatus::default() });
    registry
}

fn namespaces() -> Namespaces {
    [("kube-system", ""), ("kube-public", ""), ("ecr-system", ""), ("shop", "team=a"), ("bank", "team=b")]
        .into_iter()
        .map(|(name, label)| {
            (
                name.to_owned(),
                label.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect(),
            )
        })
        .collect()
}

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn planned(spec: &str, namespaces: &Namespaces) -> Result<Plan, Failure> {
    let all = [registry("default", Some(HOST)), registry("local", Some("127.0.0.1:5000")), registry("new", None)];
    plan(&object(spec), |name| all.iter().find(|it| it.name_any() == name), namespaces, Some("ecr-system"))
}

fn reached(spec: &str, namespaces: &Namespaces) -> Vec<String> {
    planned(spec, namespaces).expect("a plan").namespaces.into_iter().collect()
}

const ALL: &str = "{validationActions: [Deny], namespaceSelector: {}}";

#[test]
fn a_registry_of_ecr_is_allowed_under_all_of_its_names() {
    let plan = planned(ALL, &namespaces()).expect("a plan");
    let prefixes = plan.wanted.allowed.prefixes;
    assert_eq!(prefixes.len(), 4, "{prefixes:?}");
    assert_eq!(prefixes[0], HOST);
    for host in ["dkr.ecr-fips.eu-west-1.amazonaws.com", "dkr-ecr.eu-west-1.on.aws", "dkr-ecr-fips.eu-west-1.on.aws"] {
        assert!(prefixes.contains(&format!("123456789012.{host}")), "{prefixes:?}");
    }
    assert_eq!(plan.wanted.told, [HOST], "one name is enough for a reader");
    assert_eq!(plan.wanted.registry, None);
}

#[test]
fn a_registry_elsewhere_has_one_name_and_what_is_listed_comes_after_it() {
    let spec = "{validationActions: [Warn], namespaceSelector: {}, registries: [{name: local}], allow: [quay.io/team]}";
    let plan = planned(spec, &namespaces()).expect("a plan");
    assert_eq!(plan.wanted.allowed.prefixes, ["127.0.0.1:5000", "quay.io/team"]);
    assert_eq!(plan.wanted.told, plan.wanted.allowed.prefixes);
    assert_eq!(plan.wanted.registry.as_deref(), Some("local"), "the mirror to write has to name it");
}

#[test]
fn without_its_registries_nothing_is_planned() {
    let of = |name: &str| {
        let spec = format!("{{validationActions: [Deny], namespaceSelector: {{}}, registries: [{{name: {name}}}]}}");
        planned(&spec, &namespaces()).expect_err("a failure")
    };
    assert_eq!((of("none").reason, of("none").is_stalled()), (Reason::RegistryNotFound, true));
    assert_eq!((of("new").reason, of("new").is_stalled()), (Reason::RegistryNotReady, false));
}

#[test]
fn the_control_plane_and_the_operator_are_left_out_unless_they_ask() {
    let mut namespaces = namespaces();
    assert_eq!(reached(ALL, &namespaces), ["bank", "shop"]);
    for name in ["kube-system", "ecr-system"] {
        namespaces.get_mut(name).expect("it is there").insert(ENFORCE_LABEL.into(), ENABLED.into());
    }
    assert_eq!(reached(ALL, &namespaces), ["bank", "ecr-system", "kube-system", "shop"]);
}

#[test]
fn a_namespace_that_does_not_exist_yet_is_left_out_by_its_name() {
    let plan = planned(ALL, &Namespaces::new()).expect("a plan");
    let text = serde_json::to_string(&plan.selector).expect("JSON");
    for name in ["kube-system", "kube-public", "kube-node-lease", "ecr-system"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_namespace_opts_out_and_the_selector_selects() {
    let mut namespaces = namespaces();
    assert_eq!(
        reached("{validationActions: [Deny], namespaceSelector: {matchLabels: {team: a}}}", &namespaces),
        ["shop"]
    );
    namespaces.get_mut("shop").expect("it is there").insert(ENFORCE_LABEL.into(), DISABLED.into());
    assert_eq!(reached(ALL, &namespaces), ["bank"]);
}

#[test]
fn a_selector_that_can_not_be_used_is_told() {
    let spec =
        "{validationActions: [Deny], namespaceSelector: {matchExpressions: [{key: a, operator: Near, values: [b]}]}}";
    let failure = planned(spec, &namespaces()).expect_err("a failure");
    assert_eq!(failure.reason, Reason::InvalidSpec);
    assert!(failure.message.contains("spec.namespaceSelector"), "{failure}");
}

#[test]
fn the_policy_goes_with_the_object_and_the_binding_with_the_release() {
    let plan = planned(ALL, &namespaces()).expect("a plan");
    let (of_release, of_object) = (json!({"kind": "ClusterRole"}), json!({"kind": "ImageEnforcement"}));
    let owners = Owners { release: Some(of_release.clone()), object: Some(of_object.clone()) };
    let (policy, binding) = plan.objects(&object(ALL), &owners);
    assert_eq!(policy["metadata"]["ownerReferences"], json!([of_object]));
    assert_eq!(binding["metadata"]["ownerReferences"], json!([of_release]));
    // Without a ClusterRole of a chart both go with the object.
    let (_, binding) = plan.objects(&object(ALL), &Owners { release: None, ..owners });
    assert_eq!(binding["metadata"]["ownerReferences"], json!([of_object]));
}

#[test]
fn the_binding_says_what_happens_and_to_whom() {
    let object = object("{validationActions: [Warn, Audit], namespaceSelector: {}}");
    let plan = planned(ALL, &namespaces()).expect("a plan");
    let (_, binding) = plan.objects(&object, &Owners::default());
    assert_eq!(binding["spec"]["validationActions"], json!(["Warn", "Audit"]));
    assert_eq!(binding["spec"]["policyName"], "default.enforce.ecr-operator.io");
    assert_eq!(binding["spec"]["matchResources"]["namespaceSelector"], json!(plan.selector));
}

pub(in crate::controllers::enforcement) fn plan_of_all() -> Plan {
    planned(ALL, &namespaces()).expect("a plan")
}
