//! What is read of an object that has containers: a pod, or something that makes pods.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::core::{ApiResource, Object};
use serde::Deserialize;

use crate::api::{ORIGINAL_IMAGE, ORIGINAL_VOLUME, REWRITE_LABEL};
use crate::rewrite::policy::DISABLED;

/// An object that has containers. Of all its fields only these are read.
pub(super) type Workload = Object<Spec, Status>;

/// Pods.
pub(super) fn pods() -> ApiResource {
    ApiResource::erase::<Pod>(&())
}

/// What makes pods. ReplicaSets are what a Deployment is rolled back to.
pub(super) fn templates() -> [ApiResource; 6] {
    [
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<ReplicaSet>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<DaemonSet>(&()),
        ApiResource::erase::<Job>(&()),
        ApiResource::erase::<CronJob>(&()),
    ]
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    volumes: Vec<Volume>,
    template: Option<Box<Template>>,
    job_template: Option<Box<Template>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Volume {
    name: String,
    image: Option<ImageVolume>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ImageVolume {
    reference: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    phase: String,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "imageID")]
    image_id: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

impl Status {
    /// Whether a pod or a job has come to its end and pulls nothing any more.
    fn is_over(&self) -> bool {
        let ended = |it: &Condition| matches!(it.type_.as_str(), "Complete" | "Failed") && it.status == "True";
        matches!(self.phase.as_str(), "Succeeded" | "Failed") || self.conditions.iter().any(ended)
    }

    fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        let Self { container_statuses, init_container_statuses, ephemeral_container_statuses, .. } = self;
        container_statuses.iter().chain(init_container_statuses).chain(ephemeral_container_statuses)
    }
}

impl Spec {
    /// The spec of the pod: the object's own, or that of its template.
    fn pod(&self) -> &Self {
        match self.template.as_ref().or(self.job_template.as_ref()) {
            Some(template) => template.spec.pod(),
            None => self,
        }
    }

    /// The images that an annotation says were put in place of others, and that are no others' now.
    fn rewritten(&self, object: &Workload) -> BTreeSet<(String, String)> {
        let annotations = object.annotations();
        let kept = |key: &str, name: &str, image: &str| {
            let original = annotations.get(&format!("{key}{name}"))?;
            (original != image).then(|| (original.clone(), image.to_owned()))
        };
        // Most pods have none.
        if !annotations.keys().any(|key| key.starts_with(ORIGINAL_IMAGE) || key.starts_with(ORIGINAL_VOLUME)) {
            return BTreeSet::new();
        }
        let containers = self.containers().filter_map(|it| kept(ORIGINAL_IMAGE, &it.name, &it.image));
        let volumes = self
            .volumes
            .iter()
            .filter_map(|volume| kept(ORIGINAL_VOLUME, &volume.name, &volume.image.as_ref()?.reference));
        containers.chain(volumes).collect()
    }

    fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().chain(&self.init_containers).chain(&self.ephemeral_containers)
    }
}

/// The images of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Images {
    /// As the object names them.
    pub(super) named: BTreeSet<String>,
    /// The pairs of repository and tag or digest that it names, and those that it runs.
    pub(super) used: BTreeSet<(String, String)>,
    /// Of a pod's images, those that were put in place of others: the other, and the image.
    pub(super) rewritten: BTreeSet<(String, String)>,
    /// Whether the pod wants no image to be rewritten.
    pub(super) keeps_names: bool,
}

impl Images {
    /// The images of an object; none of one that has come to its end.
    pub(super) fn of(object: &Workload) -> Self {
        let mut images = Self::default();
        if object.status.as_ref().is_some_and(Status::is_over) {
            return images;
        }
        let pod = object.spec.pod();
        images.keeps_names = object.labels().get(REWRITE_LABEL).is_some_and(|value| value == DISABLED);
        images.rewritten = pod.rewritten(object);
        let mut repositories = HashMap::new();
        for container in pod.containers() {
            repositories.insert(container.name.as_str(), images.name(&container.image));
        }
        for volume in pod.volumes.iter().filter_map(|volume| volume.image.as_ref()) {
            images.name(&volume.reference);
        }
        for status in object.status.iter().flat_map(Status::containers) {
            // Without a repository it is the runtime's own ID of the image, which no registry knows.
            let Some((repository, digest)) = status.image_id.rsplit_once('@') else { continue };
            let repository = repository.strip_prefix("docker-pullable://").unwrap_or(repository);
            // Of an image that it has under several names the runtime reports any.
            let names = repositories.get(status.name.as_str()).copied().into_iter().chain([repository]);
            images.used.extend(names.map(|name| (name.to_owned(), digest.to_owned())));
        }
        images
    }

    fn name<'i>(&mut self, image: &'i str) -> &'i str {
        let (repository, references) = split(image);
        // A pod template may leave the image to an admission step.
        if !image.is_empty() {
            self.named.insert(image.to_owned());
            self.used.extend(references.into_iter().map(|reference| (repository.to_owned(), reference.to_owned())));
        }
        repository
    }
}

/// The repository of an image's name, and what follows it: tag, digest, or both; `latest` if there is neither.
pub(super) fn split(image: &str) -> (&str, Vec<&str>) {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    // A colon before the last slash is a port's.
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[path..].find(':') {
        Some(colon) => (&name[..path + colon], Some(&name[path + colon + 1..])),
        None => (name, None),
    };
    match (tag, digest) {
        (None, None) => (repository, vec!["latest"]),
        (tag, digest) => (repository, tag.into_iter().chain(digest).collect()),
    }
}
