//! Condition types and the reasons that they can have.
//!
//! Reasons are part of the API: alerts and scripts match on them. Messages are for people and may change.

/// The object is as its spec says.
pub const READY: &str = "Ready";
/// Work on the object is going on or will be tried again soon.
pub const RECONCILING: &str = "Reconciling";
/// The object can't become ready until somebody changes something; it is tried again on the long interval.
pub const STALLED: &str = "Stalled";
/// Of pull secrets: the tokens can pull, and nothing else.
pub const PULL_ONLY: &str = "PullOnly";
/// Of mirrors with `spec.rewrite`: new pods get the mirrored images. The part of the operator that keeps the policy writes it.
pub const REWRITES_PODS: &str = "RewritesPods";

/// Why a condition has its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Everything is as the spec says.
    Succeeded,
    /// The first reconcile, or one after a change, is going on.
    Progressing,
    /// Reconciling is switched off by the spec.
    Suspended,
    /// A call failed in a way that may pass; it is tried again with a growing delay.
    Retrying,
    /// The spec has a value that only a closer look could find wrong.
    InvalidSpec,
    /// No EcrRegistry has the name that `registryRef` gives.
    RegistryNotFound,
    /// `spec.access` of the EcrRegistry does not let the namespace use it so.
    NamespaceNotAllowed,
    /// The EcrRegistry is there but could not be reached or is not what its spec says.
    RegistryNotReady,
    /// The credentials reach another AWS account than `spec.accountId` names.
    AccountMismatch,
    /// AWS does not know the credentials, or they have expired, or there are none.
    InvalidCredentials,
    /// AWS knows the credentials and refuses the call.
    AccessDenied,
    /// AWS asks for fewer calls.
    Throttled,
    /// An endpoint could not be reached.
    Unreachable,
    /// AWS refuses a value.
    InvalidParameter,
    /// An ECR quota is used up.
    LimitExceeded,
    /// `managementPolicy` is `Observe` and the repository does not exist.
    RepositoryNotFound,
    /// The repository, or the registry's settings, belong to another object, or an older object claims them.
    OwnedByAnother,
    /// What the spec names exists, was not made by the object, and is not to be taken over as it is.
    AdoptionRefused,
    /// The spec asks for something that ECR can't change once a repository or a rule exists.
    ImmutableField,
    /// `deletionPolicy: Delete` and the repository still has images.
    ImagesRemain,
    /// The destination's EcrRepository is not ready yet.
    DestinationNotReady,
    /// The child object's name is taken by an object that this one doesn't own.
    NameConflict,
    /// The source repository does not exist, or the credentials may not see it.
    SourceNotFound,
    /// The source has no such tag.
    TagNotFound,
    /// The source has no image for a platform that the spec asks for.
    PlatformNotFound,
    /// The Secret that `credentialsSecretRef` names is missing or can't be read.
    SecretNotFound,
    /// A ConfigMap that the spec names is missing or hasn't got the key.
    ConfigMapNotFound,
    /// The source registry refuses the credentials.
    SourceUnauthorized,
    /// The registry's pull limit is used up.
    RateLimited,
    /// A destination tag exists, is immutable and names another image.
    TagImmutable,
    /// The tag moved upstream, and `onTagChange` says to keep what is there.
    TagMoved,
    /// The digest has not been seen for as long as `minAge` asks for.
    TooYoung,
    /// More tags are selected than one mirror takes.
    TooManyTags,
    /// The destination's lifecycle policy would take the image away again.
    LifecycleConflict,
    /// A digest was let through before its `minAge`. Of events only.
    Released,
    /// The image has no signature, and `verify` asks for one.
    SignatureNotFound,
    /// The image has signatures, and `verify` accepts none of them.
    NotVerified,
    /// Bytes that a registry sent are not what their digest says.
    DigestMismatch,
    /// A copy failed for another reason; the message has the registry's answer.
    CopyFailed,
    /// Several tags failed for different reasons; each has its own in the status.
    SomeTagsFailed,
    /// Some of the mirrors that this mirror made are not ready.
    SomeMirrorsFailed,
    /// The API server does not let the operator read workloads.
    WorkloadsUnreadable,
    /// A Secret of that name exists that the operator did not write.
    SecretNotOwned,
    /// A Secret that a ClusterEcrPullSecret names does not say that its content may go to other namespaces.
    SecretNotShared,
    /// Some of the selected namespaces could not be served.
    SomeNamespacesFailed,
    /// A session policy limits the tokens to pulling.
    SessionPolicy,
    /// The tokens have all rights of the operator, pushing and deleting included.
    TokenCanPush,
    /// The session policy would be larger than STS takes.
    PolicyTooLarge,
    /// The API server has no kind of policy that changes pods.
    RewriteUnsupported,
    /// The API server has no kind of policy that judges pods.
    EnforcementUnsupported,
    /// No namespace has pods that may be rewritten.
    NoNamespace,
    /// Several parts of the settings failed for different reasons; each has its own in the status.
    SomeSettingsFailed,
}

impl Reason {
    /// The reason as conditions and events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Progressing => "Progressing",
            Self::Suspended => "Suspended",
            Self::Retrying => "Retrying",
            Self::InvalidSpec => "InvalidSpec",
            Self::RegistryNotFound => "RegistryNotFound",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::RegistryNotReady => "RegistryNotReady",
            Self::AccountMismatch => "AccountMismatch",
            Self::InvalidCredentials => "InvalidCredentials",
            Self::AccessDenied => "AccessDenied",
            Self::Throttled => "Throttled",
            Self::Unreachable => "Unreachable",
            Self::InvalidParameter => "InvalidParameter",
            Self::LimitExceeded => "LimitExceeded",
            Self::RepositoryNotFound => "RepositoryNotFound",
            Self::OwnedByAnother => "OwnedByAnother",
            Self::AdoptionRefused => "AdoptionRefused",
            Self::ImmutableField => "ImmutableField",
            Self::ImagesRemain => "ImagesRemain",
            Self::DestinationNotReady => "DestinationNotReady",
            Self::NameConflict => "NameConflict",
            Self::SourceNotFound => "SourceNotFound",
            Self::TagNotFound => "TagNotFound",
            Self::PlatformNotFound => "PlatformNotFound",
            Self::SecretNotFound => "SecretNotFound",
            Self::ConfigMapNotFound => "ConfigMapNotFound",
            Self::SourceUnauthorized => "SourceUnauthorized",
            Self::RateLimited => "RateLimited",
            Self::TagImmutable => "TagImmutable",
            Self::TagMoved => "TagMoved",
            Self::TooYoung => "TooYoung",
            Self::TooManyTags => "TooManyTags",
            Self::LifecycleConflict => "LifecycleConflict",
            Self::Released => "Released",
            Self::SignatureNotFound => "SignatureNotFound",
            Self::NotVerified => "NotVerified",
            Self::DigestMismatch => "DigestMismatch",
            Self::CopyFailed => "CopyFailed",
            Self::SomeTagsFailed => "SomeTagsFailed",
            Self::SomeMirrorsFailed => "SomeMirrorsFailed",
            Self::WorkloadsUnreadable => "WorkloadsUnreadable",
            Self::SecretNotOwned => "SecretNotOwned",
            Self::SecretNotShared => "SecretNotShared",
            Self::SomeNamespacesFailed => "SomeNamespacesFailed",
            Self::SessionPolicy => "SessionPolicy",
            Self::TokenCanPush => "TokenCanPush",
            Self::PolicyTooLarge => "PolicyTooLarge",
            Self::RewriteUnsupported => "RewriteUnsupported",
            Self::EnforcementUnsupported => "EnforcementUnsupported",
            Self::NoNamespace => "NoNamespace",
            Self::SomeSettingsFailed => "SomeSettingsFailed",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
