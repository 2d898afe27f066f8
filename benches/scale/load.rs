//! What the operator has to look after: repositories, mirrors, and namespaces with pull secrets.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ecr_operator::api::{ClusterEcrPullSecret, EcrRepository, ImageMirror};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::LocalStack;

/// How many objects are created at once.
const CREATORS: usize = 16;
/// How many repositories of the source registry the mirrors copy from.
const SOURCES: usize = 10;
/// The ClusterEcrPullSecret, its Secrets, and the label that selects the namespaces.
const PULL: &str = "pull";

/// How much of it there is.
pub(crate) struct Load {
    pub(crate) repositories: usize,
    pub(crate) mirrors: usize,
    /// Of each mirror.
    pub(crate) tags: usize,
    pub(crate) namespaces: usize,
}

impl Load {
    pub(crate) fn namespace(&self, n: usize) -> String {
        format!("team-{}", n % self.namespaces)
    }

    /// Images for the mirrors to copy, from a registry without a pull limit: one layer, one platform.
    pub(crate) async fn push_images(&self, stack: &LocalStack, images: &std::path::Path) {
        stack.lift_pull_limit().await;
        let names = (0..SOURCES).flat_map(|source| (0..self.tags).map(move |tag| (source, tag)));
        stream::iter(names)
            .for_each_concurrent(4, |(source, tag)| async move {
                let (name, seed) = (format!("scale/source-{source}:v{tag}"), (source * 1_000 + tag).to_string());
                let mut push = tokio::process::Command::new(images);
                push.args([
                    "make",
                    "--registry",
                    stack.variable("UPSTREAM_REGISTRY"),
                    "--name",
                    &name,
                    "--seed",
                    &seed,
                ]);
                push.args(["--layers", "1", "--layer-size", "1024", "--platforms", "linux/amd64"]);
                let pushed = push.output().await.expect("testbed/scripts/build core was run");
                assert!(pushed.status.success(), "{name} is pushed");
            })
            .await;
    }

    pub(crate) async fn create_namespaces(&self, client: &Client) {
        let api: Api<Namespace> = Api::all(client.clone());
        let namespaces =
            (0..self.namespaces).map(|n| json!({"metadata": {"name": self.namespace(n), "labels": {PULL: "yes"}}}));
        create_all(&api, namespaces).await;
    }

    pub(crate) async fn create_pull_secret(&self, client: &Client) {
        let object = json!({
            "metadata": {"name": PULL},
            "spec": {"registries": [{"name": "default"}], "namespaceSelector": {"matchLabels": {PULL: "yes"}}},
        });
        create_all(&Api::<ClusterEcrPullSecret>::all(client.clone()), [object]).await;
    }

    pub(crate) async fn create_repositories(&self, client: &Client) {
        stream::iter(0..self.repositories)
            .for_each_concurrent(CREATORS, |n| create_repository(client, self.namespace(n), format!("repository-{n}")))
            .await;
    }

    pub(crate) async fn create_mirrors(&self, client: &Client, interval: Duration) {
        let names: Vec<_> = (0..self.tags).map(|tag| format!("v{tag}")).collect();
        stream::iter(0..self.mirrors)
            .for_each_concurrent(CREATORS, |n| {
                let api: Api<ImageMirror> = Api::namespaced(client.clone(), &self.namespace(n));
                let object = json!({
                    "metadata": {"name": format!("mirror-{n}")},
                    "spec": {
                        "source": {"image": format!("busy.test/scale/source-{}", n % SOURCES)},
                        "tags": {"names": names},
                        "interval": format!("{}s", interval.as_secs()),
                        "destinations": [{"registryRef": {"name": "default"}, "repositoryName": format!("mirrors/mirror-{n}")}],
                    },
                });
                async move { create_all(&api, [object]).await }
            })
            .await;
    }

    /// Waits until everything is ready, and gives the seconds since then for repositories, mirrors and pull secrets.
    pub(crate) async fn until_ready(&self, client: &Client, since: Instant) -> [f64; 3] {
        let after = async |waiting: &mut (dyn Future<Output = ()> + Unpin)| {
            waiting.await;
            since.elapsed().as_secs_f64()
        };
        let (mut repositories, mut mirrors, mut secrets) = (
            Box::pin(until_ready::<EcrRepository>(client, "repository-", self.repositories)),
            Box::pin(until_ready::<ImageMirror>(client, "mirror-", self.mirrors)),
            Box::pin(until_served(client, self.namespaces)),
        );
        let (repositories, mirrors, secrets) =
            tokio::join!(after(&mut repositories), after(&mut mirrors), after(&mut secrets));
        [repositories, mirrors, secrets]
    }
}

async fn create_all<K>(api: &Api<K>, objects: impl IntoIterator<Item = Value>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    stream::iter(objects)
        .for_each_concurrent(CREATORS, |mut object| async move {
            object["apiVersion"] = K::api_version(&()).into();
            object["kind"] = K::kind(&()).into();
            api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        })
        .await;
}

pub(crate) async fn create_repository(client: &Client, namespace: String, name: String) {
    let api: Api<EcrRepository> = Api::namespaced(client.clone(), &namespace);
    let object = json!({
        "metadata": {"name": name},
        "spec": {
            "lifecycle": {"rules": [
                {"description": "drop untagged", "untagged": {}, "expireAfterDays": 7},
                {"description": "ten releases", "tagged": {"patterns": ["v*"]}, "keepLast": 10},
            ]},
            "access": [{"principals": ["222222222222"], "permissions": "Pull"}],
            "tags": {"cost-center": "platform"},
        },
    });
    create_all(&api, [object]).await;
}

/// Changes a repository's tags.
pub(crate) async fn change_repository(client: &Client, namespace: &str, name: &str, value: usize) {
    let api: Api<EcrRepository> = Api::namespaced(client.clone(), namespace);
    let change = json!({"spec": {"tags": {"cost-center": format!("platform-{value}")}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

pub(crate) async fn delete_repository(client: &Client, namespace: &str, name: &str) {
    let api: Api<EcrRepository> = Api::namespaced(client.clone(), namespace);
    let _ = api.delete(name, &DeleteParams::default()).await.unwrap();
}

/// How many seconds it takes from the creation of a repository until it is ready.
pub(crate) async fn reaction(client: &Client, namespace: String, name: String) -> f64 {
    let api: Api<EcrRepository> = Api::namespaced(client.clone(), &namespace);
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut stream = watcher(api, only).applied_objects().boxed();
    let started = Instant::now();
    create_repository(client, namespace, name).await;
    while let Some(object) = stream.try_next().await.unwrap() {
        if is_ready(&serde_json::to_value(object).unwrap()) {
            break;
        }
    }
    started.elapsed().as_secs_f64()
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

async fn until_ready<K: Resource<DynamicType = ()>>(client: &Client, prefix: &'static str, count: usize) {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<K>(&()));
    let mut stream = watcher(api, watcher::Config::default()).applied_objects().boxed();
    let mut ready = HashSet::new();
    while ready.len() < count {
        let object = stream.try_next().await.unwrap().expect("a watch has no end");
        let name = object.name_any();
        if name.starts_with(prefix) && is_ready(&object.data) {
            ready.insert(name);
        }
    }
}

async fn until_served(client: &Client, count: usize) {
    let api: Api<ClusterEcrPullSecret> = Api::all(client.clone());
    loop {
        let status = api.get(PULL).await.unwrap().status;
        if status.and_then(|status| status.namespaces) == Some(count as i32) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
