//! What the tokens of a namespace's Secret are good for. Nothing here does I/O.

use serde_json::json;

use super::document::fingerprint;
use crate::api::conditions::Reason;
use crate::api::{AdditionalHost, EcrRegistrySpec, PullRole as RoleSpec, RenewWithin};
use crate::controllers::access::Granted;
use crate::controllers::failure::Failure;
use crate::ecr::host::{Partition, RegistryHost};
use crate::ecr::{ApiEndpoints, MintKey, PullRole, pull_policy};
use crate::globs;

/// What the Secret of one namespace has credentials for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rights(pub(super) Vec<Grant>);

/// A token, and the hosts that it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Grant {
    pub(super) hosts: Vec<String>,
    pub(super) key: MintKey,
    /// Which of the object's registries gives it.
    pub(super) source: usize,
}

/// Where a registry is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) account: &'a str,
    pub(super) region: &'a str,
    pub(super) endpoints: &'a ApiEndpoints,
}

/// Whom a token is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) cluster: &'a str,
    pub(super) namespace: &'a str,
    /// `spec.repositories` of the object.
    pub(super) repositories: Option<&'a [String]>,
}

impl Rights {
    /// By which is noticed that a Secret was written for other rights.
    pub(super) fn fingerprint(&self) -> String {
        let grants = self.0.iter().map(|Grant { hosts, key, source: _ }| {
            let MintKey { account, region, endpoints, narrowed } = key;
            let narrowed = narrowed.as_ref().map(|(role, policy)| {
                let PullRole { arn, external_id, tags, within_session } = role;
                json!([arn, external_id, tags, within_session, policy])
            });
            json!([hosts, account, region, endpoints.api, endpoints.sts, narrowed])
        });
        fingerprint(json!(grants.collect::<Vec<_>>()).to_string().as_bytes())
    }
}

/// The hosts that a registry's token is put under: the one that images are named after, and those of ECR's own names that
/// are asked for.
pub(super) fn hosts(own: &str, account: &str, region: &str, additional: &[AdditionalHost]) -> Vec<String> {
    let mut hosts = vec![own.to_owned()];
    for host in additional {
        let (fips, dual_stack) = match host {
            AdditionalHost::Standard => (false, false),
            AdditionalHost::Fips => (true, false),
            AdditionalHost::DualStack => (false, true),
            AdditionalHost::DualStackFips => (true, true),
        };
        let host = RegistryHost::new(account, region, fips, dual_stack).to_string();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Whether the tokens of a registry can be limited to pulling.
pub(super) fn can_be_narrowed(registry: &EcrRegistrySpec) -> bool {
    registry.pull_role.is_some() || registry.credentials.is_some()
}

/// The token that a namespace is to have for a registry: from its pull role, else from the role that it is reached by,
/// limited to what `spec.access` grants the namespace and the object narrows it to.
pub(super) fn key(
    registry: &EcrRegistrySpec,
    name: &str,
    place: Place<'_>,
    granted: &Granted,
    asker: Asker<'_>,
) -> Result<MintKey, Failure> {
    let Place { account, region, endpoints } = place;
    let narrowed = match role(registry, asker) {
        None => None,
        Some(role) => {
            let repositories = repositories(name, granted, asker)?;
            let policy = pull_policy(Partition::of_region(region), region, account, &repositories)
                .map_err(|error| Failure::stalled(Reason::PolicyTooLarge, format!("EcrRegistry {name:?}: {error}")))?;
            Some((role, policy))
        }
    };
    Ok(MintKey { account: account.to_owned(), region: region.to_owned(), endpoints: endpoints.clone(), narrowed })
}

fn role(registry: &EcrRegistrySpec, asker: Asker<'_>) -> Option<PullRole> {
    if let Some(RoleSpec { role_arn, external_id, session_tags, renew_within }) = &registry.pull_role {
        let filled_in =
            |value: &String| value.replace("{cluster}", asker.cluster).replace("{namespace}", asker.namespace);
        return Some(PullRole {
            arn: role_arn.clone(),
            external_id: external_id.clone(),
            tags: session_tags.iter().map(|(key, value)| (key.clone(), filled_in(value))).collect(),
            within_session: renew_within.unwrap_or_default() == RenewWithin::Session,
        });
    }
    let assumed = &registry.credentials.as_ref()?.assume_role;
    Some(PullRole {
        arn: assumed.role_arn.clone(),
        external_id: assumed.external_id.clone(),
        tags: assumed.session_tags.clone(),
        within_session: false,
    })
}

fn repositories(registry: &str, granted: &Granted, asker: Asker<'_>) -> Result<Vec<String>, Failure> {
    let granted = match granted {
        Granted::All => vec!["*".to_owned()],
        Granted::Matching(patterns) => globs::reduced(patterns.iter().cloned()),
    };
    let Some(wanted) = asker.repositories else { return Ok(granted) };
    let wanted: Vec<_> = wanted.iter().map(|glob| globs::in_namespace(glob, asker.namespace)).collect();
    let common = globs::in_common(&granted, &wanted).map_err(|globs::Overlap { granted, wanted }| {
        Failure::stalled(
            Reason::InvalidSpec,
            format!(
                "spec.repositories has {wanted}, and spec.access of EcrRegistry {registry:?} grants namespace {} {granted}: they have some names in common, which neither of them says exactly; make one of them a part of the other",
                asker.namespace
            ),
        )
    })?;
    if common.is_empty() {
        return Err(Failure::stalled(
            Reason::NamespaceNotAllowed,
            format!(
                "spec.repositories ({}) has nothing of what spec.access of EcrRegistry {registry:?} lets namespace {} use, which is {}",
                wanted.join(", "),
                asker.namespace,
                granted.join(", ")
            ),
        ));
    }
    Ok(common)
}

#[cfg(test)]
#[path = "rights_tests.rs"]
mod tests;
