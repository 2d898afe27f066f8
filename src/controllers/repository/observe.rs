//! What ECR has.

use std::collections::BTreeMap;

use crate::ecr::lifecycle::Policy;
use crate::ecr::{Ecr, EcrError, Repository};

/// What ECR has of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observed {
    /// The repository, if there is one.
    pub(super) existing: Option<Existing>,
}

/// A repository as it is now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Existing {
    pub(super) repository: Repository,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) lifecycle: Option<Policy>,
}

/// Looks at the repository of this name.
pub(super) async fn observe(ecr: &Ecr, name: &str) -> Result<Observed, EcrError> {
    let Some(repository) = ecr.repository(name).await? else { return Ok(Observed::default()) };
    let (tags, lifecycle) = tokio::try_join!(ecr.tags(&repository.arn), ecr.lifecycle_policy(name))?;
    // ECR accepted the policy, so it is one. Should it have a form that we can't read, it counts as different.
    let lifecycle = lifecycle.and_then(|text| Policy::parse(&text).ok());
    Ok(Observed { existing: Some(Existing { repository, tags, lifecycle }) })
}
