//! How far the copies of one look are: gathered while they run, and told in the status now and then.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci_copy::{Digest, ProgressEvent};

use super::apply::{Ended, Outcomes};
use crate::api::CopyProgress;

/// How often the status tells how far the copies are.
const EVERY: Duration = Duration::from_secs(10);

/// How far the copies to all destinations are. Clones share the same numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    images: usize,
    copied: usize,
    bytes: u64,
    total_bytes: u64,
    /// What has ended in each destination.
    ended: Vec<Outcomes>,
}

/// Where one destination's part of it is taken down.
#[derive(Clone, Debug)]
pub(super) struct Part {
    tracker: Tracker,
    destination: usize,
}

impl Tracker {
    /// Nothing has ended in so many destinations, and so many images are to be copied.
    pub(super) fn new(destinations: usize, images: usize) -> Self {
        let ended = (0..destinations).map(|_| Outcomes::new()).collect();
        Self(Arc::new(Mutex::new(State { images, ended, ..State::default() })))
    }

    /// Where a destination's part of it is taken down.
    pub(super) fn part(&self, destination: usize) -> Part {
        Part { tracker: self.clone(), destination }
    }

    /// Where the engine tells the progress of one image. If it goes to several destinations, its bytes count once.
    pub(super) fn of_image(&self) -> oci_copy::Progress {
        let tracker = self.clone();
        let seen = Mutex::new((false, HashMap::<Digest, u64>::new()));
        oci_copy::Progress::new(move |event| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let (is_planned, flowing) = &mut *seen;
            if matches!(event, ProgressEvent::Planned { .. }) && std::mem::replace(is_planned, true) {
                return;
            }
            tracker.state().take(flowing, event);
        })
    }

    /// How far the copies are.
    pub(super) fn progress(&self) -> CopyProgress {
        let state = self.state();
        CopyProgress {
            images: format!("{}/{}", state.copied, state.images),
            bytes: signed(state.bytes),
            total_bytes: signed(state.total_bytes),
        }
    }

    /// What has ended so far in each destination.
    pub(super) fn ended(&self) -> Vec<Outcomes> {
        self.state().ended.clone()
    }

    /// Calls `tell` now and then while `work` goes on, if there is news.
    pub(super) async fn told_during<W, T>(&self, work: W, mut tell: impl FnMut() -> T) -> W::Output
    where
        W: Future,
        T: Future<Output = ()>,
    {
        let mut work = std::pin::pin!(work);
        let mut told = self.progress();
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(EVERY) => {}
            }
            let now = self.progress();
            if now != told {
                told = now;
                // The work goes on while the API server is written to.
                tokio::select! {
                    done = &mut work => return done,
                    () = tell() => {}
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Part {
    /// Where the engine tells the progress of one image.
    pub(super) fn of_image(&self) -> oci_copy::Progress {
        self.tracker.of_image()
    }

    /// A tag has ended.
    pub(super) fn ended(&self, tag: &str, ended: &Ended, was_copy: bool) {
        let mut state = self.tracker.state();
        state.copied += usize::from(was_copy);
        if let Some(outcomes) = state.ended.get_mut(self.destination) {
            outcomes.insert(tag.to_owned(), ended.clone());
        }
    }
}

impl State {
    /// Takes note of an event of one image, of whose blobs so many bytes have flowed.
    fn take(&mut self, flowing: &mut HashMap<Digest, u64>, event: ProgressEvent) {
        match event {
            ProgressEvent::Planned { bytes, .. } => self.total_bytes += bytes,
            ProgressEvent::BlobBytes { digest, bytes } => {
                *flowing.entry(digest).or_default() += bytes;
                self.bytes += bytes;
            }
            ProgressEvent::BlobRestarted { digest } => self.bytes -= flowing.remove(&digest).unwrap_or_default(),
            // Whatever way it came, all of it is there.
            ProgressEvent::BlobFinished { digest, size }
            | ProgressEvent::BlobSkipped { digest, size }
            | ProgressEvent::BlobMounted { digest, size } => {
                let flowed = flowing.insert(digest, size).unwrap_or_default();
                self.bytes = self.bytes - flowed + size;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::mirror::apply::Mirrored;

    fn digest(n: u8) -> Digest {
        format!("sha256:{}", format!("{n:02x}").repeat(32)).parse().expect("a digest")
    }

    fn told(events: Vec<ProgressEvent>) -> (i64, i64) {
        let tracker = Tracker::new(1, 1);
        let (mut flowing, progress) = (HashMap::new(), &tracker);
        events.into_iter().for_each(|event| progress.state().take(&mut flowing, event));
        let progress = tracker.progress();
        (progress.bytes, progress.total_bytes)
    }

    #[test]
    fn bytes_count_once_whatever_way_a_blob_comes() {
        let planned = ProgressEvent::Planned { manifests: 1, blobs: 3, bytes: 60 };
        let flow = |bytes| ProgressEvent::BlobBytes { digest: digest(1), bytes };
        let finished = ProgressEvent::BlobFinished { digest: digest(1), size: 10 };
        let skipped = ProgressEvent::BlobSkipped { digest: digest(2), size: 20 };
        let mounted = ProgressEvent::BlobMounted { digest: digest(3), size: 30 };
        assert_eq!(told(vec![planned.clone(), flow(4)]), (4, 60));
        assert_eq!(told(vec![planned, flow(4), flow(6), finished, skipped, mounted]), (60, 60));
    }

    #[test]
    fn bytes_of_a_transfer_that_starts_over_do_not_count() {
        let flow = |bytes| ProgressEvent::BlobBytes { digest: digest(1), bytes };
        let events = vec![flow(4), ProgressEvent::BlobRestarted { digest: digest(1) }, flow(3)];
        assert_eq!(told(events), (3, 0));
    }

    #[test]
    fn what_ended_is_known_by_destination() {
        let tracker = Tracker::new(2, 1);
        let mirrored = Mirrored { source_digest: "a".into(), digest: "a".into(), copied: true };
        tracker.part(1).ended("1", &Ended::Mirrored(mirrored), true);
        assert_eq!(tracker.progress().images, "1/1");
        assert_eq!(tracker.ended().iter().map(Outcomes::len).collect::<Vec<_>>(), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_now_and_then_while_there_is_news() {
        let tracker = Tracker::new(1, 100);
        let part = tracker.part(0);
        let work = async {
            for second in 0..60 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                // After half a minute nothing moves any more.
                if second < 30 {
                    part.ended(&second.to_string(), &Ended::Kept { digest: "a".into(), upstream: "b".into() }, true);
                }
            }
            "done"
        };
        let mut told = Vec::new();
        let done = tracker
            .told_during(work, || {
                told.push(tracker.progress().images);
                std::future::ready(())
            })
            .await;
        assert_eq!(done, "done");
        assert!((3..=4).contains(&told.len()) && told.last().is_some_and(|last| last == "30/100"), "{told:?}");
    }
}
