//! What the HTTP library's errors mean.

use std::error::Error as StdError;
use std::time::Duration;

use crate::error::{Error, Place, TransportProblem, sanitize};
use crate::net::BlockedAddress;

/// Sorts an HTTP library's error. URLs don't appear: a redirect's query is a credential.
pub(crate) fn failure(place: &Place, error: reqwest::Error, connect_timeout: Duration) -> Error {
    let error = error.without_url();
    let place = Box::new(place.clone());
    if let Some(blocked) = find::<BlockedAddress>(&error) {
        return Error::Blocked { place, problem: blocked_text(blocked) };
    }
    if error.is_connect() && error.is_timeout() {
        return Error::Timeout { place, awaited: "connection", after: connect_timeout };
    }
    let problem = if find::<rustls::Error>(&error).is_some() {
        TransportProblem::Tls
    } else if error.is_connect() {
        TransportProblem::Connect
    } else {
        TransportProblem::Broken
    };
    Error::Transport { place, problem, detail: innermost(&error) }
}

/// Why a request wasn't sent, and what to configure if it should have been.
pub(crate) fn blocked_text(blocked: &BlockedAddress) -> String {
    format!("{blocked}, which is reached only if the registry's configuration names that host")
}

/// The last cause of a chain, which is the one that says something.
pub(crate) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = cause(last) {
        last = source;
    }
    sanitize(&last.to_string(), 200)
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        current = cause(error);
    }
    None
}

/// An error's cause. I/O errors wrap other errors without naming them as their source.
fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        return Some(inner);
    }
    error.source()
}
