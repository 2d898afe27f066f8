//! What a mirror is told of its wish: a condition beside those of the mirroring. Nothing here does I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::plan::{Reached, some};
use crate::api::conditions::{REWRITES_PODS, Reason};
use crate::controllers::failure::Failure;
use crate::controllers::report::cut;

/// The condition for an outcome. The time of a transition stays while the status stays.
pub(super) fn condition(
    outcome: &Result<Reached, Failure>,
    previous: Option<&Condition>,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let (status, reason, message) = match outcome {
        Ok(reached) => ("True", Reason::Succeeded, words(reached)),
        Err(failure) => ("False", failure.reason, failure.message.clone()),
    };
    let since = previous.filter(|previous| previous.status == status);
    Condition {
        type_: REWRITES_PODS.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: cut(&message, 1000),
        last_transition_time: since.map_or(Time(now), |previous| previous.last_transition_time.clone()),
        observed_generation: generation,
    }
}

fn words(reached: &Reached) -> String {
    let Reached { images, repository, namespaces, refused, left_out } = reached;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let mut words = format!(
        "new pods of {namespaces} namespace{} get {images} image{} from {repository}",
        plural(*namespaces),
        plural(*images)
    );
    if *left_out > 0 {
        words.push_str(&format!(
            "; {left_out} more, for which the status has no room, follow with the next look at the source"
        ));
    }
    if !refused.is_empty() {
        words.push_str(&format!(
            "; {} namespace{} are left out, since no entry of the EcrRegistry's spec.access has them in servesNamespaces: {}",
            refused.len(),
            plural(refused.len()),
            some(refused)
        ));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached() -> Reached {
        Reached { images: 2, repository: "ecr/nginx".into(), namespaces: 1, refused: vec!["bank".into()], left_out: 3 }
    }

    #[test]
    fn it_tells_what_pods_get_and_who_is_left_out() {
        let condition = condition(&Ok(reached()), None, Some(2), Timestamp::UNIX_EPOCH);
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "Succeeded"));
        let words = condition.message;
        assert!(words.starts_with("new pods of 1 namespace get 2 images from ecr/nginx; 3 more"), "{words}");
        assert!(words.ends_with("servesNamespaces: bank"), "{words}");
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let later = Timestamp::from_second(60).expect("in range");
        let first = condition(&Ok(reached()), None, None, Timestamp::UNIX_EPOCH);
        let same = condition(&Ok(Reached { images: 5, ..reached() }), Some(&first), None, later);
        assert_eq!(same.last_transition_time, first.last_transition_time);
        let failed = condition(&Err(Failure::stalled(Reason::NoNamespace, "none")), Some(&same), None, later);
        assert_eq!((failed.status.as_str(), failed.last_transition_time), ("False", Time(later)));
    }
}
