//! Which EcrRepository objects claim the same repository: the oldest has it, the others wait.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;

use crate::api::{EcrRepository, ManagementPolicy};

/// A repository, by the name of its EcrRegistry and its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Name of the EcrRegistry.
    pub registry: String,
    /// Name of the repository.
    pub repository: String,
}

impl Claim {
    /// What this object claims. One that only observes claims nothing.
    pub fn of(object: &EcrRepository) -> Option<Self> {
        (object.spec.management_policy == ManagementPolicy::Manage)
            .then(|| Self { registry: object.spec.registry_ref.name.clone(), repository: object.repository_name() })
    }
}

/// An object that claims a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// When an object was created; the UID decides between those of the same second.
type Age = (Timestamp, String);

/// Claimants, oldest first. There is hardly ever more than one: a map would take ten times its memory.
type Claimants = Vec<(Age, Claimant)>;

/// All claims, fed by the watch of EcrRepository objects.
#[derive(Debug, Default)]
pub struct Claims(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    claims: HashMap<Claim, Claimants>,
    /// The claims of a new list, until it is complete.
    pending: Option<HashMap<Claim, Claimants>>,
}

impl Claims {
    /// Takes note of an event of the watch; returns the claim that somebody who waits for it can have now.
    pub fn observe(&self, event: &Event<EcrRepository>) -> Option<Claim> {
        let mut index = self.lock();
        match event {
            Event::Init => index.pending = Some(HashMap::new()),
            Event::InitApply(object) => {
                let claims = index.pending.get_or_insert_default();
                apply(claims, object);
            }
            Event::InitDone => index.claims = index.pending.take().unwrap_or_default(),
            Event::Apply(object) => return apply(&mut index.claims, object),
            Event::Delete(object) => return withdraw(&mut index.claims, object),
        }
        None
    }

    /// The older objects that claim the same repository, oldest first.
    pub fn older_claimants(&self, object: &EcrRepository) -> Vec<Claimant> {
        let Some(claim) = Claim::of(object) else { return Vec::new() };
        let index = self.lock();
        let age = age(object);
        let claimants = index.claims.get(&claim).into_iter().flatten();
        claimants.take_while(|(other, _)| *other < age).map(|(_, claimant)| claimant.clone()).collect()
    }

    /// The object that has a claim: the oldest of those that make it.
    pub fn holder(&self, claim: &Claim) -> Option<Claimant> {
        self.lock().claims.get(claim)?.first().map(|(_, claimant)| claimant.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn age(object: &EcrRepository) -> Age {
    let created = object.creation_timestamp().map_or(Timestamp::MAX, |time| time.0);
    (created, object.uid().unwrap_or_default())
}

fn apply(claims: &mut HashMap<Claim, Claimants>, object: &EcrRepository) -> Option<Claim> {
    let Some(claim) = Claim::of(object) else { return withdraw(claims, object) };
    let claimant = Claimant { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    let (age, claimants) = (age(object), claims.entry(claim).or_default());
    if let Err(place) = claimants.binary_search_by(|(other, _)| other.cmp(&age)) {
        claimants.reserve_exact(1);
        claimants.insert(place, (age, claimant));
    }
    None
}

fn withdraw(claims: &mut HashMap<Claim, Claimants>, object: &EcrRepository) -> Option<Claim> {
    let claim = Claim { registry: object.spec.registry_ref.name.clone(), repository: object.repository_name() };
    let claimants = claims.get_mut(&claim)?;
    let place = claimants.binary_search_by(|(other, _)| other.cmp(&age(object))).ok()?;
    claimants.remove(place);
    if claimants.is_empty() {
        claims.remove(&claim);
        return None;
    }
    Some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EcrRepositorySpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn object(name: &str, second: i64) -> EcrRepository {
        let spec = EcrRepositorySpec { repository_name: Some("shared".into()), ..EcrRepositorySpec::default() };
        let mut object = EcrRepository::new(name, spec);
        object.metadata.namespace = Some("ns".into());
        object.metadata.uid = Some(format!("uid-{name}"));
        object.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).expect("in range")));
        object
    }

    fn older(claims: &Claims, object: &EcrRepository) -> Vec<String> {
        claims.older_claimants(object).into_iter().map(|claimant| claimant.name).collect()
    }

    fn claims(objects: &[&EcrRepository]) -> Claims {
        let claims = Claims::default();
        for object in objects {
            assert_eq!(claims.observe(&Event::Apply((*object).clone())), None);
        }
        claims
    }

    #[test]
    fn the_older_object_has_the_repository() {
        let (old, new) = (object("old", 1), object("new", 2));
        let claims = claims(&[&new, &old]);
        assert!(older(&claims, &old).is_empty());
        assert_eq!(older(&claims, &new), ["old"]);
    }

    #[test]
    fn of_two_created_in_the_same_second_one_has_it() {
        let (a, b) = (object("a", 1), object("b", 1));
        let claims = claims(&[&a, &b]);
        assert!(older(&claims, &a).is_empty());
        assert_eq!(older(&claims, &b), ["a"]);
    }

    #[test]
    fn another_name_or_registry_is_another_claim() {
        let (a, mut b, mut c) = (object("a", 1), object("b", 2), object("c", 3));
        b.spec.repository_name = Some("other".into());
        c.spec.registry_ref.name = "us".into();
        let claims = claims(&[&a, &b, &c]);
        assert!(older(&claims, &b).is_empty());
        assert!(older(&claims, &c).is_empty());
    }

    #[test]
    fn who_waits_is_told_when_the_claim_is_given_up() {
        let (old, new) = (object("old", 1), object("new", 2));
        let claims = claims(&[&old, &new]);
        assert_eq!(claims.observe(&Event::Delete(old.clone())), Claim::of(&old));
        assert!(older(&claims, &new).is_empty());
        assert_eq!(claims.observe(&Event::Delete(new)), None, "nobody is left to tell");
    }

    #[test]
    fn who_only_observes_claims_nothing() {
        let (mut old, new) = (object("old", 1), object("new", 2));
        let claims = claims(&[&old, &new]);
        old.spec.management_policy = ManagementPolicy::Observe;
        assert_eq!(claims.observe(&Event::Apply(old.clone())), Claim::of(&new));
        assert!(older(&claims, &new).is_empty());
        assert!(older(&claims, &old).is_empty());
    }

    #[test]
    fn a_new_list_replaces_what_was_known_when_it_is_complete() {
        let (old, new) = (object("old", 1), object("new", 2));
        let claims = claims(&[&old, &new]);
        claims.observe(&Event::Init);
        claims.observe(&Event::InitApply(new.clone()));
        assert!(!older(&claims, &new).is_empty(), "not complete yet");
        claims.observe(&Event::InitDone);
        assert!(older(&claims, &new).is_empty());
    }
}
