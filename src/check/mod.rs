//! Which of the IAM actions that manifests need the identity at hand lacks, without changing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use crate::ecr::{Ecr, Verdict};
use crate::iam::Need;

/// The most repositories on which an action is tried: one for each folder of names, because IAM policies name folders.
const MOST_FOLDERS: usize = 10;

/// How many objects are named for an action.
const MOST_NAMES: usize = 3;

/// What was found out about one action in one registry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The IAM action.
    pub action: String,
    /// Name of the EcrRegistry.
    pub registry: String,
    /// Whether it is allowed.
    pub answer: Answer,
    /// AWS's words, or why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The objects and fields that need it, such as `EcrRepository team-a/api (spec.lifecycle)`.
    pub needed_for: Vec<String>,
}

/// Whether an action is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum Answer {
    Allowed,
    Denied,
    Unknown,
}

/// An action that is to be tried, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    action: &'static str,
    /// One repository for each folder. Empty: the action is not about a repository.
    repositories: Vec<String>,
    needed_for: Vec<String>,
}

/// What is to be tried in each registry.
pub(crate) fn tasks(needs: &[Need]) -> BTreeMap<String, Vec<Task>> {
    let mut by_action: BTreeMap<(&str, &'static str), Vec<&Need>> = BTreeMap::new();
    for need in needs {
        by_action.entry((&need.registry, need.action)).or_default().push(need);
    }
    let mut tasks: BTreeMap<String, Vec<Task>> = BTreeMap::new();
    for ((registry, action), needs) in by_action {
        let names: BTreeSet<&String> = needs.iter().filter_map(|need| need.repository.as_ref()).collect();
        let mut folders = BTreeMap::new();
        for name in names {
            folders.entry(name.rsplit_once('/').map_or("", |(folder, _)| folder)).or_insert_with(|| name.clone());
        }
        let mut fields: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for need in &needs {
            fields.entry(&need.object).or_default().insert(&need.field);
        }
        tasks.entry(registry.to_owned()).or_default().push(Task {
            action,
            repositories: folders.into_values().take(MOST_FOLDERS).collect(),
            needed_for: fields
                .into_iter()
                .map(|(object, fields)| format!("{object} ({})", fields.into_iter().collect::<Vec<_>>().join(", ")))
                .collect(),
        });
    }
    tasks
}

/// Tries each action. `nonce` makes the names of repositories that don't exist.
pub(crate) async fn check(ecr: &Ecr, registry: &str, tasks: Vec<Task>, nonce: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for task in tasks {
        let mut verdicts = Vec::new();
        if task.repositories.is_empty() {
            verdicts.push(ecr.probe(task.action, &stranger("", nonce)).await);
        }
        for repository in &task.repositories {
            verdicts.push(probe(ecr, task.action, repository, nonce).await);
        }
        let (answer, why) = summed_up(verdicts);
        rows.push(Row {
            action: task.action.to_owned(),
            registry: registry.to_owned(),
            answer,
            why,
            needed_for: task.needed_for,
        });
    }
    rows
}

/// Tries an action on a name below the repository's. Where IAM refuses that because it allows whole names only, what reads
/// is tried on the repository itself, and what would change it can't be tried.
async fn probe(ecr: &Ecr, action: &str, repository: &str, nonce: &str) -> Verdict {
    let stranger = stranger(repository, nonce);
    let verdict = ecr.probe(action, &stranger).await;
    let Verdict::Denied(words) = verdict else { return verdict };
    for read in READS {
        let denied_below = matches!(ecr.probe(read, &stranger).await, Verdict::Denied(_));
        if denied_below && ecr.probe(read, repository).await == Verdict::Allowed {
            return match READS.contains(&action) {
                true => ecr.probe(action, repository).await,
                false => Verdict::Unknown(format!(
                    "IAM allows this identity whole names of repositories, such as {repository}, and what changes one is tried on names that don't exist only"
                )),
            };
        }
    }
    Verdict::Denied(words)
}

/// Actions on a repository that change nothing.
const READS: [&str; 6] = [
    "ecr:ListTagsForResource",
    "ecr:GetLifecyclePolicy",
    "ecr:GetRepositoryPolicy",
    "ecr:GetLifecyclePolicyPreview",
    "ecr:ListImages",
    "ecr:BatchGetImage",
];

/// The name of a repository that does not exist, below the one of which it speaks: what a policy allows on `team-a/*` is
/// allowed on it.
fn stranger(repository: &str, nonce: &str) -> String {
    const LONGEST: usize = 256;
    let end = format!("ecr-operator-check-{nonce}");
    let mut parts: Vec<&str> = repository.split('/').filter(|part| !part.is_empty()).collect();
    while parts.iter().map(|part| part.len() + 1).sum::<usize>() + end.len() > LONGEST {
        parts.pop();
    }
    parts.push(&end);
    parts.join("/")
}

/// One answer out of several: a refusal anywhere is one, and nothing is allowed that is not allowed everywhere.
fn summed_up(verdicts: Vec<Verdict>) -> (Answer, Option<String>) {
    let mut unknown = None;
    for verdict in verdicts {
        match verdict {
            Verdict::Denied(words) => return (Answer::Denied, Some(words)),
            Verdict::Unknown(words) => unknown = Some(words),
            Verdict::Allowed => {}
        }
    }
    match unknown {
        Some(words) => (Answer::Unknown, Some(words)),
        None => (Answer::Allowed, None),
    }
}

/// The table for people: what is denied, then what is not known, then the rest.
pub fn text(rows: &[Row]) -> String {
    let mut rows: Vec<&Row> = rows.iter().collect();
    let rank = |answer| match answer {
        Answer::Denied => 0,
        Answer::Unknown => 1,
        Answer::Allowed => 2,
    };
    rows.sort_by_key(|row| (rank(row.answer), &row.registry, &row.action));
    let width = |of: fn(&Row) -> usize, least: usize| rows.iter().map(|row| of(row)).max().unwrap_or(0).max(least);
    let (action, registry) = (width(|row| row.action.len(), 6), width(|row| row.registry.len(), 8));
    let mut text = String::new();
    let _ = writeln!(text, "{:<8} {:<action$} {:<registry$} NEEDED FOR", "ANSWER", "ACTION", "REGISTRY");
    for row in &rows {
        let answer = format!("{:?}", row.answer).to_lowercase();
        let needed_for = in_short(&row.needed_for);
        let _ = writeln!(text, "{answer:<8} {:<action$} {:<registry$} {needed_for}", row.action, row.registry);
    }
    let reasons: Vec<_> = rows.iter().filter_map(|row| Some((row, row.why.as_ref()?))).collect();
    if !reasons.is_empty() {
        text.push('\n');
    }
    for (row, why) in reasons {
        let _ = writeln!(text, "{}: {why}", row.action);
    }
    let count = |answer| rows.iter().filter(|row| row.answer == answer).count();
    let (allowed, denied, unknown) = (count(Answer::Allowed), count(Answer::Denied), count(Answer::Unknown));
    let _ = writeln!(text, "\n{allowed} allowed, {denied} denied, {unknown} unknown");
    text
}

fn in_short(names: &[String]) -> String {
    let shown = names.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMES) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(action: &'static str, repository: Option<&str>, object: &str) -> Need {
        Need {
            action,
            registry: "default".into(),
            repository: repository.map(str::to_owned),
            role: None,
            object: object.into(),
            field: "spec".into(),
        }
    }

    #[test]
    fn an_action_is_tried_once_for_each_folder_and_says_who_needs_it() {
        let needs = [
            need("ecr:PutImage", Some("a/x"), "ImageMirror a/x"),
            need("ecr:PutImage", Some("a/y"), "ImageMirror a/y"),
            need("ecr:PutImage", Some("b/x"), "ImageMirror b/x"),
            need("ecr:GetAuthorizationToken", None, "EcrRegistry default"),
        ];
        let tasks = tasks(&needs).remove("default").expect("tasks");
        assert_eq!(tasks.len(), 2);
        assert!(tasks[0].repositories.is_empty());
        assert_eq!(tasks[1].repositories, ["a/x", "b/x"]);
        assert_eq!(tasks[1].needed_for.len(), 3);
    }

    #[test]
    fn the_names_that_are_tried_are_below_the_real_ones_and_never_too_long() {
        assert_eq!(stranger("team-a/api", "1f"), "team-a/api/ecr-operator-check-1f");
        assert_eq!(stranger("", "1f"), "ecr-operator-check-1f");
        let long = format!("team/{}", "x".repeat(251));
        assert_eq!(stranger(&long, "1f"), "team/ecr-operator-check-1f");
    }

    #[test]
    fn a_refusal_anywhere_is_the_answer() {
        let (denied, unknown) = (Verdict::Denied("no".into()), Verdict::Unknown("who knows".into()));
        assert_eq!(
            summed_up(vec![Verdict::Allowed, denied.clone(), unknown.clone()]),
            (Answer::Denied, Some("no".into()))
        );
        assert_eq!(summed_up(vec![unknown, Verdict::Allowed]), (Answer::Unknown, Some("who knows".into())));
        assert_eq!(summed_up(vec![Verdict::Allowed]), (Answer::Allowed, None));
    }

    #[test]
    fn the_table_begins_with_what_is_missing_and_says_why() {
        let row = |action: &str, answer, why: Option<&str>| Row {
            action: action.into(),
            registry: "default".into(),
            answer,
            why: why.map(str::to_owned),
            needed_for: ["a", "b", "c", "d", "e"].map(str::to_owned).into(),
        };
        let text = text(&[
            row("ecr:ListImages", Answer::Allowed, None),
            row("kms:CreateGrant", Answer::Unknown, Some("asked elsewhere")),
            row("ecr:PutImage", Answer::Denied, Some("not authorized")),
        ]);
        assert_eq!(
            text,
            "ANSWER   ACTION          REGISTRY NEEDED FOR
denied   ecr:PutImage    default  a, b, c, and 2 more
unknown  kms:CreateGrant default  a, b, c, and 2 more
allowed  ecr:ListImages  default  a, b, c, and 2 more

ecr:PutImage: not authorized
kms:CreateGrant: asked elsewhere

1 allowed, 1 denied, 1 unknown
"
        );
    }
}
