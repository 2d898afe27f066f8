//! The policies and bindings as the cluster has them: reads, writes and deletes them.

use std::fmt::Debug;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::conditions::Reason;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::controllers::failure::Failure;
use crate::controllers::rewrite::objects::has;
use crate::enforcement::policy::SUFFIX;

/// The field manager of these objects.
const MANAGER: &str = "ecr-operator/enforce";

/// Makes a policy and its binding what they should be, and says whether something was written.
pub(super) async fn keep(client: &Client, name: &str, policy: &Value, binding: &Value) -> Result<bool, Failure> {
    // A binding without its policy does nothing, and neither does a policy without its binding.
    let policy = keep_one::<ValidatingAdmissionPolicy>(client, name, policy).await?;
    Ok(keep_one::<ValidatingAdmissionPolicyBinding>(client, name, binding).await? | policy)
}

async fn keep_one<K>(client: &Client, name: &str, ours: &Value) -> Result<bool, Failure>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let api: Api<K> = Api::all(client.clone());
    let present = api.get_opt(name).await.map_err(|error| failed::<K>("read", name, &error))?;
    let present = present.and_then(|present| serde_json::to_value(present).ok());
    if present.is_some_and(|present| has(&present, ours)) {
        return Ok(false);
    }
    let mut object = ours.clone();
    object["apiVersion"] = K::api_version(&()).into();
    object["kind"] = K::kind(&()).into();
    object["metadata"]["name"] = name.into();
    let params = PatchParams::apply(MANAGER).force();
    api.patch(name, &params, &Patch::Apply(object)).await.map_err(|error| failed::<K>("apply", name, &error))?;
    Ok(true)
}

/// Deletes what was written for objects that are not there any more.
pub(super) async fn clear(client: &Client, is_wanted: impl Fn(&str) -> bool) -> Result<(), Failure> {
    clear_kind::<ValidatingAdmissionPolicyBinding>(client, &is_wanted).await?;
    clear_kind::<ValidatingAdmissionPolicy>(client, &is_wanted).await
}

async fn clear_kind<K>(client: &Client, is_wanted: impl Fn(&str) -> bool) -> Result<(), Failure>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let found = match api.list_metadata(&ours).await {
        Ok(found) => found,
        // The API server does not know the kind.
        Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(()),
        Err(error) => return Err(failed::<K>("list", "", &error)),
    };
    for name in found.iter().map(|object| object.name_any()) {
        if name.strip_suffix(SUFFIX).is_none_or(&is_wanted) {
            continue;
        }
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => tracing::info!(kind = %K::kind(&()), name, "deleted, with the ImageEnforcement"),
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => return Err(failed::<K>("delete", &name, &error)),
        }
    }
    Ok(())
}

fn failed<K: Resource<DynamicType = ()>>(verb: &str, name: &str, error: &kube::Error) -> Failure {
    let message = format!("can't {verb} {} {name}: {error}", K::kind(&()));
    match error {
        kube::Error::Api(answer) if answer.code == 403 => {
            Failure::stalled(Reason::AccessDenied, format!("{message}; the chart's ClusterRole has the rules for this"))
        }
        kube::Error::Api(answer) if answer.code == 404 => Failure::stalled(
            Reason::EnforcementUnsupported,
            "this API server has no ValidatingAdmissionPolicy in admissionregistration.k8s.io/v1, which it has since Kubernetes 1.30 unless it is switched off (--runtime-config, --disable-admission-plugins); nothing is enforced, and all else works",
        ),
        kube::Error::Api(answer) if answer.code == 422 => Failure::stalled(Reason::InvalidSpec, message),
        _ => Failure::transient(Reason::Retrying, message),
    }
}
