//! Where the images of pods may come from: the API server's answers, asked for with dry runs.

use ecr_operator::api::{ENFORCE_LABEL, EcrRegistry, EnforcementFailurePolicy, ImageEnforcement, ImageMirror};
use ecr_operator::enforcement::Allowed;
use ecr_operator::enforcement::policy::{SUFFIX, Wanted, policy};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{Namespace, Stack, env, eventually, has_reason, is_ready, message, push, run_with_input, unique};

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn pod_of(image: &str) -> Value {
    json!({"metadata": {"name": "it"}, "spec": {"containers": [{"name": "main", "image": image}]}})
}

/// Creates a pod, as a dry run.
async fn dry_run(namespace: &Namespace<'_>, pod: &Value) -> Result<Pod, kube::Error> {
    let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
    namespace.api::<Pod>().create(&PostParams { dry_run: true, ..PostParams::default() }, &pod).await
}

/// Why a pod with this image is refused. `None`: it is not.
async fn refusal(namespace: &Namespace<'_>, pod: &Value) -> Option<String> {
    dry_run(namespace, pod).await.err().map(|error| error.to_string())
}

/// Waits until the namespace has what a pod needs: it gets its default service account in a moment.
async fn until_pods_can_be_made(namespace: &Namespace<'_>) {
    eventually("pods can be made", || async {
        match refusal(namespace, &pod_of("x")).await {
            Some(error) if error.contains("serviceaccount") => None,
            _ => Some(()),
        }
    })
    .await;
}

async fn until_refused(namespace: &Namespace<'_>, pod: &Value) -> String {
    eventually("the pod is refused", || refusal(namespace, pod)).await
}

async fn until_allowed(namespace: &Namespace<'_>, pod: &Value) {
    eventually("the pod is let in", || async { refusal(namespace, pod).await.is_none().then_some(()) }).await;
}

/// The warnings that a dry run of a pod is answered with.
async fn warnings(namespace: &Namespace<'_>, pod: &Value) -> Vec<String> {
    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", namespace.name);
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(pod.to_string().into_bytes().into()).unwrap();
    let answer = namespace.stack.client.send(request).await.unwrap();
    assert!(answer.status().is_success(), "{:?}", answer.status());
    let warnings = answer.headers().get_all("warning").iter();
    warnings.map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned()).collect()
}

/// A namespace, and the spec of an object for its pods alone.
async fn scene<'s>(stack: &'s Stack, purpose: &str, more: &str) -> (Namespace<'s>, String, String) {
    let team = unique("team");
    let namespace = stack.labelled_namespace(purpose, json!({"team": team})).await;
    until_pods_can_be_made(&namespace).await;
    let spec = format!("namespaceSelector: {{matchLabels: {{team: {team}}}}}\n{more}");
    (namespace, unique(purpose), spec)
}

fn policies(stack: &Stack) -> (Api<ValidatingAdmissionPolicy>, Api<ValidatingAdmissionPolicyBinding>) {
    (stack.all(), stack.all())
}

#[tokio::test]
async fn the_api_server_and_the_function_in_rust_give_the_same_answers() {
    let stack = Stack::connect().await;
    let (namespace, name, _) = scene(&stack, "judged", "").await;
    let (policies, bindings) = policies(&stack);
    let prefixes: Vec<String> =
        include_str!("../../src/enforcement/testdata/allowed.txt").lines().map(str::to_owned).collect();
    let wanted = Wanted {
        told: prefixes.clone(),
        allowed: Allowed { prefixes, require_digest: true },
        registry: None,
        failure_policy: EnforcementFailurePolicy::Fail,
    };
    let ours = serde_json::from_value(json!({"metadata": {"name": name}, "spec": policy(&wanted)})).unwrap();
    policies.create(&PostParams::default(), &ours).await.expect("the API server takes the policy");
    let binding = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}},
    }}))
    .unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    until_refused(&namespace, &pod_of("nginx")).await;

    let table = include_str!("../../src/enforcement/testdata/images.tsv");
    let lines: Vec<(&str, &str)> =
        table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t')).collect();
    assert!(lines.len() >= 60);
    for (image, expected) in lines {
        let refusal = refusal(&namespace, &pod_of(image)).await;
        let is_as_expected = match (expected, &refusal) {
            ("allowed", None) => true,
            ("no-digest", Some(words)) => words.contains("no digest: "),
            ("denied", Some(words)) => words.contains("not from an allowed registry"),
            _ => false,
        };
        assert!(is_as_expected, "{image} is {expected}: {refusal:?}");
    }
    let checked = eventually("the controller has checked the types", || async {
        let policy = policies.get(&name).await.unwrap();
        policy.status.filter(|status| status.observed_generation.is_some())
    })
    .await;
    assert_eq!(checked.type_checking.and_then(|checked| checked.expression_warnings), None);
    bindings.delete(&name, &DeleteParams::default()).await.unwrap();
    policies.delete(&name, &DeleteParams::default()).await.unwrap();
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_pod_with_an_image_from_elsewhere_is_denied_with_the_mirror_to_write() {
    let stack = Stack::connect().await;
    let (namespace, name, spec) = scene(&stack, "deny", "validationActions: [Deny]\nallow: [quay.io/team]").await;
    let other = stack.namespace("deny-other").await;
    stack.apply::<ImageEnforcement>(&name, &spec).await;
    let object = stack.until::<ImageEnforcement>(&name, "ready", is_ready).await;
    let status = object.status.as_ref().unwrap();
    assert_eq!((status.namespaces, &status.namespace_names), (1, &vec![namespace.name.clone()]));
    assert_eq!(status.allowed, [env("ECR_REGISTRY"), "quay.io/team".to_owned()]);
    assert!(message(&object).starts_with("Deny for new pods of 1 namespace"), "{}", message(&object));

    let words = until_refused(&namespace, &pod_of("busybox:1.36")).await;
    for part in [
        "not from an allowed registry: busybox:1.36",
        &format!("allowed: {}, quay.io/team", env("ECR_REGISTRY")),
        "source: {image: docker.io/library/busybox}",
        "tags: {names: [\"1.36\"]}",
        &format!("namespace: {}", namespace.name),
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let own = format!("{}/docker.io/library/busybox", env("ECR_REGISTRY"));
    for image in [format!("{own}:1.36"), format!("{own}@{DIGEST}"), "quay.io/team/app:1".to_owned()] {
        assert_eq!(refusal(&namespace, &pod_of(&image)).await, None, "{image}");
    }
    until_pods_can_be_made(&other).await;
    assert_eq!(refusal(&other, &pod_of("busybox")).await, None, "another namespace");

    // Wherever an image stands.
    let with = |what: Value| {
        let mut pod = pod_of(&own);
        pod["spec"].as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        pod
    };
    for pod in [
        with(json!({"initContainers": [{"name": "init", "image": "busybox"}]})),
        with(json!({"volumes": [{"name": "data", "image": {"reference": "busybox"}}]})),
        with(json!({"containers": [{"name": "a", "image": own}, {"name": "b", "image": "busybox"}]})),
    ] {
        let words = refusal(&namespace, &pod).await.expect("refused");
        assert!(words.contains("not from an allowed registry: busybox;"), "{words}");
    }
    let mut of_the_kubelet = pod_of("busybox");
    of_the_kubelet["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    of_the_kubelet["spec"]["nodeName"] = "localhost".into();
    if let Some(words) = refusal(&namespace, &of_the_kubelet).await {
        assert!(!words.contains("not from an allowed registry"), "{words}");
    }

    // The namespace opts out, and in again.
    let namespaces = stack.all::<KubeNamespace>();
    let label = |value: Value| json!({"metadata": {"labels": {ENFORCE_LABEL: value}}});
    let params = PatchParams::default();
    namespaces.patch(&namespace.name, &params, &Patch::Merge(label(json!("disabled")))).await.unwrap();
    until_allowed(&namespace, &pod_of("busybox")).await;
    stack.until::<ImageEnforcement>(&name, "for nobody", |it| it.status.as_ref().unwrap().namespaces == 0).await;
    namespaces.patch(&namespace.name, &params, &Patch::Merge(label(Value::Null))).await.unwrap();
    until_refused(&namespace, &pod_of("busybox")).await;

    // What somebody deletes is put right, and goes with the object.
    let (policies, bindings) = policies(&stack);
    let policy_name = format!("{name}{SUFFIX}");
    let binding = bindings.get(&policy_name).await.unwrap();
    let role = binding.owner_references().first().expect("it goes with the release");
    assert_eq!((role.kind.as_str(), role.name.as_str()), ("ClusterRole", "ecr-operator"));
    let owner = policies.get(&policy_name).await.unwrap().owner_references().first().cloned().unwrap();
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("ImageEnforcement", name.as_str()));
    bindings.delete(&policy_name, &DeleteParams::default()).await.unwrap();
    eventually("the binding is back", || async { bindings.get_opt(&policy_name).await.unwrap() }).await;
    until_refused(&namespace, &pod_of("busybox")).await;
    stack.delete::<ImageEnforcement>(&name).await;
    until_allowed(&namespace, &pod_of("busybox")).await;
    eventually("both are gone", || async {
        let (policy, binding) = tokio::join!(policies.get_opt(&policy_name), bindings.get_opt(&policy_name));
        (policy.unwrap().is_none() && binding.unwrap().is_none()).then_some(())
    })
    .await;
    for namespace in [namespace, other] {
        namespace.cleanup().await;
    }
}

#[tokio::test]
async fn the_mirrors_that_a_message_names_can_be_applied_as_they_stand() {
    let stack = Stack::connect().await;
    let more = "validationActions: [Deny]\nrequireDigest: true";
    let (namespace, name, spec) = scene(&stack, "advice", more).await;
    stack.apply::<ImageEnforcement>(&name, &spec).await;
    let pod = json!({"metadata": {"name": "it"}, "spec": {
        "initContainers": [{"name": "a", "image": "busybox:1.35"}, {"name": "b", "image": format!("busybox@{DIGEST}")}],
        "containers": [
            {"name": "c", "image": "busybox"},
            {"name": "d", "image": "quay.io/Team_a/no"},
            {"name": "e", "image": "quay.io/team_a/app.x:1.36"},
            {"name": "f", "image": "x.'$(id)'/y"},
        ],
    }});
    let words = until_refused(&namespace, &pod).await;
    let manifest = words.split("<<< '").nth(1).and_then(|rest| rest.split('\'').next()).expect("a manifest");
    // The same as a shell would.
    let arguments = ["apply", "--dry-run=server", "--output=json", "--filename", "-"];
    let applied = run_with_input("kubectl", &arguments, &[], manifest).await.expect(manifest);
    let applied: Value = serde_json::from_str(&applied).unwrap();
    let specs: Vec<(&str, &Value)> = applied["items"]
        .as_array()
        .unwrap_or_else(|| panic!("{applied}"))
        .iter()
        .map(|mirror| (mirror["metadata"]["name"].as_str().unwrap(), &mirror["spec"]))
        .collect();
    assert_eq!(specs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["busybox", "quay-io-team-a-app-x"]);
    let busybox = specs[0].1;
    assert_eq!(busybox["source"]["image"], "docker.io/library/busybox");
    assert_eq!(busybox["tags"]["names"], json!(["latest", "1.35"]));
    assert_eq!(busybox["digests"], json!([DIGEST]));
    assert_eq!(busybox["rewrite"], json!({"pods": "SameNamespace", "pin": true}));
    assert_eq!(specs[1].1["tags"]["names"], json!(["1.36"]));
    stack.delete::<ImageEnforcement>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_warning_reaches_whoever_makes_the_pod_and_an_audit_only_the_log() {
    let stack = Stack::connect().await;
    let (namespace, name, spec) = scene(&stack, "warn", "validationActions: [Warn, Audit]").await;
    stack.apply::<ImageEnforcement>(&name, &spec).await;
    let warned = eventually("there is a warning", || async {
        warnings(&namespace, &pod_of("busybox:1.36")).await.into_iter().next()
    })
    .await;
    assert!(warned.contains("not from an allowed registry: busybox:1.36"), "{warned}");
    assert!(warned.contains("image: docker.io/library/busybox"), "{warned}");
    let own = format!("{}/busybox", env("ECR_REGISTRY"));
    assert!(warnings(&namespace, &pod_of(&own)).await.is_empty());

    stack.apply::<ImageEnforcement>(&name, &spec.replace("[Warn, Audit]", "[Audit]")).await;
    eventually("no warning any more", || async {
        warnings(&namespace, &pod_of("busybox:1.36")).await.is_empty().then_some(())
    })
    .await;
    let audited = || async {
        let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
        let metrics = stack.client.request_text(request).await.unwrap();
        let mut lines = metrics.lines().filter(|line| {
            line.starts_with("apiserver_validating_admission_policy_check_total")
                && line.contains(&format!("policy=\"{name}{SUFFIX}\""))
                && line.contains("enforcement_action=\"audit\"")
        });
        lines.next().and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let before = eventually("the API server counts audits", audited).await;
    assert_eq!(refusal(&namespace, &pod_of("busybox:1.36")).await, None);
    assert!(audited().await.unwrap() > before, "one more audit");
    stack.delete::<ImageEnforcement>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn pods_that_are_there_are_left_alone_and_what_is_added_to_them_is_judged() {
    let stack = Stack::connect().await;
    let (namespace, name, spec) = scene(&stack, "old", "validationActions: [Deny]").await;
    let pods = namespace.api::<Pod>();
    let mut old = pod_of("busybox:1.36");
    old["metadata"]["name"] = "old".into();
    let old: Pod = serde_json::from_value(old).unwrap();
    pods.create(&PostParams::default(), &old).await.unwrap();
    stack.apply::<ImageEnforcement>(&name, &spec).await;
    until_refused(&namespace, &pod_of("busybox:1.36")).await;

    let params = PatchParams::default();
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    pods.patch("old", &params, &Patch::Merge(labels)).await.expect("what is there can be labelled");
    let image = |image: &str| json!({"spec": {"containers": [{"name": "main", "image": image}]}});
    let error = pods.patch("old", &params, &Patch::Strategic(image("nginx"))).await.expect_err("another image");
    assert!(error.to_string().contains("not from an allowed registry: nginx;"), "{error}");
    let debug = |image: &str| json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": image}]}});
    let error = pods
        .patch_ephemeral_containers("old", &params, &Patch::Strategic(debug("nginx")))
        .await
        .expect_err("debugging");
    assert!(error.to_string().contains("not from an allowed registry: nginx;"), "{error}");
    let own = format!("{}/nginx", env("ECR_REGISTRY"));
    pods.patch_ephemeral_containers("old", &params, &Patch::Strategic(debug(&own))).await.expect("an allowed image");
    pods.patch("old", &params, &Patch::Strategic(image(&own))).await.expect("an allowed image");

    // The status tells of pods that a next start would meet.
    let two: Pod = serde_json::from_value(
        json!({"metadata": {"name": "two"}, "spec": {"containers": [{"name": "main", "image": own}]}}),
    )
    .unwrap();
    pods.create(&PostParams::default(), &two).await.unwrap();
    let is_told = |it: &ImageEnforcement| {
        it.status
            .as_ref()
            .and_then(|status| status.in_use.as_ref())
            .is_some_and(|used| used.not_allowed == 0 && used.images == 1)
    };
    stack.until::<ImageEnforcement>(&name, "told", is_told).await;
    stack.delete::<ImageEnforcement>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_pods_use_that_is_not_allowed_is_in_the_status() {
    let stack = Stack::connect().await;
    let (namespace, name, spec) = scene(&stack, "used", "validationActions: [Audit]").await;
    let pod: Pod = serde_json::from_value(pod_of("busybox:1.36")).unwrap();
    namespace.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap();
    stack.apply::<ImageEnforcement>(&name, &spec).await;
    let object = stack
        .until::<ImageEnforcement>(&name, "told", |it| {
            it.status.as_ref().and_then(|status| status.in_use.as_ref()).is_some_and(|used| used.not_allowed > 0)
        })
        .await;
    let used = object.status.as_ref().unwrap().in_use.clone().unwrap();
    assert_eq!(used.first_not_allowed, [format!("{}: busybox:1.36", namespace.name)]);
    assert!(
        message(&object).contains("1 of 1 images of the pods that are there are not allowed"),
        "{}",
        message(&object)
    );
    stack.delete::<ImageEnforcement>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_pod_that_is_rewritten_passes_and_with_pin_also_where_digests_are_required() {
    let stack = Stack::connect().await;
    let more = "validationActions: [Deny]\nrequireDigest: true";
    let (namespace, name, spec) = scene(&stack, "passes", more).await;
    let repository = format!("library/{}", unique("passes"));
    let digest = push(&format!("{repository}:1"), 540, &["--layers", "1", "--layer-size", "1024"]).await;
    let short = repository.strip_prefix("library/").unwrap();
    stack.apply::<ImageEnforcement>(&name, &spec).await;
    let named = pod_of(&format!("{short}:1"));
    until_refused(&namespace, &named).await;

    let mirror = |pin: bool| {
        format!("source: {{image: {short}}}\ntags: {{names: ['1']}}\nrewrite: {{pods: SameNamespace, pin: {pin}}}")
    };
    namespace.apply::<ImageMirror>("it", &mirror(false)).await;
    eventually("the rewritten pod lacks a digest", || async {
        refusal(&namespace, &named).await.filter(|words| words.contains("no digest: "))
    })
    .await;
    namespace.apply::<ImageMirror>("it", &mirror(true)).await;
    let pod = eventually("the rewritten pod passes", || async { dry_run(&namespace, &named).await.ok() }).await;
    let expected = format!("{}/docker.io/{repository}:1@{digest}", env("ECR_REGISTRY"));
    assert_eq!(pod.spec.unwrap().containers[0].image.as_ref(), Some(&expected));
    // A pod that wants no rewriting does not get round it.
    let mut off = named.clone();
    off["metadata"]["labels"] = json!({"ecr-operator.io/rewrite": "disabled"});
    assert!(refusal(&namespace, &off).await.unwrap().contains("not from an allowed registry"));
    stack.delete::<ImageEnforcement>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_pod_that_costs_too_much_to_judge_is_treated_as_the_spec_says() {
    let stack = Stack::connect().await;
    let (namespace, name, spec) = scene(&stack, "huge", "validationActions: [Deny]").await;
    stack.apply::<ImageEnforcement>(&name, &spec).await;
    until_refused(&namespace, &pod_of("busybox")).await;
    let own = env("ECR_REGISTRY");
    let pod_with = |count: usize| {
        let image = |n| json!({"name": format!("c{n}"), "image": format!("{own}/{}:{n}", "p".repeat(200))});
        json!({"metadata": {"name": "it"}, "spec": {"containers": (0..count).map(image).collect::<Vec<_>>()}})
    };
    assert_eq!(refusal(&namespace, &pod_with(100)).await, None, "a hundred containers are no problem");
    let words = refusal(&namespace, &pod_with(3000)).await.expect("refused");
    assert!(words.contains("cost"), "{words}");
    stack.apply::<ImageEnforcement>(&name, &format!("{spec}\nfailurePolicy: Ignore")).await;
    until_allowed(&namespace, &pod_with(3000)).await;
    assert!(refusal(&namespace, &pod_of("busybox")).await.is_some(), "and others are judged");
    stack.delete::<ImageEnforcement>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn the_control_plane_takes_part_only_if_it_asks() {
    let stack = Stack::connect().await;
    let name = unique("control-plane");
    // Nothing is refused in namespaces of other tests.
    let spec = "validationActions: [Audit]\nnamespaceSelector: {}";
    stack.apply::<ImageEnforcement>(&name, spec).await;
    let object = stack.until::<ImageEnforcement>(&name, "ready", is_ready).await;
    let binding = policies(&stack).1.get(&format!("{name}{SUFFIX}")).await.unwrap();
    let text = serde_json::to_string(&binding.spec).unwrap();
    for spared in ["kube-system", "kube-public", "kube-node-lease", "ecr-system"] {
        assert!(!object.status.as_ref().unwrap().namespace_names.iter().any(|name| name == spared), "{spared}");
        assert!(text.contains(spared), "{text}");
    }
    let namespaces = stack.all::<KubeNamespace>();
    let label = |value: Value| json!({"metadata": {"labels": {ENFORCE_LABEL: value}}});
    let params = PatchParams::default();
    namespaces.patch("kube-public", &params, &Patch::Merge(label(json!("enabled")))).await.unwrap();
    let has_it =
        |it: &ImageEnforcement| it.status.as_ref().unwrap().namespace_names.iter().any(|name| name == "kube-public");
    // More than a hundred namespaces of other tests may come first.
    let before = object.status.as_ref().unwrap().namespace_names.len();
    if before < 90 {
        stack.until::<ImageEnforcement>(&name, "for kube-public too", has_it).await;
    }
    namespaces.patch("kube-public", &params, &Patch::Merge(label(Value::Null))).await.unwrap();
    stack.delete::<ImageEnforcement>(&name).await;
}

#[tokio::test]
async fn without_its_registry_nothing_is_enforced_and_what_is_stays() {
    let stack = Stack::connect().await;
    let (namespace, name, spec) = scene(&stack, "missing", "validationActions: [Deny]").await;
    let registry = unique("gone");
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut of_registry = serde_json::to_value(&default.spec).unwrap();
    of_registry.as_object_mut().unwrap().remove("settings");
    let spec = format!("{spec}\nregistries: [{{name: {registry}}}]");
    stack.apply::<ImageEnforcement>(&name, &spec).await;
    let object =
        stack.until::<ImageEnforcement>(&name, "RegistryNotFound", |it| has_reason(it, "RegistryNotFound")).await;
    assert!(message(&object).contains(&registry), "{}", message(&object));
    assert_eq!(refusal(&namespace, &pod_of("busybox")).await, None);
    stack.apply::<EcrRegistry>(&registry, &of_registry.to_string()).await;
    let words = until_refused(&namespace, &pod_of("busybox")).await;
    assert!(words.contains(&format!("destinations: [{{registryRef: {{name: {registry}}}}}]")), "{words}");
    stack.delete::<EcrRegistry>(&registry).await;
    stack.until::<ImageEnforcement>(&name, "RegistryNotFound", |it| has_reason(it, "RegistryNotFound")).await;
    assert!(refusal(&namespace, &pod_of("busybox")).await.is_some(), "it is enforced as before");
    stack.delete::<ImageEnforcement>(&name).await;
    until_allowed(&namespace, &pod_of("busybox")).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let stack = Stack::connect().await;
    for (spec, words) in [
        ("{namespaceSelector: {}}", "validationActions"),
        ("{validationActions: [], namespaceSelector: {}}", "validationActions"),
        ("{validationActions: [Deny]}", "namespaceSelector"),
        ("{validationActions: [Deny, Warn], namespaceSelector: {}}", "Deny and Warn don't go together"),
        ("{validationActions: [Refuse], namespaceSelector: {}}", "validationActions"),
        ("{validationActions: [Deny], namespaceSelector: {}, registries: []}", "registries and allow are empty"),
        ("{validationActions: [Deny], namespaceSelector: {}, allow: [nginx]}", "allow: an entry is the host"),
        (
            "{validationActions: [Deny], namespaceSelector: {}, allow: ['https://quay.io']}",
            "allow: an entry is the host",
        ),
        ("{validationActions: [Deny], namespaceSelector: {}, allow: ['quay.io/']}", "allow: an entry is the host"),
        ("{validationActions: [Deny], namespaceSelector: {}, allow: ['quay.io/a:1']}", "allow: an entry is the host"),
        (
            "{validationActions: [Deny], namespaceSelector: {}, allow: ['quay.io/a@sha256:b']}",
            "allow: an entry is the host",
        ),
        ("{validationActions: [Deny], namespaceSelector: {}, allow: [Quay.io]}", "allow: an entry is the host"),
        (
            "{validationActions: [Deny], namespaceSelector: {}, allow: [index.docker.io]}",
            "Docker Hub is written docker.io",
        ),
        ("{validationActions: [Deny], namespaceSelector: {}, failurePolicy: Maybe}", "failurePolicy"),
    ] {
        let error = stack.try_apply::<ImageEnforcement>("bad", spec).await.expect_err(spec);
        assert!(error.to_string().contains(words), "{spec}: {error}");
    }
    let long = "x".repeat(201);
    let spec = "{validationActions: [Audit], namespaceSelector: {matchLabels: {nobody: here}}}";
    let error = stack.try_apply::<ImageEnforcement>(&long, spec).await.expect_err("too long");
    assert!(error.to_string().contains("more than 200 characters"), "{error}");
}
