//! The options of `ecr-operator run` that say which of several replicas works.

use std::time::Duration;

use kube::{Api, Client};

use super::run::duration;
use crate::leadership::{Candidate, Elected, Identity, Leadership, Times};

/// Whether the command is to compete for a Lease, and for which.
#[derive(Debug, clap::Args)]
// The options of `run` are a group of this name already.
#[group(skip)]
pub(super) struct Args {
    /// Whether to work only while holding a Lease: for every operator that another may run beside, if only during an
    /// update.
    #[arg(long, env = "ECR_OPERATOR_LEADER_ELECT", value_name = "BOOL", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    leader_elect: bool,

    /// Name of the Lease.
    #[arg(long, env = "ECR_OPERATOR_LEASE_NAME", default_value = "ecr-operator")]
    lease_name: String,

    /// Namespace of the Lease. Default: the Pod's, or that of the kubeconfig's context.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,

    /// How long a replica that does not renew the Lease keeps others from taking it over, 3s at least.
    #[arg(long, env = "ECR_OPERATOR_LEASE_DURATION", default_value = "12s", value_parser = lease_duration)]
    lease_duration: Duration,

    /// Name of the Pod, which the Lease shows as its holder.
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration < Times::SHORTEST {
        return Err(format!("shorter than {} s", Times::SHORTEST.as_secs()));
    }
    Ok(duration)
}

impl Args {
    /// Whether this replica has rivals; what the election has to say is told to what comes beside.
    pub(super) fn leadership(&self) -> (Leadership, Option<Elected>) {
        if !self.leader_elect {
            return (Leadership::alone(), None);
        }
        let (leadership, elected) = Leadership::contested();
        (leadership, Some(elected))
    }

    /// One that wants the Lease.
    pub(super) fn candidate(&self, client: Client) -> Candidate {
        let api = match self.lease_namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::default_namespaced(client),
        };
        Candidate::new(api, &self.lease_name, Identity::new(self.pod_name.as_deref()), Times::of(self.lease_duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_three_seconds_at_least() {
        assert_eq!(lease_duration("12s"), Ok(Duration::from_secs(12)));
        assert!(lease_duration("2500ms").is_err());
    }
}
