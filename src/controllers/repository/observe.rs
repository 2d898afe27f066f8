//! What ECR has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desired::Desired;
use crate::ecr::lifecycle::Policy;
use crate::ecr::policy::PolicyDocument;
use crate::ecr::{Ecr, EcrError, Repository};

/// What ECR has of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The repository, if there is one.
    pub(crate) existing: Option<Existing>,
}

/// A repository as it is now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Existing {
    pub(crate) repository: Arc<Repository>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The lifecycle policy, if there is one and it was worth a call.
    pub(crate) lifecycle: Option<Policy>,
    /// The repository policy, if there is one and it was worth a call.
    pub(crate) policy: Option<PolicyDocument>,
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the spec is about, or was.
    Managed,
    /// Everything: the repository is not ours yet, and its present state is to be shown.
    Everything,
}

/// Looks at what the list of repositories does not show of the one that it has under the name.
pub(crate) async fn observe(
    ecr: &Ecr,
    desired: &Desired,
    listed: Option<Arc<Repository>>,
    depth: Depth,
) -> Result<Observed, EcrError> {
    let Some(repository) = listed else { return Ok(Observed::default()) };
    let all = depth == Depth::Everything;
    let lifecycle = async {
        match all || desired.lifecycle.is_some() || desired.managed_lifecycle {
            true => ecr.lifecycle_policy(&desired.name).await,
            false => Ok(None),
        }
    };
    let policy = async {
        match all || desired.policy.is_some() || desired.managed_policy {
            true => ecr.repository_policy(&desired.name).await,
            false => Ok(None),
        }
    };
    let (tags, lifecycle, policy) = tokio::try_join!(ecr.tags(&repository.arn), lifecycle, policy)?;
    let Some(tags) = tags else {
        // Gone since it was listed.
        ecr.forget(&desired.name);
        return Ok(Observed::default());
    };
    // ECR accepted the policies, so they are some. Should one have a form that we can't read, it counts as different.
    let lifecycle = lifecycle.and_then(|text| Policy::parse(&text).ok());
    let policy = policy.and_then(|text| PolicyDocument::read(&text).ok());
    Ok(Observed { existing: Some(Existing { repository, tags, lifecycle, policy }) })
}
