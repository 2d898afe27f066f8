//! One read for several destinations.
//!
//! Whoever wants a blob of an image that goes to several places says so with a [`Ticket`]. When all have joined or given
//! up, or the first has waited long enough, the blob is read once, and each gets every piece. A destination that is
//! slower than the others has a window, and a little patience of theirs; beyond these it is let go, and reads what is
//! missing by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, select_all};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::client::Session;
use crate::client::reader::{BlobReader, Progress, Turn};
use crate::config::EngineConfig;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Blob;

/// How long the first waits for the others.
const GRACE: Duration = Duration::from_secs(1);
/// How long one destination may hold up the others, for one blob and in all.
const PATIENCE: Duration = Duration::from_millis(500);
const WINDOW: usize = EngineConfig::BLOB_WINDOW;

/// What several destinations of one image read together.
pub(crate) struct Fan {
    source: Arc<Session>,
    permits: Arc<Semaphore>,
    groups: Mutex<Groups>,
}

struct Groups {
    /// Destinations that may still want any blob.
    undecided: usize,
    by_digest: HashMap<Digest, Group>,
}

struct Group {
    blob: Blob,
    /// Tickets that have neither joined nor been given up.
    outstanding: usize,
    joined: Vec<oneshot::Sender<Option<Branch>>>,
    started: bool,
}

impl Fan {
    /// A seat for each of so many destinations. One alone needs none.
    pub(crate) fn seats(source: &Arc<Session>, permits: &Arc<Semaphore>, destinations: usize) -> Vec<Option<Seat>> {
        if destinations < 2 {
            return std::iter::repeat_with(|| None).take(destinations).collect();
        }
        let groups = Mutex::new(Groups { undecided: destinations, by_digest: HashMap::new() });
        let fan = Arc::new(Self { source: source.clone(), permits: permits.clone(), groups });
        (0..destinations).map(|_| Some(Seat { fan: fan.clone(), decided: false })).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a group if nobody is left to wait for, or if the wait is over.
    fn start(&self, undecided: usize, group: &mut Group, over: bool) {
        if group.started || group.joined.is_empty() || !(over || undecided + group.outstanding == 0) {
            return;
        }
        group.started = true;
        let mut joined = std::mem::take(&mut group.joined);
        joined.retain(|one| !one.is_closed());
        if joined.len() < 2 {
            // Alone, it reads for itself.
            joined.into_iter().for_each(|one| drop(one.send(None)));
            return;
        }
        let mut legs = Vec::new();
        for one in joined {
            let (leg, branch) = leg(&self.source);
            if one.send(Some(branch)).is_ok() {
                legs.push(leg);
            }
        }
        let ends: Vec<_> = legs.iter().map(|leg| leg.messages.clone()).collect();
        let reading = drive(self.source.clone(), self.permits.clone(), group.blob.clone(), legs);
        let reading_for_all = async move {
            // Nobody listens any more: then there is nothing to read, and nothing to try again.
            let all_gone = join_all(ends.iter().map(mpsc::UnboundedSender::closed));
            tokio::select! {
                () = reading => {}
                _ = all_gone => {}
            }
        };
        tokio::spawn(reading_for_all.in_current_span());
    }
}

/// A destination that hasn't said yet which blobs it wants. Dropping it says: none.
pub(crate) struct Seat {
    fan: Arc<Fan>,
    decided: bool,
}

impl Seat {
    /// Says which blobs the destination wants, each of them once.
    pub(crate) fn take(mut self, blobs: &[Blob]) -> Vec<Ticket> {
        {
            let mut groups = self.fan.lock();
            for blob in blobs {
                let new = || Group { blob: blob.clone(), outstanding: 0, joined: Vec::new(), started: false };
                groups.by_digest.entry(blob.digest.clone()).or_insert_with(new).outstanding += 1;
            }
        }
        self.decide();
        let ticket = |blob: &Blob| Ticket { fan: self.fan.clone(), digest: blob.digest.clone(), used: false };
        blobs.iter().map(ticket).collect()
    }

    fn decide(&mut self) {
        if std::mem::replace(&mut self.decided, true) {
            return;
        }
        let mut groups = self.fan.lock();
        groups.undecided -= 1;
        let Groups { undecided, by_digest } = &mut *groups;
        for group in by_digest.values_mut() {
            self.fan.start(*undecided, group, false);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.decide();
    }
}

/// A destination's wish for a blob. Dropping it gives it up.
pub(crate) struct Ticket {
    fan: Arc<Fan>,
    digest: Digest,
    used: bool,
}

impl Ticket {
    /// Waits for the others. What comes is a part in a common read, or nothing: then it reads for itself.
    pub(crate) async fn join(mut self) -> Option<Branch> {
        let (sender, mut branch) = oneshot::channel();
        if !self.settle(Some(sender)) {
            return None;
        }
        tokio::select! {
            biased;
            branch = &mut branch => branch.ok().flatten(),
            () = tokio::time::sleep(GRACE) => {
                self.start();
                branch.await.ok().flatten()
            }
        }
    }

    /// Joins or gives up. Says whether there is something to wait for.
    fn settle(&mut self, sender: Option<oneshot::Sender<Option<Branch>>>) -> bool {
        if std::mem::replace(&mut self.used, true) {
            return false;
        }
        let mut groups = self.fan.lock();
        let Groups { undecided, by_digest } = &mut *groups;
        let Some(group) = by_digest.get_mut(&self.digest) else { return false };
        group.outstanding -= 1;
        if group.started {
            return false;
        }
        group.joined.extend(sender);
        self.fan.start(*undecided, group, false);
        true
    }

    fn start(&self) {
        let mut groups = self.fan.lock();
        let Groups { undecided, by_digest } = &mut *groups;
        if let Some(group) = by_digest.get_mut(&self.digest) {
            self.fan.start(*undecided, group, true);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(None);
    }
}

/// What a branch gets to hear.
enum Message {
    /// A piece, and the room that it takes in the window.
    Piece(Bytes, OwnedSemaphorePermit),
    /// One piece more; what follows it reads by itself.
    GoOn(Bytes, Box<Progress>),
    Failed(Error),
    End,
}

/// Where a common read puts its pieces for one destination.
struct Leg {
    window: Arc<Semaphore>,
    messages: mpsc::UnboundedSender<Message>,
    patience: Duration,
}

impl Leg {
    /// Gives a piece. A leg that nobody holds the other end of is no more.
    fn give(self, piece: &Bytes, room: OwnedSemaphorePermit) -> Option<Self> {
        self.messages.send(Message::Piece(piece.clone(), room)).is_ok().then_some(self)
    }
}

/// What one destination gets of a common read.
pub(crate) struct Branch {
    source: Arc<Session>,
    from: From,
}

enum From {
    Common {
        messages: mpsc::UnboundedReceiver<Message>,
        first: Option<Message>,
    },
    /// It was too slow, or the others too fast.
    Own(Box<BlobReader>),
    Ended,
}

fn leg(source: &Arc<Session>) -> (Leg, Branch) {
    let (sender, messages) = mpsc::unbounded_channel();
    let leg = Leg { window: Arc::new(Semaphore::new(WINDOW)), messages: sender, patience: PATIENCE };
    (leg, Branch { source: source.clone(), from: From::Common { messages, first: None } })
}

impl Branch {
    /// Waits until there is something to send. Whoever waited for it may take a permit for the sending.
    ///
    /// # Errors
    /// If nothing comes: then nothing need be sent.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        let From::Common { messages, first } = &mut self.from else { return Ok(()) };
        match messages.recv().await {
            Some(Message::Failed(error)) => Err(error),
            None => Err(self.source.reader_is_gone()),
            some => {
                *first = some;
                Ok(())
            }
        }
    }

    /// The next piece, as [`BlobReader::next`] has it.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let message = match &mut self.from {
            From::Own(reader) => return reader.next().await,
            From::Ended => return Ok(None),
            From::Common { messages, first } => match first.take() {
                Some(first) => Some(first),
                None => messages.recv().await,
            },
        };
        match message {
            Some(Message::Piece(piece, _room)) => Ok(Some(piece)),
            Some(Message::GoOn(piece, progress)) => {
                self.from = From::Own(Box::new(self.source.read_on(*progress)));
                Ok(Some(piece))
            }
            Some(Message::Failed(error)) => Err(error),
            Some(Message::End) => {
                self.from = From::Ended;
                Ok(None)
            }
            // Whoever read has gone without a word, which happens when the runtime ends.
            None => Err(self.source.reader_is_gone()),
        }
    }
}

/// Reads a blob for several destinations, until all have it or have gone.
async fn drive(source: Arc<Session>, permits: Arc<Semaphore>, blob: Blob, mut legs: Vec<Leg>) {
    let turn = || async {
        let read = source.registry.limits.reads.acquire().await;
        Turn(permits.acquire().await, read)
    };
    let (mut reader, _permit) = match source.open_blob(&blob, turn().await, turn).await {
        Ok(opened) => opened,
        Err(error) => return fail(&legs, &error),
    };
    loop {
        match reader.next().await {
            Ok(Some(piece)) => hand_out(&mut legs, &piece, reader.progress()).await,
            Ok(None) => {
                for leg in &legs {
                    let _ = leg.messages.send(Message::End);
                }
                return;
            }
            Err(error) => return fail(&legs, &error),
        }
        if legs.is_empty() {
            return;
        }
    }
}

fn fail(legs: &[Leg], error: &Error) {
    for leg in legs {
        let _ = leg.messages.send(Message::Failed(error.repeated()));
    }
}

/// Gives a piece to every leg that has room, waits for those that have not as long as may be, and lets them go then.
async fn hand_out(legs: &mut Vec<Leg>, piece: &Bytes, progress: &Progress) {
    // A piece can be larger than the window, and the last one must not be waited for: nothing comes after it.
    let room = if progress.is_whole() { 0 } else { piece.len().min(WINDOW) as u32 };
    let mut full: Vec<Leg> = Vec::new();
    for leg in std::mem::take(legs) {
        match leg.window.clone().try_acquire_many_owned(room) {
            Ok(permit) => legs.extend(leg.give(piece, permit)),
            Err(_) => full.push(leg),
        }
    }
    if legs.is_empty() && !full.is_empty() {
        // All of them are behind: then the quickest sets the pace.
        let waits = full.iter().map(|leg| Box::pin(leg.window.clone().acquire_many_owned(room)));
        let (permit, quickest, _) = select_all(waits).await;
        let leg = full.swap_remove(quickest);
        legs.extend(permit.ok().and_then(|permit| leg.give(piece, permit)));
    }
    for mut leg in full {
        let since = Instant::now();
        let alone = legs.is_empty();
        let permit = leg.window.clone().acquire_many_owned(room);
        let permit = if alone { Ok(permit.await) } else { tokio::time::timeout(leg.patience, permit).await };
        leg.patience = leg.patience.saturating_sub(since.elapsed());
        match permit {
            Ok(Ok(permit)) => legs.extend(leg.give(piece, permit)),
            _ => drop(leg.messages.send(Message::GoOn(piece.clone(), Box::new(progress.clone())))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let blob = Blob { media_type: "l".into(), digest: Digest::sha256(b"x"), size: 1 << 30, data: None };
        Progress::new(&blob)
    }

    fn two() -> (Vec<Leg>, Vec<mpsc::UnboundedReceiver<Message>>) {
        let leg = || {
            let (sender, messages) = mpsc::unbounded_channel();
            (Leg { window: Arc::new(Semaphore::new(WINDOW)), messages: sender, patience: PATIENCE }, messages)
        };
        [leg(), leg()].into_iter().unzip()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_destination_is_let_go_when_its_window_is_full_and_patience_is_over() {
        let (mut legs, mut ends) = two();
        let (mut quick, mut slow) = (ends.remove(0), ends.remove(0));
        let piece = Bytes::from(vec![0; WINDOW / 4]);
        let start = Instant::now();
        for _ in 0..20 {
            hand_out(&mut legs, &piece, &progress()).await;
            while quick.try_recv().is_ok() {}
        }
        assert_eq!(legs.len(), 1);
        assert_eq!(start.elapsed(), PATIENCE, "the quick one waited no longer than that");
        let mut pieces = 0;
        while let Ok(Message::Piece(..)) = slow.try_recv() {
            pieces += 1;
        }
        assert_eq!(pieces, 4, "its window, and then a word to go on alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_goes_away_holds_up_nobody_and_the_last_one_waits_for_itself() {
        let (mut legs, mut ends) = two();
        drop(ends.remove(1));
        let mut end = ends.remove(0);
        let piece = Bytes::from(vec![0; WINDOW]);
        hand_out(&mut legs, &piece, &progress()).await;
        assert_eq!(legs.len(), 1);
        let progress = progress();
        let mut next = Box::pin(hand_out(&mut legs, &piece, &progress));
        assert!(futures::poll!(&mut next).is_pending());
        tokio::time::advance(PATIENCE * 10).await;
        assert!(futures::poll!(&mut next).is_pending(), "nobody else is waiting: it is not let go");
        drop(end.recv().await);
        assert!(futures::poll!(&mut next).is_ready());
    }
}
