//! Pull secrets of an operator that is set up in another way than the stack's.

use ecr_operator::api::{ClusterEcrPullSecret, EcrPullSecret, EcrRegistry, ImageMirror, UNOBSERVED};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::instead::{Instead, stacks_kubeconfig};
use crate::support::{self, Stack, env, eventually, has_reason, is_ready, message, unique};

#[tokio::test]
async fn where_tokens_must_only_pull_none_that_can_push_is_handed_out_or_left() {
    let _alone = crate::ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("pull-only").await;
    let name = unique("pull-only");
    // Written by an operator that does not mind.
    namespace.apply::<EcrPullSecret>("before", "serviceAccounts: {names: [default]}").await;
    namespace.ready::<EcrPullSecret>("before").await;
    let account = || async { namespace.api::<ServiceAccount>().get("default").await.unwrap().image_pull_secrets };
    eventually("the account has it", || async { account().await.filter(|all| !all.is_empty()) }).await;

    let operator = Instead::start(&stacks_kubeconfig(), &["--require-pull-only"]).await;
    let refused = namespace.until::<EcrPullSecret>("before", "refused", |it| has_reason(it, "TokenCanPush")).await;
    assert!(message(&refused).contains("--require-pull-only"), "{}", message(&refused));
    namespace.gone::<Secret>("before").await;
    eventually("the account has it no more", || async {
        account().await.is_none_or(|all| all.is_empty()).then_some(())
    })
    .await;
    namespace.apply::<EcrPullSecret>("after", "{}").await;
    namespace.not_ready::<EcrPullSecret>("after", "TokenCanPush").await;
    assert!(namespace.api::<Secret>().get_opt("after").await.unwrap().is_none());

    // With a role to narrow there is a Secret.
    let role = json!({"name": name, "policies": [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}]}]});
    let role = stack.control("/roles", role).await;
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let spec =
        json!({"region": "eu-west-1", "endpoints": default.spec.endpoints, "pullRole": {"roleArn": role["arn"]}});
    stack.apply::<EcrRegistry>(&name, &spec.to_string()).await;
    namespace.apply::<EcrPullSecret>("after", &format!("registries: [{{name: {name}}}]")).await;
    namespace.ready::<EcrPullSecret>("after").await;
    assert!(namespace.api::<Secret>().get_opt("after").await.unwrap().is_some());
    operator.end().await;

    namespace.ready::<EcrPullSecret>("before").await;
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}

/// Gives the chart's rights over these namespaces alone to a ServiceAccount in `home`, and the kubeconfig that has them.
async fn limited(home: &str, namespaces: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/ecr-operator");
    let set = format!("fullnameOverride={home},namespaces={{{}}}", namespaces.join(","));
    let templates =
        ["serviceaccount", "clusterrole", "clusterrolebinding", "roles"].map(|it| format!("templates/{it}.yaml"));
    let shown = templates.iter().flat_map(|template| ["--show-only", template]);
    let arguments: Vec<_> =
        ["template", "limited", chart, "--namespace", home, "--set", &set].into_iter().chain(shown).collect();
    let rights = support::run("helm", &arguments).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (file, kubeconfig) = (directory.path().join("rights.yaml"), directory.path().join("kubeconfig"));
    std::fs::write(&file, rights).unwrap();
    support::run("kubectl", &["apply", "--filename", file.to_str().unwrap()]).await.unwrap();
    let token = support::run("kubectl", &["create", "token", home, "--namespace", home]).await.unwrap();
    let text = std::fs::read_to_string(stacks_kubeconfig()).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({ "token": token });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    (directory, kubeconfig)
}

#[tokio::test]
async fn an_operator_of_some_namespaces_works_with_rights_in_them_alone() {
    let _alone = crate::ALONE.lock().await;
    let stack = Stack::connect().await;
    let label = unique("limited");
    let labels = json!({"pull": label});
    let (one, two) =
        (stack.labelled_namespace("one", labels.clone()).await, stack.labelled_namespace("two", labels.clone()).await);
    let (out, home) = (stack.labelled_namespace("out", labels).await, stack.namespace("home").await);
    let (_directory, kubeconfig) = limited(&home.name, &[&one.name, &two.name]).await;
    let account = format!("system:serviceaccount:{0}:{0}", home.name);
    for (verb, namespace, expected) in
        [("create", &one.name, true), ("get", &out.name, false), ("list", &home.name, false), ("get", &home.name, true)]
    {
        let question = ["auth", "can-i", verb, "secrets", "--namespace", namespace, "--as", &account];
        assert_eq!(support::run("kubectl", &question).await.is_ok(), expected, "{verb} secrets in {namespace}");
    }

    let names = format!("{},{}", one.name, two.name);
    let options = ["--namespaces", &names, "--operator-namespace", &home.name];
    let operator = Instead::start(&kubeconfig, &options).await;
    let spec = format!(
        "{{secretName: pull, namespaceSelector: {{matchLabels: {{pull: {label}}}}}, serviceAccounts: {{names: [default]}}}}"
    );
    stack.apply::<ClusterEcrPullSecret>(&label, &spec).await;
    out.apply::<EcrPullSecret>("ecr", "{}").await;
    one.apply::<EcrPullSecret>("ecr", "{}").await;
    one.apply::<ImageMirror>("mirror", "{source: {image: docker.io/library/no-such-image}, tags: {names: ['1']}}")
        .await;
    let object = stack.until::<ClusterEcrPullSecret>(&label, "ready", is_ready).await;
    assert!(message(&object).contains("1 more are selected"), "{}", message(&object));
    assert_eq!(object.status.unwrap().namespaces, Some(2));
    one.ready::<EcrPullSecret>("ecr").await;
    one.not_ready::<ImageMirror>("mirror", "SourceNotFound").await;
    for namespace in [&one, &two] {
        assert!(namespace.api::<Secret>().get_opt("pull").await.unwrap().is_some());
        eventually("the account has it", || async {
            let account = namespace.api::<ServiceAccount>().get("default").await.unwrap();
            account.image_pull_secrets.filter(|all| all.iter().any(|it| it.name == "pull"))
        })
        .await;
    }
    // A Secret that is deleted is put back: each namespace is watched.
    for namespace in [&one, &two] {
        let secrets = namespace.api::<Secret>();
        let before = secrets.get("pull").await.unwrap().uid();
        secrets.delete("pull", &DeleteParams::default()).await.unwrap();
        eventually("it is put back", || async {
            secrets.get_opt("pull").await.unwrap().filter(|secret| secret.uid() != before)
        })
        .await;
    }
    assert!(out.api::<Secret>().get_opt("pull").await.unwrap().is_none());
    let untouched = out.api::<EcrPullSecret>().get("ecr").await.unwrap();
    let observed = untouched.status.as_ref().and_then(|status| status.common.observed_generation);
    assert_eq!(observed, Some(UNOBSERVED), "{:?}", untouched.status);
    let log = operator.log();
    assert!(!log.contains("forbidden"), "it asks for nothing that it may not do: {log}");
    operator.end().await;

    stack.delete::<ClusterEcrPullSecret>(&label).await;
    for kind in ["clusterrole", "clusterrolebinding"] {
        support::run("kubectl", &["delete", kind, &home.name]).await.unwrap();
    }
    for namespace in [one, two, out, home] {
        namespace.cleanup().await;
    }
}

/// A Secret of type `kubernetes.io/dockerconfigjson` with this content.
fn docker_config(name: &str, content: &str) -> Secret {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": content},
    }))
    .unwrap()
}

/// The passwords of a pull secret, and the base64 forms that it has them in.
async fn secrets_of(namespace: &support::Namespace<'_>, name: &str) -> Vec<String> {
    let secret = namespace.api::<Secret>().get(name).await.unwrap();
    let config: Value = serde_json::from_slice(&secret.data.unwrap()[".dockerconfigjson"].0).unwrap();
    let entries = config["auths"].as_object().unwrap().values();
    entries.flat_map(|entry| [&entry["password"], &entry["auth"]]).map(|it| it.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn tokens_are_in_secrets_and_nowhere_else() {
    let _alone = crate::ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("canary").await;
    let name = unique("canary");
    let canary = "canary-3f9b2c71d0";
    let secrets = namespace.api::<Secret>();
    let entry = json!({"auths": {"ghcr.io": {"username": "somebody", "password": canary}}}).to_string();
    let no_entry = json!({"auths": {"ghcr.io": {"auth": canary}}}).to_string();
    for secret in [docker_config("good", &entry), docker_config("broken", &no_entry)] {
        secrets.create(&Default::default(), &secret).await.unwrap();
    }

    // With the operator's own token, with one of a role, and with entries of others, good and bad.
    let role = json!({"name": name, "policies": [{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}]}]});
    let role = stack.control("/roles", role).await;
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let spec =
        json!({"region": "eu-west-1", "endpoints": default.spec.endpoints, "pullRole": {"roleArn": role["arn"]}});
    stack.apply::<EcrRegistry>(&name, &spec.to_string()).await;
    namespace.apply::<EcrPullSecret>("own", "additionalSecretRefs: [{name: good}]").await;
    namespace.apply::<EcrPullSecret>("role", &format!("registries: [{{name: {name}}}]")).await;
    namespace.apply::<EcrPullSecret>("bad", "additionalSecretRefs: [{name: broken}]").await;
    let spec = format!("{{namespaces: {{names: [{}]}}, serviceAccounts: {{names: [default]}}}}", namespace.name);
    stack.apply::<ClusterEcrPullSecret>(&name, &spec).await;
    namespace.ready::<EcrPullSecret>("own").await;
    namespace.ready::<EcrPullSecret>("role").await;
    namespace.not_ready::<EcrPullSecret>("bad", "SecretNotFound").await;
    stack.until::<ClusterEcrPullSecret>(&name, "ready", is_ready).await;
    // And one that fails in AWS, whose answer is told.
    let nobody = json!({"name": format!("{name}-no"), "trustPolicy": {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}});
    let nobody = stack.control("/roles", nobody).await;
    let spec =
        json!({"region": "eu-west-1", "endpoints": default.spec.endpoints, "pullRole": {"roleArn": nobody["arn"]}});
    stack.apply::<EcrRegistry>(&name, &spec.to_string()).await;
    let failed = namespace.until::<EcrPullSecret>("role", "refused", |it| has_reason(it, "AccessDenied")).await;
    assert!(message(&failed).contains("still has what it was to have before"), "{}", message(&failed));

    let mut canaries = vec![canary.to_owned()];
    for pull_secret in ["own", "role", "bad", &name] {
        canaries.extend(secrets_of(&namespace, pull_secret).await);
    }
    canaries.push(env("OPERATOR_AWS_SECRET_ACCESS_KEY"));
    assert!(canaries.len() > 8 && canaries.iter().all(|canary| canary.len() > 10));
    let holds = |text: &str| canaries.iter().position(|canary| text.contains(canary.as_str()));

    let log = std::fs::read_to_string(format!("{}/logs/operator.log", env("RUN_DIR"))).unwrap();
    assert!(log.contains(&namespace.name), "the log is the operator's");
    assert_eq!(holds(&log), None, "the log");
    let kinds = "events,events.events.k8s.io,serviceaccounts,configmaps,ecrpullsecrets,clusterecrpullsecrets,ecrregistries,imagemirrors,ecrrepositories";
    for kind in kinds.split(',') {
        let all = support::run("kubectl", &["get", kind, "--all-namespaces", "--output", "json"]).await.unwrap();
        assert_eq!(holds(&all), None, "{kind}");
    }
    let metrics = stack.get_text(&env("OPERATOR_METRICS_URL")).await;
    assert!(metrics.contains("ecr_operator_pull_secret_expiry_timestamp_seconds{kind=\"EcrPullSecret\"}"), "{metrics}");
    assert_eq!(holds(&metrics), None, "the metrics");
    // What is not the content of a Secret is seen by more people than its content.
    let all =
        support::run("kubectl", &["get", "secrets", "--namespace", &namespace.name, "--output", "json"]).await.unwrap();
    let all: Value = serde_json::from_str(&all).unwrap();
    for secret in all["items"].as_array().unwrap() {
        assert_eq!(holds(&secret["metadata"].to_string()), None, "{}", secret["metadata"]["name"]);
    }
    stack.delete::<ClusterEcrPullSecret>(&name).await;
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}
