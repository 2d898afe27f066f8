//! Signatures of keys and of identities, right ones and wrong ones, against a Sigstore instance of the tests' own.

mod keyless;
mod keys;
mod public;
mod sigstore;

use std::collections::BTreeMap;

use oci_copy::Digest;
use serde_json::{Value, json};

use super::simple::SimpleSignature;
use super::*;

fn image() -> Digest {
    Digest::sha256(b"an image")
}

/// The text that cosign signs for an image.
fn payload(digest: &Digest) -> Vec<u8> {
    let text = json!({
        "critical": {
            "identity": {"docker-reference": "registry.example.com/app"},
            "image": {"docker-manifest-digest": digest.as_str()},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    text.to_string().into_bytes()
}

/// What a bundle says of an image that is signed.
fn statement(digest: &Digest) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.hex()}}],
        "predicateType": bundle::SIGNED,
        "predicate": {},
    })
}

fn simple(payload: Vec<u8>, annotations: Vec<(&str, String)>) -> Signature {
    let annotations: BTreeMap<_, _> = annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Signature::Simple(SimpleSignature { payload, annotations })
}

/// Why the only signature does not count.
fn rejected(policy: &Policy, digest: &Digest, signature: Signature) -> String {
    let rejections = policy.verify(digest, &[signature]).expect_err("it is rejected");
    assert_eq!(rejections.len(), 1);
    rejections[0].to_string()
}
