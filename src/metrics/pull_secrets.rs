//! Gauges of pull secrets, taken from what the objects' statuses say when somebody asks.
//!
//! One value a kind, however many objects there are: which object it is about is in the objects' statuses and events.

use std::fmt;
use std::sync::{Arc, OnceLock};

use k8s_openapi::jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// What the pull secrets of one kind come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The kind.
    pub kind: &'static str,
    /// How many Secrets there are.
    pub served: i64,
    /// In how many namespaces something is wrong.
    pub failed: i64,
    /// When the first token expires.
    pub expires_at: Option<Timestamp>,
}

type Look = Box<dyn Fn() -> Vec<Tally> + Send + Sync>;

/// Where the tallies come from, once the controllers are there.
#[derive(Clone, Default)]
pub(super) struct PullSecrets(Arc<OnceLock<Look>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    kind: &'static str,
    state: &'static str,
}

impl PullSecrets {
    pub(super) fn come_from(&self, look: Look) {
        // The controllers start once.
        let _ = self.0.set(look);
    }
}

impl fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PullSecrets")
    }
}

impl Collector for PullSecrets {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let tallies = self.0.get().map(|look| look()).unwrap_or_default();
        let expiry =
            tallies.iter().filter_map(|tally| Some((Kind { kind: tally.kind }, tally.expires_at?.as_second())));
        gauges(
            &mut encoder,
            "pull_secret_expiry_timestamp_seconds",
            "When the first token in any pull secret expires, by kind",
            expiry,
        )?;
        let states = tallies.iter().flat_map(|tally| {
            let Tally { kind, served, failed, expires_at: _ } = *tally;
            [(State { kind, state: "served" }, served), (State { kind, state: "failed" }, failed)]
        });
        gauges(
            &mut encoder,
            "pull_secret_namespaces",
            "Namespaces that have a pull secret, and namespaces in which something is wrong with it, by kind and state",
            states,
        )
    }
}

fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, V)>,
) -> Result<(), fmt::Error> {
    let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(descriptor.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn scraped(pull_secrets: &PullSecrets) -> String {
        let mut registry = Registry::default();
        registry.sub_registry_with_prefix("ecr_operator").register_collector(Box::new(pull_secrets.clone()));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a scrape");
        text
    }

    #[test]
    fn the_first_expiry_and_the_counts_are_told_by_kind() {
        let pull_secrets = PullSecrets::default();
        assert!(!scraped(&pull_secrets).contains("kind="), "nothing is known yet");
        pull_secrets.come_from(Box::new(|| {
            let expires_at = Timestamp::from_second(43_200).ok();
            vec![
                Tally { kind: "EcrPullSecret", served: 3, failed: 1, expires_at },
                Tally { kind: "ClusterEcrPullSecret", served: 0, failed: 0, expires_at: None },
            ]
        }));
        let text = scraped(&pull_secrets);
        for line in [
            r#"ecr_operator_pull_secret_expiry_timestamp_seconds{kind="EcrPullSecret"} 43200"#,
            r#"ecr_operator_pull_secret_namespaces{kind="EcrPullSecret",state="served"} 3"#,
            r#"ecr_operator_pull_secret_namespaces{kind="EcrPullSecret",state="failed"} 1"#,
            r#"ecr_operator_pull_secret_namespaces{kind="ClusterEcrPullSecret",state="served"} 0"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains(r#"expiry_timestamp_seconds{kind="ClusterEcrPullSecret"}"#), "it has no token\n{text}");
    }
}
