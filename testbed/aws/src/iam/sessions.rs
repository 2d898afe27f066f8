//! Credentials for workloads, as EKS Pod Identity's agent serves them on a node.
//! <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html>

use std::collections::HashMap;

use chrono::TimeDelta;
use fakecloud_iam::sts_service::container_creds::mint_session_credentials;
use parking_lot::Mutex;
use serde_json::Value;

use super::Identities;

/// As AWS's; SDKs ask again some minutes before the end.
const LIFETIME: TimeDelta = TimeDelta::hours(6);

/// Which token stands for which role.
#[derive(Default)]
pub(crate) struct PodIdentities(Mutex<HashMap<String, Association>>);

#[derive(Clone)]
struct Association {
    role_arn: String,
    session_name: String,
}

impl PodIdentities {
    /// Lets a token stand for a role from now on.
    pub(crate) fn associate(&self, token: &str, role_arn: &str, session_name: &str) {
        let association = Association { role_arn: role_arn.to_owned(), session_name: session_name.to_owned() };
        self.0.lock().insert(token.to_owned(), association);
    }

    /// New credentials of the role that a token stands for, in the form that SDKs read.
    pub(crate) fn credentials(&self, identities: &Identities, account: &str, token: &str) -> Option<Value> {
        let Association { role_arn, session_name } = self.0.lock().get(token).cloned()?;
        let minted = mint_session_credentials(&identities.state(), account, &role_arn, &session_name, LIFETIME);
        Some(minted.to_container_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_brings_credentials_of_its_role_and_an_unknown_one_none() {
        let identities = Identities::new("123456789012", "eu-west-1");
        let pods = PodIdentities::default();
        pods.associate("token", "arn:aws:iam::123456789012:role/mirror", "eks-pod");
        let credentials = pods.credentials(&identities, "123456789012", "token").expect("credentials");
        let key = credentials["AccessKeyId"].as_str().expect("a key");
        let resolved = identities.resolver().resolve(key).expect("a known key");
        assert_eq!(resolved.principal.arn, "arn:aws:sts::123456789012:assumed-role/mirror/eks-pod");
        assert!(pods.credentials(&identities, "123456789012", "other").is_none());
    }
}
