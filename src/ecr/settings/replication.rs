//! The registry's replication configuration.

use std::collections::BTreeSet;
use std::fmt;

use aws_sdk_ecr::error::BuildError;
use aws_sdk_ecr::types as sdk;

use super::{counted, filters, listed};
use crate::ecr::connect::Ecr;
use crate::ecr::error::EcrError;

/// A replication configuration: a set of rules, whose order means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication(pub BTreeSet<ReplicationRule>);

/// Which repositories are replicated where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicationRule {
    /// The registries that get a copy.
    pub destinations: BTreeSet<Destination>,
    /// Prefixes of the names of the repositories; none means all.
    pub filters: BTreeSet<String>,
}

/// A registry that images are replicated to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The 12 digits of the account.
    pub registry_id: String,
    /// The region.
    pub region: String,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.registry_id, self.region)
    }
}

impl fmt::Display for ReplicationRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", filters(&self.filters), listed(&self.destinations))
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("off");
        }
        write!(f, "{} (", counted(self.0.len(), "rule"))?;
        for (index, rule) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{rule}")?;
        }
        f.write_str(")")
    }
}

impl Ecr {
    /// The registry's replication configuration.
    pub async fn replication(&self) -> Result<Replication, EcrError> {
        let answer = self.api.describe_registry().send().await;
        let answer = answer.map_err(|error| EcrError::new("ecr:DescribeRegistry", &error))?;
        let rules = answer.replication_configuration.map(|found| found.rules).unwrap_or_default();
        Ok(Replication(rules.into_iter().map(rule).collect()))
    }

    /// Replaces the registry's replication configuration.
    pub async fn put_replication(&self, wanted: &Replication) -> Result<(), EcrError> {
        const OPERATION: &str = "ecr:PutReplicationConfiguration";
        let configuration = sdk_configuration(wanted).map_err(|error| EcrError::invalid(OPERATION, &error))?;
        self.api
            .put_replication_configuration()
            .replication_configuration(configuration)
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new(OPERATION, &error))
    }
}

fn rule(found: sdk::ReplicationRule) -> ReplicationRule {
    ReplicationRule {
        destinations: found
            .destinations
            .into_iter()
            .map(|destination| Destination { registry_id: destination.registry_id, region: destination.region })
            .collect(),
        filters: found.repository_filters.unwrap_or_default().into_iter().map(|filter| filter.filter).collect(),
    }
}

fn sdk_configuration(wanted: &Replication) -> Result<sdk::ReplicationConfiguration, BuildError> {
    let rules: Result<Vec<_>, _> = wanted.0.iter().map(sdk_rule).collect();
    sdk::ReplicationConfiguration::builder().set_rules(Some(rules?)).build()
}

fn sdk_rule(rule: &ReplicationRule) -> Result<sdk::ReplicationRule, BuildError> {
    let destinations: Result<Vec<_>, _> = rule
        .destinations
        .iter()
        .map(|destination| {
            sdk::ReplicationDestination::builder()
                .registry_id(&destination.registry_id)
                .region(&destination.region)
                .build()
        })
        .collect();
    let filters: Result<Vec<_>, _> = rule
        .filters
        .iter()
        .map(|filter| {
            sdk::RepositoryFilter::builder().filter(filter).filter_type(sdk::RepositoryFilterType::PrefixMatch).build()
        })
        .collect();
    let filters = filters?;
    sdk::ReplicationRule::builder()
        .set_destinations(Some(destinations?))
        // ECR refuses an empty list.
        .set_repository_filters((!filters.is_empty()).then_some(filters))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        let destination = |region: &str| Destination { registry_id: "123456789012".into(), region: region.into() };
        let wanted = Replication(BTreeSet::from([
            ReplicationRule {
                destinations: BTreeSet::from([destination("eu-west-2"), destination("eu-west-1")]),
                filters: BTreeSet::from(["prod".to_owned()]),
            },
            ReplicationRule { destinations: BTreeSet::from([destination("us-east-1")]), filters: BTreeSet::new() },
        ]));
        let sent = sdk_configuration(&wanted).expect("complete");
        assert!(sent.rules.iter().all(|rule| rule.repository_filters.as_ref().is_none_or(|list| !list.is_empty())));
        let mut rules = sent.rules;
        rules.reverse();
        assert_eq!(Replication(rules.into_iter().map(rule).collect()), wanted);
    }
}
