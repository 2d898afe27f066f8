//! Signatures made with certificates.

use oci_copy::Digest;

use super::sigstore::{Holder, SIGNED_AT, Sigstore};
use super::*;
use crate::api::CosignIdentity;

const SUBJECT: &str = "https://github.com/example/app/.github/workflows/release.yaml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn identity(issuer: &str, subject_regex: &str) -> Identity {
    let spec = CosignIdentity {
        issuer: Some(issuer.to_owned()),
        subject_regex: Some(subject_regex.to_owned()),
        ..CosignIdentity::default()
    };
    Identity::new(&spec).expect("an identity")
}

pub(super) fn exact(issuer: &str, subject: &str) -> Identity {
    let spec = CosignIdentity {
        issuer: Some(issuer.to_owned()),
        subject: Some(subject.to_owned()),
        ..CosignIdentity::default()
    };
    Identity::new(&spec).expect("an identity")
}

fn policy(sigstore: &Sigstore, identities: Vec<Identity>) -> Policy {
    let root = Root::parse(&sigstore.root(true).to_string()).expect("a root");
    Policy { identities, root: Some(Arc::new(root)), ..Policy::default() }
}

fn ours(sigstore: &Sigstore) -> Policy {
    policy(sigstore, vec![exact(ISSUER, SUBJECT)])
}

/// The signature of an image in both forms.
fn both(sigstore: &Sigstore, holder: &Holder, digest: &Digest, at: i64) -> [Signature; 2] {
    let payload = payload(digest);
    let annotations = sigstore.sign(holder, &payload, at);
    let bundle = sigstore.bundle(holder, &statement(digest), at);
    [simple(payload, annotations), Signature::Bundle(bundle.to_string().into_bytes())]
}

#[test]
fn a_signer_whom_the_policy_names_is_accepted_in_both_forms() {
    let sigstore = Sigstore::new();
    let holder = sigstore.certify(SUBJECT, ISSUER);
    let by_regex =
        policy(&sigstore, vec![identity(ISSUER, r"https://github\.com/example/.*@refs/(heads/main|tags/.*)")]);
    for policy in [ours(&sigstore), by_regex] {
        for signature in both(&sigstore, &holder, &image(), SIGNED_AT) {
            let signer = policy.verify(&image(), &[signature]).expect("it is theirs");
            assert_eq!(signer, Signer::Identity { subject: SUBJECT.into(), issuer: ISSUER.into() });
        }
    }
    let mail = sigstore.certify("me@example.com", "https://accounts.example.com");
    let policy =
        policy(&sigstore, vec![exact(ISSUER, SUBJECT), exact("https://accounts.example.com", "me@example.com")]);
    for signature in both(&sigstore, &mail, &image(), SIGNED_AT) {
        assert!(policy.verify(&image(), &[signature]).is_ok());
    }
}

#[test]
fn anybody_else_is_rejected_by_name() {
    let sigstore = Sigstore::new();
    for (subject, issuer) in [
        ("https://github.com/example/app-evil/.github/workflows/release.yaml@refs/heads/main", ISSUER),
        (SUBJECT, "https://issuer.example.com"),
        ("me@example.com", ISSUER),
    ] {
        for signature in both(&sigstore, &sigstore.certify(subject, issuer), &image(), SIGNED_AT) {
            let why = rejected(&ours(&sigstore), &image(), signature);
            assert!(why.contains(subject) && why.contains(issuer), "{why}");
        }
    }
    // One identity's subject and another one's issuer are nobody.
    let crossed = policy(&sigstore, vec![exact(ISSUER, "me@example.com"), exact("https://other", SUBJECT)]);
    for signature in both(&sigstore, &sigstore.certify(SUBJECT, ISSUER), &image(), SIGNED_AT) {
        assert!(rejected(&crossed, &image(), signature).contains("does not name"));
    }
}

#[test]
fn a_certificate_of_another_authority_is_rejected() {
    let (sigstore, other) = (Sigstore::new(), Sigstore::new());
    for signature in both(&other, &other.certify(SUBJECT, ISSUER), &image(), SIGNED_AT) {
        let why = rejected(&ours(&sigstore), &image(), signature);
        assert!(why.contains("not valid"), "{why}");
    }
    // Entered into the log that is trusted, but certified by somebody else.
    for signature in both(&sigstore, &other.certify(SUBJECT, ISSUER), &image(), SIGNED_AT) {
        let why = rejected(&ours(&sigstore), &image(), signature);
        assert!(why.contains("certificate"), "{why}");
    }
    // Certified by the authority that is trusted, but entered into another log.
    for signature in both(&other, &sigstore.certify(SUBJECT, ISSUER), &image(), SIGNED_AT) {
        assert!(rejected(&ours(&sigstore), &image(), signature).contains("not valid"));
    }
}

#[test]
fn a_signature_from_outside_the_certificates_life_is_rejected() {
    let sigstore = Sigstore::new();
    let holder = sigstore.certify(SUBJECT, ISSUER);
    for at in [SIGNED_AT - 600, SIGNED_AT + 600] {
        for signature in both(&sigstore, &holder, &image(), at) {
            let why = rejected(&ours(&sigstore), &image(), signature);
            assert!(why.contains("certificate"), "{why}");
        }
    }
}

#[test]
fn a_signature_of_another_image_is_rejected() {
    let sigstore = Sigstore::new();
    let holder = sigstore.certify(SUBJECT, ISSUER);
    for signature in both(&sigstore, &holder, &Digest::sha256(b"another image"), SIGNED_AT) {
        assert!(rejected(&ours(&sigstore), &image(), signature).contains("one is about"));
    }
}

#[test]
fn what_was_changed_afterwards_is_rejected() {
    let sigstore = Sigstore::new();
    let holder = sigstore.certify(SUBJECT, ISSUER);
    let other = sigstore.certify(SUBJECT, ISSUER);
    let policy = ours(&sigstore);
    let annotations = |holder| sigstore.sign(holder, &payload(&image()), SIGNED_AT);
    let change = |name: &str, value: String| {
        let mut changed = annotations(&holder);
        changed.iter_mut().filter(|(known, _)| *known == name).for_each(|(_, text)| *text = value.clone());
        simple(payload(&image()), changed)
    };
    let of = |annotations: Vec<(&str, String)>, name: &str| {
        annotations.into_iter().find(|(known, _)| *known == name).map(|(_, text)| text).expect("it is there")
    };
    let entry = of(annotations(&holder), "dev.sigstore.cosign/bundle");
    let earlier =
        entry.replace(&format!("\"integratedTime\":{SIGNED_AT}"), &format!("\"integratedTime\":{}", SIGNED_AT - 1));
    assert_ne!(entry, earlier);
    // Another signature of the same holder, another's certificate, another's entry, a time that the log did not promise.
    let second = of(sigstore.sign(&holder, b"another text", SIGNED_AT), "dev.cosignproject.cosign/signature");
    let foreign_entry = of(annotations(&other), "dev.sigstore.cosign/bundle");
    for signature in [
        change("dev.cosignproject.cosign/signature", second),
        change("dev.sigstore.cosign/certificate", super::sigstore::pem(&other.der)),
        change("dev.sigstore.cosign/bundle", foreign_entry),
        change("dev.sigstore.cosign/bundle", earlier),
    ] {
        let why = rejected(&policy, &image(), signature);
        assert!(why.contains("not valid"), "{why}");
    }

    let bundle = sigstore.bundle(&holder, &statement(&image()), SIGNED_AT);
    let text = bundle.to_string();
    let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
    let other_root = sigstore.bundle(&other, &statement(&image()), SIGNED_AT);
    let other_entry = &other_root["verificationMaterial"]["tlogEntries"][0];
    let replaced = |from: &Value, to: &Value| {
        let changed = text.replace(&from.to_string(), &to.to_string());
        assert_ne!(changed, text);
        Signature::Bundle(changed.into_bytes())
    };
    for signature in [
        replaced(entry, other_entry),
        replaced(&entry["integratedTime"], &json!((SIGNED_AT - 1).to_string())),
        replaced(&entry["inclusionProof"]["checkpoint"], &other_entry["inclusionProof"]["checkpoint"]),
        replaced(&bundle["verificationMaterial"]["certificate"], &other_root["verificationMaterial"]["certificate"]),
        replaced(&bundle["dsseEnvelope"]["signatures"], &other_root["dsseEnvelope"]["signatures"]),
    ] {
        let why = rejected(&policy, &image(), signature);
        assert!(why.contains("not valid"), "{why}");
    }
}

#[test]
fn without_an_entry_in_the_log_a_certificate_proves_nothing() {
    let sigstore = Sigstore::new();
    let holder = sigstore.certify(SUBJECT, ISSUER);
    let mut annotations = sigstore.sign(&holder, &payload(&image()), SIGNED_AT);
    annotations.retain(|(name, _)| *name != "dev.sigstore.cosign/bundle");
    assert!(rejected(&ours(&sigstore), &image(), simple(payload(&image()), annotations)).contains("not valid"));

    let mut bundle = sigstore.bundle(&holder, &statement(&image()), SIGNED_AT);
    bundle["verificationMaterial"]["tlogEntries"][0].as_object_mut().expect("an entry").remove("inclusionProof");
    let without_proof = Signature::Bundle(bundle.to_string().into_bytes());
    assert!(rejected(&ours(&sigstore), &image(), without_proof).contains("not valid"));
    bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    let without_entry = Signature::Bundle(bundle.to_string().into_bytes());
    assert!(rejected(&ours(&sigstore), &image(), without_entry).contains("not valid"));
}

#[test]
fn a_certificate_must_be_in_its_log_if_the_root_knows_one() {
    let sigstore = Sigstore::new();
    let holder = sigstore.certify_in_secret(SUBJECT, ISSUER);
    let root = Root::parse(&sigstore.root(false).to_string()).expect("a root");
    let without_log = Policy { root: Some(Arc::new(root)), ..ours(&sigstore) };
    for signature in both(&sigstore, &holder, &image(), SIGNED_AT) {
        let why = rejected(&ours(&sigstore), &image(), signature.clone());
        assert!(why.contains("SCT"), "{why}");
        assert!(without_log.verify(&image(), &[signature]).is_ok());
    }
}

#[test]
fn a_certificate_does_not_count_where_only_keys_do_nor_the_other_way_round() {
    let sigstore = Sigstore::new();
    let holder = sigstore.certify(SUBJECT, ISSUER);
    let key = sigstore_verify::crypto::KeyPair::generate_ecdsa_p256().expect("a key");
    let keys = Key::parse(&key.public_key_der().expect("a public key").to_pem()).expect("keys");
    let only_keys = Policy { keys, ..Policy::default() };
    for signature in both(&sigstore, &holder, &image(), SIGNED_AT) {
        assert!(rejected(&only_keys, &image(), signature).contains("keyless names nobody"));
    }
    let signature = key.sign(&payload(&image())).expect("a signature").to_base64();
    let with_key = simple(payload(&image()), vec![("dev.cosignproject.cosign/signature", signature)]);
    assert!(rejected(&ours(&sigstore), &image(), with_key).contains("none of verify.cosign.keys"));
}

#[test]
fn the_public_instance_does_not_accept_what_another_certified() {
    let sigstore = Sigstore::new();
    let root = Root::public_good().expect("a root");
    let policy = Policy { root: Some(Arc::new(root)), ..ours(&sigstore) };
    for signature in both(&sigstore, &sigstore.certify(SUBJECT, ISSUER), &image(), SIGNED_AT) {
        assert!(rejected(&policy, &image(), signature).contains("not valid"));
    }
}
