//! The new form: a Sigstore bundle in a manifest that refers to the image.

use oci_copy::{Descriptor, Digest};
use serde::Deserialize;
use sigstore_verify::types::{Bundle, Sha256Hash, SignatureContent, Statement};

use super::{Policy, Rejection, Signer};

/// What the manifests are, and the blobs in them: `application/vnd.dev.sigstore.bundle.v0.3+json`, and others to come.
pub const MEDIA_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// The annotation by which cosign tells what a bundle says.
pub const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// What a bundle says that is a signature and no other attestation.
pub const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// The type of the payload of such a bundle.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The blob with the bundle, of a manifest that refers to an image.
pub fn blob(manifest: &[u8]) -> Option<Descriptor> {
    #[derive(Deserialize)]
    struct Manifest {
        layers: Vec<Layer>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layer {
        media_type: String,
        digest: Digest,
        size: u64,
    }
    let Manifest { layers } = serde_json::from_slice(manifest).ok()?;
    let layer = layers.into_iter().find(|layer| layer.media_type.starts_with(MEDIA_TYPE_PREFIX))?;
    Some(Descriptor::new(layer.media_type, layer.digest, layer.size))
}

pub(super) fn accept(policy: &Policy, digest: &Digest, json: &[u8]) -> Result<Signer, Rejection> {
    let malformed = |error: &dyn std::fmt::Display| Rejection::Malformed(error.to_string());
    let text = std::str::from_utf8(json).map_err(|error| malformed(&error))?;
    let bundle = Bundle::from_json(text).map_err(|error| malformed(&error))?;
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
        return Err(Rejection::Malformed("the bundle has no DSSE envelope".to_owned()));
    };
    if envelope.payload_type != IN_TOTO {
        return Err(Rejection::OtherStatement(envelope.payload_type.clone()));
    }
    let statement: Statement =
        serde_json::from_slice(envelope.payload.as_bytes()).map_err(|error| malformed(&error))?;
    // Whoever may sign may attest other things too, and not all of them are praise.
    if statement.predicate_type != SIGNED {
        return Err(Rejection::OtherStatement(statement.predicate_type));
    }
    let hash = Sha256Hash::from_hex(digest.hex()).map_err(|error| malformed(&error))?;
    if !statement.matches_sha256(&hash) {
        return Err(Rejection::OtherImage("another image".to_owned()));
    }
    if policy.has_key_for(&envelope.pae(), &envelope.signature.sig) {
        return Ok(Signer::Key);
    }
    policy.root(bundle.signing_certificate().is_some())?.accept(policy, hash, &bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_the_layer_of_that_type() {
        let digest = Digest::sha256(b"x");
        let layer = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":7}}"#);
        let manifest = |layers: &[String]| format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, layers.join(","));
        let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let found = blob(manifest(&[layer("text/plain"), layer(kind)]).as_bytes()).expect("a bundle");
        assert_eq!((found.media_type.as_str(), &found.digest, found.size), (kind, &digest, 7));
        for nothing in [manifest(&[layer("text/plain")]), manifest(&[]), "{}".to_owned(), String::new()] {
            assert_eq!(blob(nothing.as_bytes()), None, "{nothing}");
        }
    }
}
