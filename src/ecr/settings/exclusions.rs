//! Pull-time update exclusions: principals whose pulls don't count as use of an image.

use std::collections::BTreeSet;

use super::PAGE;
use crate::ecr::connect::Ecr;
use crate::ecr::error::{EcrError, ErrorKind};
use crate::ecr::repositories::if_found;

impl Ecr {
    /// ARNs of the principals that are excluded.
    pub async fn pull_time_exclusions(&self) -> Result<BTreeSet<String>, EcrError> {
        let mut found = BTreeSet::new();
        let mut next = None;
        loop {
            let page =
                self.api.list_pull_time_update_exclusions().max_results(PAGE).set_next_token(next.take()).send().await;
            let page = page.map_err(|error| EcrError::new("ecr:ListPullTimeUpdateExclusions", &error))?;
            found.extend(page.pull_time_update_exclusions.unwrap_or_default());
            match page.next_token {
                Some(token) => next = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// Excludes a principal. One that is excluded already stays so.
    pub async fn register_pull_time_exclusion(&self, arn: &str) -> Result<(), EcrError> {
        let answer = self.api.register_pull_time_update_exclusion().principal_arn(arn).send().await;
        match answer.map_err(|error| EcrError::new("ecr:RegisterPullTimeUpdateExclusion", &error)) {
            Err(error) if error.kind != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes an exclusion back, if there is one.
    pub async fn deregister_pull_time_exclusion(&self, arn: &str) -> Result<(), EcrError> {
        let answer = self.api.deregister_pull_time_update_exclusion().principal_arn(arn).send().await;
        if_found("ecr:DeregisterPullTimeUpdateExclusion", answer).map(drop)
    }
}
