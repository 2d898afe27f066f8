//! Why something is no lifecycle policy.

use std::fmt;

/// Why a spec has no lifecycle policy that ECR would take. The text begins with the name of a field below `spec`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There are neither rules nor a document, or both.
    #[error("lifecycle needs either rules or policy, and not both")]
    Choice,
    /// The document is not JSON.
    #[error("lifecycle.policy is not JSON: {0}")]
    NotJson(String),
    /// The document has no list of rules.
    #[error("lifecycle.policy has no list \"rules\": it must look like {{\"rules\": [...]}}")]
    NoRules,
    /// ECR would refuse it, or it would do something else than it seems to.
    #[error("{field}: {}", first(.problems))]
    Invalid {
        /// `lifecycle.rules` or `lifecycle.policy`.
        field: &'static str,
        /// All that is wrong, never empty.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The rule; `None` where it is about the whole policy.
    pub rule: Option<Place>,
    /// The field, what is wrong with it, and what to do.
    pub words: String,
}

/// Where in a policy a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its place in the list, beginning with 1.
    pub number: usize,
    /// Its `rulePriority`, if it has one.
    pub priority: Option<i64>,
}

impl Problem {
    /// A problem of one rule.
    pub(super) fn of(rule: Place, words: impl Into<String>) -> Self {
        Self { rule: Some(rule), words: words.into() }
    }

    /// A problem of the whole policy.
    pub(super) fn of_policy(words: impl Into<String>) -> Self {
        Self { rule: None, words: words.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(place) => write!(f, "{place}: {}", self.words),
            None => f.write_str(&self.words),
        }
    }
}

impl fmt::Display for Place {
    /// The priority is said only where it is not the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.number)?;
        match self.priority {
            Some(priority) if i64::try_from(self.number) != Ok(priority) => write!(f, " (rulePriority {priority})"),
            _ => Ok(()),
        }
    }
}

/// The problems on one line; of many, the first few.
fn first(problems: &[Problem]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
    match problems.len().saturating_sub(SHOWN) {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}
