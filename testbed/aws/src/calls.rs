//! What was called, and how often: the proof in tests that nothing is sent twice.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;

/// Counts since the start or the last reset.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Counts>);

/// What `GET /calls` shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    /// By the API's action, such as `CreateRepository`.
    pub(crate) api: BTreeMap<String, u64>,
    /// By method and what it is for, such as `HEAD manifest`.
    pub(crate) registry: BTreeMap<String, u64>,
    /// Requests for a layer at its storage origin that carried an `Authorization` header.
    pub(crate) credential_leaks: u64,
}

impl Calls {
    pub(crate) fn api(&self, action: &str) {
        *self.0.lock().api.entry(action.to_owned()).or_default() += 1;
    }

    pub(crate) fn registry(&self, kind: String) {
        *self.0.lock().registry.entry(kind).or_default() += 1;
    }

    pub(crate) fn credential_leak(&self) {
        self.0.lock().credential_leaks += 1;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().clone()
    }

    pub(crate) fn reset(&self) {
        *self.0.lock() = Counts::default();
    }
}
