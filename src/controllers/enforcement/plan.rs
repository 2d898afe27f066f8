//! From an ImageEnforcement, the registries and the namespaces to the objects in the cluster. Nothing here does I/O.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use serde_json::{Value, json};

use crate::api::conditions::Reason;
use crate::api::{ENFORCE_LABEL, EcrRegistry, ImageEnforcement, MANAGED_BY, MANAGED_BY_LABEL};
use crate::controllers::failure::Failure;
use crate::controllers::rewrite::audience::{CONTROL_PLANE, NAME, Namespaces, requirement, with_name};
use crate::ecr::host::RegistryHost;
use crate::enforcement::Allowed;
use crate::enforcement::policy::{SUFFIX, Wanted, policy};
use crate::rewrite::policy::{DISABLED, ENABLED};

/// What the cluster is to have for an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Name of the policy and of its binding.
    pub(super) name: String,
    pub(crate) wanted: Wanted,
    /// The namespaces, as the API server finds them.
    pub(super) selector: LabelSelector,
    /// The namespaces, by name.
    pub(crate) namespaces: BTreeSet<String>,
}

/// Who the policy and its binding go with, as owner references.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    /// The ClusterRole of the release.
    pub(super) release: Option<Value>,
    /// The ImageEnforcement.
    pub(super) object: Option<Value>,
}

/// The name of the policy and the binding of an object.
pub(super) fn policy_name(object: &str) -> String {
    format!("{object}{SUFFIX}")
}

pub(crate) fn plan<'r>(
    object: &ImageEnforcement,
    registry: impl Fn(&str) -> Option<&'r EcrRegistry>,
    namespaces: &Namespaces,
    operators: Option<&str>,
) -> Result<Plan, Failure> {
    let (mut prefixes, mut told) = (Vec::new(), Vec::new());
    for reference in &object.spec.registries {
        let found = registry(&reference.name).ok_or_else(|| {
            let message =
                format!("there is no EcrRegistry {:?}: create it, or correct spec.registries", reference.name);
            Failure::stalled(Reason::RegistryNotFound, message)
        })?;
        let hosts = hosts(found)?;
        told.extend(hosts.first().cloned());
        prefixes.extend(hosts);
    }
    prefixes.extend(object.spec.allow.iter().cloned());
    told.extend(object.spec.allow.iter().cloned());
    let selector = selector(&object.spec.namespace_selector, namespaces, operators);
    let matches = Selector::try_from(selector.clone()).map_err(|error| {
        Failure::stalled(Reason::InvalidSpec, format!("spec.namespaceSelector can't be used: {error}"))
    })?;
    let first = object.spec.registries.first().map(|reference| reference.name.clone());
    Ok(Plan {
        name: policy_name(&object.name_any()),
        wanted: Wanted {
            allowed: Allowed { prefixes, require_digest: object.spec.require_digest },
            told,
            registry: first.filter(|name| name != "default"),
            failure_policy: object.spec.failure_policy,
        },
        namespaces: namespaces
            .iter()
            .filter(|(name, labels)| matches.matches(&with_name(name, labels)))
            .map(|(name, _)| name.clone())
            .collect(),
        selector,
    })
}

/// The hosts of a registry: that in the names of its images first, and for one of AWS's the other names that ECR has for it.
fn hosts(registry: &EcrRegistry) -> Result<Vec<String>, Failure> {
    let name = registry.name_any();
    let unknown = || {
        let message =
            format!("EcrRegistry {name:?} was not reached yet, so that its host is not known; see its conditions");
        Failure::transient(Reason::RegistryNotReady, message)
    };
    let own = registry.status.as_ref().and_then(|status| status.registry_host.clone()).ok_or_else(unknown)?;
    let mut hosts = vec![own.clone()];
    if let Some(known) = RegistryHost::parse(&own) {
        for (fips, dual_stack) in [(false, false), (true, false), (false, true), (true, true)] {
            hosts.push(RegistryHost::new(&known.account, &known.region, fips, dual_stack).to_string());
        }
        hosts[1..].sort_unstable();
        let mut seen = BTreeSet::new();
        hosts.retain(|host| seen.insert(host.clone()));
    }
    Ok(hosts)
}

/// The spec's selector without the namespaces that are left out. A selector has no word for "or", so that those of the control
/// plane stand in it by name, as long as they don't ask to take part.
fn selector(selector: &LabelSelector, namespaces: &Namespaces, operators: Option<&str>) -> LabelSelector {
    let takes_part =
        |name: &str| namespaces.get(name).and_then(|labels| labels.get(ENFORCE_LABEL)).is_some_and(|it| it == ENABLED);
    let never: BTreeSet<String> =
        CONTROL_PLANE.into_iter().chain(operators).filter(|name| !takes_part(name)).map(ToOwned::to_owned).collect();
    let mut selector = selector.clone();
    let expressions = selector.match_expressions.get_or_insert_default();
    expressions.push(requirement(ENFORCE_LABEL, "NotIn", vec![DISABLED.to_owned()]));
    if !never.is_empty() {
        expressions.push(requirement(NAME, "NotIn", never.into_iter().collect()));
    }
    selector
}

impl Plan {
    /// The policy and its binding, with what of them is ours.
    ///
    /// One goes with the object and the other with the release, and either is without effect when the other is gone. So
    /// nothing is enforced any more when the object is deleted and when the operator is uninstalled, though the operator does
    /// not run then. Both owners on both would keep both until the last owner goes.
    pub(super) fn objects(&self, object: &ImageEnforcement, owners: &Owners) -> (Value, Value) {
        let metadata = |owner: Option<&Value>| {
            let owners: Vec<_> = owner.into_iter().collect();
            json!({"labels": {MANAGED_BY_LABEL: MANAGED_BY}, "ownerReferences": owners})
        };
        let binding = json!({
            "policyName": self.name,
            "validationActions": object.spec.validation_actions,
            "matchResources": {"namespaceSelector": self.selector},
        });
        let of_binding = owners.release.as_ref().or(owners.object.as_ref());
        (
            json!({"metadata": metadata(owners.object.as_ref()), "spec": policy(&self.wanted)}),
            json!({"metadata": metadata(of_binding), "spec": binding}),
        )
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
