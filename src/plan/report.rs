//! The answer, for people and for machines.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::pods::Pods;

/// What applying the manifests would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// An entry for each registry that has or had settings, in the order of the manifests; what goes comes last.
    pub registries: Vec<Entry>,
    /// An entry for each repository, in the same order.
    pub repositories: Vec<Entry>,
    /// What a rewrite would do to pods, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
}

/// One repository, or the settings of one registry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The object, such as `EcrRepository team-a/api`.
    pub object: String,
    /// The file that it is in.
    pub file: String,
    /// Name of its EcrRegistry.
    pub registry: String,
    /// Name of the repository in ECR. A registry's settings have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Registry host, with the repository behind it if there is one, where the registry could be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What would happen.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The changes, in their order.
    pub changes: Vec<Change>,
    /// What a reader should know beside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What would happen to a repository, or to the settings of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome")]
pub enum Outcome {
    /// It is created.
    Create,
    /// It is changed.
    Change,
    /// It is deleted.
    Delete,
    /// Nothing.
    Unchanged,
    /// Nothing, because the object only observes. The changes say how it differs.
    Observed,
    /// The object can't do what its spec says.
    Refused {
        /// The reason that the object's conditions would have.
        reason: String,
        /// What is in the way and what to do.
        message: String,
    },
}

impl Outcome {
    pub(super) fn refused(reason: &str, message: impl Into<String>) -> Self {
        Self::Refused { reason: reason.to_owned(), message: message.into() }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of change it is.
    pub sign: Sign,
    /// The change in words.
    pub action: String,
    /// From what to what, line by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// Kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Sign {
    /// Something new.
    Create,
    /// Something else than before.
    Change,
    /// Something less.
    Delete,
    /// A difference that nobody does anything about.
    Note,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "+",
            Self::Change => "~",
            Self::Delete => "-",
            Self::Note => "!",
        })
    }
}

impl Change {
    pub(super) fn new(sign: Sign, action: impl Into<String>) -> Self {
        Self { sign, action: action.into(), details: Vec::new() }
    }

    pub(super) fn note(action: String) -> Self {
        Self::new(Sign::Note, action)
    }

    pub(super) fn with(self, details: Vec<String>) -> Self {
        Self { details, ..self }
    }
}

impl Entry {
    pub(super) fn new(object: &str, file: &str, registry: &str, notes: Vec<String>) -> Self {
        Self {
            object: object.to_owned(),
            file: file.to_owned(),
            registry: registry.to_owned(),
            repository: None,
            uri: None,
            outcome: Outcome::Unchanged,
            changes: Vec::new(),
            notes,
        }
    }

    pub(super) fn of_repository(self, repository: &str) -> Self {
        Self { repository: Some(repository.to_owned()), ..self }
    }
}

/// How many repositories, and settings of registries, have which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Summary {
    pub create: usize,
    pub change: usize,
    pub delete: usize,
    pub unchanged: usize,
    pub refused: usize,
}

impl Report {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.registries.iter().chain(&self.repositories)
    }

    /// How many entries have which outcome. Those that are only observed count as unchanged.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for entry in self.entries() {
            *match entry.outcome {
                Outcome::Create => &mut summary.create,
                Outcome::Change => &mut summary.change,
                Outcome::Delete => &mut summary.delete,
                Outcome::Unchanged | Outcome::Observed => &mut summary.unchanged,
                Outcome::Refused { .. } => &mut summary.refused,
            } += 1;
        }
        summary
    }

    /// Whether anything would change.
    pub fn has_changes(&self) -> bool {
        let Summary { create, change, delete, unchanged: _, refused: _ } = self.summary();
        create + change + delete > 0
    }

    /// Whether an object can't do what its spec says.
    pub fn has_refusals(&self) -> bool {
        self.summary().refused > 0
    }

    /// The report for machines.
    pub fn json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({"registries": self.registries, "repositories": self.repositories, "summary": self.summary()});
        if let Some(pods) = &self.pods {
            json["pods"] = serde_json::json!(pods);
        }
        json
    }

    /// The report for people. Registries and repositories of which there is nothing to say are only counted.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for entry in self.entries().filter(|entry| entry.is_worth_a_word()) {
            entry.print(&mut text);
            text.push('\n');
        }
        let Summary { create, change, delete, unchanged, refused } = self.summary();
        let _ = writeln!(
            text,
            "{create} to create, {change} to change, {delete} to delete, {unchanged} unchanged, {refused} refused"
        );
        if let Some(pods) = &self.pods {
            let _ = write!(text, "\n{}", pods.text());
        }
        text
    }
}

impl Entry {
    fn is_worth_a_word(&self) -> bool {
        self.outcome != Outcome::Unchanged && self.outcome != Outcome::Observed
            || !self.changes.is_empty()
            || !self.notes.is_empty()
    }

    fn print(&self, text: &mut String) {
        let _ = match self.uri.as_ref().or(self.repository.as_ref()) {
            Some(place) => writeln!(text, "{}: {place}", self.object),
            None => writeln!(text, "{}", self.object),
        };
        if let Outcome::Refused { reason, message } = &self.outcome {
            let _ = writeln!(text, "  ! refused ({reason}): {message}");
        }
        for change in &self.changes {
            let _ = writeln!(text, "  {} {}", change.sign, change.action);
            for line in &change.details {
                let _ = writeln!(text, "      {line}");
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
    }
}
