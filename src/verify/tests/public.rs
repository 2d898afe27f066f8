//! What Sigstore's public instance really certified and logged. `testdata/README.md` says where it is from.

use sigstore_verify::types::{Bundle, Sha256Hash};

use super::keyless::exact;
use super::*;

const BUNDLE: &str = include_str!("../testdata/public-instance.sigstore.json");
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const SUBJECT: &str = "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
const ARTIFACT: &str = "54303491a8418fbed24344b513546182c29b43bf282ceb433af65e2299f9271f";

fn policy(subject: &str) -> Policy {
    let root = Arc::new(Root::public_good().expect("a root"));
    Policy { identities: vec![exact(ISSUER, subject)], root: Some(root), ..Policy::default() }
}

fn judged(policy: &Policy, bundle: &str) -> Result<Signer, Rejection> {
    let bundle = Bundle::from_json(bundle).expect("a bundle");
    let artifact = Sha256Hash::from_hex(ARTIFACT).expect("a digest");
    policy.root.as_ref().expect("a root").accept(policy, artifact, &bundle)
}

#[test]
fn its_certificates_and_logs_are_accepted_by_the_root_that_is_part_of_the_program() {
    let signer = judged(&policy(SUBJECT), BUNDLE).expect("it is valid");
    assert_eq!(signer, Signer::Identity { subject: SUBJECT.into(), issuer: ISSUER.into() });
    let other = judged(&policy("https://github.com/example"), BUNDLE).expect_err("somebody else");
    assert!(matches!(other, Rejection::UnknownIdentity { subject, .. } if subject == SUBJECT));
}

#[test]
fn what_was_changed_afterwards_is_rejected() {
    let mut bundle: Value = serde_json::from_str(BUNDLE).expect("JSON");
    let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
    let later: i64 = entry["integratedTime"].as_str().and_then(|time| time.parse().ok()).expect("a time");
    entry["integratedTime"] = json!((later + 1).to_string());
    assert!(matches!(judged(&policy(SUBJECT), &bundle.to_string()), Err(Rejection::Invalid(_))));
}

#[test]
fn an_attestation_of_an_accepted_signer_is_still_no_signature() {
    let digest: Digest = format!("sha256:{ARTIFACT}").parse().expect("a digest");
    let why = rejected(&policy(SUBJECT), &digest, Signature::Bundle(BUNDLE.as_bytes().to_vec()));
    assert!(why.contains("schemas.conda.org"), "{why}");
}
