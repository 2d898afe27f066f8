//! ImageMirror.spec.verify on the local stack: images that the real cosign signs in the Docker Hub stand-in, with keys and
//! without a log.

use ecr_operator::api::{ImageMirror, TagState};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::json;

use crate::admission::{accepted, refused};
use crate::mirror_selection::plan;
use crate::support::{Namespace, Stack, env, has_reason, message, push, run_with, unique};

const SMALL: &[&str] = &["--layers", "1", "--layer-size", "1024"];

fn source() -> String {
    format!("library/{}", unique("signed"))
}

fn destination(repository: &str) -> String {
    format!("docker.io/{repository}")
}

/// A key pair of cosign.
struct Keys(tempfile::TempDir);

impl Keys {
    async fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        cosign(&["generate-key-pair", "--output-key-prefix", &keys.path("cosign")]).await;
        keys
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn public(&self) -> String {
        std::fs::read_to_string(self.path("cosign.pub")).unwrap()
    }

    /// Signs an image, as a classic signature or as a Sigstore bundle.
    async fn sign(&self, repository: &str, digest: &str, bundle: bool) {
        let image = format!("{}/{repository}@{digest}", env("UPSTREAM_REGISTRY"));
        let (key, format) = (self.path("cosign.key"), format!("--new-bundle-format={bundle}"));
        let log = ["--tlog-upload=false", "--use-signing-config=false"];
        cosign(&[&["sign", "--yes", "--allow-http-registry", "--key", &key, &format], &log[..], &[&image]].concat())
            .await;
    }
}

async fn cosign(arguments: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    let variables = [("COSIGN_PASSWORD", ""), ("HOME", home.path().to_str().unwrap())];
    run_with("cosign", arguments, &variables).await.expect("cosign does it");
}

fn mirror(repository: &str, tags: &[&str], verify: &str) -> String {
    format!(
        "source: {{image: docker.io/{repository}}}\ntags: {{names: {}}}\nverify: {{cosign: {{{verify}}}}}",
        json!(tags)
    )
}

fn inline(keys: &[&Keys]) -> String {
    let keys: Vec<_> = keys.iter().map(|keys| json!({"pem": keys.public()})).collect();
    format!("keys: {}", json!(keys))
}

/// The state and the reason of a tag.
fn told(object: &ImageMirror, tag: &str) -> Option<(TagState, Option<String>)> {
    let tags = &object.status.as_ref()?.destinations.first()?.tags;
    tags.iter().find(|known| known.name == tag).map(|known| (known.state, known.reason.clone()))
}

async fn create<K>(namespace: &Namespace<'_>, object: K)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = namespace.api();
    api.create(&PostParams::default(), &object).await.unwrap();
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

#[tokio::test]
async fn only_images_that_the_key_signed_are_tagged_in_ecr() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("signed").await;
    let repository = source();
    let (ours, other) = (Keys::new().await, Keys::new().await);
    let mut digests = Vec::new();
    for (seed, tag) in (300..).zip(["classic", "bundle", "other", "unsigned"]) {
        digests.push(push(&format!("{repository}:{tag}"), seed, SMALL).await);
    }
    ours.sign(&repository, &digests[0], false).await;
    ours.sign(&repository, &digests[1], true).await;
    other.sign(&repository, &digests[2], false).await;
    other.sign(&repository, &digests[2], true).await;

    let tags = ["classic", "bundle", "other", "unsigned"];
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &tags, &inline(&[&ours]))).await;
    namespace.not_ready::<ImageMirror>("image", "SomeTagsFailed").await;
    let object = namespace
        .until::<ImageMirror>("image", "mirrored as far as it is signed", |object| {
            object.status.as_ref().is_some_and(|status| status.mirrored.as_deref() == Some("2/4"))
        })
        .await;
    assert_eq!(told(&object, "classic"), Some((TagState::Mirrored, None)));
    assert_eq!(told(&object, "bundle"), Some((TagState::Mirrored, None)));
    assert_eq!(told(&object, "other"), Some((TagState::Failed, Some("NotVerified".to_owned()))));
    assert_eq!(told(&object, "unsigned"), Some((TagState::Failed, Some("SignatureNotFound".to_owned()))));
    for (tag, is_there) in tags.iter().zip([true, true, false, false]) {
        assert_eq!(stack.digest_in_ecr(&destination(&repository), tag).await.is_some(), is_there, "{tag}");
    }
    let here = stack.digests_in_ecr(&destination(&repository)).await;
    assert!(!here.contains(&digests[2]) && !here.contains(&digests[3]), "nothing of them was sent: {here:?}");

    // Once they are signed they come.
    ours.sign(&repository, &digests[2], true).await;
    ours.sign(&repository, &digests[3], false).await;
    namespace.sync::<ImageMirror>("image").await;
    let object = namespace.ready::<ImageMirror>("image").await;
    assert_eq!(object.status.unwrap().mirrored.as_deref(), Some("4/4"));
    namespace.cleanup().await;
}

#[tokio::test]
async fn keys_come_from_secrets_and_config_maps_of_the_namespace() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("keys").await;
    let repository = source();
    let (first, second) = (Keys::new().await, Keys::new().await);
    let one = push(&format!("{repository}:1"), 310, SMALL).await;
    let two = push(&format!("{repository}:2"), 311, SMALL).await;
    first.sign(&repository, &one, false).await;
    second.sign(&repository, &two, false).await;
    let verify = "keys: [{secretKeyRef: {name: cosign}}, {configMapKeyRef: {name: keys, key: second.pem}}]";
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1", "2"], verify)).await;
    let words = namespace.not_ready::<ImageMirror>("image", "SecretNotFound").await;
    assert!(words.contains("verify.cosign") && words.contains("\"cosign\""), "{words}");

    let data = [("cosign.pub".to_owned(), first.public())].into();
    create(&namespace, Secret { metadata: named("cosign"), string_data: Some(data), ..Secret::default() }).await;
    let words = namespace.not_ready::<ImageMirror>("image", "ConfigMapNotFound").await;
    assert!(words.contains("\"keys\""), "{words}");

    let data = [("second.pem".to_owned(), second.public())].into();
    create(&namespace, ConfigMap { metadata: named("keys"), data: Some(data), ..ConfigMap::default() }).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    assert_eq!(object.status.unwrap().mirrored.as_deref(), Some("2/2"));
    namespace.cleanup().await;
}

#[tokio::test]
async fn the_digest_of_an_index_is_verified_and_with_platforms_that_of_the_source() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("index").await;
    let repository = source();
    let keys = Keys::new().await;
    let digest = push(&format!("{repository}:1"), 320, &[]).await;
    keys.sign(&repository, &digest, false).await;
    let spec = format!("{}\nplatforms: [linux/amd64]", mirror(&repository, &["1"], &inline(&[&keys])));
    namespace.apply::<ImageMirror>("image", &spec).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    let tag = &object.status.as_ref().unwrap().destinations[0].tags[0];
    assert_eq!(tag.source_digest.as_ref(), Some(&digest));
    assert!(tag.digest.is_some() && tag.digest != tag.source_digest, "it is an index of its own: {tag:?}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_was_mirrored_before_is_verified_when_the_policy_comes_and_stays_in_ecr() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("before").await;
    let repository = source();
    let (ours, other) = (Keys::new().await, Keys::new().await);
    let good = push(&format!("{repository}:good"), 330, SMALL).await;
    push(&format!("{repository}:bad"), 331, SMALL).await;
    ours.sign(&repository, &good, false).await;
    let tags = ["good", "bad"];
    let unverified = format!("source: {{image: docker.io/{repository}}}\ntags: {{names: {}}}", json!(tags));
    namespace.apply::<ImageMirror>("image", &unverified).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    assert_eq!(object.status.unwrap().destinations[0].verified_with, None);

    namespace.apply::<ImageMirror>("image", &mirror(&repository, &tags, &inline(&[&ours]))).await;
    let words = namespace.not_ready::<ImageMirror>("image", "SignatureNotFound").await;
    assert!(words.contains("is still there"), "{words}");
    let object = namespace.api::<ImageMirror>().get("image").await.unwrap();
    assert_eq!(told(&object, "good"), Some((TagState::Mirrored, None)));
    let first = object.status.unwrap().destinations[0].verified_with.clone();
    assert!(first.is_some());
    assert!(stack.digest_in_ecr(&destination(&repository), "bad").await.is_some(), "nothing is taken away");

    // Another key is another policy: what the first one accepted is not good any more.
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &tags, &inline(&[&other]))).await;
    let object = namespace
        .until::<ImageMirror>("image", "verified with the other key", |object| {
            told(object, "good") == Some((TagState::Failed, Some("NotVerified".to_owned())))
        })
        .await;
    assert_ne!(object.status.unwrap().destinations[0].verified_with, first);
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_unchanged_image_is_verified_once() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("once").await;
    let repository = source();
    let keys = Keys::new().await;
    let digest = push(&format!("{repository}:1"), 340, SMALL).await;
    keys.sign(&repository, &digest, false).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], &inline(&[&keys]))).await;
    namespace.ready::<ImageMirror>("image").await;
    // Without its signature it could not be verified again.
    let signature = format!("{}/{repository}:{}.sig", env("UPSTREAM_REGISTRY"), digest.replace(':', "-"));
    let signature_digest = run_with("crane", &["digest", "--insecure", &signature], &[]).await.unwrap();
    let by_digest = format!("{}/{repository}@{signature_digest}", env("UPSTREAM_REGISTRY"));
    run_with("crane", &["delete", "--insecure", &by_digest], &[]).await.expect("the signature is deleted");
    namespace.sync::<ImageMirror>("image").await;
    let object = namespace.ready::<ImageMirror>("image").await;
    assert_eq!(told(&object, "1"), Some((TagState::Mirrored, None)));
    namespace.cleanup().await;
}

#[tokio::test]
async fn keyless_verification_with_a_root_of_its_own_does_not_take_a_key_for_an_identity() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("keyless").await;
    let repository = source();
    let keys = Keys::new().await;
    let digest = push(&format!("{repository}:1"), 350, SMALL).await;
    keys.sign(&repository, &digest, true).await;
    let identity = "keyless: [{issuer: 'https://issuer.example.com', subjectRegex: '.*'}]";
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], identity)).await;
    let words = namespace.not_ready::<ImageMirror>("image", "NotVerified").await;
    assert!(words.contains("none of verify.cosign.keys"), "{words}");

    let own = format!("{identity}, trustedRoot: {{configMapKeyRef: {{name: sigstore}}}}");
    let data = [("trusted_root.json".to_owned(), "{}".to_owned())].into();
    create(&namespace, ConfigMap { metadata: named("sigstore"), data: Some(data), ..ConfigMap::default() }).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], &own)).await;
    let told = |object: &ImageMirror| has_reason(object, "InvalidSpec") && message(object).contains("trustedRoot");
    namespace.until::<ImageMirror>("image", "refused with its field", told).await;
    assert!(stack.digest_in_ecr(&destination(&repository), "1").await.is_none());
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_plan_with_images_tells_what_is_not_verified() {
    Stack::connect().await;
    let repository = source();
    let (ours, other) = (Keys::new().await, Keys::new().await);
    let signed = push(&format!("{repository}:signed"), 360, SMALL).await;
    let foreign = push(&format!("{repository}:foreign"), 361, SMALL).await;
    ours.sign(&repository, &signed, true).await;
    other.sign(&repository, &foreign, true).await;
    let (_, text) = plan("planned", &mirror(&repository, &["signed", "foreign"], &inline(&[&ours]))).await;
    assert!(text.contains(&format!("copy docker.io/{repository}:signed")), "{text}");
    assert!(text.contains("foreign fails (NotVerified)"), "{text}");
    assert!(!text.contains(&format!("copy docker.io/{repository}:foreign")), "{text}");

    let refers = "keys: [{secretKeyRef: {name: cosign}}]";
    let (_, text) = plan("planned", &mirror(&repository, &["signed", "foreign"], refers)).await;
    assert!(text.contains("which only the cluster has"), "{text}");
}

fn offered(cosign: &str) -> String {
    format!("{{source: {{image: nginx}}, tags: {{names: ['1']}}, verify: {{cosign: {cosign}}}}}")
}

const PEM: &str = "'-----BEGIN PUBLIC KEY-----'";

#[tokio::test]
async fn bad_policies_are_refused() {
    let cases: Vec<(String, &[&str])> = vec![
        (offered("{}"), &["give keys, keyless, or both"]),
        (offered("{keys: []}"), &["spec.verify.cosign.keys"]),
        (offered("{keys: [{}]}"), &["give one of pem, secretKeyRef and configMapKeyRef"]),
        (offered(&format!("{{keys: [{{pem: {PEM}, secretKeyRef: {{name: a}}}}]}}")), &["give one of pem"]),
        (offered("{keys: [{pem: nonsense}]}"), &["must be a public key"]),
        (offered("{keys: [{pem: '-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----'}]}"), &["must be a public key"]),
        (offered("{keys: [{secretKeyRef: {}}]}"), &["secretKeyRef.name", "Required"]),
        (offered("{keyless: [{issuer: 'https://a'}]}"), &["one of subject and subjectRegex"]),
        (offered("{keyless: [{subject: a, subjectRegex: a, issuer: b}]}"), &["one of subject and subjectRegex"]),
        (offered("{keyless: [{subject: a}]}"), &["one of issuer and issuerRegex"]),
        (offered("{keyless: [{subject: a, issuer: ''}]}"), &["keyless[0].issuer"]),
        (offered("{keyless: [{subject: a, issuer: b}], trustedRoot: {}}"), &["trustedRoot", "give one of"]),
        (
            offered(&format!("{{keys: [{{pem: {PEM}}}], trustedRoot: {{configMapKeyRef: {{name: a}}}}}}")),
            &["trustedRoot", "needs keyless"],
        ),
    ];
    let cases: Vec<_> = cases.iter().map(|(spec, words)| (spec.as_str(), *words)).collect();
    refused::<ImageMirror>(&cases).await;
}

#[tokio::test]
async fn good_policies_are_accepted() {
    let specs = [
        offered(&format!(
            "{{keys: [{{pem: {PEM}}}, {{secretKeyRef: {{name: a, key: b}}}}, {{configMapKeyRef: {{name: a}}}}]}}"
        )),
        offered(
            "{keyless: [{issuer: 'https://a', subject: b}, {issuerRegex: 'https://.*', subjectRegex: '.*@example\\.com'}]}",
        ),
        offered("{keyless: [{issuer: 'https://a', subject: b}], trustedRoot: {secretKeyRef: {name: a}}}"),
    ];
    accepted::<ImageMirror>(&specs.each_ref().map(String::as_str)).await;
}
