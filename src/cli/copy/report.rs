//! What `copy` prints at the end.

use std::io::{self, Write as _};

use oci_copy::{CopyReport, Error, Reference, ReferrerOutcome, ReferrerReport};
use serde::Serialize;

use super::progress::size;

/// What became of one image.
pub(super) struct Outcome {
    pub(super) source: Reference,
    pub(super) destination: Reference,
    pub(super) result: Result<CopyReport, Error>,
}

pub(super) fn print_text(outcomes: &[Outcome]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for outcome in outcomes {
        match &outcome.result {
            Ok(report) => {
                writeln!(stdout, "{}", text(outcome, report))?;
                for referrer in &report.referrers {
                    if let Some(text) = not_copied(referrer) {
                        eprintln!("ecr-operator copy: {}: {text}", outcome.destination);
                    }
                }
            }
            Err(error) => eprintln!("ecr-operator copy: {error}"),
        }
    }
    stdout.flush()
}

fn text(outcome: &Outcome, report: &CopyReport) -> String {
    let Outcome { source, destination, .. } = outcome;
    let what = if report.unchanged {
        "was there".to_owned()
    } else {
        let there = report.blobs_skipped + report.blobs_mounted;
        format!("copied {} in {} blobs, {there} were there", size(report.bytes_copied), report.blobs_copied)
    };
    let referrers = match report.referrers.iter().filter(|referrer| not_copied(referrer).is_none()).count() {
        0 => String::new(),
        count => format!("; {count} that refer to it are there"),
    };
    format!("{source} -> {destination} {} ({what}{referrers})", report.digest)
}

/// Why a referrer isn't there.
fn not_copied(referrer: &ReferrerReport) -> Option<String> {
    let ReferrerOutcome::Failed { message } = &referrer.outcome else { return None };
    let what = match (&referrer.digest, &referrer.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => "what there is".to_owned(),
    };
    Some(format!("{what}, which refers to {}, was not copied: {message}", referrer.subject))
}

/// The document of `-o json`. Fields are added, and never change their meaning.
#[derive(Serialize)]
struct Document<'a> {
    copies: Vec<Copy<'a>>,
    /// Why there are no copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Copy<'a> {
    source: &'a Reference,
    destination: &'a Reference,
    #[serde(flatten)]
    result: Became<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Became<'a> {
    #[serde(rename_all = "camelCase")]
    Done {
        source_digest: String,
        digest: String,
        media_type: &'a str,
        unchanged: bool,
        blobs_copied: u64,
        blobs_skipped: u64,
        blobs_mounted: u64,
        bytes_copied: u64,
        manifests_put: u64,
        manifests_skipped: u64,
        /// Only what `--referrers` found.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        referrers: Vec<Referrer<'a>>,
    },
    Failed {
        error: Failed,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Referrer<'a> {
    subject: String,
    digest: Option<String>,
    tag: Option<&'a str>,
    artifact_type: Option<&'a str>,
    /// `copied`, `present` or `failed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl<'a> From<&'a ReferrerReport> for Referrer<'a> {
    fn from(report: &'a ReferrerReport) -> Self {
        let (outcome, message) = match &report.outcome {
            ReferrerOutcome::Copied => ("copied", None),
            ReferrerOutcome::Failed { message } => ("failed", Some(message.as_str())),
            _ => ("present", None),
        };
        Self {
            subject: report.subject.to_string(),
            digest: report.digest.as_ref().map(ToString::to_string),
            tag: report.tag.as_deref(),
            artifact_type: report.artifact_type.as_deref(),
            outcome,
            message,
        }
    }
}

#[derive(Serialize)]
struct Failed {
    /// One of few words, such as `manifest_not_found`.
    reason: &'static str,
    message: String,
}

pub(super) fn print_json(outcomes: &[Outcome]) -> io::Result<()> {
    let copies = outcomes.iter().map(|Outcome { source, destination, result }| Copy {
        source,
        destination,
        result: match result {
            Ok(report) => Became::Done {
                source_digest: report.source_digest.to_string(),
                digest: report.digest.to_string(),
                media_type: &report.media_type,
                unchanged: report.unchanged,
                blobs_copied: report.blobs_copied,
                blobs_skipped: report.blobs_skipped,
                blobs_mounted: report.blobs_mounted,
                bytes_copied: report.bytes_copied,
                manifests_put: report.manifests_put,
                manifests_skipped: report.manifests_skipped,
                referrers: report.referrers.iter().map(Referrer::from).collect(),
            },
            Err(error) => Became::Failed { error: Failed { reason: error.label(), message: error.to_string() } },
        },
    });
    print(&Document { copies: copies.collect(), error: None })
}

/// The document where nothing was copied.
pub(super) fn print_failure(reason: &'static str, message: &str) -> io::Result<()> {
    print(&Document { copies: Vec::new(), error: Some(Failed { reason, message: message.to_owned() }) })
}

fn print(document: &Document<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, document)?;
    writeln!(stdout)?;
    stdout.flush()
}
