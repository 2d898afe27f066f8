//! When a replica that begins to lead looks at what is there.
//!
//! Whatever is new, changed, or not as it should be comes at once. What was well is looked at one after another: ten thousand
//! objects that are as they should be don't keep a new one waiting.

use std::time::Duration;

use kube::ResourceExt as _;

use super::schedule::share;
use crate::api::conditions::READY;
use crate::api::{HasStatus, SYNC_AT};

/// How many objects of a kind that were well are looked at in a second.
const IN_A_SECOND: f64 = 500.0;

/// How long an object waits that is to be looked at now, if it waits. `leading`: since when this replica leads. `many`: how many
/// objects of the kind there are.
pub(super) fn wait<K: HasStatus>(object: &K, many: usize, leading: Duration) -> Option<Duration> {
    let over = Duration::from_secs_f64(many as f64 / IN_A_SECOND);
    if leading >= over || !was_well(object) {
        return None;
    }
    let turn = over.mul_f64(share(&object.uid().unwrap_or_default(), 0));
    turn.checked_sub(leading).filter(|wait| !wait.is_zero())
}

/// Whether the status says that the object, as it is now, is ready.
fn was_well<K: HasStatus>(object: &K) -> bool {
    let Some(status) = object.status().map(K::common) else { return false };
    object.meta().deletion_timestamp.is_none()
        && status.observed_generation == object.meta().generation
        && status.last_handled_sync_at.as_ref() == object.annotations().get(SYNC_AT)
        && status.condition(READY).is_some_and(|ready| ready.status == "True")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::api::{EcrRepository, EcrRepositorySpec, EcrRepositoryStatus};
    use crate::controllers::report::{Outcome, conditions};

    fn ready(uid: usize) -> EcrRepository {
        let mut object = EcrRepository::new("api", EcrRepositorySpec::default());
        object.metadata.uid = Some(format!("uid-{uid}"));
        object.metadata.generation = Some(3);
        let mut status = EcrRepositoryStatus::default();
        status.common.observed_generation = Some(3);
        let outcome = Outcome::Ready { message: String::new() };
        status.common.conditions = conditions(&[], Some(3), &outcome, Timestamp::UNIX_EPOCH);
        object.status = Some(status);
        object
    }

    #[test]
    fn what_was_well_is_spread_evenly_and_looked_at_once_in_its_time() {
        let turns: Vec<_> = (0..10_000).filter_map(|n| wait(&ready(n), 10_000, Duration::ZERO)).collect();
        let in_the_first = |seconds| turns.iter().filter(|turn| turn.as_secs_f64() < seconds).count();
        assert!(turns.len() > 9_900);
        for seconds in [5.0, 10.0, 15.0, 20.0] {
            let expected = seconds * IN_A_SECOND;
            assert!(
                (in_the_first(seconds) as f64 - expected).abs() < 300.0,
                "{} in {seconds} s",
                in_the_first(seconds)
            );
        }
        for n in 0..100 {
            let turn = wait(&ready(n), 10_000, Duration::ZERO).unwrap_or_default();
            assert_eq!(wait(&ready(n), 10_000, turn), None, "its time has come");
        }
    }

    #[test]
    fn a_few_objects_wait_for_next_to_nothing_and_later_none_does() {
        assert!((0..10).all(|n| wait(&ready(n), 10, Duration::ZERO).unwrap_or_default() < Duration::from_millis(20)));
        assert!((0..100).all(|n| wait(&ready(n), 10_000, Duration::from_secs(20)).is_none()));
    }

    #[test]
    fn what_is_new_or_changed_or_not_well_never_waits() {
        type Change = fn(&mut EcrRepository);
        let cases: [(&str, Change); 6] = [
            ("new", |object| object.status = None),
            ("changed", |object| object.metadata.generation = Some(4)),
            ("asked for", |object| drop(object.annotations_mut().insert(SYNC_AT.to_owned(), "now".to_owned()))),
            ("deleted", |object| object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH))),
            ("not ready", |object| {
                let conditions = &mut object.status.get_or_insert_default().common.conditions;
                conditions.retain(|condition| condition.type_ != READY);
            }),
            ("failed", |object| {
                for condition in &mut object.status.get_or_insert_default().common.conditions {
                    condition.status = "False".to_owned();
                }
            }),
        ];
        for (what, change) in cases {
            let mut object = ready(7);
            assert!(wait(&object, 10_000, Duration::ZERO).is_some(), "{what}, before");
            change(&mut object);
            assert_eq!(wait(&object, 10_000, Duration::ZERO), None, "{what}");
        }
    }
}
