//! When a mirror looks at its source.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::age::Releases;
use crate::api::conditions::{READY, Reason};
use crate::api::{ImageMirror, ImageMirrorSpec, RELEASE, SYNC_AT};
use crate::controllers::failure::Failure;
use crate::controllers::schedule::jittered;

/// When a mirror is due after a look.
#[derive(Clone, Debug)]
pub(super) enum Timing {
    /// So long after it.
    Every(Duration),
    /// At the next of these times.
    Cron(Box<cronexpr::Crontab>),
}

impl Timing {
    /// The timing of a spec.
    pub(super) fn of(spec: &ImageMirrorSpec, now: Timestamp) -> Result<Self, Failure> {
        let Some(schedule) = &spec.schedule else { return Ok(Self::Every(duration("interval", &spec.interval)?)) };
        let zone = spec.time_zone.as_deref().unwrap_or("UTC");
        let read = cronexpr::parse_crontab(&format!("{schedule} {zone}"));
        // One such as the 30th of February has no next time; it is searched for over four years.
        let checked = read.and_then(|crontab| crontab.find_next(cronexpr::MakeTimestamp(now)).map(|_| crontab));
        let crontab = checked.map_err(|error| {
            // Above the last line of its words stands the schedule again.
            let words = error.to_string();
            let words = words.lines().last().unwrap_or_default().trim_start_matches([' ', '^']).to_owned();
            Failure::stalled(
                Reason::InvalidSpec,
                format!("spec.schedule {schedule:?} in time zone {zone:?} can't be used: {words}"),
            )
        })?;
        Ok(Self::Cron(Box::new(crontab)))
    }

    /// When a mirror that was looked at now is looked at next. What starts together does not stay together: up to a tenth is
    /// added to an interval, by the UID and the time.
    pub(super) fn next(&self, uid: &str, now: Timestamp) -> Timestamp {
        let next = match self {
            Self::Every(interval) => now.checked_add(jittered(*interval, uid, now.as_second().unsigned_abs())).ok(),
            Self::Cron(crontab) => crontab.find_next(cronexpr::MakeTimestamp(now)).ok().map(|time| time.timestamp()),
        };
        next.unwrap_or_else(|| now + SignedDuration::from_hours(24))
    }
}

/// The duration in a field of a spec.
pub(super) fn duration(field: &str, text: &str) -> Result<Duration, Failure> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.filter(|interval| *interval >= Duration::from_secs(1)).ok_or_else(|| {
        Failure::stalled(Reason::InvalidSpec, format!("spec.{field} {text:?} is not a duration such as 30m"))
    })
}

/// How long the mirror has nothing to do: everything is as the present spec says, and the next look is not due yet. `None`:
/// it is due.
pub(super) fn not_due(mirror: &ImageMirror, timing: &Timing, now: Timestamp) -> Option<Duration> {
    let status = mirror.status.as_ref()?;
    let is_ready = status.common.condition(READY).is_some_and(|ready| ready.status == "True");
    let is_current = status.common.observed_generation == mirror.metadata.generation;
    let was_asked = status.common.last_handled_sync_at.as_ref() != mirror.annotations().get(SYNC_AT)
        || Releases::read(mirror.annotations().get(RELEASE)).would_release(&status.seen);
    if !is_ready || !is_current || was_asked {
        return None;
    }
    let next = match &status.next_sync_time {
        Some(next) => next.0,
        None => timing.next(mirror.metadata.uid.as_deref().unwrap_or_default(), status.last_sync_time.as_ref()?.0),
    };
    Duration::try_from(now.duration_until(next)).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CommonStatus, ImageMirrorSpec, ImageMirrorStatus, SeenDigest};
    use crate::controllers::report::{Outcome, conditions};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    const HOUR: Timing = Timing::Every(Duration::from_secs(3600));

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
            next_sync_time: Some(Time(at(second + 3600))),
            ..ImageMirrorStatus::default()
        });
        mirror
    }

    fn ready() -> Outcome {
        Outcome::Ready { message: String::new() }
    }

    fn scheduled(schedule: &str, zone: Option<&str>) -> Result<Timing, Failure> {
        let spec = ImageMirrorSpec {
            schedule: Some(schedule.to_owned()),
            time_zone: zone.map(str::to_owned),
            ..ImageMirrorSpec::default()
        };
        Timing::of(&spec, at(0))
    }

    fn next(schedule: &str, zone: Option<&str>, now: &str) -> String {
        let now = now.parse().expect("a time");
        scheduled(schedule, zone).expect("a schedule").next("uid", now).to_string()
    }

    #[test]
    fn intervals_are_read_as_kubernetes_writes_them() {
        assert_eq!(duration("interval", "1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("interval", "10s"), Ok(Duration::from_secs(10)));
        assert!(duration("interval", "soon").is_err());
        assert!(duration("interval", "0s").is_err());
    }

    #[test]
    fn an_interval_gets_up_to_a_tenth_that_depends_on_the_object_alone() {
        let waits: Vec<i64> = (0..50).map(|n| HOUR.next(&format!("uid-{n}"), at(0)).as_second()).collect();
        assert!(waits.iter().all(|wait| (3600..=3960).contains(wait)), "{waits:?}");
        assert!(waits.iter().collect::<std::collections::BTreeSet<_>>().len() > 25, "they spread: {waits:?}");
        assert_eq!(HOUR.next("uid", at(0)), HOUR.next("uid", at(0)));
    }

    #[test]
    fn a_schedule_is_read_in_its_time_zone() {
        for (schedule, zone, now, expected) in [
            ("0 3 * * *", None, "2026-11-25T10:00:00Z", "2026-11-26T03:00:00Z"),
            ("0 3 * * *", None, "2026-11-25T03:00:00Z", "2026-11-26T03:00:00Z"),
            ("0 3 * * *", Some("Europe/Berlin"), "2026-11-25T10:00:00Z", "2026-11-26T02:00:00Z"),
            ("0 3 * * *", Some("Europe/Berlin"), "2026-07-01T10:00:00Z", "2026-07-02T01:00:00Z"),
            ("*/15 * * * *", None, "2026-11-25T10:01:00Z", "2026-11-25T10:15:00Z"),
            ("30 22 * * SUN", None, "2026-11-25T10:00:00Z", "2026-11-29T22:30:00Z"),
            ("0 0 1 1 *", Some("America/New_York"), "2026-11-25T10:00:00Z", "2027-01-01T05:00:00Z"),
        ] {
            assert_eq!(next(schedule, zone, now), expected, "{schedule} {zone:?}");
        }
    }

    #[test]
    fn what_is_no_schedule_or_no_time_zone_is_refused() {
        for (schedule, zone) in [
            ("99 3 * * *", None),
            ("0 0 30 2 *", None),
            ("every day at three o'clock", None),
            ("0 3 * * *", Some("Europe/Atlantis")),
        ] {
            let failure = scheduled(schedule, zone).expect_err(schedule);
            assert_eq!(failure.reason, Reason::InvalidSpec);
            assert!(failure.message.contains(schedule) && !failure.message.contains('\n'), "{failure}");
        }
    }

    #[test]
    fn a_mirror_that_is_ready_waits_for_its_next_look() {
        let mut mirror = synced_at(1000, &ready());
        assert_eq!(not_due(&mirror, &HOUR, at(1600)), Some(Duration::from_secs(3000)));
        assert_eq!(not_due(&mirror, &HOUR, at(4600)), None);
        // A status that an earlier release wrote.
        mirror.status.as_mut().expect("a status").next_sync_time = None;
        assert!(not_due(&mirror, &HOUR, at(1600)).is_some());
        assert_eq!(not_due(&mirror, &HOUR, at(5000)), None);
    }

    #[test]
    fn a_changed_spec_a_failure_and_a_request_are_due_at_once() {
        let mut changed = synced_at(1000, &ready());
        changed.metadata.generation = Some(4);
        assert_eq!(not_due(&changed, &HOUR, at(1001)), None);

        let failed = synced_at(1000, &Outcome::Failed(Failure::stalled(Reason::TagNotFound, "")));
        assert_eq!(not_due(&failed, &HOUR, at(1001)), None);

        let mut asked = synced_at(1000, &ready());
        asked.annotations_mut().insert(SYNC_AT.to_owned(), "now".to_owned());
        assert_eq!(not_due(&asked, &HOUR, at(1001)), None);
    }

    #[test]
    fn a_release_is_due_at_once_while_its_digest_waits() {
        let mut mirror = synced_at(1000, &ready());
        let seen = |released| SeenDigest { tag: "1".into(), digest: "a".into(), since: Time(at(0)), released };
        mirror.annotations_mut().insert(RELEASE.to_owned(), "a".to_owned());
        mirror.status.as_mut().expect("a status").seen = vec![seen(false)];
        assert_eq!(not_due(&mirror, &HOUR, at(1001)), None);
        mirror.status.as_mut().expect("a status").seen = vec![seen(true)];
        assert!(not_due(&mirror, &HOUR, at(1001)).is_some());
    }
}
