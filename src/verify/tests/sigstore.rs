//! A Sigstore instance of the tests' own: a certificate authority, its log of certificates, and a log of signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData as _, SanType, SerialNumber, SigningKey as _,
};
use serde_json::{Value, json};
use sigstore_verify::crypto::{KeyPair, sha256};

const START: &str = "2024-01-01T00:00:00Z";

/// When signatures are made, unless a test says otherwise: within the life of the certificates.
pub(super) const SIGNED_AT: i64 = 1_750_000_300;
const NOT_BEFORE: i64 = 1_750_000_000;
const NOT_AFTER: i64 = 1_750_000_600;

/// Fulcio's extension with the issuer of the signer's token.
const ISSUER_OID: &[u64] = &[1, 3, 6, 1, 4, 1, 57264, 1, 8];
const SCT_OID: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];

pub(super) struct Sigstore {
    authority: Issuer<'static, rcgen::KeyPair>,
    authority_der: Vec<u8>,
    authority_spki: Vec<u8>,
    rekor: KeyPair,
    certificate_log: KeyPair,
}

/// Somebody with a certificate.
pub(super) struct Holder {
    key: rcgen::KeyPair,
    pub(super) der: Vec<u8>,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", b64(der))
}

fn spki(key: &KeyPair) -> Vec<u8> {
    key.public_key_der().expect("a public key").as_bytes().to_vec()
}

impl Sigstore {
    pub(super) fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            authority_der: certificate.der().to_vec(),
            authority_spki: key.subject_public_key_info(),
            authority: Issuer::new(params, key),
            rekor: KeyPair::generate_ecdsa_p256().expect("a key"),
            certificate_log: KeyPair::generate_ecdsa_p256().expect("a key"),
        }
    }

    /// Its `trusted_root.json`, with or without the log of certificates.
    pub(super) fn root(&self, certificate_log: bool) -> Value {
        let log = |key: &KeyPair| {
            let spki = spki(key);
            json!({
                "baseUrl": "https://log.example.com",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": b64(&spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": {"start": START}},
                "logId": {"keyId": b64(sha256(&spki).as_bytes())},
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.rekor)],
            "certificateAuthorities": [{
                "subject": {"organization": "example", "commonName": "example"},
                "uri": "https://fulcio.example.com",
                "certChain": {"certificates": [{"rawBytes": b64(&self.authority_der)}]},
                "validFor": {"start": START},
            }],
            "ctlogs": if certificate_log { vec![log(&self.certificate_log)] } else { Vec::new() },
            "timestampAuthorities": [],
        })
    }

    /// A certificate that was entered into the log of certificates.
    pub(super) fn certify(&self, subject: &str, issuer: &str) -> Holder {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = self.params(subject, issuer);
        let before = params.signed_by(&key, &self.authority).expect("a certificate");
        let list = self.certificate_timestamp(before.der());
        params.custom_extensions.push(CustomExtension::from_oid_content(SCT_OID, list));
        let der = params.signed_by(&key, &self.authority).expect("a certificate").der().to_vec();
        Holder { key, der }
    }

    /// A certificate that no log knows.
    pub(super) fn certify_in_secret(&self, subject: &str, issuer: &str) -> Holder {
        let key = rcgen::KeyPair::generate().expect("a key");
        let der = self.params(subject, issuer).signed_by(&key, &self.authority).expect("a certificate").der().to_vec();
        Holder { key, der }
    }

    fn params(&self, subject: &str, issuer: &str) -> CertificateParams {
        let at = |second: i64| {
            let since = std::time::Duration::from_secs(u64::try_from(second).expect("after 1970"));
            rcgen::date_time_ymd(1970, 1, 1) + since
        };
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (at(NOT_BEFORE), at(NOT_AFTER));
        params.serial_number = Some(SerialNumber::from(vec![1, 2, 3, 4]));
        let name = subject.try_into().expect("a subject");
        params.subject_alt_names =
            vec![if subject.contains("://") { SanType::URI(name) } else { SanType::Rfc822Name(name) }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.custom_extensions = vec![CustomExtension::from_oid_content(ISSUER_OID, tlv(0x0c, issuer.as_bytes()))];
        params
    }

    /// What the log of certificates promises (RFC 6962), as the extension has it.
    fn certificate_timestamp(&self, precertificate: &[u8]) -> Vec<u8> {
        let milliseconds = (NOT_BEFORE as u64 * 1000).to_be_bytes();
        let tbs = first_element(precertificate);
        let length = u32::try_from(tbs.len()).expect("it is small").to_be_bytes();
        let mut signed = vec![0, 0];
        signed.extend(milliseconds);
        signed.extend([0, 1]);
        signed.extend(sha256(&self.authority_spki).as_bytes());
        signed.extend(&length[1..]);
        signed.extend(tbs);
        signed.extend([0, 0]);
        let signature = self.certificate_log.sign(&signed).expect("a signature");

        let mut timestamp = vec![0];
        timestamp.extend(sha256(&spki(&self.certificate_log)).as_bytes());
        timestamp.extend(milliseconds);
        timestamp.extend([0, 0, 4, 3]);
        timestamp.extend(with_length(signature.as_bytes()));
        tlv(0x04, &with_length(&with_length(&timestamp)))
    }

    /// The annotations of a classic signature of this text: made by the holder, and entered into the log at a time.
    pub(super) fn sign(&self, holder: &Holder, payload: &[u8], at: i64) -> Vec<(&'static str, String)> {
        let signature = holder.key.sign(payload).expect("a signature");
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": sha256(payload).to_hex()}},
                "signature": {"content": b64(&signature), "publicKey": {"content": b64(pem(&holder.der))}},
            },
        });
        let entry = json!({
            "SignedEntryTimestamp": b64(self.promise(&body, at)),
            "Payload": {"body": b64(body.to_string()), "integratedTime": at, "logIndex": 7, "logID": self.log_id()},
        });
        vec![
            ("dev.cosignproject.cosign/signature", b64(&signature)),
            ("dev.sigstore.cosign/certificate", pem(&holder.der)),
            ("dev.sigstore.cosign/chain", pem(&self.authority_der)),
            ("dev.sigstore.cosign/bundle", entry.to_string()),
        ]
    }

    /// A bundle with this statement: made by the holder, and entered into the log at a time.
    pub(super) fn bundle(&self, holder: &Holder, statement: &Value, at: i64) -> Value {
        let payload = statement.to_string();
        let kind = "application/vnd.in-toto+json";
        let pae = sigstore_verify::types::pae(kind, payload.as_bytes());
        let signature = b64(holder.key.sign(&pae).expect("a signature"));
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": sha256(&pae).to_hex()},
                "payloadHash": {"algorithm": "sha256", "value": sha256(payload.as_bytes()).to_hex()},
                "signatures": [{"signature": signature, "verifier": b64(pem(&holder.der))}],
            },
        });
        let leaf = sha256(&[&[0], body.to_string().as_bytes()].concat());
        let root = b64(leaf.as_bytes());
        let note = format!("log.example.com\n1\n{root}\n");
        let mut signed_note = sha256(&spki(&self.rekor)).as_bytes()[..4].to_vec();
        signed_note.extend(self.rekor.sign(note.as_bytes()).expect("a signature").as_bytes());
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": b64(&holder.der)},
                "tlogEntries": [{
                    "logIndex": "7",
                    "logId": {"keyId": b64(sha256(&spki(&self.rekor)).as_bytes())},
                    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
                    "integratedTime": at.to_string(),
                    "inclusionPromise": {"signedEntryTimestamp": b64(self.promise(&body, at))},
                    "inclusionProof": {
                        "logIndex": "0",
                        "rootHash": root,
                        "treeSize": "1",
                        "hashes": [],
                        "checkpoint": {"envelope": format!("{note}\n— log.example.com {}\n", b64(signed_note))},
                    },
                    "canonicalizedBody": b64(body.to_string()),
                }],
            },
            "dsseEnvelope": {"payload": b64(payload), "payloadType": kind, "signatures": [{"sig": signature}]},
        })
    }

    fn log_id(&self) -> String {
        sha256(&spki(&self.rekor)).to_hex()
    }

    /// The log's signature of an entry and of its time.
    fn promise(&self, body: &Value, at: i64) -> Vec<u8> {
        assert!(Timestamp::from_second(at).is_ok());
        let text = format!(
            r#"{{"body":"{}","integratedTime":{at},"logID":"{}","logIndex":7}}"#,
            b64(body.to_string()),
            self.log_id()
        );
        self.rekor.sign(text.as_bytes()).expect("a signature").as_bytes().to_vec()
    }
}

/// An element of DER.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => element.push(length),
        Ok(length) => element.extend([0x81, length]),
        Err(_) => {
            element.push(0x82);
            element.extend(u16::try_from(content.len()).expect("it is small").to_be_bytes());
        }
    }
    element.extend(content);
    element
}

/// The first element within an element of DER, whole.
fn first_element(der: &[u8]) -> &[u8] {
    let header = |der: &[u8]| if der[1] < 0x80 { 2 } else { 2 + usize::from(der[1] & 0x7f) };
    let inner = &der[header(der)..];
    let length = match inner[1] {
        short if short < 0x80 => usize::from(short),
        long => inner[2..2 + usize::from(long & 0x7f)].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
    };
    &inner[..header(inner) + length]
}

/// Bytes after their length, in two bytes.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut with = u16::try_from(bytes.len()).expect("it is small").to_be_bytes().to_vec();
    with.extend(bytes);
    with
}
