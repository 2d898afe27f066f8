//! The objects as the cluster has them: reads, writes and deletes them.

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::objects::{Key, Kind, Objects, applied};
use crate::api::conditions::Reason;
use crate::api::{ImageRewrite, MANAGED_BY, MANAGED_BY_LABEL};
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

    /// Whether the API server has admission policies that change objects.
    pub(super) fn has_policies(&self) -> bool {
        self.version.is_some()
    }

    /// The objects that the operator wrote.
    pub(super) async fn list(&self) -> Result<Objects, kube::Error> {
        let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
        let mut found = Objects::new();
        for kind in Kind::ALL {
            let Some(resource) = self.resource(kind) else { continue };
            let api = self.api(None, &resource);
            for object in api.list(&ours).await? {
                let key = Key { kind, namespace: object.namespace(), name: object.name_any() };
                // Others may have this label on policies of their own making.
                if kind != Kind::Images && !key.name.ends_with(POLICY) {
                    continue;
                }
                let owners: Vec<Value> =
                    object.owner_references().iter().filter_map(|owner| serde_json::to_value(owner).ok()).collect();
                let metadata = json!({"labels": object.labels(), "ownerReferences": owners});
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
        match self.api(key.namespace.as_deref(), &resource).patch(&key.name, &params, &Patch::Apply(object)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(failed("apply", key, &error)),
        }
    }

    /// Deletes one object.
    pub(super) async fn delete(&self, key: &Key) -> Result<(), Failure> {
        let Some(resource) = self.resource(key.kind) else { return Ok(()) };
        match self.api(key.namespace.as_deref(), &resource).delete(&key.name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
            Err(error) => Err(failed("delete", key, &error)),
        }
    }

    fn api(&self, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    fn resource(&self, kind: Kind) -> Option<ApiResource> {
        let plural = match kind {
            Kind::Images => return Some(ApiResource::erase::<ImageRewrite>(&())),
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
    let Key { kind, namespace, name } = key;
    let place = namespace.as_ref().map_or(String::new(), |namespace| format!("{namespace}/"));
    let message = format!("can't {verb} {} {place}{name}: {error}", kind.name());
    match error {
        kube::Error::Api(answer) if answer.code == 403 => {
            Failure::stalled(Reason::AccessDenied, format!("{message}; the chart's ClusterRole has the rules for this"))
        }
        kube::Error::Api(answer) if answer.code == 404 && *kind != Kind::Images => unsupported(),
        kube::Error::Api(answer) if answer.code == 422 => Failure::stalled(Reason::InvalidSpec, message),
        _ => Failure::transient(Reason::Retrying, message),
    }
}
