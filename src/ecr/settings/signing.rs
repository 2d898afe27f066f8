//! The registry's signing configuration.

use std::collections::BTreeSet;
use std::fmt;

use aws_sdk_ecr::error::BuildError;
use aws_sdk_ecr::types as sdk;

use super::{counted, filters};
use crate::ecr::connect::Ecr;
use crate::ecr::error::EcrError;
use crate::ecr::repositories::if_found;

/// A signing configuration: a set of rules, whose order means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing(pub BTreeSet<SigningRule>);

/// Which images are signed with which profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SigningRule {
    /// ARN of the AWS Signer profile.
    pub profile_arn: String,
    /// Names of repositories, with wildcards; none means all.
    pub filters: BTreeSet<String>,
}

impl fmt::Display for SigningRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", filters(&self.filters), self.profile_arn)
    }
}

impl fmt::Display for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", counted(self.0.len(), "rule"))?;
        for (index, rule) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{rule}")?;
        }
        f.write_str(")")
    }
}

impl Ecr {
    /// The registry's signing configuration, if there is one. One without rules is none.
    pub async fn signing(&self) -> Result<Option<Signing>, EcrError> {
        let answer = self.api.get_signing_configuration().send().await;
        let found = if_found("ecr:GetSigningConfiguration", answer)?.and_then(|answer| answer.signing_configuration);
        let rules: BTreeSet<_> = found.map(|found| found.rules).unwrap_or_default().into_iter().map(rule).collect();
        Ok((!rules.is_empty()).then_some(Signing(rules)))
    }

    /// Replaces the registry's signing configuration.
    pub async fn put_signing(&self, wanted: &Signing) -> Result<(), EcrError> {
        const OPERATION: &str = "ecr:PutSigningConfiguration";
        let configuration = sdk_configuration(wanted).map_err(|error| EcrError::invalid(OPERATION, &error))?;
        self.api
            .put_signing_configuration()
            .signing_configuration(configuration)
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new(OPERATION, &error))
    }

    /// Removes the registry's signing configuration, if there is one.
    pub async fn delete_signing(&self) -> Result<(), EcrError> {
        let answer = self.api.delete_signing_configuration().send().await;
        if_found("ecr:DeleteSigningConfiguration", answer).map(drop)
    }
}

fn rule(found: sdk::SigningRule) -> SigningRule {
    SigningRule {
        profile_arn: found.signing_profile_arn,
        filters: found.repository_filters.unwrap_or_default().into_iter().map(|filter| filter.filter).collect(),
    }
}

fn sdk_configuration(wanted: &Signing) -> Result<sdk::SigningConfiguration, BuildError> {
    let rules: Result<Vec<_>, _> = wanted.0.iter().map(sdk_rule).collect();
    sdk::SigningConfiguration::builder().set_rules(Some(rules?)).build()
}

fn sdk_rule(rule: &SigningRule) -> Result<sdk::SigningRule, BuildError> {
    let filters: Result<Vec<_>, _> = rule
        .filters
        .iter()
        .map(|filter| {
            sdk::SigningRepositoryFilter::builder()
                .filter(filter)
                .filter_type(sdk::SigningRepositoryFilterType::WildcardMatch)
                .build()
        })
        .collect();
    let filters = filters?;
    sdk::SigningRule::builder()
        .signing_profile_arn(&rule.profile_arn)
        // ECR refuses an empty list.
        .set_repository_filters((!filters.is_empty()).then_some(filters))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        let profile_arn = "arn:aws:signer:eu-west-1:123456789012:/signing-profiles/release".to_owned();
        let wanted = Signing(BTreeSet::from([
            SigningRule { profile_arn: profile_arn.clone(), filters: BTreeSet::new() },
            SigningRule { profile_arn, filters: BTreeSet::from(["prod/*".to_owned(), "base".to_owned()]) },
        ]));
        let mut rules = sdk_configuration(&wanted).expect("complete").rules;
        rules.reverse();
        assert_eq!(Signing(rules.into_iter().map(rule).collect()), wanted);
    }
}
