//! Whether traces are made, and where they go: what the options and OpenTelemetry's variables say.

use std::time::Duration;

use super::BoxedLayer;

/// The options of traces. Without an endpoint here or in the environment there are none.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "traces")]
pub struct Args {
    /// URL of an OpenTelemetry collector that takes OTLP over HTTP, such as http://otel-collector.monitoring:4318, for traces of
    /// reconciles, calls and copies. Default: as OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT say; without
    /// any of them there are no traces. OpenTelemetry's other variables count, too.
    #[arg(long, env = "ECR_OPERATOR_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Which share of traces is kept, from 0 to 1, where nobody has decided it before. Default: as OTEL_TRACES_SAMPLER says, or
    /// all.
    #[arg(long, env = "ECR_OPERATOR_TRACE_SAMPLING_RATIO", value_name = "RATIO", value_parser = ratio)]
    pub trace_sampling_ratio: Option<f64>,
}

fn ratio(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| "not a number from 0 to 1".to_owned())
}

/// Traces that are made, if they are.
#[must_use]
pub struct Traces {
    #[cfg(feature = "otlp")]
    exporting: Option<super::otlp::Exporting>,
}

/// The collector's URL for traces, if there is one. `variable` reads the environment.
pub(super) fn endpoint(args: &Args, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variable = |name: &str| variable(name).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
    let below = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
    if let Some(base) = args.otlp_endpoint.as_deref().map(str::trim).filter(|base| !base.is_empty()) {
        return Some(below(base));
    }
    let is = |name: &str, value: &str| variable(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| below(&base)))
}

/// Gets ready to make traces, if they are asked for.
pub(super) fn start(args: &Args) -> anyhow::Result<(Traces, Option<BoxedLayer>)> {
    let endpoint = endpoint(args, |name| std::env::var(name).ok());
    #[cfg(feature = "otlp")]
    {
        let Some(endpoint) = endpoint else { return Ok((Traces { exporting: None }, None)) };
        let (exporting, layer) = super::otlp::start(&endpoint, args.trace_sampling_ratio)?;
        Ok((Traces { exporting: Some(exporting) }, Some(layer)))
    }
    #[cfg(not(feature = "otlp"))]
    match endpoint {
        Some(_) if args.otlp_endpoint.is_some() => {
            anyhow::bail!("--otlp-endpoint: this program was built without traces")
        }
        _ => Ok((Traces {}, None)),
    }
}

impl Traces {
    /// Says where traces go, now that logs do.
    pub(super) fn announce(&self) {
        #[cfg(feature = "otlp")]
        if let Some(exporting) = &self.exporting {
            exporting.announce();
        }
    }

    /// Sends what is not sent yet, for so long at most. Nothing is traced after it.
    pub fn end(self, limit: Duration) {
        #[cfg(feature = "otlp")]
        if let Some(exporting) = self.exporting {
            exporting.end(limit);
        }
        let _ = limit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(flag: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let args = Args { otlp_endpoint: flag.map(str::to_owned), ..Args::default() };
        endpoint(&args, |name| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_an_endpoint_nothing_is_traced() {
        assert_eq!(at(None, &[]), None);
        assert_eq!(at(Some(""), &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), None);
        assert_eq!(at(None, &[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_EXPORTER", "otlp")]), None);
    }

    #[test]
    fn the_option_and_the_common_variable_are_bases_and_the_variable_of_traces_is_the_url() {
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common:4318/");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4318/in");
        assert_eq!(at(None, &[common]).as_deref(), Some("http://common:4318/v1/traces"));
        assert_eq!(at(None, &[common, own]).as_deref(), Some("http://own:4318/in"));
        assert_eq!(at(Some("http://flag:4318"), &[common, own]).as_deref(), Some("http://flag:4318/v1/traces"));
    }

    #[test]
    fn the_environment_can_turn_off_what_it_turns_on() {
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common:4318");
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(at(None, &[common, off]), None, "{off:?}");
            assert!(at(Some("http://flag:4318"), &[common, off]).is_some(), "{off:?}");
        }
    }

    #[test]
    fn a_ratio_is_between_nothing_and_everything() {
        assert_eq!(ratio("0.25"), Ok(0.25));
        assert_eq!(ratio("1"), Ok(1.0));
        for odd in ["1.1", "-0.1", "NaN", "all"] {
            assert!(ratio(odd).is_err(), "{odd}");
        }
    }
}
