//! The registry's scanning configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws_sdk_ecr::types as sdk;

use super::{counted, filters};
use crate::api::{ScanFrequency, ScanType};
use crate::ecr::connect::Ecr;
use crate::ecr::error::EcrError;

/// A scanning configuration. Repositories that no rule selects are scanned by hand, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanning {
    /// The kind of scanning. `None`: one that the spec has no word for.
    pub type_: Option<ScanType>,
    /// Which repositories are scanned by themselves, by when they are.
    pub rules: BTreeMap<ScanFrequency, BTreeSet<String>>,
}

impl fmt::Display for Scanning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.type_ {
            Some(ScanType::Basic) => "BASIC",
            Some(ScanType::Enhanced) => "ENHANCED",
            None => "a kind unknown here",
        })?;
        if self.rules.is_empty() {
            return f.write_str(" without rules");
        }
        write!(f, " with {} (", counted(self.rules.len(), "rule"))?;
        for (index, (frequency, selected)) in self.rules.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", sdk_frequency(*frequency), filters(selected))?;
        }
        f.write_str(")")
    }
}

impl Ecr {
    /// The registry's scanning configuration.
    pub async fn registry_scanning(&self) -> Result<Scanning, EcrError> {
        const OPERATION: &str = "ecr:GetRegistryScanningConfiguration";
        let answer = self.api.get_registry_scanning_configuration().send().await;
        let answer = answer.map_err(|error| EcrError::new(OPERATION, &error))?;
        let found = answer.scanning_configuration;
        found.map(scanning).ok_or_else(|| EcrError::incomplete(OPERATION, "scanningConfiguration"))
    }

    /// Replaces the registry's scanning configuration.
    pub async fn put_registry_scanning(&self, wanted: &Scanning) -> Result<(), EcrError> {
        const OPERATION: &str = "ecr:PutRegistryScanningConfiguration";
        let rules: Result<Vec<_>, _> =
            wanted.rules.iter().map(|(frequency, selected)| sdk_rule(*frequency, selected)).collect();
        self.api
            .put_registry_scanning_configuration()
            .set_scan_type(wanted.type_.map(|type_| match type_ {
                ScanType::Basic => sdk::ScanType::Basic,
                ScanType::Enhanced => sdk::ScanType::Enhanced,
            }))
            .set_rules(Some(rules.map_err(|error| EcrError::invalid(OPERATION, &error))?))
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new(OPERATION, &error))
    }
}

fn scanning(found: sdk::RegistryScanningConfiguration) -> Scanning {
    let mut type_ = match found.scan_type {
        Some(sdk::ScanType::Basic) => Some(ScanType::Basic),
        Some(sdk::ScanType::Enhanced) => Some(ScanType::Enhanced),
        _ => None,
    };
    let mut rules: BTreeMap<ScanFrequency, BTreeSet<String>> = BTreeMap::new();
    for rule in found.rules.unwrap_or_default() {
        let frequency = match rule.scan_frequency {
            sdk::ScanFrequency::ScanOnPush => ScanFrequency::ScanOnPush,
            sdk::ScanFrequency::ContinuousScan => ScanFrequency::ContinuousScan,
            // What repositories have anyway that no rule selects.
            sdk::ScanFrequency::Manual => continue,
            _ => {
                type_ = None;
                continue;
            }
        };
        rules.entry(frequency).or_default().extend(rule.repository_filters.into_iter().map(|filter| filter.filter));
    }
    Scanning { type_, rules }
}

fn sdk_rule(
    frequency: ScanFrequency,
    selected: &BTreeSet<String>,
) -> Result<sdk::RegistryScanningRule, aws_sdk_ecr::error::BuildError> {
    let filters: Result<Vec<_>, _> = selected
        .iter()
        .map(|filter| {
            sdk::ScanningRepositoryFilter::builder()
                .filter(filter)
                .filter_type(sdk::ScanningRepositoryFilterType::Wildcard)
                .build()
        })
        .collect();
    sdk::RegistryScanningRule::builder()
        .scan_frequency(sdk_frequency(frequency))
        .set_repository_filters(Some(filters?))
        .build()
}

fn sdk_frequency(frequency: ScanFrequency) -> sdk::ScanFrequency {
    match frequency {
        ScanFrequency::ScanOnPush => sdk::ScanFrequency::ScanOnPush,
        ScanFrequency::ContinuousScan => sdk::ScanFrequency::ContinuousScan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(frequency: sdk::ScanFrequency, selected: &[&str]) -> sdk::RegistryScanningRule {
        let filter = |text: &&str| {
            sdk::ScanningRepositoryFilter::builder()
                .filter(*text)
                .filter_type(sdk::ScanningRepositoryFilterType::Wildcard)
                .build()
                .expect("complete")
        };
        sdk::RegistryScanningRule::builder()
            .scan_frequency(frequency)
            .set_repository_filters(Some(selected.iter().map(filter).collect()))
            .build()
            .expect("complete")
    }

    fn read(rules: Vec<sdk::RegistryScanningRule>) -> Scanning {
        let configuration = sdk::RegistryScanningConfiguration::builder().scan_type(sdk::ScanType::Enhanced);
        scanning(configuration.set_rules(Some(rules)).build())
    }

    #[test]
    fn the_order_of_rules_and_filters_means_nothing() {
        use sdk::ScanFrequency::{ContinuousScan, ScanOnPush};
        let one = read(vec![rule(ScanOnPush, &["a", "b"]), rule(ContinuousScan, &["c"])]);
        let other = read(vec![rule(ContinuousScan, &["c"]), rule(ScanOnPush, &["b", "a"])]);
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "ENHANCED with 2 rules (SCAN_ON_PUSH: a, b; CONTINUOUS_SCAN: c)");
    }

    #[test]
    fn a_rule_for_scans_by_hand_is_no_rule() {
        assert_eq!(read(vec![rule(sdk::ScanFrequency::Manual, &["*"])]), read(Vec::new()));
    }

    #[test]
    fn a_frequency_that_is_unknown_makes_a_difference() {
        assert_ne!(read(vec![rule("HOURLY".into(), &["*"])]), read(Vec::new()));
    }
}
