//! Signatures made with keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_copy::{Algorithm, Digest};
use sigstore_verify::crypto::KeyPair;
use sigstore_verify::types::pae;

use super::*;

fn pair() -> KeyPair {
    KeyPair::generate_ecdsa_p256().expect("a key")
}

fn policy(pairs: &[&KeyPair]) -> Policy {
    let keys = pairs.iter().map(|pair| Key::parse(&pair.public_key_der().expect("a public key").to_pem()));
    let keys = keys.collect::<Result<Vec<_>, _>>().expect("keys");
    Policy { keys: keys.into_iter().flatten().collect(), ..Policy::default() }
}

fn signed(pair: &KeyPair, payload: Vec<u8>) -> Signature {
    let signature = pair.sign(&payload).expect("a signature").to_base64();
    simple(payload, vec![("dev.cosignproject.cosign/signature", signature)])
}

fn bundled(pair: &KeyPair, statement: &Value, kind: &str) -> Signature {
    let payload = statement.to_string();
    let signature = pair.sign(&pae(kind, payload.as_bytes())).expect("a signature").to_base64();
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "any"}, "tlogEntries": []},
        "dsseEnvelope": {"payload": STANDARD.encode(payload), "payloadType": kind, "signatures": [{"sig": signature}]},
    });
    Signature::Bundle(bundle.to_string().into_bytes())
}

const IN_TOTO: &str = "application/vnd.in-toto+json";

#[test]
fn one_of_the_keys_is_enough_in_both_forms() {
    let (ours, other) = (pair(), pair());
    let policy = policy(&[&other, &ours]);
    for signature in [signed(&ours, payload(&image())), bundled(&ours, &statement(&image()), IN_TOTO)] {
        assert_eq!(policy.verify(&image(), &[signature]).expect("it is ours"), Signer::Key);
    }
}

#[test]
fn one_good_signature_among_others_is_enough() {
    let (ours, other) = (pair(), pair());
    let policy = policy(&[&ours]);
    let foreign = signed(&other, payload(&image()));
    let signatures = [Signature::Bundle(b"nonsense".to_vec()), foreign, signed(&ours, payload(&image()))];
    assert_eq!(policy.verify(&image(), &signatures).expect("the last is ours"), Signer::Key);
    assert_eq!(policy.verify(&image(), &signatures[..2]).expect_err("none is ours").len(), 2);
    assert!(policy.verify(&image(), &[]).expect_err("there is none").is_empty());
}

#[test]
fn another_key_is_rejected_in_both_forms() {
    let (ours, other) = (pair(), pair());
    for signature in [signed(&other, payload(&image())), bundled(&other, &statement(&image()), IN_TOTO)] {
        assert!(rejected(&policy(&[&ours]), &image(), signature).contains("none of verify.cosign.keys"));
    }
}

#[test]
fn a_signature_of_another_image_is_rejected_in_both_forms() {
    let (ours, other) = (pair(), Digest::sha256(b"another image"));
    let simple = rejected(&policy(&[&ours]), &image(), signed(&ours, payload(&other)));
    assert!(simple.contains(other.as_str()), "{simple}");
    let bundle = rejected(&policy(&[&ours]), &image(), bundled(&ours, &statement(&other), IN_TOTO));
    assert!(bundle.contains("another image"), "{bundle}");
}

#[test]
fn a_text_that_was_changed_is_rejected() {
    let ours = pair();
    let Signature::Simple(mut signature) = signed(&ours, payload(&Digest::sha256(b"another image"))) else {
        unreachable!("it is simple")
    };
    signature.payload = payload(&image());
    let why = rejected(&policy(&[&ours]), &image(), Signature::Simple(signature));
    assert!(why.contains("none of verify.cosign.keys"), "{why}");
}

#[test]
fn an_attestation_is_no_signature() {
    let ours = pair();
    let mut provenance = statement(&image());
    provenance["predicateType"] = json!("https://slsa.dev/provenance/v1");
    let why = rejected(&policy(&[&ours]), &image(), bundled(&ours, &provenance, IN_TOTO));
    assert!(why.contains("slsa.dev/provenance"), "{why}");
    let why = rejected(&policy(&[&ours]), &image(), bundled(&ours, &statement(&image()), "text/plain"));
    assert!(why.contains("text/plain"), "{why}");
}

#[test]
fn what_can_not_be_read_is_rejected() {
    let ours = pair();
    let policy = policy(&[&ours]);
    for signature in [
        Signature::Bundle(Vec::new()),
        Signature::Bundle(vec![0xff, 0xfe]),
        Signature::Bundle(b"{}".to_vec()),
        signed(&ours, Vec::new()),
        signed(&ours, b"{\"critical\":{}}".to_vec()),
        simple(payload(&image()), vec![("dev.cosignproject.cosign/signature", "%".to_owned())]),
    ] {
        assert!(rejected(&policy, &image(), signature).contains("can't be read"));
    }
    assert!(rejected(&policy, &image(), simple(payload(&image()), Vec::new())).contains("none of verify.cosign.keys"));
}

#[test]
fn a_digest_that_is_not_sha256_has_no_signatures() {
    let ours = pair();
    let digest = Digest::of(Algorithm::Sha512, b"an image");
    assert!(rejected(&policy(&[&ours]), &digest, signed(&ours, payload(&digest))).contains("sha256"));
}

#[test]
fn a_policy_without_keys_and_identities_accepts_nothing() {
    let ours = pair();
    let nothing = Policy::default();
    for signature in [signed(&ours, payload(&image())), bundled(&ours, &statement(&image()), IN_TOTO)] {
        assert!(nothing.verify(&image(), &[signature]).is_err());
    }
}

/// What cosign itself wrote: `testdata/README.md`.
#[test]
fn what_cosign_wrote_with_a_key_is_accepted_in_both_forms() {
    let keys = Key::parse(include_str!("../testdata/cosign/cosign.pub")).expect("a key");
    let policy = Policy { keys, ..Policy::default() };
    let payload = include_bytes!("../testdata/cosign/payload.json");
    let layer = simple::layers(include_bytes!("../testdata/cosign/classic.json")).remove(0);
    assert!(layer.payload.digest.matches(payload));
    let classic = Signature::Simple(SimpleSignature { payload: payload.to_vec(), annotations: layer.annotations });
    let bundle = include_bytes!("../testdata/cosign/bundle.json");
    let blob = bundle::blob(include_bytes!("../testdata/cosign/referrer.json")).expect("a bundle");
    assert!(blob.digest.matches(bundle));
    let text: Value = serde_json::from_slice(payload).expect("JSON");
    let digest: Digest =
        text["critical"]["image"]["docker-manifest-digest"].as_str().and_then(|it| it.parse().ok()).expect("a digest");
    for signature in [classic, Signature::Bundle(bundle.to_vec())] {
        assert_eq!(policy.verify(&digest, std::slice::from_ref(&signature)).expect("it is theirs"), Signer::Key);
        let other = Policy { keys: policy_of_another(), ..Policy::default() };
        assert!(rejected(&other, &digest, signature.clone()).contains("none of verify.cosign.keys"));
        assert!(rejected(&policy, &image(), signature).contains("one is about"));
    }
}

fn policy_of_another() -> Vec<Key> {
    policy(&[&pair()]).keys
}
