//! The classic form: signatures of a small JSON text, "simple signing", in the manifest that the tag `sha256-<hex>.sig` names.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use oci_copy::{Descriptor, Digest};
use serde::Deserialize;
use sigstore_verify::types::bundle::{
    InclusionPromise, LogId, MessageDigest, MessageSignature, Rfc3161Timestamp, X509Certificate,
};
use sigstore_verify::types::{
    Bundle, CanonicalizedBody, DerCertificate, DigestBytes, HashAlgorithm, KindVersion, LogIndex, LogKeyId, MediaType,
    SignatureBytes, SignatureContent, SignedTimestamp, TimestampToken, TimestampVerificationData, TransparencyLogEntry,
    VerificationMaterial, VerificationMaterialContent,
};

use super::{Policy, Rejection, Signer};

/// What the signed texts are.
const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// A signature of an image as cosign has always put it into a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleSignature {
    /// The text that is signed.
    pub payload: Vec<u8>,
    /// What is told of it: the signature, and with a certificate all that proves it.
    pub annotations: BTreeMap<String, String>,
}

/// A signature whose text is still to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Where its text is.
    pub payload: Descriptor,
    /// What is told of it.
    pub annotations: BTreeMap<String, String>,
}

/// The signatures of a manifest that has a tag `sha256-<hex>.sig`.
pub fn layers(manifest: &[u8]) -> Vec<Layer> {
    #[derive(Deserialize)]
    struct Manifest {
        layers: Vec<RawLayer>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawLayer {
        media_type: String,
        digest: Digest,
        size: u64,
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    let layers = serde_json::from_slice(manifest).map(|Manifest { layers }| layers).unwrap_or_default();
    layers
        .into_iter()
        .filter(|layer| layer.media_type == MEDIA_TYPE && layer.annotations.contains_key(SIGNATURE))
        .map(|RawLayer { media_type, digest, size, annotations }| Layer {
            payload: Descriptor::new(media_type, digest, size),
            annotations,
        })
        .collect()
}

/// The tag of the manifest with an image's signatures.
pub fn tag(digest: &Digest) -> String {
    format!("{}-{}.sig", digest.algorithm().as_str(), digest.hex())
}

pub(super) fn accept(policy: &Policy, digest: &Digest, signature: &SimpleSignature) -> Result<Signer, Rejection> {
    let about = about(&signature.payload)?;
    if about != digest.as_str() {
        return Err(Rejection::OtherImage(about));
    }
    let text = signature.annotations.get(SIGNATURE).map(String::as_str).unwrap_or_default();
    let bytes = SignatureBytes::from_base64(text).map_err(malformed)?;
    if policy.has_key_for(&signature.payload, &bytes) {
        return Ok(Signer::Key);
    }
    let root = policy.root(signature.annotations.contains_key(CERTIFICATE))?;
    let bundle = bundle(signature, bytes, root.needs_log())?;
    root.accept(policy, signature.payload.as_slice(), &bundle)
}

fn malformed(error: impl std::fmt::Display) -> Rejection {
    Rejection::Malformed(error.to_string())
}

/// The digest of the image that a signed text is about.
fn about(payload: &[u8]) -> Result<String, Rejection> {
    #[derive(Deserialize)]
    struct Payload {
        critical: Critical,
    }
    #[derive(Deserialize)]
    struct Critical {
        image: Image,
    }
    #[derive(Deserialize)]
    struct Image {
        #[serde(rename = "docker-manifest-digest")]
        digest: String,
    }
    let Payload { critical: Critical { image: Image { digest } } } =
        serde_json::from_slice(payload).map_err(malformed)?;
    Ok(digest)
}

/// The same as a Sigstore bundle of the oldest version, in which the log's promise stands for a proof.
fn bundle(signature: &SimpleSignature, bytes: SignatureBytes, needs_log: bool) -> Result<Bundle, Rejection> {
    let annotation = |name: &str| signature.annotations.get(name).map(String::as_str);
    let mut certificates = certificates(annotation(CERTIFICATE).unwrap_or_default())?;
    certificates.truncate(1);
    certificates.extend(self::certificates(annotation(CHAIN).unwrap_or_default())?);
    let mut material = VerificationMaterial::new(VerificationMaterialContent::X509CertificateChain { certificates });
    if let Some(entry) = annotation(BUNDLE) {
        material = material.with_tlog_entries(vec![log_entry(entry)?]);
    }
    if let Some(timestamp) = annotation(TIMESTAMP) {
        material = material.with_timestamp_verification_data(self::timestamp(timestamp)?);
    }
    // The oldest version asks for a promise; the next one for a proof, unless the log does not matter.
    let version = if needs_log { MediaType::Bundle0_1 } else { MediaType::Bundle0_2 };
    let digest = sigstore_verify::crypto::sha256(&signature.payload);
    let digest = MessageDigest::new(HashAlgorithm::Sha2256, DigestBytes::new(digest.as_bytes().to_vec()));
    let content = SignatureContent::MessageSignature(MessageSignature::new(bytes).with_message_digest(digest));
    Ok(Bundle::new(version, material, content))
}

fn certificates(pem: &str) -> Result<Vec<X509Certificate>, Rejection> {
    let blocks = pem.split(BEGIN).skip(1);
    blocks
        .map(|block| DerCertificate::from_pem(&format!("{BEGIN}{block}")).map(X509Certificate::new).map_err(malformed))
        .collect()
}

/// What cosign keeps of Rekor's answer.
fn log_entry(json: &str) -> Result<TransparencyLogEntry, Rejection> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct RekorBundle {
        signed_entry_timestamp: String,
        payload: RekorPayload,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RekorPayload {
        body: String,
        integrated_time: i64,
        log_index: u64,
        #[serde(rename = "logID")]
        log_id: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        kind: String,
        api_version: String,
    }
    let RekorBundle { signed_entry_timestamp, payload } = serde_json::from_str(json).map_err(malformed)?;
    let body = CanonicalizedBody::from_base64(&payload.body).map_err(malformed)?;
    let Body { kind, api_version } = serde_json::from_slice(body.as_bytes()).map_err(malformed)?;
    let kind: KindVersion =
        serde_json::from_value(serde_json::json!({"kind": kind, "version": api_version})).map_err(malformed)?;
    let log_id = DigestBytes::from_hex(&payload.log_id).map_err(malformed)?;
    let promise = SignedTimestamp::from_base64(&signed_entry_timestamp).map_err(malformed)?;
    let index = LogIndex::new(payload.log_index).map_err(malformed)?;
    let integrated = Timestamp::from_second(payload.integrated_time).map_err(malformed)?;
    Ok(TransparencyLogEntry::new(index, LogId::new(LogKeyId::new(log_id.into_bytes())), kind, body)
        .with_integrated_time(integrated)
        .with_inclusion_promise(InclusionPromise::new(promise)))
}

fn timestamp(json: &str) -> Result<TimestampVerificationData, Rejection> {
    #[derive(Deserialize)]
    struct Timestamped {
        #[serde(rename = "SignedRFC3161Timestamp")]
        token: String,
    }
    let Timestamped { token } = serde_json::from_str(json).map_err(malformed)?;
    let token = TimestampToken::from_base64(&token).map_err(malformed)?;
    Ok(TimestampVerificationData::new(vec![Rfc3161Timestamp::new(token)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_layers_that_are_signatures_are_read() {
        let digest = Digest::sha256(b"x");
        let layer = |kind: &str, annotations: &str| {
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":7,"annotations":{annotations}}}"#)
        };
        let signature = format!(r#"{{"{SIGNATURE}":"c2ln","other":"x"}}"#);
        let layers = [layer(MEDIA_TYPE, &signature), layer("text/plain", &signature), layer(MEDIA_TYPE, "{}")];
        let manifest = format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, layers.join(","));
        let found = super::layers(manifest.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].payload.digest, found[0].payload.size), (&digest, 7));
        assert_eq!(found[0].annotations[SIGNATURE], "c2ln");
        for nothing in ["", "{}", "[]", r#"{"layers":null}"#, r#"{"layers":[{"mediaType":"x"}]}"#] {
            assert!(super::layers(nothing.as_bytes()).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn the_tag_is_made_of_the_digest() {
        let digest = Digest::sha256(b"x");
        assert_eq!(tag(&digest), format!("sha256-{}.sig", digest.hex()));
    }

    #[test]
    fn what_a_log_entry_can_not_be_is_malformed() {
        let entry = |body: &str, time: &str| {
            let body = CanonicalizedBody::from_bytes(body.as_bytes()).to_base64();
            format!(
                r#"{{"SignedEntryTimestamp":"c2ln","Payload":{{"body":"{body}","integratedTime":{time},"logIndex":1,"logID":"c0d2"}}}}"#
            )
        };
        let body = r#"{"apiVersion":"0.0.1","kind":"hashedrekord"}"#;
        assert!(log_entry(&entry(body, "1")).is_ok());
        for text in [
            String::new(),
            "{}".to_owned(),
            entry("{}", "1"),
            entry(r#"{"apiVersion":"9","kind":"hashedrekord"}"#, "1"),
            entry(body, "99999999999999999"),
            entry(body, "1").replace("c0d2", "x"),
        ] {
            assert!(matches!(log_entry(&text), Err(Rejection::Malformed(_))), "{text}");
        }
    }
}
