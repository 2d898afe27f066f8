//! How a copy is shown while it runs: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use oci_copy::{Digest, Progress, ProgressEvent, Reference};

use super::report::Outcome;

/// Bars that are shown at once; more blobs than these are never in flight for long.
const BAR: &str =
    "{prefix:14} {bar:28.cyan/dim} {bytes:>11} of {total_bytes:11} {binary_bytes_per_sec:>13} {eta:>4} left";

/// A size as people read it: `12.34 MiB`.
pub(super) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// Where the progress of all copies is shown.
pub(super) enum Display {
    Nothing,
    Lines,
    Bars(MultiProgress),
}

impl Display {
    pub(super) fn new(quiet: bool) -> Self {
        if quiet {
            Self::Nothing
        } else if std::io::stderr().is_terminal() {
            Self::Bars(MultiProgress::new())
        } else {
            Self::Lines
        }
    }

    /// Shows one copy's progress.
    pub(super) fn progress(&self, destination: &Reference) -> Progress {
        match self {
            Self::Nothing => Progress::none(),
            Self::Lines => {
                let name = destination.to_string();
                Progress::new(move |event| {
                    if let Some(line) = line(&event) {
                        eprintln!("{name}: {line}");
                    }
                })
            }
            Self::Bars(all) => {
                let bars = Arc::new(Bars { all: all.clone(), by_digest: Mutex::default() });
                Progress::new(move |event| bars.show(event))
            }
        }
    }

    /// A copy has ended.
    pub(super) fn done(&self, outcome: &Outcome) {
        if let Self::Bars(all) = self {
            let word = if outcome.result.is_ok() { "done" } else { "failed" };
            let _ = all.println(format!("{} {word}", outcome.destination));
        }
    }

    /// Takes the bars away, before the result is printed.
    pub(super) fn clear(&self) {
        if let Self::Bars(all) = self {
            let _ = all.clear();
        }
    }
}

/// What a line says of an event; nothing of those that come too often.
fn line(event: &ProgressEvent) -> Option<String> {
    Some(match event {
        ProgressEvent::Planned { manifests, blobs, bytes } => {
            format!("{manifests} manifests and {blobs} blobs, {}", size(*bytes))
        }
        ProgressEvent::BlobRestarted { digest } => format!("{} starts over", short(digest)),
        ProgressEvent::BlobFinished { digest, size: bytes } => format!("{} copied, {}", short(digest), size(*bytes)),
        ProgressEvent::BlobSkipped { digest, .. } => format!("{} was there", short(digest)),
        ProgressEvent::BlobMounted { digest, .. } => format!("{} mounted", short(digest)),
        ProgressEvent::ManifestPut { digest, tag: Some(tag) } => format!("{tag} is {digest}"),
        ProgressEvent::ManifestPut { digest, tag: None } => format!("manifest {} put", short(digest)),
        ProgressEvent::ManifestSkipped { digest } => format!("manifest {} was there", short(digest)),
        _ => return None,
    })
}

fn short(digest: &Digest) -> &str {
    digest.hex().get(..12).unwrap_or(digest.hex())
}

/// The bars of one copy.
struct Bars {
    all: MultiProgress,
    by_digest: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn show(&self, event: ProgressEvent) {
        let mut bars = self.by_digest.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            ProgressEvent::BlobStarted { digest, size } => {
                let bar = bars.entry(digest.clone()).or_insert_with(|| {
                    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
                    let bar = ProgressBar::new(size).with_style(style).with_prefix(short(&digest).to_owned());
                    self.all.add(bar)
                });
                bar.reset_eta();
            }
            ProgressEvent::BlobBytes { digest, bytes } => {
                if let Some(bar) = bars.get(&digest) {
                    bar.inc(bytes);
                }
            }
            ProgressEvent::BlobRestarted { digest } => {
                if let Some(bar) = bars.get(&digest) {
                    bar.reset();
                }
            }
            ProgressEvent::BlobFinished { digest, .. }
            | ProgressEvent::BlobSkipped { digest, .. }
            | ProgressEvent::BlobMounted { digest, .. } => {
                if let Some(bar) = bars.remove(&digest) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_happened_and_bytes_on_the_way_have_none() {
        let digest = Digest::sha256(b"x");
        let finished = ProgressEvent::BlobFinished { digest: digest.clone(), size: 3 << 20 };
        assert_eq!(line(&finished).as_deref(), Some("2d711642b726 copied, 3.00 MiB"));
        let tagged = ProgressEvent::ManifestPut { digest: digest.clone(), tag: Some("v1".to_owned()) };
        assert_eq!(line(&tagged), Some(format!("v1 is {digest}")));
        assert_eq!(line(&ProgressEvent::BlobBytes { digest, bytes: 1 }), None);
    }

    #[test]
    fn the_bars_template_is_one() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
