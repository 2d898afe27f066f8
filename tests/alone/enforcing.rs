//! What is enforced while the operator is down, and after it has gone.

use std::path::Path;

use ecr_operator::api::ImageEnforcement;
use ecr_operator::enforcement::policy::SUFFIX;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::instead::Instead;
use crate::rewriting::{image_of, pod_of};
use crate::support::{Namespace, Stack, env, eventually, is_ready, unique};

/// An object that keeps pods with other images out of the namespace.
async fn deny(namespace: &Namespace<'_>) -> String {
    let name = unique("deny");
    let selector = format!("{{matchLabels: {{kubernetes.io/metadata.name: {}}}}}", namespace.name);
    let spec = format!("validationActions: [Deny]\nnamespaceSelector: {selector}");
    namespace.stack.apply::<ImageEnforcement>(&name, &spec).await;
    namespace.stack.until::<ImageEnforcement>(&name, "ready", is_ready).await;
    name
}

async fn until_refused(namespace: &Namespace<'_>) {
    eventually("the pod is refused", || async {
        image_of(namespace, &pod_of("busybox"))
            .await
            .err()
            .filter(|words| words.contains("not from an allowed registry"))
    })
    .await;
}

async fn until_allowed(namespace: &Namespace<'_>) {
    eventually("the pod is let in", || async { image_of(namespace, &pod_of("busybox")).await.ok() }).await;
}

#[tokio::test]
async fn an_operator_that_starts_again_leaves_what_is_enforced_as_it_is() {
    let _alone = crate::ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("restart").await;
    let name = deny(&namespace).await;
    until_refused(&namespace).await;
    let (policies, bindings) =
        (stack.all::<ValidatingAdmissionPolicy>(), stack.all::<ValidatingAdmissionPolicyBinding>());
    let policy_name = format!("{name}{SUFFIX}");
    let (policy, binding) = (policies.get(&policy_name).await.unwrap(), bindings.get(&policy_name).await.unwrap());

    crate::kill_operator().await;
    until_refused(&namespace).await;
    // When one is ready that was made meanwhile, the operator is back.
    let other = deny_without_operator(&namespace).await;
    stack.until::<ImageEnforcement>(&other, "ready", is_ready).await;
    let after = (policies.get(&policy_name).await.unwrap(), bindings.get(&policy_name).await.unwrap());
    assert_eq!((after.0.uid(), after.1.uid()), (policy.uid(), binding.uid()));
    assert_eq!(
        (after.0.metadata.generation, after.1.metadata.generation),
        (policy.metadata.generation, binding.metadata.generation)
    );
    for name in [name, other] {
        stack.delete::<ImageEnforcement>(&name).await;
    }
    until_allowed(&namespace).await;
    namespace.cleanup().await;
}

/// One that only an operator which has started again can make ready.
async fn deny_without_operator(namespace: &Namespace<'_>) -> String {
    let name = unique("later");
    let selector = format!("{{matchLabels: {{kubernetes.io/metadata.name: {}}}}}", namespace.name);
    namespace
        .stack
        .apply::<ImageEnforcement>(&name, &format!("validationActions: [Audit]\nnamespaceSelector: {selector}"))
        .await;
    name
}

#[tokio::test]
async fn nothing_is_enforced_when_the_release_or_the_object_has_gone_though_no_operator_works() {
    let _alone = crate::ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("uninstalled").await;
    let role = unique("release");
    let roles = stack.all::<ClusterRole>();
    let of_release = serde_json::from_value(json!({"metadata": {"name": role}})).unwrap();
    roles.create(&PostParams::default(), &of_release).await.unwrap();
    // The stack's operator may read no ClusterRole but that of its own release.
    let operator = Instead::start(Path::new(&env("KUBECONFIG")), &["--cluster-role", &role]).await;
    let name = deny(&namespace).await;
    until_refused(&namespace).await;
    let (policies, bindings) =
        (stack.all::<ValidatingAdmissionPolicy>(), stack.all::<ValidatingAdmissionPolicyBinding>());
    let policy_name = format!("{name}{SUFFIX}");
    let owner = bindings.get(&policy_name).await.unwrap().owner_references().first().cloned().unwrap();
    assert_eq!(owner.name, role);

    operator.stop().await;
    roles.delete(&role, &DeleteParams::default()).await.unwrap();
    until_allowed(&namespace).await;
    assert!(bindings.get_opt(&policy_name).await.unwrap().is_none());
    stack.delete::<ImageEnforcement>(&name).await;
    eventually("the policy is gone", || async {
        policies.get_opt(&policy_name).await.unwrap().is_none().then_some(())
    })
    .await;
    operator.end().await;
    namespace.cleanup().await;
}
