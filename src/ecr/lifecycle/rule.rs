//! One rule, in a form that can hold no combination which ECR has no meaning for.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// One rule of a policy.
#[derive(Clone, Debug)]
pub struct Rule {
    /// ECR's `rulePriority`. Only the order that it gives the rules has a meaning.
    pub priority: i64,
    /// What the rule is for, in its author's words; never empty.
    pub description: Option<String>,
    /// What the rule does.
    pub body: Body,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// To these images, this.
    Known {
        /// Which images.
        selection: Selection,
        /// What happens to them, and when.
        effect: Effect,
    },
    /// Something that ECR accepted and that has no words here: the rule's JSON without `rulePriority` and `description`.
    Foreign(Value),
}

/// Which images a rule selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Those without any tag.
    Untagged,
    /// Those that have a tag for every one of these patterns.
    Patterns(BTreeSet<String>),
    /// Those that have a tag for every one of these prefixes.
    Prefixes(BTreeSet<String>),
    /// All.
    Any,
}

/// What happens to the images that a rule selects, and when. Each is one combination of ECR's `countType`, `action` and
/// `storageClass`, and there are no others.
///
/// Source: "Lifecycle policy properties in Amazon ECR" in the Amazon ECR User Guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They expire so many days after they were pushed.
    ExpireAfterDays(u32),
    /// All but so many of them expire.
    KeepLast(u32),
    /// They are archived so many days after they were pushed.
    ArchiveAfterDays(u32),
    /// All but so many of them are archived.
    ArchiveAllButLast(u32),
    /// They are archived so many days after they were pulled last.
    ArchiveUnpulledAfterDays(u32),
    /// Those that are archived expire so many days after that.
    ExpireArchivedAfterDays(u32),
}

/// ECR's storage classes. A rule sees images of one class only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageClass {
    /// Where images are pushed to and pulled from.
    Standard,
    /// Where images wait that are not pulled any more.
    Archive,
}

impl Effect {
    /// The name of the typed field.
    pub fn field(self) -> &'static str {
        match self {
            Self::ExpireAfterDays(_) => "expireAfterDays",
            Self::KeepLast(_) => "keepLast",
            Self::ArchiveAfterDays(_) => "archiveAfterDays",
            Self::ArchiveAllButLast(_) => "archiveAllButLast",
            Self::ArchiveUnpulledAfterDays(_) => "archiveUnpulledAfterDays",
            Self::ExpireArchivedAfterDays(_) => "expireArchivedAfterDays",
        }
    }

    /// The number of days or of images.
    pub fn number(self) -> u32 {
        match self {
            Self::ExpireAfterDays(number)
            | Self::KeepLast(number)
            | Self::ArchiveAfterDays(number)
            | Self::ArchiveAllButLast(number)
            | Self::ArchiveUnpulledAfterDays(number)
            | Self::ExpireArchivedAfterDays(number) => number,
        }
    }

    /// The class of the images that the rule sees.
    pub fn storage_class(self) -> StorageClass {
        match self {
            Self::ExpireArchivedAfterDays(_) => StorageClass::Archive,
            _ => StorageClass::Standard,
        }
    }
}

impl PartialEq for Rule {
    /// Priorities don't count: what they say is in the rules' order.
    fn eq(&self, other: &Self) -> bool {
        let Self { priority: _, description, body } = self;
        (description, body) == (&other.description, &other.body)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Known { selection, effect } => {
                let archived = if effect.storage_class() == StorageClass::Archive { "archived " } else { "" };
                match selection {
                    Selection::Untagged => write!(f, "{archived}untagged images: {effect}")?,
                    Selection::Any => write!(f, "any {archived}image: {effect}")?,
                    tagged => write!(f, "{archived}images {tagged}: {effect}")?,
                }
            }
            Body::Foreign(json) => write!(f, "a rule that has no words here: {json}")?,
        }
        match &self.description {
            Some(description) => write!(f, " ({description:?})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |tags: &BTreeSet<String>| tags.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
        match self {
            Self::Untagged => f.write_str("untagged"),
            Self::Patterns(tags) => write!(f, "tagged {}", list(tags)),
            Self::Prefixes(tags) => write!(f, "tagged with prefix {}", list(tags)),
            Self::Any => f.write_str("any"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = |number: u32| if number == 1 { "1 day".to_owned() } else { format!("{number} days") };
        match *self {
            Self::ExpireAfterDays(number) => write!(f, "expire {} after their push", days(number)),
            Self::KeepLast(number) => write!(f, "expire all but the last {number}"),
            Self::ArchiveAfterDays(number) => write!(f, "archive {} after their push", days(number)),
            Self::ArchiveAllButLast(number) => write!(f, "archive all but the last {number}"),
            Self::ArchiveUnpulledAfterDays(number) => write!(f, "archive {} after their last pull", days(number)),
            Self::ExpireArchivedAfterDays(number) => write!(f, "expire {} after they were archived", days(number)),
        }
    }
}
