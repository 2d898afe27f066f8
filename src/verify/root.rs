//! What certificates and logs are checked against: a Sigstore trusted root.

use std::fmt;

use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::types::{Artifact, Bundle};
use sigstore_verify::{VerificationPolicy, Verifier};

use super::{Policy, Rejection, Signer};

/// A trusted root, and what it asks for: of the kinds of evidence that it knows authorities for, none may be missing.
pub struct Root {
    verifier: Verifier,
    /// It has transparency logs: a signature must be in one.
    needs_log: bool,
    /// It has logs of certificates: the certificate must be in one.
    needs_certificate_log: bool,
}

/// Why a trusted root can't be used.
#[derive(Debug, thiserror::Error)]
#[error("it can't be used as a Sigstore trusted root (trusted_root.json): {0}")]
pub struct RootError(String);

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("needs_log", &self.needs_log)
            .field("needs_certificate_log", &self.needs_certificate_log)
            .finish_non_exhaustive()
    }
}

impl Root {
    /// That of Sigstore's public instance, as it was when this program was built.
    pub fn public_good() -> Result<Self, RootError> {
        Self::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
    }

    /// Reads a `trusted_root.json`.
    pub fn parse(json: &str) -> Result<Self, RootError> {
        let root = TrustedRoot::from_json(json).map_err(|error| RootError(error.to_string()))?;
        if root.certificate_authorities.is_empty() {
            return Err(RootError("it has no certificateAuthorities".to_owned()));
        }
        if root.tlogs.is_empty() && root.timestamp_authorities.is_empty() {
            return Err(RootError(
                "it has neither tlogs nor timestampAuthorities, so nothing could tell when a signature was made"
                    .to_owned(),
            ));
        }
        let verifier = Verifier::new(&root).map_err(|error| RootError(error.to_string()))?;
        Ok(Self { verifier, needs_log: !root.tlogs.is_empty(), needs_certificate_log: !root.ctlogs.is_empty() })
    }

    /// Whether a signature must be in a transparency log.
    pub(super) fn needs_log(&self) -> bool {
        self.needs_log
    }

    /// Whether the bundle has a valid signature of the artifact, by somebody whom the policy names.
    pub(super) fn accept<'a>(
        &self,
        policy: &Policy,
        artifact: impl Into<Artifact<'a>>,
        bundle: &Bundle,
    ) -> Result<Signer, Rejection> {
        // Who signed is looked at below, by the policy's own patterns.
        let mut terms = VerificationPolicy::any_identity();
        if !self.needs_log {
            terms = terms.skip_tlog_unsafe();
        }
        if !self.needs_certificate_log {
            terms = terms.skip_sct();
        }
        let verified =
            self.verifier.verify(artifact, bundle, &terms).map_err(|error| Rejection::Invalid(error.to_string()))?;
        policy.identified(verified.identity().map(|identity| identity.as_str()), verified.issuer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_root_is_part_of_the_program_and_asks_for_both_logs() {
        let root = Root::public_good().expect("it can be used");
        assert!(root.needs_log && root.needs_certificate_log);
    }

    #[test]
    fn a_root_that_could_verify_nothing_is_refused_with_a_reason() {
        let mut root: serde_json::Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).expect("JSON");
        root["tlogs"] = serde_json::json!([]);
        let with_timestamps = Root::parse(&root.to_string()).expect("timestamps are enough");
        assert!(!with_timestamps.needs_log);
        root["timestampAuthorities"] = serde_json::json!([]);
        assert!(Root::parse(&root.to_string()).expect_err("no time").to_string().contains("timestampAuthorities"));
        root["certificateAuthorities"] = serde_json::json!([]);
        assert!(Root::parse(&root.to_string()).expect_err("nobody").to_string().contains("certificateAuthorities"));
        for text in ["", "{}", "[]", "{\"mediaType\": 1}"] {
            assert!(Root::parse(text).is_err(), "{text}");
        }
    }
}
