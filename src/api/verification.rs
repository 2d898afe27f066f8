//! `ImageMirror.spec.verify`: what an image needs before it is copied.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What an image needs before it is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MirrorVerification {
    /// A signature made with cosign.
    pub cosign: CosignVerification,
}

/// Which signatures of cosign count. One signature that one of the keys or one of the identities accepts is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.keys) || has(self.keyless)").message("verify.cosign: give keys, keyless, or both"),
    validation = Rule::new("!has(self.trustedRoot) || has(self.keyless)").message("verify.cosign.trustedRoot is what certificates are checked against: it needs keyless")
)]
pub struct CosignVerification {
    /// Public keys. At most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 10))]
    pub keys: Vec<CosignKey>,

    /// Identities that Sigstore's certificate authority confirmed when the image was signed, for signatures without a key of
    /// their own. At most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 20))]
    pub keyless: Vec<CosignIdentity>,

    /// The certificate authorities and logs that are trusted for `keyless`, as a Sigstore `trusted_root.json`. Default: what
    /// the operator is configured with, or else those of Sigstore's public instance, which are part of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_root: Option<TrustedRootSource>,
}

/// Where public keys are. A text may have several of them, one PEM block after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.pem), has(self.secretKeyRef), has(self.configMapKeyRef)].filter(given, given).size() == 1").message("verify.cosign.keys: give one of pem, secretKeyRef and configMapKeyRef"))]
pub struct CosignKey {
    /// The key itself, in PEM: an ECDSA key of P-256 or P-384, an RSA key or an Ed25519 key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN PUBLIC KEY-----') && !self.contains('PRIVATE KEY-----')").message("verify.cosign.keys: pem must be a public key, which begins with -----BEGIN PUBLIC KEY-----"))]
    pub pem: Option<String>,

    /// A key of a Secret in this namespace, `cosign.pub` by default, as `cosign generate-key-pair k8s://` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,

    /// A key of a ConfigMap in this namespace, `cosign.pub` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// Where a trusted root is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)").message("verify.cosign.trustedRoot: give one of secretKeyRef and configMapKeyRef"))]
pub struct TrustedRootSource {
    /// A key of a Secret in this namespace, `trusted_root.json` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,

    /// A key of a ConfigMap in this namespace, `trusted_root.json` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// Names a key of a Secret or ConfigMap in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key in its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// Who may have signed: what the certificate of a signature says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.issuer) != has(self.issuerRegex)").message("verify.cosign.keyless: give one of issuer and issuerRegex"),
    validation = Rule::new("has(self.subject) != has(self.subjectRegex)").message("verify.cosign.keyless: give one of subject and subjectRegex")
)]
pub struct CosignIdentity {
    /// Who knows the signer: the issuer of the OIDC token, such as `https://token.actions.githubusercontent.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub issuer: Option<String>,

    /// The same as a regular expression, which must match the whole issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub issuer_regex: Option<String>,

    /// The signer: an e-mail address, or the URI of a workload, such as
    /// `https://github.com/example/app/.github/workflows/release.yaml@refs/heads/main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,

    /// The same as a regular expression, which must match the whole subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject_regex: Option<String>,
}
