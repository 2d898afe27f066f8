//! Upload sessions, which ECR lets fail once: a request that broke off can't be sent again in the same session, a new
//! one must be opened.

use std::collections::HashSet;

use http::StatusCode;
use parking_lot::Mutex;

use super::error::RegistryError;

/// Sessions in which a request is under way, or broke off.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashSet<String>>);

impl Sessions {
    /// Lets a request for the session at `path` begin.
    pub(crate) fn begin(&self, path: &str) -> Result<(), RegistryError> {
        match self.0.lock().insert(path.to_owned()) {
            true => Ok(()),
            false => {
                Err(RegistryError::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", "blob upload invalid"))
            }
        }
    }

    /// The request came through as a whole, and was taken.
    pub(crate) fn succeeded(&self, path: &str) {
        self.0.lock().remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_on_until_a_request_breaks_off() {
        let sessions = Sessions::default();
        assert!(sessions.begin("/upload/1").is_ok());
        sessions.succeeded("/upload/1");
        assert!(sessions.begin("/upload/1").is_ok());
        let again = sessions.begin("/upload/1").expect_err("a refusal");
        assert_eq!(again.status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(again.code, "BLOB_UPLOAD_INVALID");
        assert!(sessions.begin("/upload/2").is_ok());
    }
}
