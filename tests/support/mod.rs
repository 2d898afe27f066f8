//! The local stack as the tests see it: its API server, its AWS stand-in, its Docker Hub stand-in, and their controls.
#![allow(dead_code, clippy::unwrap_used)]

pub mod operator;
pub mod pulling;
pub mod rewriting;

use std::fmt::Debug;
use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ecr_operator::api::conditions::{READY, STALLED};
use ecr_operator::api::{HasStatus, SYNC_AT};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

/// How long anything may take that the tests wait for. Far more than it does, for slow machines.
const PATIENCE: Duration = Duration::from_secs(90);

/// The stack that `testbed/run*/env` describes.
pub struct Stack {
    pub client: Client,
    pub ecr: aws_sdk_ecr::Client,
    http: reqwest::Client,
}

/// Says what is not tested on this machine, past what the test runner keeps back of tests that pass.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

/// A variable of the stack's environment.
pub fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make test`"))
}

impl Stack {
    pub async fn connect() -> Self {
        // Another test of this process may have been faster.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        env("ECR_REGISTRY");
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        Self {
            client: Client::try_default().await.expect("the API server answers"),
            ecr: aws_sdk_ecr::Client::new(&config),
            http: reqwest::Client::new(),
        }
    }

    /// The stack with this kubeconfig, in place of the one that is up. It is AWS and Docker Hub of the latter that this knows.
    pub async fn connect_to(kubeconfig: &str) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
        Self { client: Client::try_from(config).expect("a client"), ..Self::connect().await }
    }

    /// A namespace of the test's own, whose name begins with `purpose`.
    pub async fn namespace(&self, purpose: &str) -> Namespace<'_> {
        self.labelled_namespace(purpose, json!({})).await
    }

    pub async fn labelled_namespace(&self, purpose: &str, labels: Value) -> Namespace<'_> {
        let name = unique(purpose);
        let namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
        self.all::<KubeNamespace>().create(&PostParams::default(), &namespace).await.expect("the namespace is created");
        Namespace { stack: self, name }
    }

    /// A namespace of this name, which nobody else uses.
    pub async fn namespace_called(&self, name: &str) -> Namespace<'_> {
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        self.all::<KubeNamespace>().create(&PostParams::default(), &namespace).await.expect("the namespace is created");
        Namespace { stack: self, name: name.to_owned() }
    }

    /// A namespace that is there already. It is not to be cleaned up.
    pub fn namespace_of_others(&self, name: &str) -> Namespace<'_> {
        Namespace { stack: self, name: name.to_owned() }
    }

    /// An API over all namespaces, or of a kind without any.
    pub fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Applies a cluster-scoped object of ours.
    pub async fn apply<K: OurKind>(&self, name: &str, spec: &str) -> K {
        apply(&self.all::<K>(), name, None, spec).await.unwrap_or_else(|error| panic!("{name} is applied: {error}"))
    }

    pub async fn try_apply<K: OurKind>(&self, name: &str, spec: &str) -> Result<K, kube::Error> {
        apply(&self.all::<K>(), name, None, spec).await
    }

    pub async fn delete<K: OurKind>(&self, name: &str) {
        delete(&self.all::<K>(), name).await;
    }

    pub async fn until<K: OurKind>(&self, name: &str, what: &str, is_so: impl Fn(&K) -> bool) -> K {
        until(&self.all::<K>(), name, what, is_so).await
    }

    /// Asks the stand-in for a failure.
    pub async fn fault(&self, control: &str, fault: Value) -> Fault<'_> {
        let url = format!("{}/faults", env(control));
        let answer = self.http.post(&url).json(&fault).send().await.unwrap().error_for_status().expect("a valid fault");
        let id = answer.json::<Value>().await.unwrap()["id"].to_string();
        Fault { stack: self, url: format!("{url}/{}", id.trim_matches('"')) }
    }

    /// Tells the AWS stand-in something, and returns what it answers.
    pub async fn control(&self, path: &str, what: Value) -> Value {
        let url = format!("{}{path}", env("AWS_CONTROL_URL"));
        let answer = self.http.post(&url).json(&what).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "POST {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Counts of requests since [`Self::forget_calls`].
    pub async fn calls(&self, control: &str) -> Value {
        self.http.get(format!("{}/calls", env(control))).send().await.unwrap().json().await.unwrap()
    }

    pub async fn forget_calls(&self, control: &str) {
        self.http.delete(format!("{}/calls", env(control))).send().await.unwrap().error_for_status().unwrap();
    }

    pub async fn get_text(&self, url: &str) -> String {
        self.http.get(url).send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }
}

/// A failure that a stand-in plays until it is removed.
pub struct Fault<'a> {
    stack: &'a Stack,
    url: String,
}

impl Fault<'_> {
    pub async fn remove(self) {
        self.stack.http.delete(&self.url).send().await.unwrap();
    }
}

/// A kind of ours.
pub trait OurKind: HasStatus + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static {}
impl<K: HasStatus + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static> OurKind for K {}

/// A namespace of a test.
pub struct Namespace<'a> {
    pub stack: &'a Stack,
    pub name: String,
}

impl Namespace<'_> {
    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.stack.client.clone(), &self.name)
    }

    /// Applies an object of ours, given its spec as YAML.
    pub async fn apply<K: OurKind + Resource<Scope = NamespaceResourceScope>>(&self, name: &str, spec: &str) -> K {
        self.try_apply(name, spec).await.unwrap_or_else(|error| panic!("{name} is applied: {error}"))
    }

    pub async fn try_apply<K: OurKind + Resource<Scope = NamespaceResourceScope>>(
        &self,
        name: &str,
        spec: &str,
    ) -> Result<K, kube::Error> {
        apply(&self.api::<K>(), name, Some(&self.name), spec).await
    }

    pub async fn until<K: OurKind + Resource<Scope = NamespaceResourceScope>>(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&K) -> bool,
    ) -> K {
        until(&self.api::<K>(), name, what, is_so).await
    }

    /// Waits until the object is ready for its present generation.
    pub async fn ready<K: OurKind + Resource<Scope = NamespaceResourceScope>>(&self, name: &str) -> K {
        self.until(name, "ready", is_ready).await
    }

    /// Waits until the object is not ready for this reason, and returns the message.
    pub async fn not_ready<K: OurKind + Resource<Scope = NamespaceResourceScope>>(
        &self,
        name: &str,
        reason: &str,
    ) -> String {
        message(&self.until::<K>(name, reason, |object| has_reason(object, reason)).await)
    }

    pub async fn delete<K: OurKind + Resource<Scope = NamespaceResourceScope>>(&self, name: &str) {
        delete(&self.api::<K>(), name).await;
    }

    /// Waits until the object is gone.
    pub async fn gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = self.api::<K>();
        eventually(&format!("{name} is gone"), || async { api.get_opt(name).await.unwrap().is_none().then_some(()) })
            .await;
    }

    /// Asks for a reconcile now.
    pub async fn ask_to_sync<K: OurKind + Resource<Scope = NamespaceResourceScope>>(&self, name: &str) {
        self.stamp::<K>(name).await;
    }

    async fn stamp<K: OurKind + Resource<Scope = NamespaceResourceScope>>(&self, name: &str) -> String {
        let stamp = unique("sync");
        let patch = json!({"metadata": {"annotations": {SYNC_AT: stamp}}});
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        stamp
    }

    /// Asks for a reconcile now and waits until it is done.
    pub async fn sync<K: OurKind + Resource<Scope = NamespaceResourceScope>>(&self, name: &str) -> K {
        let stamp = self.stamp::<K>(name).await;
        self.until(name, "synced", |object: &K| {
            object.status().is_some_and(|status| K::common(status).last_handled_sync_at.as_ref() == Some(&stamp))
        })
        .await
    }

    /// Deletes the namespace with all in it. A test that fails leaves it for inspection.
    pub async fn cleanup(self) {
        let _ = self.stack.all::<KubeNamespace>().delete(&self.name, &DeleteParams::default()).await;
    }
}

async fn apply<K: OurKind>(api: &Api<K>, name: &str, namespace: Option<&str>, spec: &str) -> Result<K, kube::Error> {
    let spec: Value = serde_saphyr::from_str(spec).expect("the test's YAML is valid");
    let object = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    });
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await
}

async fn delete<K: OurKind>(api: &Api<K>, name: &str) {
    let _ = api.delete(name, &DeleteParams::default()).await.expect("deletion is accepted");
}

async fn until<K: OurKind>(api: &Api<K>, name: &str, what: &str, is_so: impl Fn(&K) -> bool) -> K {
    let started = Instant::now();
    loop {
        let object = api.get(name).await.unwrap_or_else(|error| panic!("{name} can be read: {error}"));
        if is_so(&object) {
            return object;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{} {name} is not {what}: {}",
            K::kind(&()),
            serde_json::to_string_pretty(&object.status()).unwrap()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Tries until there is something, and fails after a long time.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, attempt: impl Fn() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub fn is_ready<K: OurKind>(object: &K) -> bool {
    condition(object, READY, "True")
}

pub fn is_stalled<K: OurKind>(object: &K) -> bool {
    condition(object, STALLED, "True")
}

fn condition<K: OurKind>(object: &K, type_: &str, status: &str) -> bool {
    object.status().is_some_and(|it| {
        let common = K::common(it);
        common.observed_generation == object.meta().generation
            && common.condition(type_).is_some_and(|condition| condition.status == status)
    })
}

pub fn has_reason<K: OurKind>(object: &K, reason: &str) -> bool {
    condition(object, READY, "False")
        && object.status().is_some_and(|it| K::common(it).condition(READY).is_some_and(|ready| ready.reason == reason))
}

/// The message of the condition Ready.
pub fn message<K: OurKind>(object: &K) -> String {
    object
        .status()
        .and_then(|status| K::common(status).condition(READY).map(|ready| ready.message.clone()))
        .unwrap_or_default()
}

/// A name that no other test has.
pub fn unique(purpose: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{purpose}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a program of the local stack and returns what it prints.
pub async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    run_with(program, arguments, &[]).await
}

pub async fn run_with(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<String, String> {
    run_with_input(program, arguments, variables, "").await
}

/// The same, with something to read.
pub async fn run_with_input(
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
    input: &str,
) -> Result<String, String> {
    let path = PathBuf::from(env("TESTBED_BIN")).join(program);
    let mut command = tokio::process::Command::new(path);
    command.args(arguments).envs(variables.iter().copied());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is started: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    // A program that reads nothing may have ended.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What a run of `ecr-operator` left.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command of `ecr-operator` with the stack's environment, and without the credentials of whoever runs the tests.
pub async fn ecr_operator(arguments: &[&str]) -> Ran {
    ecr_operator_with(arguments, &[]).await
}

pub async fn ecr_operator_with(arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ecr-operator"));
    for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").args(arguments).envs(variables.iter().copied());
    let output = command.output().await.unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Pushes an image of random layers to the Docker Hub stand-in and returns its digest.
pub async fn push(name: &str, seed: u32, more: &[&str]) -> String {
    let registry = env("UPSTREAM_REGISTRY");
    let seed = seed.to_string();
    let mut arguments = vec!["make", "--registry", &registry, "--name", name, "--seed", &seed];
    arguments.extend(more);
    run("images", &arguments).await.expect("the image is pushed");
    run("crane", &["digest", "--insecure", &format!("{registry}/{name}")]).await.expect("the image is there")
}

impl Stack {
    /// The digest that a tag has in ECR.
    pub async fn digest_in_ecr(&self, repository: &str, tag: &str) -> Option<String> {
        let id = aws_sdk_ecr::types::ImageIdentifier::builder().image_tag(tag).build();
        let answer = self.ecr.describe_images().repository_name(repository).image_ids(id).send().await;
        answer.ok()?.image_details?.into_iter().next()?.image_digest
    }

    /// All digests that a repository in ECR has.
    pub async fn digests_in_ecr(&self, repository: &str) -> Vec<String> {
        let answer = self.ecr.list_images().repository_name(repository).send().await.expect("the images are listed");
        answer.image_ids.unwrap_or_default().into_iter().filter_map(|image| image.image_digest).collect()
    }

    pub async fn repository_exists(&self, name: &str) -> bool {
        self.ecr.describe_repositories().repository_names(name).send().await.is_ok()
    }
}

/// Labels, annotations and the rest of an object's metadata, for messages.
pub fn describe<K: Resource>(object: &K) -> String {
    format!("{:?}", (object.name_any(), object.labels(), object.annotations()))
}
