//! The objects as the cluster has them: reads, writes and deletes them.

use std::collections::BTreeMap;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::objects::{Key, Kind, Objects, applied, images};
use crate::api::conditions::Reason;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::controllers::failure::Failure;
use crate::rewrite::policy::POLICY;

const GROUP: &str = "admissionregistration.k8s.io";
/// The field manager of these objects.
const MANAGER: &str = "ecr-operator/rewrite";

/// The cluster, with the version in which it serves admission policies.
pub(super) struct Cluster {
    client: Client,
    version: Option<&'static str>,
}

impl Cluster {
    /// Finds out whether the API server has the kinds.
    pub(super) async fn look(client: &Client) -> Result<Self, kube::Error> {
        let groups = client.list_api_groups().await?;
        let served = groups.groups.iter().find(|group| group.name == GROUP);
        let mut version = None;
        // v1beta1 has the same fields.
        for candidate in ["v1", "v1beta1"] {
            if !served.is_some_and(|group| group.versions.iter().any(|served| served.version == candidate)) {
                continue;
            }
            let resources = client.list_api_group_resources(&format!("{GROUP}/{candidate}")).await?;
            let kinds = [Kind::Policy, Kind::Binding].map(Kind::name);
            if kinds.iter().all(|kind| resources.resources.iter().any(|resource| resource.kind == *kind)) {
                version = Some(candidate);
                break;
            }
        }
        Ok(Self { client: client.clone(), version })
    }

    /// The version in which the API server has admission policies that change objects, if it has them.
    pub(super) fn version(&self) -> Option<&'static str> {
        self.version
    }

    /// The objects that the operator wrote.
    pub(super) async fn list(&self) -> Result<Objects, kube::Error> {
        let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
        let mut found = Objects::new();
        for kind in Kind::ALL {
            let Some(resource) = self.resource(kind) else { continue };
            let api = self.api(&resource);
            for object in api.list(&ours).await? {
                let key = Key { kind, name: object.name_any() };
                // Others may have this label on policies of their own making.
                if !key.name.ends_with(POLICY) {
                    continue;
                }
                let owners: Vec<Value> =
                    object.owner_references().iter().filter_map(|owner| serde_json::to_value(owner).ok()).collect();
                let metadata =
                    json!({"labels": object.labels(), "annotations": object.annotations(), "ownerReferences": owners});
                found.insert(key, json!({"metadata": metadata, "spec": object.data["spec"]}));
            }
        }
        Ok(found)
    }

    /// Makes one object what it should be.
    pub(super) async fn apply(&self, key: &Key, ours: &Value) -> Result<(), Failure> {
        let Some(resource) = self.resource(key.kind) else { return Err(unsupported()) };
        let object = applied(key, &resource.api_version, ours);
        let params = PatchParams::apply(MANAGER).force();
        let api = self.api(&resource);
        let written = api.patch(&key.name, &params, &Patch::Apply(object)).await;
        let written = written.map_err(|error| failed("apply", key, &error))?;
        let there = json!({"metadata": {"annotations": written.annotations()}});
        let (there, wanted) = (images(&there), images(ours));
        // What another field manager added stays when ours is applied.
        let strange: BTreeMap<&String, Value> =
            there.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key, Value::Null)).collect();
        if strange.is_empty() {
            return Ok(());
        }
        let without = Patch::Merge(json!({"metadata": {"annotations": strange}}));
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        let cleaned = api.patch(&key.name, &params, &without).await;
        cleaned.map(drop).map_err(|error| failed("apply", key, &error))
    }

    /// Deletes one object.
    pub(super) async fn delete(&self, key: &Key) -> Result<(), Failure> {
        let Some(resource) = self.resource(key.kind) else { return Ok(()) };
        match self.api(&resource).delete(&key.name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
            Err(error) => Err(failed("delete", key, &error)),
        }
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), resource)
    }

    fn resource(&self, kind: Kind) -> Option<ApiResource> {
        let plural = match kind {
            Kind::Policy => "mutatingadmissionpolicies",
            Kind::Binding => "mutatingadmissionpolicybindings",
        };
        let version = self.version?;
        Some(ApiResource {
            group: GROUP.into(),
            version: version.into(),
            api_version: format!("{GROUP}/{version}"),
            kind: kind.name().into(),
            plural: plural.into(),
        })
    }
}

/// The API server can't change pods for us.
pub(super) fn unsupported() -> Failure {
    Failure::stalled(
        Reason::RewriteUnsupported,
        "this API server has no MutatingAdmissionPolicy: it needs Kubernetes 1.36, or 1.34 or 1.35 with the feature gate MutatingAdmissionPolicy and the API admissionregistration.k8s.io/v1beta1; all else works, and pods keep the images that they name",
    )
}

fn failed(verb: &str, key: &Key, error: &kube::Error) -> Failure {
    let Key { kind, name } = key;
    let message = format!("can't {verb} {} {name}: {error}", kind.name());
    match error {
        kube::Error::Api(answer) if answer.code == 403 => {
            Failure::stalled(Reason::AccessDenied, format!("{message}; the chart's ClusterRole has the rules for this"))
        }
        kube::Error::Api(answer) if answer.code == 404 => unsupported(),
        kube::Error::Api(answer) if answer.code == 422 => Failure::stalled(Reason::InvalidSpec, message),
        _ => Failure::transient(Reason::Retrying, message),
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
