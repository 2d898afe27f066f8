//! Whether an image is signed as a policy asks for: cosign's signatures, by keys or by identities.
//!
//! Nothing here does I/O. A [`Policy`] is what is asked for, a [`Signature`] is what somebody found beside the image, and
//! [`Policy::verify`] says whether one of them is enough. [`simple`] and [`bundle`] read the two forms in which cosign puts
//! signatures into a registry. The cryptography is that of the `sigstore-verify` crate.

pub mod bundle;
mod identity;
mod key;
mod root;
pub mod simple;

use std::fmt;
use std::sync::Arc;

use oci_copy::Digest;
use sigstore_verify::types::SignatureBytes;

pub use identity::{Identity, IdentityError};
pub use key::{Key, KeyError};
pub use root::{Root, RootError};
use simple::SimpleSignature;

/// Which signatures are enough: one that one of the keys made, or somebody with one of the identities.
#[derive(Debug, Default)]
pub struct Policy {
    /// The keys.
    pub keys: Vec<Key>,
    /// The identities.
    pub identities: Vec<Identity>,
    /// What certificates are checked against. Without it no identity is accepted.
    pub root: Option<Arc<Root>>,
}

/// A signature that was found beside an image.
#[derive(Clone, Debug)]
pub enum Signature {
    /// Of a "simple signing" payload, in the manifest that a tag `sha256-<hex>.sig` names.
    Simple(SimpleSignature),
    /// A Sigstore bundle, of a manifest that refers to the image.
    Bundle(Vec<u8>),
    /// One that could not be read, and why.
    Unreadable(String),
}

/// Whose signature was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// One of the keys.
    Key,
    /// Somebody with an accepted identity.
    Identity {
        /// The subject of the certificate.
        subject: String,
        /// Who knows the subject.
        issuer: String,
    },
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("a key"),
            Self::Identity { subject, issuer } => write!(f, "{subject:?} of {issuer:?}"),
        }
    }
}

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It is no signature, or none that can be read.
    #[error("one can't be read: {0}")]
    Malformed(String),
    /// It says something of another image.
    #[error("one is about {}", shown(.0))]
    OtherImage(String),
    /// It says something else of the image than that it is signed.
    #[error("one says {} of the image, not that it is signed", shown(.0))]
    OtherStatement(String),
    /// It has no certificate, and no key made it.
    #[error("one was made with a key that is none of verify.cosign.keys")]
    UnknownKey,
    /// It has a certificate, and only keys count.
    #[error("one was made with a certificate, and verify.cosign.keyless names nobody")]
    KeysOnly,
    /// Somebody else made it.
    #[error("one was made by {} of {}, whom verify.cosign.keyless does not name", shown(subject), shown(issuer))]
    UnknownIdentity {
        /// The subject of the certificate.
        subject: String,
        /// Who knows the subject.
        issuer: String,
    },
    /// The certificate, the log entry, the time or the signature itself is not right.
    #[error("one is not valid: {0:.300}")]
    Invalid(String),
    /// The image has a digest that signatures are not made for.
    #[error("only images with sha256 digests can be verified")]
    Algorithm,
}

/// Foreign words, in quotes and not too many of them.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(200).collect::<String>())
}

impl Policy {
    /// Whose signature makes the image acceptable, or why each of the signatures does not.
    ///
    /// # Errors
    /// If none of the signatures is accepted. There is one rejection for each.
    pub fn verify(&self, digest: &Digest, signatures: &[Signature]) -> Result<Signer, Vec<Rejection>> {
        let mut rejections = Vec::new();
        for signature in signatures {
            match self.accept(digest, signature) {
                Ok(signer) => return Ok(signer),
                Err(rejection) => rejections.push(rejection),
            }
        }
        Err(rejections)
    }

    fn accept(&self, digest: &Digest, signature: &Signature) -> Result<Signer, Rejection> {
        if digest.algorithm() != oci_copy::Algorithm::Sha256 {
            return Err(Rejection::Algorithm);
        }
        match signature {
            Signature::Simple(signature) => simple::accept(self, digest, signature),
            Signature::Bundle(json) => bundle::accept(self, digest, json),
            Signature::Unreadable(problem) => Err(Rejection::Malformed(problem.clone())),
        }
    }

    fn has_key_for(&self, data: &[u8], signature: &SignatureBytes) -> bool {
        self.keys.iter().any(|key| key.made(data, signature))
    }

    /// Whether the identities let through what a valid certificate says.
    fn identified(&self, subject: Option<&str>, issuer: Option<&str>) -> Result<Signer, Rejection> {
        let (subject, issuer) = (subject.unwrap_or_default(), issuer.unwrap_or_default());
        // A certificate without one of them says nothing, and a pattern could match nothing.
        let named = !subject.is_empty()
            && !issuer.is_empty()
            && self.identities.iter().any(|identity| identity.is(subject, issuer));
        let (subject, issuer) = (subject.to_owned(), issuer.to_owned());
        match named {
            true => Ok(Signer::Identity { subject, issuer }),
            false => Err(Rejection::UnknownIdentity { subject, issuer }),
        }
    }

    /// The root to check a certificate against.
    fn root(&self, has_certificate: bool) -> Result<&Root, Rejection> {
        match &self.root {
            _ if !has_certificate => Err(Rejection::UnknownKey),
            Some(root) if !self.identities.is_empty() => Ok(root),
            _ => Err(Rejection::KeysOnly),
        }
    }
}

#[cfg(test)]
mod tests;
