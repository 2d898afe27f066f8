//! What to do about a namespace's Secret. Nothing here does I/O.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use super::observe::{Life, SecretState};

/// What to do about one namespace's Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is as it should be.
    Keep(Life),
    /// There is none yet.
    Create,
    /// It is ours and gets new content, in place: the kubelet knows a pull secret by its UID.
    Update {
        because: Because,
        /// What it is good for if the update fails.
        present: Option<Life>,
    },
    /// It is somebody else's.
    LeaveAlone,
}

/// Why a Secret gets new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    /// Half of its token's life is over.
    Due,
    /// The registries are others than before.
    OtherRegistries,
    /// Somebody edited it.
    Edited,
}

/// Decides about one namespace.
pub(super) fn decide(state: &SecretState, hosts: &BTreeSet<String>, now: Timestamp) -> Decision {
    match state {
        SecretState::Absent => Decision::Create,
        SecretState::Foreign => Decision::LeaveAlone,
        SecretState::Edited => Decision::Update { because: Because::Edited, present: None },
        SecretState::Ours(life) if life.hosts != *hosts => {
            Decision::Update { because: Because::OtherRegistries, present: None }
        }
        SecretState::Ours(life) if life.renew_at <= now => {
            Decision::Update { because: Because::Due, present: (life.expires_at > now).then(|| life.clone()) }
        }
        SecretState::Ours(life) => Decision::Keep(life.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn hosts(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn life() -> Life {
        Life { hosts: hosts(&["a"]), expires_at: at(200), renew_at: at(100) }
    }

    #[test]
    fn a_namespace_without_the_secret_gets_it() {
        assert_eq!(decide(&SecretState::Absent, &hosts(&["a"]), at(0)), Decision::Create);
    }

    #[test]
    fn a_secret_of_somebody_else_is_left_alone() {
        assert_eq!(decide(&SecretState::Foreign, &hosts(&["a"]), at(0)), Decision::LeaveAlone);
    }

    #[test]
    fn a_fresh_secret_is_kept_until_half_of_its_life_is_over() {
        let state = SecretState::Ours(life());
        assert_eq!(decide(&state, &hosts(&["a"]), at(99)), Decision::Keep(life()));
        assert_eq!(
            decide(&state, &hosts(&["a"]), at(100)),
            Decision::Update { because: Because::Due, present: Some(life()) }
        );
    }

    #[test]
    fn an_expired_secret_is_good_for_nothing_until_it_is_renewed() {
        let state = SecretState::Ours(life());
        assert_eq!(decide(&state, &hosts(&["a"]), at(200)), Decision::Update { because: Because::Due, present: None });
    }

    #[test]
    fn another_registry_and_an_edit_are_repaired_at_once() {
        let state = SecretState::Ours(life());
        assert_eq!(
            decide(&state, &hosts(&["a", "b"]), at(0)),
            Decision::Update { because: Because::OtherRegistries, present: None }
        );
        assert_eq!(
            decide(&SecretState::Edited, &hosts(&["a"]), at(0)),
            Decision::Update { because: Because::Edited, present: None }
        );
    }
}
