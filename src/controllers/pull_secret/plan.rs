//! What to do about a namespace's Secret. Nothing here does I/O.

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
        /// What it is good for as long as the update fails; none if it is good for nothing any more.
        present: Option<Life>,
    },
    /// It is somebody else's.
    LeaveAlone,
}

/// Why a Secret gets new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    /// Half of its token's life is over, and its turn has come.
    Due,
    /// The tokens are to be good for something else than before: other registries, or other repositories.
    OtherRights,
    /// Somebody edited it.
    Edited,
}

/// Decides about one namespace.
pub(super) fn decide(state: &SecretState, rights: &str, now: Timestamp) -> Decision {
    match state {
        SecretState::Absent => Decision::Create,
        SecretState::Foreign => Decision::LeaveAlone,
        SecretState::Edited => Decision::Update { because: Because::Edited, present: None },
        SecretState::Ours(life) if life.rights != rights => {
            Decision::Update { because: Because::OtherRights, present: alive(life, now) }
        }
        SecretState::Ours(life) if life.renew_at <= now => {
            Decision::Update { because: Because::Due, present: alive(life, now) }
        }
        SecretState::Ours(life) => Decision::Keep(life.clone()),
    }
}

fn alive(life: &Life, now: Timestamp) -> Option<Life> {
    (life.expires_at > now).then(|| life.clone())
}

/// Whether a Secret is to be written with a token that expires then. Where AWS gave no fresh one, what is there may be as
/// good.
pub(super) fn is_better(expires_at: Timestamp, late: bool, present: Option<&Life>) -> bool {
    present.is_none_or(|present| !late || expires_at > present.expires_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn life() -> Life {
        Life { rights: "a".into(), expires_at: at(200), renew_at: at(100) }
    }

    #[test]
    fn a_namespace_without_the_secret_gets_it() {
        assert_eq!(decide(&SecretState::Absent, "a", at(0)), Decision::Create);
    }

    #[test]
    fn a_secret_of_somebody_else_is_left_alone() {
        assert_eq!(decide(&SecretState::Foreign, "a", at(0)), Decision::LeaveAlone);
    }

    #[test]
    fn a_fresh_secret_is_kept_until_half_of_its_life_is_over() {
        let state = SecretState::Ours(life());
        assert_eq!(decide(&state, "a", at(99)), Decision::Keep(life()));
        assert_eq!(decide(&state, "a", at(100)), Decision::Update { because: Because::Due, present: Some(life()) });
    }

    #[test]
    fn an_expired_secret_is_good_for_nothing_until_it_is_renewed() {
        let state = SecretState::Ours(life());
        assert_eq!(decide(&state, "a", at(200)), Decision::Update { because: Because::Due, present: None });
    }

    #[test]
    fn other_rights_and_an_edit_are_repaired_at_once() {
        let state = SecretState::Ours(life());
        assert_eq!(
            decide(&state, "b", at(0)),
            Decision::Update { because: Because::OtherRights, present: Some(life()) }
        );
        assert_eq!(decide(&state, "b", at(200)), Decision::Update { because: Because::OtherRights, present: None });
        assert_eq!(
            decide(&SecretState::Edited, "a", at(0)),
            Decision::Update { because: Because::Edited, present: None }
        );
    }
}
