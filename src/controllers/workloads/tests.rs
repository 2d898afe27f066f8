use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::json;

use super::object::split;
use super::*;

const DIGEST: &str = "sha256:aaaa";

fn pod(namespace: &str, name: &str, phase: &str, image: &str, image_id: &str) -> Workload {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": "1", "managedFields": [{"manager": "x"}]},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "image": image, "env": [{"name": "A", "value": "b"}]}]},
        "status": {
            "phase": phase, "podIP": "10.0.0.1",
            "containerStatuses": [{"name": "main", "image": "whatever", "imageID": image_id, "ready": true}],
        },
    }))
    .expect("a pod")
}

fn running(name: &str, image: &str) -> Workload {
    pod("team-a", name, "Running", image, "")
}

fn uses(index: &Index, uris: &[&str]) -> Uses {
    let mut uses = Uses::default();
    let uris: Vec<String> = uris.iter().map(|uri| (*uri).to_owned()).collect();
    index.add_uses(&uris, &mut uses);
    uses
}

fn references(index: &Index, uri: &str) -> Vec<String> {
    uses(index, &[uri]).0.into_keys().collect()
}

fn name(object: &Workload) -> WorkloadName {
    let kind = object.types.as_ref().map_or("Pod", |types| types.kind.as_str());
    WorkloadName::of(&kind.into(), object)
}

fn put(index: &mut Index, object: &Workload) -> bool {
    index.put(name(object), &Images::of(object))
}

fn indexed(pods: &[Workload]) -> Index {
    let mut index = Index::default();
    for pod in pods {
        put(&mut index, pod);
    }
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
    let pod: Workload = serde_json::from_value(json!({
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
        put(&mut index, &pod("team-a", "job", phase, "host/api:v1", "host/api@sha256:aaaa"));
        assert!(index.objects.is_empty() && index.repositories.is_empty(), "{phase}: {index:?}");
    }
    let pending = indexed(&[pod("team-a", "job", "Pending", "host/api:v1", "")]);
    assert_eq!(references(&pending, "host/api"), ["v1"]);
}

#[test]
fn several_host_names_are_one_repository() {
    let index = indexed(&[running("a", "one/api:v1"), running("b", "two/api:v1"), running("c", "two/web:v1")]);
    let uses = uses(&index, &["one/api", "two/api"]);
    assert_eq!(uses.of_image("sha256:x", &["v1".into()]).len(), 2);
    assert!(uses.of_image("sha256:x", &["v2".into()]).is_empty());
}

#[test]
fn a_list_counts_when_it_is_complete_and_replaces_what_was_known() {
    let workloads = Workloads::default();
    let uris = ["host/api".to_owned()];
    let take = |event| workloads.0.pods.state.write().expect("not poisoned").take(&"Pod".into(), event);
    let known = |usage: Usage| match usage {
        Usage::Known(uses) => uses.0.into_keys().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(workloads.pods_of_repository(&uris), Usage::Filling);
    take(Err("pods is forbidden".into()));
    assert_eq!(workloads.pods_of_repository(&uris), Usage::Unknown { problem: "pods is forbidden".into() });
    take(Ok(Event::Init));
    take(Ok(Event::InitApply(running("one", "host/api:v1"))));
    take(Ok(Event::InitDone));
    take(Ok(Event::Apply(running("two", "host/api:v2"))));
    assert_eq!(known(workloads.pods_of_repository(&uris)), ["v1", "v2"]);
    take(Ok(Event::Init));
    take(Ok(Event::InitApply(running("two", "host/api:v2"))));
    assert_eq!(known(workloads.pods_of_repository(&uris)), ["v1", "v2"], "the new list is not complete");
    take(Err("too old resource version".into()));
    assert_eq!(known(workloads.pods_of_repository(&uris)), ["v1", "v2"], "what was known is better than nothing");
    take(Ok(Event::InitDone));
    assert_eq!(known(workloads.pods_of_repository(&uris)), ["v2"]);
    take(Ok(Event::Delete(running("two", "host/api:v2"))));
    assert!(known(workloads.pods_of_repository(&uris)).is_empty());
}

#[test]
fn texts_that_pods_share_are_kept_once() {
    let pods: Vec<_> = (0..1000)
        .map(|number| pod("team-a", &format!("api-{number}"), "Running", "host/api:v1", "host/api@sha256:aaaa"))
        .collect();
    let index = indexed(&pods);
    let texts: HashSet<*const u8> = index
        .objects
        .values()
        .flat_map(|kept| kept.used.iter())
        .flat_map(|(repository, reference)| [repository.as_ptr(), reference.as_ptr()])
        .collect();
    let namespaces: HashSet<*const u8> = index.objects.keys().map(|pod| pod.namespace.as_ptr()).collect();
    assert_eq!((index.objects.len(), texts.len(), namespaces.len()), (1000, 3, 1));
}

fn templated(kind: &str, spec: serde_json::Value, status: serde_json::Value) -> Workload {
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"namespace": "team-a", "name": "api"},
        "spec": spec, "status": status,
    }))
    .expect("a workload")
}

fn rewritten(name: &str, metadata: serde_json::Value, image: &str) -> Workload {
    let mut pod = running(name, image);
    let more: kube::api::ObjectMeta = serde_json::from_value(metadata).expect("metadata");
    pod.metadata.annotations = more.annotations;
    pod.metadata.labels = more.labels;
    pod
}

fn counted(index: &Index) -> ImagesOfPods {
    let mut images = PodImages::new();
    index.add_counts(&|_| true, &mut images);
    images.remove("team-a").unwrap_or_default()
}

#[test]
fn images_that_stand_in_place_of_others_are_counted_as_long_as_they_do() {
    let kept = json!({"annotations": {"image.ecr-operator.io/main": "nginx:1", "image.ecr-operator.io/gone": "x"}});
    let mut index = indexed(&[
        rewritten("one", kept.clone(), "ecr/nginx:1"),
        rewritten("two", kept.clone(), "ecr/nginx:1"),
        rewritten("changed", kept.clone(), "nginx:1"),
        running("plain", "nginx:2"),
    ]);
    let pair = |original: &str, image: &str| (Arc::from(original), Arc::from(image));
    assert_eq!(counted(&index).rewritten, [(pair("nginx:1", "ecr/nginx:1"), 2)].into());
    // The pod that was changed back has the name itself.
    assert_eq!((counted(&index).named.get("nginx:2"), counted(&index).named.get("nginx:1")), (Some(&1), Some(&1)));
    index.remove(&name(&rewritten("one", kept.clone(), "ecr/nginx:1")));
    put(&mut index, &rewritten("two", kept, "other:1"));
    assert_eq!(counted(&index).rewritten, [(pair("nginx:1", "other:1"), 1)].into());
    for pod in ["two", "changed", "plain"] {
        index.remove(&name(&running(pod, "")));
    }
    assert!(index.rewritten.is_empty() && index.named.is_empty(), "{index:?}");
}

#[test]
fn pods_that_want_to_keep_their_images_are_told_apart() {
    let off = json!({"labels": {"ecr-operator.io/rewrite": "disabled"}});
    let mut index = indexed(&[running("one", "nginx:1"), rewritten("off", off.clone(), "nginx:1")]);
    put(&mut index, &rewritten("alone", off.clone(), "nginx:2"));
    let of = |images: &[(&str, u64)]| images.iter().map(|(image, count)| (Arc::from(*image), *count)).collect();
    assert_eq!(counted(&index).kept, of(&[("nginx:1", 1), ("nginx:2", 1)]));
    assert_eq!(counted(&index).named, of(&[("nginx:1", 2), ("nginx:2", 1)]));
    index.remove(&name(&rewritten("off", off, "")));
    assert_eq!(
        (counted(&index).kept, counted(&index).named),
        (of(&[("nginx:2", 1)]), of(&[("nginx:1", 1), ("nginx:2", 1)]))
    );
}

#[test]
fn what_makes_pods_uses_the_images_of_its_template() {
    let template = json!({"spec": {
        "containers": [{"name": "main", "image": "r:main"}],
        "volumes": [{"name": "v", "image": {"reference": "r:volume"}}, {"name": "w", "emptyDir": {}}],
    }});
    let deployment = templated("Deployment", json!({"replicas": 0, "template": template}), json!({"replicas": 0}));
    assert_eq!(references(&indexed(&[deployment]), "r"), ["main", "volume"]);
    let cron = json!({"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": template}}});
    assert_eq!(references(&indexed(&[templated("CronJob", cron, json!({}))]), "r"), ["main", "volume"]);
}

#[test]
fn a_job_that_has_come_to_its_end_uses_nothing() {
    let spec = json!({"template": {"spec": {"containers": [{"name": "main", "image": "r:main"}]}}});
    let job = |condition: &str| {
        templated("Job", spec.clone(), json!({"conditions": [{"type": condition, "status": "True"}]}))
    };
    assert!(references(&indexed(&[job("Complete")]), "r").is_empty());
    assert!(references(&indexed(&[job("Failed")]), "r").is_empty());
    assert_eq!(references(&indexed(&[job("Suspended")]), "r"), ["main"]);
}

#[test]
fn a_name_that_is_new_in_its_namespace_is_news() {
    let mut index = Index::default();
    assert!(put(&mut index, &running("one", "nginx:1")));
    assert!(!put(&mut index, &running("one", "nginx:1")), "the same pod again");
    assert!(!put(&mut index, &running("two", "nginx:1")), "another pod with the same image");
    assert!(put(&mut index, &pod("team-b", "one", "Running", "nginx:1", "")), "another namespace");
    assert!(put(&mut index, &running("one", "nginx:2")), "another image");
    let mut named = NamedImages::new();
    index.add_named(&|namespace| namespace == "team-a", &mut named);
    let named: Vec<String> = named.values().flatten().map(ToString::to_string).collect();
    assert_eq!(named, ["nginx:1", "nginx:2"]);
}

#[test]
fn what_can_not_be_read_leaves_the_use_of_images_unknown() {
    let workloads = Workloads::default();
    let uris = ["host/api".to_owned()];
    let fill = |watched: &Watched| {
        watched.state.write().expect("not poisoned").take(&"Any".into(), Ok(Event::InitDone));
    };
    fill(&workloads.0.pods);
    assert_eq!(workloads.of_repository(&uris), Usage::Filling, "templates are not read yet");
    workloads.0.templates.iter().skip(1).for_each(fill);
    let refused = Err("deployments.apps is forbidden".to_owned());
    workloads.0.templates[0].state.write().expect("not poisoned").take(&"Deployment".into(), refused);
    assert_eq!(workloads.of_repository(&uris), Usage::Unknown { problem: "deployments.apps is forbidden".to_owned() });
    fill(&workloads.0.templates[0]);
    assert_eq!(workloads.of_repository(&uris), Usage::Known(Uses::default()));
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
                index.remove(&self::name(&pod));
                pods.remove(&name);
            } else {
                put(&mut index, &pod);
                pods.insert(name, pod);
            }
        }
        for repository in 0..4 {
            let uri = format!("r{repository}");
            let mut expected = BTreeMap::<String, BTreeSet<WorkloadName>>::new();
            for pod in pods.values() {
                for (_, reference) in Images::of(pod).used.into_iter().filter(|(name, _)| *name == uri) {
                    expected.entry(reference).or_default().insert(self::name(pod));
                }
            }
            prop_assert_eq!(uses(&index, &[uri.as_str()]).0, expected);
        }
        prop_assert_eq!(index.objects.len(), pods.len());
        prop_assert_eq!(index.repositories.is_empty(), pods.is_empty());
        prop_assert_eq!(index.named.is_empty(), pods.is_empty());
    }
}

#[test]
fn a_pod_whose_image_was_rewritten_still_names_the_one_that_it_had() {
    let mut object = running("a", "ecr/nginx:1");
    let annotations = [("image.ecr-operator.io/main", "nginx:1"), ("note", "x")];
    object.metadata.annotations = Some(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let mut named = BTreeMap::new();
    indexed(&[object]).add_named(&|_| true, &mut named);
    assert_eq!(named["team-a"].iter().map(|image| &**image).collect::<Vec<_>>(), ["ecr/nginx:1", "nginx:1"]);
}
