//! From the outcome of a reconcile to conditions, a status write where something changed, and an event on a transition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use crate::api::conditions::{READY, RECONCILING, REWRITES_PODS, Reason, STALLED};
use crate::api::{HasStatus, SYNC_AT};
use crate::telemetry;

/// The field manager of statuses.
const STATUS_MANAGER: &str = "ecr-operator/status";

/// How a reconcile ended, or that it goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The object is as its spec says.
    Ready {
        /// What a person wants to know at a glance.
        message: String,
    },
    /// Work goes on that takes long enough to be told.
    Progressing {
        /// What is being done.
        message: String,
    },
    /// The spec says to do nothing.
    Suspended,
    /// It did not work.
    Failed(Failure),
}

impl Outcome {
    /// The reason for the conditions.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Ready { .. } => Reason::Succeeded,
            Self::Progressing { .. } => Reason::Progressing,
            Self::Suspended => Reason::Suspended,
            Self::Failed(failure) => failure.reason,
        }
    }
}

/// The three conditions that kstatus reads, for an outcome. The time of a transition stays while the status stays.
pub fn conditions(
    previous: &[Condition],
    generation: Option<i64>,
    outcome: &Outcome,
    now: Timestamp,
) -> Vec<Condition> {
    let (ready, reconciling, stalled, message) = match outcome {
        Outcome::Ready { message } => ("True", "False", "False", message.as_str()),
        Outcome::Progressing { message } => ("Unknown", "True", "False", message.as_str()),
        Outcome::Suspended => {
            ("False", "False", "False", "spec.suspend is true: nothing is looked at and nothing is copied")
        }
        Outcome::Failed(failure) if failure.is_stalled() => ("False", "False", "True", failure.message.as_str()),
        Outcome::Failed(failure) => ("False", "True", "False", failure.message.as_str()),
    };
    let reason = outcome.reason();
    [(READY, ready), (RECONCILING, reconciling), (STALLED, stalled)]
        .map(|(type_, status)| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: cut(message, 4000),
            last_transition_time: since(previous, type_, status, now),
            observed_generation: generation,
        })
        .into()
}

/// Since when a condition has this status.
fn since(previous: &[Condition], type_: &str, status: &str, now: Timestamp) -> Time {
    let same = previous.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    same.map_or(Time(now), |condition| condition.last_transition_time.clone())
}

/// The conditions that a kind has beside those three, as a status to be written has them.
fn of_the_kind(given: Vec<Condition>, previous: &[Condition], now: Timestamp) -> impl Iterator<Item = Condition> {
    let others = given
        .into_iter()
        .filter(|condition| ![READY, RECONCILING, STALLED, REWRITES_PODS].contains(&condition.type_.as_str()));
    others.map(move |condition| {
        let last_transition_time = since(previous, &condition.type_, &condition.status, now);
        Condition { message: cut(&condition.message, 4000), last_transition_time, ..condition }
    })
}

/// The status that an object gets for an outcome, from what its kind says of it.
pub(super) fn told<K: HasStatus>(object: &K, mut status: K::Status, outcome: &Outcome, now: Timestamp) -> K::Status {
    let generation = object.meta().generation;
    let before = object.status().map(|status| K::common(status).conditions.as_slice()).unwrap_or_default();
    let common = K::common_mut(&mut status);
    common.observed_generation = generation;
    let given = std::mem::take(&mut common.conditions);
    common.conditions = conditions(before, generation, outcome, now);
    common.conditions.extend(of_the_kind(given, before, now));
    common.last_handled_sync_at = object.annotations().get(SYNC_AT).cloned();
    status
}

/// A status without the condition that another part of the operator writes, under a field manager of its own.
fn without_others<K: HasStatus>(status: &K::Status) -> K::Status {
    let mut status = status.clone();
    K::common_mut(&mut status).conditions.retain(|condition| condition.type_ != REWRITES_PODS);
    status
}

/// A text of at most so many bytes, with an ellipsis where something was cut.
///
/// The API server refuses conditions with a message of more than 32,768 bytes and events with a note of more than 1,024;
/// nobody reads one of more than a page.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    const ELLIPSIS: char = '…';
    format!("{}{ELLIPSIS}", &text[..text.floor_char_boundary(limit - ELLIPSIS.len_utf8())])
}

impl Context {
    /// Puts the outcome into the object's status, writes it if it differs from the present one, and publishes an event
    /// when the object became ready, stopped being ready, or is not ready for another reason than before.
    pub async fn report<K>(&self, object: &K, status: K::Status, outcome: &Outcome) -> Result<(), kube::Error>
    where
        K: HasStatus,
    {
        telemetry::ended(outcome);
        let status = told(object, status, outcome, Timestamp::now());
        let before = object.status().map(|status| K::common(status).clone()).unwrap_or_default();
        let after = K::common(&status).clone();

        if object.status().map(without_others::<K>).as_ref() != Some(&status) {
            let patch = json!({
                "apiVersion": K::api_version(&()),
                "kind": K::kind(&()),
                "metadata": { "name": object.name_any(), "namespace": object.namespace() },
                "status": status,
            });
            let kind = ApiResource::erase::<K>(&());
            let api: Api<DynamicObject> = match object.namespace() {
                Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &kind),
                None => Api::all_with(self.client.clone(), &kind),
            };
            match api
                .patch_status(&object.name_any(), &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(patch))
                .await
            {
                Ok(_) => {}
                // Deleted in the meantime: there is nothing left to report on.
                Err(kube::Error::Api(error)) if error.code == 404 => return Ok(()),
                Err(error) => return Err(error),
            }
        }

        let state = |common: &crate::api::CommonStatus| {
            common.condition(READY).map(|ready| (ready.status.clone(), ready.reason.clone()))
        };
        if state(&before) != state(&after) {
            self.publish(object, outcome).await;
        }
        Ok(())
    }

    async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, outcome: &Outcome) {
        let (type_, note) = match outcome {
            Outcome::Ready { message } => (EventType::Normal, message.clone()),
            Outcome::Suspended => (EventType::Normal, "spec.suspend is true".to_owned()),
            Outcome::Progressing { .. } => return,
            Outcome::Failed(failure) if failure.reason == Reason::Progressing => return,
            Outcome::Failed(failure) => (EventType::Warning, failure.message.clone()),
        };
        let reason = outcome.reason();
        // Which object it is, the span says.
        match type_ {
            EventType::Normal => tracing::info!(%reason, "{note}"),
            EventType::Warning => tracing::warn!(%reason, "{note}"),
        }
        self.event(object, type_, reason.as_str(), note).await;
    }

    /// Publishes an event on an object, soon.
    pub async fn event<K: Resource<DynamicType = ()>>(&self, object: &K, type_: EventType, reason: &str, note: String) {
        self.events.publish(object.object_ref(&()), type_, reason, cut(&note, 1000)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of<'a>(conditions: &'a [Condition], type_: &str) -> &'a str {
        &conditions.iter().find(|condition| condition.type_ == type_).expect("all three are always there").status
    }

    fn statuses(outcome: &Outcome) -> [String; 3] {
        let conditions = conditions(&[], Some(1), outcome, Timestamp::UNIX_EPOCH);
        [READY, RECONCILING, STALLED].map(|type_| status_of(&conditions, type_).to_owned())
    }

    #[test]
    fn each_outcome_has_the_conditions_that_kstatus_expects() {
        let message = String::new();
        assert_eq!(statuses(&Outcome::Ready { message: message.clone() }), ["True", "False", "False"]);
        assert_eq!(statuses(&Outcome::Progressing { message: message.clone() }), ["Unknown", "True", "False"]);
        assert_eq!(statuses(&Outcome::Failed(Failure::stalled(Reason::AccessDenied, ""))), ["False", "False", "True"]);
        assert_eq!(statuses(&Outcome::Failed(Failure::transient(Reason::Throttled, ""))), ["False", "True", "False"]);
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let start = Timestamp::UNIX_EPOCH;
        let later = Timestamp::from_second(60).expect("in range");
        let first = conditions(&[], Some(1), &Outcome::Ready { message: "one".into() }, start);
        let same = conditions(&first, Some(2), &Outcome::Ready { message: "two".into() }, later);
        assert_eq!(same[0].last_transition_time, Time(start));
        assert_eq!(same[0].message, "two");
        assert_eq!(same[0].observed_generation, Some(2));
        let failed = conditions(&same, Some(2), &Outcome::Failed(Failure::stalled(Reason::AccessDenied, "no")), later);
        assert_eq!(failed[0].last_transition_time, Time(later));
        assert_eq!(failed[1].last_transition_time, Time(start), "Reconciling stayed False");
    }

    #[test]
    fn conditions_of_a_kind_stay_beside_the_three() {
        let start = Timestamp::UNIX_EPOCH;
        let later = Timestamp::from_second(60).expect("in range");
        let other = |status: &str| Condition {
            type_: "PullOnly".into(),
            status: status.into(),
            reason: "Test".into(),
            message: String::new(),
            last_transition_time: Time(start),
            observed_generation: None,
        };
        let mut given = conditions(&[], Some(1), &Outcome::Suspended, start);
        given.push(other("False"));
        let kept: Vec<_> = of_the_kind(given, &[other("False")], later).collect();
        assert_eq!(kept, [other("False")]);
        let turned: Vec<_> = of_the_kind(vec![other("True")], &kept, later).collect();
        assert_eq!(turned[0].last_transition_time, Time(later));
    }

    #[test]
    fn a_text_without_end_is_cut_between_characters() {
        for limit in [100, 101] {
            let cut = cut(&"é".repeat(5000), limit);
            assert!(cut.ends_with('…') && cut.len() <= limit && cut.len() > limit - 3, "{cut}");
        }
        assert_eq!(cut("short", 100), "short");
    }
}
