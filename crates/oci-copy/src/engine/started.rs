//! An upload that has begun, until it is finished or cancelled.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;
use url::Url;

use super::in_flight::Lead;
use crate::client::Session;

/// How long the cancelling of an upload may take; nothing depends on it.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// An upload that the registry waits for. Unless it is finished, the registry is told not to wait any longer.
pub(super) struct Started {
    session: Arc<Session>,
    location: Option<Url>,
    /// Others begin only when this upload is over: one whose last bytes are with the registry may still be committed, and
    /// the registry's answer to the cancelling settles it.
    lead: Arc<Lead>,
}

impl Started {
    /// Without a location nothing has begun.
    pub(super) fn new(session: Arc<Session>, location: Option<Url>, lead: Arc<Lead>) -> Self {
        Self { session, location, lead }
    }

    pub(super) fn location(&self) -> Option<&Url> {
        self.location.as_ref()
    }

    /// The registry has committed it.
    pub(super) fn finish(&mut self) {
        self.location = None;
    }

    pub(super) async fn cancel(&mut self) {
        if let Some(location) = self.location.take() {
            let _ = tokio::time::timeout(CANCEL_TIMEOUT, self.session.cancel_upload(location)).await;
        }
    }
}

impl Drop for Started {
    /// The copy was dropped halfway: the registry hears of it from a task of its own, if there is a runtime left.
    fn drop(&mut self) {
        let Some(location) = self.location.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (session, lead) = (self.session.clone(), self.lead.clone());
            let cancelling = async move {
                let _ = tokio::time::timeout(CANCEL_TIMEOUT, session.cancel_upload(location)).await;
                drop(lead);
            };
            runtime.spawn(cancelling.in_current_span());
        }
    }
}
