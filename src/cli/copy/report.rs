//! What `copy` prints at the end.

use std::io::{self, Write as _};

use oci_copy::{CopyReport, Error, Reference};
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
            Ok(report) => writeln!(stdout, "{}", text(outcome, report))?,
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
    format!("{source} -> {destination} {} ({what})", report.digest)
}

/// The document of `-o json`. Fields are added, and never change their meaning.
#[derive(Serialize)]
struct Document<'a> {
    copies: Vec<Copy<'a>>,
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
    },
    Failed {
        error: Failed,
    },
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
            },
            Err(error) => Became::Failed { error: Failed { reason: error.label(), message: error.to_string() } },
        },
    });
    let document = Document { copies: copies.collect() };
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, &document)?;
    writeln!(stdout)?;
    stdout.flush()
}
