use proptest::prelude::*;
use serde_json::json;

use super::*;

const DIGEST: &str = "sha256:aaaa";

fn pod(namespace: &str, name: &str, phase: &str, image: &str, image_id: &str) -> PodImages {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": name, "uid": "1", "managedFields": [{"manager": "x"}]},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "image": image, "env": [{"name": "A", "value": "b"}]}]},
        "status": {
            "phase": phase, "podIP": "10.0.0.1",
            "containerStatuses": [{"name": "main", "image": "whatever", "imageID": image_id, "ready": true}],
        },
    }))
    .expect("a pod")
}

fn running(name: &str, image: &str) -> PodImages {
    pod("team-a", name, "Running", image, "")
}

fn references(index: &Index, uri: &str) -> Vec<String> {
    index.uses(&[uri.to_owned()]).0.into_keys().collect()
}

fn indexed(pods: &[PodImages]) -> Index {
    let mut index = Index::default();
    pods.iter().for_each(|pod| index.put(pod));
    index
}

#[test]
fn names_of_images_are_taken_apart_as_container_runtimes_do() {
    for (image, repository, references) in [
        ("nginx", "nginx", vec!["latest"]),
        ("nginx:1.27", "nginx", vec!["1.27"]),
        ("localhost:5000/team/api", "localhost:5000/team/api", vec!["latest"]),
        ("localhost:5000/team/api:v1", "localhost:5000/team/api", vec!["v1"]),
        ("host/api@sha256:aa", "host/api", vec!["sha256:aa"]),
        ("host:1/api:v1@sha256:aa", "host:1/api", vec!["v1", "sha256:aa"]),
    ] {
        assert_eq!(split(image), (repository, references), "{image}");
    }
}

#[test]
fn a_pod_uses_the_tag_that_it_names_and_the_digest_that_it_runs() {
    let index = indexed(&[pod("team-a", "api", "Running", "host/api:v1", "host/api@sha256:aaaa")]);
    assert_eq!(references(&index, "host/api"), [DIGEST, "v1"]);
    assert!(references(&index, "host/ap").is_empty(), "a repository is matched by its whole name");
}

#[test]
fn a_digest_that_the_runtime_reports_under_another_name_counts_for_both() {
    let index = indexed(&[pod("team-a", "api", "Running", "host/api:v1", "docker-pullable://mirror/api@sha256:aaaa")]);
    assert_eq!(references(&index, "host/api"), [DIGEST, "v1"]);
    assert_eq!(references(&index, "mirror/api"), [DIGEST]);
}

#[test]
fn ids_that_no_registry_knows_are_left_out() {
    let index = indexed(&[pod("team-a", "api", "Running", "host/api:v1", "sha256:cccc")]);
    assert_eq!(references(&index, "host/api"), ["v1"]);
}

#[test]
fn all_kinds_of_containers_count() {
    let pod: PodImages = serde_json::from_value(json!({
        "metadata": {"namespace": "n", "name": "p"},
        "spec": {
            "containers": [{"name": "a", "image": "r:main"}],
            "initContainers": [{"name": "b", "image": "r:init"}],
            "ephemeralContainers": [{"name": "c", "image": "r:debug"}],
        },
        "status": {"initContainerStatuses": [{"name": "b", "imageID": "r@sha256:bb"}]},
    }))
    .expect("a pod");
    assert_eq!(references(&indexed(&[pod]), "r"), ["debug", "init", "main", "sha256:bb"]);
}

#[test]
fn a_pod_that_has_come_to_its_end_uses_nothing() {
    for phase in ["Succeeded", "Failed"] {
        let mut index = indexed(&[pod("team-a", "job", "Running", "host/api:v1", "")]);
        index.put(&pod("team-a", "job", phase, "host/api:v1", "host/api@sha256:aaaa"));
        assert!(index.pods.is_empty() && index.repositories.is_empty(), "{phase}: {index:?}");
    }
    let pending = indexed(&[pod("team-a", "job", "Pending", "host/api:v1", "")]);
    assert_eq!(references(&pending, "host/api"), ["v1"]);
}

#[test]
fn several_host_names_are_one_repository() {
    let index = indexed(&[running("a", "one/api:v1"), running("b", "two/api:v1"), running("c", "two/web:v1")]);
    let uses = index.uses(&["one/api".into(), "two/api".into()]);
    assert_eq!(uses.of_image("sha256:x", &["v1".into()]).len(), 2);
    assert!(uses.of_image("sha256:x", &["v2".into()]).is_empty());
}

#[test]
fn a_list_counts_when_it_is_complete_and_replaces_what_was_known() {
    let workloads = Workloads::default();
    let uris = ["host/api".to_owned()];
    let take = |event| workloads.0.state.write().expect("not poisoned").take(event);
    let known = |usage| match usage {
        Usage::Known(uses) => uses.0.into_keys().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(workloads.of_repository(&uris), Usage::Filling);
    take(Err("pods is forbidden".into()));
    assert_eq!(workloads.of_repository(&uris), Usage::Unknown { problem: "pods is forbidden".into() });
    take(Ok(Event::Init));
    take(Ok(Event::InitApply(running("one", "host/api:v1"))));
    take(Ok(Event::InitDone));
    take(Ok(Event::Apply(running("two", "host/api:v2"))));
    assert_eq!(known(workloads.of_repository(&uris)), ["v1", "v2"]);
    take(Ok(Event::Init));
    take(Ok(Event::InitApply(running("two", "host/api:v2"))));
    assert_eq!(known(workloads.of_repository(&uris)), ["v1", "v2"], "the new list is not complete");
    take(Err("too old resource version".into()));
    assert_eq!(known(workloads.of_repository(&uris)), ["v1", "v2"], "what was known is better than nothing");
    take(Ok(Event::InitDone));
    assert_eq!(known(workloads.of_repository(&uris)), ["v2"]);
    take(Ok(Event::Delete(running("two", "host/api:v2"))));
    assert!(known(workloads.of_repository(&uris)).is_empty());
}

#[test]
fn texts_that_pods_share_are_kept_once() {
    let pods: Vec<_> = (0..1000)
        .map(|number| pod("team-a", &format!("api-{number}"), "Running", "host/api:v1", "host/api@sha256:aaaa"))
        .collect();
    let index = indexed(&pods);
    let texts: HashSet<*const u8> = index
        .pods
        .values()
        .flatten()
        .flat_map(|(repository, reference)| [repository.as_ptr(), reference.as_ptr()])
        .collect();
    let namespaces: HashSet<*const u8> = index.pods.keys().map(|pod| pod.namespace.as_ptr()).collect();
    assert_eq!((index.pods.len(), texts.len(), namespaces.len()), (1000, 3, 1));
}

proptest! {
    /// Pods come, change and go: the index says what a look at all of them would say, and keeps nothing of those gone.
    #[test]
    fn the_index_always_agrees_with_the_pods(events in proptest::collection::vec((0..5_u8, 0..4_u8, 0..3_u8, any::<bool>()), 0..40)) {
        let mut index = Index::default();
        let mut pods = BTreeMap::new();
        for (name, repository, tag, gone) in events {
            let pod = running(&format!("p{name}"), &format!("r{repository}:t{tag}"));
            if gone {
                index.remove(&pod.name());
                pods.remove(&name);
            } else {
                index.put(&pod);
                pods.insert(name, pod);
            }
        }
        for repository in 0..4 {
            let uri = format!("r{repository}");
            let mut expected = BTreeMap::<String, BTreeSet<PodName>>::new();
            for pod in pods.values() {
                for (_, reference) in pod.images().into_iter().filter(|(name, _)| *name == uri) {
                    expected.entry(reference).or_default().insert(pod.name());
                }
            }
            prop_assert_eq!(index.uses(&[uri]).0, expected);
        }
        prop_assert_eq!(index.pods.len(), pods.len());
        prop_assert_eq!(index.repositories.is_empty(), pods.is_empty());
    }
}
