//! What a mirror's `spec.verify` asks for, with the keys and the trusted root that it refers to.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt as _};
use sha2::{Digest as _, Sha256};

use crate::api::conditions::Reason;
use crate::api::{CosignKey, CosignVerification, ImageMirror, KeyRef, TrustedRootSource};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::verify::{Identity, Key, Policy, Root};

/// The key under which cosign keeps a public key.
const PUBLIC_KEY: &str = "cosign.pub";

/// The key under which a trusted root is expected.
const TRUSTED_ROOT: &str = "trusted_root.json";

/// The largest text that is read as keys or as a trusted root, in bytes.
const LARGEST: usize = 1 << 20;

/// What images need before they are copied.
#[derive(Debug)]
pub(crate) struct Verification {
    pub(super) policy: Policy,
    /// Tells this policy from others: what the spec says and what it refers to. The root that the operator is configured
    /// with is no part of it, since it comes anew with each release and takes nothing back that it vouched for.
    pub(super) fingerprint: String,
}

/// A kind of object that texts are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    fn not_found(self) -> Reason {
        match self {
            Self::Secret => Reason::SecretNotFound,
            Self::ConfigMap => Reason::ConfigMapNotFound,
        }
    }
}

/// A text in another object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TextRef<'s> {
    kind: Kind,
    name: &'s str,
    key: &'s str,
}

/// Texts that were read.
type Texts<'s> = HashMap<TextRef<'s>, String>;

/// Where a text is.
enum Source<'s> {
    Spec(&'s str),
    Object(TextRef<'s>),
}

impl<'s> Source<'s> {
    fn of_key(key: &'s CosignKey) -> Option<Self> {
        let CosignKey { pem, secret_key_ref, config_map_key_ref } = key;
        let there = Self::of_refs(secret_key_ref.as_ref(), config_map_key_ref.as_ref(), PUBLIC_KEY);
        pem.as_deref().map(Self::Spec).or(there)
    }

    fn of_root(root: &'s TrustedRootSource) -> Option<Self> {
        let TrustedRootSource { secret_key_ref, config_map_key_ref } = root;
        Self::of_refs(secret_key_ref.as_ref(), config_map_key_ref.as_ref(), TRUSTED_ROOT)
    }

    fn of_refs(secret: Option<&'s KeyRef>, config_map: Option<&'s KeyRef>, default_key: &'s str) -> Option<Self> {
        let text = |kind| {
            move |KeyRef { name, key }: &'s KeyRef| TextRef { kind, name, key: key.as_deref().unwrap_or(default_key) }
        };
        secret.map(text(Kind::Secret)).or(config_map.map(text(Kind::ConfigMap))).map(Self::Object)
    }

    fn text<'t>(&self, texts: &'t Texts<'s>) -> &'t str
    where
        's: 't,
    {
        match self {
            Self::Spec(text) => text,
            Self::Object(reference) => texts.get(reference).map(String::as_str).unwrap_or_default(),
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Spec(_) => "pem".to_owned(),
            Self::Object(TextRef { kind, name, key }) => format!("key {key:?} of {} {name:?}", kind.name()),
        }
    }
}

/// The texts in other objects that a spec refers to.
pub(super) fn references(spec: &CosignVerification) -> Vec<TextRef<'_>> {
    let keys = spec.keys.iter().filter_map(Source::of_key);
    let root = spec.trusted_root.iter().filter_map(Source::of_root);
    keys.chain(root)
        .filter_map(|source| match source {
            Source::Object(reference) => Some(reference),
            Source::Spec(_) => None,
        })
        .collect()
}

/// What a mirror's images need before they are copied; none if it asks for nothing.
pub(super) async fn read(mirror: &ImageMirror, context: &Context) -> Result<Option<Verification>, Failure> {
    let Some(spec) = mirror.spec.verify.as_ref().map(|verify| &verify.cosign) else { return Ok(None) };
    let namespace = mirror.namespace().unwrap_or_default();
    let mut texts = Texts::new();
    for reference in references(spec) {
        texts.insert(reference, read_text(context, &namespace, reference).await?);
    }
    Verification::new(spec, &texts, &context.trusted_root).map(Some)
}

async fn read_text(context: &Context, namespace: &str, reference: TextRef<'_>) -> Result<String, Failure> {
    let TextRef { kind, name, key } = reference;
    let wrong = |words: &str| {
        Failure::stalled(kind.not_found(), format!("spec.verify.cosign: {} {name:?} {words}", kind.name()))
    };
    let unreadable = |error: kube::Error| {
        Failure::transient(
            Reason::Retrying,
            format!("spec.verify.cosign: can't read {} {name:?}: {error}", kind.name()),
        )
    };
    let missing = || wrong("does not exist in this namespace");
    let no_key = || wrong(&format!("has no key {key:?}"));
    let bytes = match kind {
        Kind::Secret => {
            let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
            let secret = api.get_opt(name).await.map_err(unreadable)?.ok_or_else(missing)?;
            secret.data.and_then(|mut data| data.remove(key)).ok_or_else(no_key)?.0
        }
        Kind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
            let map = api.get_opt(name).await.map_err(unreadable)?.ok_or_else(missing)?;
            let text = map.data.and_then(|mut data| data.remove(key)).map(String::into_bytes);
            let binary = || map.binary_data.and_then(|mut data| data.remove(key)).map(|bytes| bytes.0);
            text.or_else(binary).ok_or_else(no_key)?
        }
    };
    if bytes.len() > LARGEST {
        return Err(wrong(&format!("has more than {LARGEST} bytes under {key:?}")));
    }
    String::from_utf8(bytes).map_err(|_| wrong(&format!("has no text under {key:?}")))
}

impl Verification {
    /// What the spec and the texts that it refers to say.
    pub(super) fn new(spec: &CosignVerification, texts: &Texts<'_>, configured: &Arc<Root>) -> Result<Self, Failure> {
        let invalid = |field: &str, error: &dyn std::fmt::Display| {
            Failure::stalled(Reason::InvalidSpec, format!("spec.verify.cosign.{field}: {error}"))
        };
        let mut fingerprint = Sha256::new();
        fingerprint.update(serde_json::to_vec(spec).unwrap_or_default());
        let mut told = |text: &str| {
            fingerprint.update([0]);
            fingerprint.update(text);
        };

        let mut policy = Policy::default();
        for (index, key) in spec.keys.iter().enumerate() {
            let field = format!("keys[{index}]");
            let source = Source::of_key(key).ok_or_else(|| invalid(&field, &"no key is given"))?;
            let text = source.text(texts);
            let keys = Key::parse(text);
            policy.keys.extend(keys.map_err(|error| invalid(&field, &format!("{}: {error}", source.title())))?);
            told(text);
        }
        for (index, identity) in spec.keyless.iter().enumerate() {
            let identity = Identity::new(identity);
            policy.identities.push(identity.map_err(|error| invalid(&format!("keyless[{index}]"), &error))?);
        }
        if !policy.identities.is_empty() {
            policy.root = Some(match spec.trusted_root.as_ref().and_then(Source::of_root) {
                None => configured.clone(),
                Some(source) => {
                    let text = source.text(texts);
                    told(text);
                    let root = Root::parse(text);
                    Arc::new(root.map_err(|error| invalid("trustedRoot", &format!("{}: {error}", source.title())))?)
                }
            });
        }
        let digest = fingerprint.finalize();
        let fingerprint = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { policy, fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENptdY/l3nB0yqkXLBWkZWQwo6+cu\nOSWS1X9vPavpiQOoTTGC0xX57OojUadxF1cdQmrsiReWg2Wn4FneJfa8xw==\n-----END PUBLIC KEY-----\n";

    fn spec(yaml: &str) -> CosignVerification {
        serde_saphyr::from_str(yaml).expect("a spec")
    }

    fn configured() -> Arc<Root> {
        Arc::new(Root::public_good().expect("a root"))
    }

    fn verification(spec: &CosignVerification, texts: &[(TextRef<'static>, &str)]) -> Result<Verification, Failure> {
        let texts = texts.iter().map(|(reference, text)| (*reference, (*text).to_owned())).collect();
        Verification::new(spec, &texts, &configured())
    }

    const IN_SECRET: TextRef<'_> = TextRef { kind: Kind::Secret, name: "cosign", key: "cosign.pub" };
    const IN_MAP: TextRef<'_> = TextRef { kind: Kind::ConfigMap, name: "sigstore", key: "trusted_root.json" };

    #[test]
    fn references_have_the_keys_that_cosign_uses_unless_they_name_others() {
        let given = spec(
            "keys: [{pem: x}, {secretKeyRef: {name: cosign}}, {configMapKeyRef: {name: keys, key: a.pem}}]\nkeyless: []\ntrustedRoot: {configMapKeyRef: {name: sigstore}}",
        );
        let other = TextRef { kind: Kind::ConfigMap, name: "keys", key: "a.pem" };
        assert_eq!(references(&given), [IN_SECRET, other, IN_MAP]);
    }

    #[test]
    fn keys_of_the_spec_and_of_objects_count_alike() {
        let given = spec("keys: [{secretKeyRef: {name: cosign}}]");
        let found = verification(&given, &[(IN_SECRET, KEY)]).expect("it can be used");
        assert_eq!((found.policy.keys.len(), found.policy.root.is_some()), (1, false));
        let two = format!("keys: [{{pem: {KEY:?}}}, {{secretKeyRef: {{name: cosign}}}}]");
        assert_eq!(verification(&spec(&two), &[(IN_SECRET, KEY)]).expect("it can be used").policy.keys.len(), 2);
    }

    #[test]
    fn without_a_root_of_its_own_the_configured_one_counts() {
        let given = spec("keyless: [{issuer: https://i, subject: me}]");
        assert!(verification(&given, &[]).expect("it can be used").policy.root.is_some());
        let own = spec("keyless: [{issuer: https://i, subject: me}]\ntrustedRoot: {configMapKeyRef: {name: sigstore}}");
        let error = verification(&own, &[(IN_MAP, "{}")]).expect_err("it is none");
        assert!(error.message.contains("trustedRoot") && error.message.contains("ConfigMap \"sigstore\""), "{error}");
    }

    #[test]
    fn what_can_not_be_used_is_told_with_its_field() {
        for (yaml, word) in [
            ("keys: [{pem: nonsense}]", "keys[0]: pem"),
            ("keys: [{secretKeyRef: {name: cosign}}]", "key \"cosign.pub\" of Secret \"cosign\""),
            ("keyless: [{issuer: https://i, subjectRegex: '('}]", "keyless[0]: subjectRegex"),
        ] {
            let failure = verification(&spec(yaml), &[]).expect_err(yaml);
            assert_eq!(failure.reason, Reason::InvalidSpec);
            assert!(failure.message.contains(word), "{failure}");
        }
    }

    #[test]
    fn the_fingerprint_tells_policies_apart_and_nothing_else() {
        let fingerprint = |yaml: &str, text: &str| {
            verification(&spec(yaml), &[(IN_SECRET, text)]).expect("it can be used").fingerprint
        };
        let reference = "keys: [{secretKeyRef: {name: cosign}}]";
        let first = fingerprint(reference, KEY);
        assert_eq!((first.len(), &first), (16, &fingerprint(reference, KEY)));
        assert_ne!(first, fingerprint(reference, &format!("{KEY}{KEY}")));
        assert_ne!(first, fingerprint(&format!("{reference}\nkeyless: [{{issuer: https://i, subject: me}}]"), KEY));
    }
}
