//! Entries of other Secrets that are merged into a pull secret: credentials for Docker Hub and the like.
//!
//! Nothing here does I/O but [`read`]. What a Secret has for a host that this object mints tokens for is left out, whatever
//! form its key has: somebody else's credentials must not take the place of ours.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use oci_copy::Credentials;
use serde_json::json;
use wildmatch::WildMatch;

use super::document::fingerprint;
use super::observe::DATA_KEY;
use crate::api::conditions::Reason;
use crate::api::{IgnoredEntry, MANAGED_BY, MANAGED_BY_LABEL, SHARED_LABEL, SecretRef};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::dockerconfig::{self, host_of};

/// How many bytes of keys and credentials are taken over at most: a Secret holds a mebibyte.
const LARGEST: usize = 512 * 1024;

/// Where the Secrets are that a pull secret names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) namespace: String,
    /// Whether each has to say that its content may go to other namespaces.
    pub(super) must_be_shared: bool,
    pub(super) secrets: Vec<SecretRef>,
}

/// What is merged in.
#[derive(Debug, Default)]
pub(super) struct Additional {
    /// By the keys that the Secrets have.
    pub(super) entries: BTreeMap<String, Credentials>,
    /// What is not.
    pub(super) ignored: Vec<IgnoredEntry>,
    /// The first Secret that could not be used.
    pub(super) problem: Option<Failure>,
}

/// Reads the Secrets. One that can't be used holds up neither the others nor our own tokens.
///
/// # Errors
/// If the API server failed: what was merged before stays.
pub(super) async fn read(context: &Context, from: &Origin, hosts: &BTreeSet<String>) -> Result<Additional, Failure> {
    let mut additional = Additional::default();
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &from.namespace);
    for SecretRef { name } in &from.secrets {
        let usable = match api.get_opt(name).await {
            Ok(secret) => content(from, name, secret.as_ref()),
            Err(kube::Error::Api(answer)) if answer.code == 403 => Err(Failure::stalled(
                Reason::AccessDenied,
                format!("spec.additionalSecretRefs: can't read Secret {}/{name}: {}", from.namespace, answer.message),
            )),
            Err(error) => {
                let message = format!("can't read Secret {}/{name}: {error}", from.namespace);
                return Err(Failure::transient(Reason::Retrying, message));
            }
        };
        match usable {
            Ok(entries) => additional.merge(name, entries, hosts),
            Err(failure) => {
                additional.problem.get_or_insert(failure);
            }
        }
    }
    Ok(additional)
}

type Entry = (String, Option<Credentials>);

/// The entries of a Secret that may be used, else why it may not.
fn content(from: &Origin, name: &str, secret: Option<&Secret>) -> Result<Vec<Entry>, Failure> {
    let Origin { namespace, must_be_shared, secrets: _ } = from;
    let wrong = |reason, words: String| {
        Failure::stalled(reason, format!("spec.additionalSecretRefs: Secret {namespace}/{name} {words}"))
    };
    let secret = secret.ok_or_else(|| wrong(Reason::SecretNotFound, "does not exist".to_owned()))?;
    if secret.labels().get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY) {
        let words = "was written for a pull secret: name its registries in spec.registries";
        return Err(wrong(Reason::InvalidSpec, words.to_owned()));
    }
    if *must_be_shared && secret.labels().get(SHARED_LABEL).is_none_or(|shared| shared != "true") {
        let words =
            format!("does not say that every selected namespace may have it: give it the label {SHARED_LABEL}=true");
        return Err(wrong(Reason::SecretNotShared, words));
    }
    let bytes = secret.data.as_ref().and_then(|data| data.get(DATA_KEY));
    let bytes = bytes
        .ok_or_else(|| wrong(Reason::SecretNotFound, "is not of type kubernetes.io/dockerconfigjson".to_owned()))?;
    if bytes.0.len() > LARGEST {
        return Err(wrong(Reason::InvalidSpec, format!("has more than {LARGEST} bytes")));
    }
    // One entry that a kubelet can't read makes the whole Secret useless to it: such a Secret is not merged at all.
    dockerconfig::entries(&bytes.0).map_err(|error| wrong(Reason::SecretNotFound, format!("can't be used: {error}")))
}

impl Additional {
    fn merge(&mut self, secret: &str, entries: Vec<Entry>, hosts: &BTreeSet<String>) {
        for (key, credentials) in entries {
            let ours = hosts.iter().find(|host| is_for(&key, host));
            let (host, why) = match (ours, credentials) {
                (Some(host), _) => (host.clone(), "this object's own token is for that host"),
                (None, _) if !is_key(&key) => continue,
                (None, None) => (host_of(&key), "it has neither user name and password nor auth"),
                (None, Some(_)) if self.entries.contains_key(&key) => {
                    (host_of(&key), "a Secret further up in additionalSecretRefs has an entry for that host")
                }
                (None, Some(credentials)) => {
                    self.add(secret, key, credentials);
                    continue;
                }
            };
            self.ignored.push(IgnoredEntry { secret_name: secret.to_owned(), host, message: why.to_owned() });
        }
    }

    fn add(&mut self, secret: &str, key: String, credentials: Credentials) {
        let size = |key: &str, credentials: &Credentials| {
            key.len() + 3 * (credentials.username.len() + credentials.password.len()) + 64
        };
        let present: usize = self.entries.iter().map(|(key, credentials)| size(key, credentials)).sum();
        if present + size(&key, &credentials) > LARGEST {
            let message = "there is no room for it in a Secret".to_owned();
            self.ignored.push(IgnoredEntry { secret_name: secret.to_owned(), host: host_of(&key), message });
            return;
        }
        self.entries.insert(key, credentials);
    }

    /// By which is noticed that a Secret is to be written anew: the fingerprint of the rights, and of what is merged in.
    pub(super) fn marked(&self, rights: String) -> String {
        if self.entries.is_empty() {
            return rights;
        }
        let entries = self.entries.iter().map(|(key, it)| json!([key, it.username, it.password]));
        fingerprint(json!([rights, entries.collect::<Vec<_>>()]).to_string().as_bytes())
    }
}

/// Whether a key can name a host at all. Kubelets pass over others.
fn is_key(key: &str) -> bool {
    let host = host_of(key);
    let is_part_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:*?[]\\^".contains(&byte);
    !host.is_empty() && host.len() <= 260 && host.bytes().all(is_part_of_host)
}

/// Whether somebody who looks for this host may come upon an entry with this key. Keys can have a scheme, a path, and
/// wildcards as kubelets read them; in doubt it is so.
fn is_for(key: &str, host: &str) -> bool {
    let pattern = host_of(key);
    pattern == host || pattern.contains(['[', '\\']) || WildMatch::new(&pattern).matches(host)
}

#[cfg(test)]
#[path = "additional_tests.rs"]
mod tests;
