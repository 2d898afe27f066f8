//! API servers without some of the policies that this one has, each in a stack of its own beside the one that is up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ecr_operator::api::conditions::REWRITES_PODS;
use ecr_operator::api::{ImageEnforcement, ImageMirror};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};

use crate::rewriting::{gets, image_of, pod_of};
use crate::support::{Namespace, Stack, env, eventually, has_reason, is_ready, is_stalled, message, run, unique};

/// A stack of the test's own. It goes with this.
struct Own {
    directory: PathBuf,
    variables: BTreeMap<String, String>,
}

impl Own {
    async fn up(arguments: &[&str]) -> Self {
        let directory = PathBuf::from(format!("{}-older", env("RUN_DIR")));
        // What did not start in whole is stopped, too.
        let mut own = Self { directory, variables: BTreeMap::new() };
        let directory = own.directory.display().to_string();
        let mut all = vec!["up", "--run-dir", &directory, "--node", "off"];
        all.extend(["--operator", env!("CARGO_BIN_EXE_ecr-operator"), "--operator-arg=--resync-interval=3s"]);
        all.extend(arguments);
        run("stack", &all).await.expect("the stack starts");
        let file = std::fs::read_to_string(own.directory.join("env")).unwrap();
        let lines = file.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        own.variables = lines.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect();
        own
    }

    /// A mirror of a new image whose pods are to be rewritten: the image's name, and that of the mirrored one.
    async fn mirror(&self, namespace: &Namespace<'_>) -> (String, String) {
        let repository = format!("library/{}", unique("older"));
        let upstream = &self.variables["UPSTREAM_REGISTRY"];
        let name = format!("{repository}:1");
        let image = ["make", "--registry", upstream, "--name", &name, "--layers", "1", "--layer-size", "1024"];
        run("images", &image).await.expect("the image is pushed");
        let spec = format!("source: {{image: {repository}}}\ntags: {{names: ['1']}}\nrewrite: {{pods: SameNamespace}}");
        namespace.apply::<ImageMirror>("it", &spec).await;
        namespace.ready::<ImageMirror>("it").await;
        let mirrored = format!("{}/docker.io/{name}", self.variables["ECR_REGISTRY"]);
        (name, mirrored)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let program = PathBuf::from(env("TESTBED_BIN")).join("stack");
        let _ = std::process::Command::new(program).args(["down", "--run-dir"]).arg(&self.directory).status();
    }
}

#[tokio::test]
async fn without_policies_that_change_pods_the_mirror_says_so_and_all_else_works() {
    let _alone = crate::ALONE.lock().await;
    let own = Own::up(&["--apiserver-arg=--emulated-version=1.34"]).await;
    let stack = Stack::connect_to(&own.variables["KUBECONFIG"]).await;
    let namespace = stack.namespace("older").await;
    let (named, mirrored) = own.mirror(&namespace).await;
    let condition = |mirror: &ImageMirror| mirror.status.as_ref()?.common.condition(REWRITES_PODS).cloned();
    let is_told = |mirror: &ImageMirror| condition(mirror).is_some_and(|it| it.reason == "RewriteUnsupported");
    let told = condition(&namespace.until::<ImageMirror>("it", "told", is_told).await).unwrap();
    assert_eq!(told.status, "False");
    assert!(told.message.contains("Kubernetes 1.36"), "{}", told.message);
    warned(&namespace.api::<Event>(), "RewriteUnsupported").await;
    gets(&namespace, &named, &named).await;

    // Policies that judge pods are there since 1.30.
    let spec = format!(
        "validationActions: [Deny]\nnamespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}",
        namespace.name
    );
    stack.apply::<ImageEnforcement>("deny", &spec).await;
    stack.until::<ImageEnforcement>("deny", "ready", is_ready).await;
    let words = eventually("it is refused", || async { image_of(&namespace, &pod_of(&named)).await.err() }).await;
    assert!(words.contains(&format!("source: {{image: docker.io/{}}}", named.trim_end_matches(":1"))), "{words}");
    gets(&namespace, &mirrored, &mirrored).await;
}

#[tokio::test]
async fn without_policies_that_judge_pods_the_object_says_so_and_rewriting_works() {
    let _alone = crate::ALONE.lock().await;
    let own = Own::up(&[
        "--apiserver-arg=--runtime-config=admissionregistration.k8s.io/v1/validatingadmissionpolicies=false",
        "--apiserver-arg=--disable-admission-plugins=ValidatingAdmissionPolicy",
    ])
    .await;
    let stack = Stack::connect_to(&own.variables["KUBECONFIG"]).await;
    let namespace = stack.namespace("without").await;
    stack.apply::<ImageEnforcement>("deny", "validationActions: [Deny]\nnamespaceSelector: {}").await;
    let is_told = |it: &ImageEnforcement| has_reason(it, "EnforcementUnsupported");
    let told = stack.until::<ImageEnforcement>("deny", "told", is_told).await;
    assert!(is_stalled(&told) && message(&told).contains("Kubernetes 1.30"), "{}", message(&told));
    assert_eq!(told.status.unwrap().policy, None, "nothing is enforced");
    let events = Api::<Event>::namespaced(stack.client.clone(), "default");
    warned(&events, "EnforcementUnsupported").await;
    let (named, mirrored) = own.mirror(&namespace).await;
    gets(&namespace, &named, &mirrored).await;
    stack.delete::<ImageEnforcement>("deny").await;
    eventually("it goes", || async {
        stack.all::<ImageEnforcement>().get_opt("deny").await.unwrap().is_none().then_some(())
    })
    .await;
}

async fn warned(events: &Api<Event>, reason: &str) {
    let event = eventually("there is an event", || async {
        let all = events.list(&ListParams::default()).await.unwrap();
        all.items.into_iter().find(|event| event.reason.as_deref() == Some(reason))
    })
    .await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
}
