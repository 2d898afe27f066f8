//! The parts of a registry's settings, and what each can be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::api::{EcrRegistryStatus, ManagedEntry};
use crate::ecr::policy::PolicyDocument;
use crate::ecr::settings::{AccountSetting, CacheRule, Replication, Scanning, Signing, Template};

/// A part of the settings that is read, planned and changed by itself: what goes wrong with one hides no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    BasicScanTypeVersion,
    Scanning,
    Replication,
    /// Before the policy, which may need it.
    PolicyScope,
    Policy,
    PullThroughCacheRules,
    CreationTemplates,
    BlobMounting,
    Signing,
    PullTimeUpdateExclusions,
}

impl Part {
    pub(super) const ALL: [Self; 10] = [
        Self::BasicScanTypeVersion,
        Self::Scanning,
        Self::Replication,
        Self::PolicyScope,
        Self::Policy,
        Self::PullThroughCacheRules,
        Self::CreationTemplates,
        Self::BlobMounting,
        Self::Signing,
        Self::PullTimeUpdateExclusions,
    ];

    /// The field below `spec.settings`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BasicScanTypeVersion => "scanning.basicScanTypeVersion",
            Self::Scanning => "scanning",
            Self::Replication => "replication",
            Self::PolicyScope => "policy.scope",
            Self::Policy => "policy",
            Self::PullThroughCacheRules => "pullThroughCacheRules",
            Self::CreationTemplates => "creationTemplates",
            Self::BlobMounting => "blobMounting",
            Self::Signing => "signing",
            Self::PullTimeUpdateExclusions => "pullTimeUpdateExclusions",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a part is: as ECR has it, or as a spec asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Setting {
    Scanning(Scanning),
    Account(AccountSetting, String),
    Replication(Replication),
    Policy(Option<Document>),
    Signing(Option<Signing>),
    CacheRules(BTreeMap<String, CacheRule>),
    Templates(BTreeMap<String, Template>),
    Exclusions(BTreeSet<String>),
}

/// A registry policy. `Err`: a text that we can't read.
pub(crate) type Document = Result<PolicyDocument, String>;

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |f: &mut fmt::Formatter<'_>, count: usize, noun: &str| match count {
            1 => write!(f, "1 {noun}"),
            _ => write!(f, "{count} {noun}s"),
        };
        match self {
            Self::Scanning(scanning) => scanning.fmt(f),
            Self::Account(_, value) => f.write_str(value),
            Self::Replication(replication) => replication.fmt(f),
            Self::Policy(None) => f.write_str("no policy"),
            Self::Policy(Some(Ok(policy))) => f.write_str(&policy.statements().join("; ")),
            Self::Policy(Some(Err(_))) => f.write_str("a policy that can't be read here"),
            Self::Signing(None) => f.write_str("no signing"),
            Self::Signing(Some(signing)) => signing.fmt(f),
            Self::CacheRules(rules) => count(f, rules.len(), "rule"),
            Self::Templates(templates) => count(f, templates.len(), "template"),
            Self::Exclusions(arns) => count(f, arns.len(), "exclusion"),
        }
    }
}

/// What an object holds of a part: what it has made, and what it manages that was there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Whether it made the policy or the signing configuration.
    pub(crate) created: bool,
    /// The rules, templates or exclusions that it manages, and whether it made them.
    pub(crate) entries: BTreeMap<String, bool>,
}

impl Held {
    /// What the status says that the object holds, by the parts that it manages.
    pub(crate) fn by_part(status: Option<&EcrRegistryStatus>) -> BTreeMap<Part, Self> {
        let known = status.map(|status| status.settings.as_slice()).unwrap_or_default();
        known
            .iter()
            .filter_map(|entry| {
                let part = Part::ALL.into_iter().find(|part| part.name() == entry.name)?;
                let entries = entry.entries.iter().map(|entry| (entry.name.clone(), entry.created)).collect();
                Some((part, Self { created: entry.created, entries }))
            })
            .collect()
    }

    /// Whether something goes from ECR when the part leaves the spec.
    pub(crate) fn has_created(&self) -> bool {
        self.created || self.entries.values().any(|created| *created)
    }

    /// The entries as a status has them.
    pub(super) fn managed(&self) -> Vec<ManagedEntry> {
        self.entries.iter().map(|(name, created)| ManagedEntry { name: name.clone(), created: *created }).collect()
    }
}
