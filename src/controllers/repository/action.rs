//! One change in ECR, and how it is told.

use std::collections::BTreeMap;
use std::fmt;

use crate::ecr::lifecycle::Policy;
use crate::ecr::policy::PolicyDocument;
use crate::ecr::{Mutability, NewRepository};

/// One change in ECR.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create(NewRepository),
    Adopt { tags: BTreeMap<String, String> },
    SetTagMutability { from: Option<Mutability>, to: Mutability },
    SetScanOnPush(bool),
    PutLifecycle { from: Option<Policy>, to: Policy },
    DeleteLifecycle { from: Policy },
    PutPolicy { from: Option<PolicyDocument>, to: PolicyDocument },
    DeletePolicy { from: PolicyDocument },
    Tag(BTreeMap<String, String>),
    Untag(Vec<String>),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(new) => write!(f, "create repository {}", new.name),
            Self::Adopt { .. } => f.write_str("adopt the repository, which nobody owns"),
            Self::SetTagMutability { from: Some(from), to } => write!(f, "change tag mutability from {from} to {to}"),
            Self::SetTagMutability { from: None, to } => write!(f, "change tag mutability to {to}"),
            Self::SetScanOnPush(on) => write!(f, "switch scan on push {}", if *on { "on" } else { "off" }),
            Self::PutLifecycle { from: None, to } => write!(f, "set the lifecycle policy ({})", rules(to)),
            Self::PutLifecycle { from: Some(from), to } => {
                write!(f, "change the lifecycle policy: {}", from.diff(to).join("; "))
            }
            Self::DeleteLifecycle { from } => {
                write!(f, "delete the lifecycle policy ({}), which is no longer in the spec", rules(from))
            }
            Self::PutPolicy { from: None, .. } => f.write_str("set the repository policy"),
            Self::PutPolicy { from: Some(from), to } => {
                write!(f, "change the repository policy: {}", from.diff(to).join("; "))
            }
            Self::DeletePolicy { .. } => f.write_str("delete the repository policy, which is no longer in the spec"),
            Self::Tag(tags) => write!(f, "set tags {}", list(tags.keys())),
            Self::Untag(removed) => write!(f, "remove tags {}", list(removed.iter())),
        }
    }
}

fn rules(policy: &Policy) -> String {
    match policy.rules() {
        1 => "1 rule".to_owned(),
        count => format!("{count} rules"),
    }
}

fn list<'a>(words: impl Iterator<Item = &'a String>) -> String {
    words.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Actions as one sentence's end.
pub(crate) fn in_words(actions: &[Action]) -> String {
    actions.iter().map(Action::to_string).collect::<Vec<_>>().join("; ")
}
