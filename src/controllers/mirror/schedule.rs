//! When a mirror looks at its source.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::api::conditions::{READY, Reason};
use crate::api::{ImageMirror, SYNC_AT};
use crate::controllers::failure::Failure;

/// The interval of a spec.
pub(super) fn interval(text: &str) -> Result<Duration, Failure> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.filter(|interval| *interval >= Duration::from_secs(1)).ok_or_else(|| {
        Failure::stalled(Reason::InvalidSpec, format!("spec.interval {text:?} is not a duration such as 30m"))
    })
}

/// How long the mirror has nothing to do: everything is mirrored, for the present spec, and was looked at less than an
/// interval ago. `None`: it is due.
pub(super) fn not_due(mirror: &ImageMirror, interval: Duration, now: Timestamp) -> Option<Duration> {
    let status = mirror.status.as_ref()?;
    let is_ready = status.common.condition(READY).is_some_and(|ready| ready.status == "True");
    let is_current = status.common.observed_generation == mirror.metadata.generation;
    let was_asked = status.common.last_handled_sync_at.as_ref() != mirror.annotations().get(SYNC_AT);
    if !is_ready || !is_current || was_asked {
        return None;
    }
    let since = Duration::try_from(status.last_sync_time.as_ref()?.0.duration_until(now)).unwrap_or_default();
    interval.checked_sub(since).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CommonStatus, ImageMirrorSpec, ImageMirrorStatus};
    use crate::controllers::report::{Outcome, conditions};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn synced_at(second: i64, outcome: &Outcome) -> ImageMirror {
        let mut mirror = ImageMirror::new("nginx", ImageMirrorSpec::default());
        mirror.metadata.generation = Some(3);
        mirror.status = Some(ImageMirrorStatus {
            common: CommonStatus {
                observed_generation: Some(3),
                conditions: conditions(&[], Some(3), outcome, at(second)),
                last_handled_sync_at: None,
            },
            last_sync_time: Some(Time(at(second))),
            ..ImageMirrorStatus::default()
        });
        mirror
    }

    fn ready() -> Outcome {
        Outcome::Ready { message: String::new() }
    }

    #[test]
    fn intervals_are_read_as_kubernetes_writes_them() {
        assert_eq!(interval("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(interval("10s"), Ok(Duration::from_secs(10)));
        assert!(interval("soon").is_err());
        assert!(interval("0s").is_err());
    }

    #[test]
    fn a_mirror_that_is_ready_waits_for_the_rest_of_its_interval() {
        let mirror = synced_at(1000, &ready());
        assert_eq!(not_due(&mirror, HOUR, at(1600)), Some(Duration::from_secs(3000)));
        assert_eq!(not_due(&mirror, HOUR, at(4600)), None);
    }

    #[test]
    fn a_changed_spec_a_failure_and_a_request_are_due_at_once() {
        let mut changed = synced_at(1000, &ready());
        changed.metadata.generation = Some(4);
        assert_eq!(not_due(&changed, HOUR, at(1001)), None);

        let failed = synced_at(1000, &Outcome::Failed(Failure::stalled(Reason::TagNotFound, "")));
        assert_eq!(not_due(&failed, HOUR, at(1001)), None);

        let mut asked = synced_at(1000, &ready());
        asked.annotations_mut().insert(SYNC_AT.to_owned(), "now".to_owned());
        assert_eq!(not_due(&asked, HOUR, at(1001)), None);
    }
}
