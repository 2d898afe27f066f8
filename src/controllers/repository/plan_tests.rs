//! The decisions about a repository, as sentences.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use std::sync::Arc;

use crate::api::{AccessGrant, EcrRepository, EncryptionType, Lifecycle, LifecycleRule, TagMutability, Untagged};
use crate::ecr::lifecycle::Policy;
use crate::ecr::policy::PolicyDocument;
use crate::ecr::{Mutability, Repository};

fn owner(name: &str) -> Owner {
    let mut object = EcrRepository::new(name, Default::default());
    object.metadata.namespace = Some("team-a".into());
    Owner::of(&object, Some("cluster-1"))
}

fn desired() -> Desired {
    Desired {
        name: "team-a/api".into(),
        owner: owner("api"),
        adoption: Adoption::IfUnowned,
        tag_mutability: None,
        scan_on_push: None,
        encryption: None,
        lifecycle: None,
        policy: None,
        tags: BTreeMap::new(),
        managed_lifecycle: false,
        managed_policy: false,
        managed_tag_keys: Vec::new(),
    }
}

fn existing(tags: BTreeMap<String, String>) -> Existing {
    Existing {
        repository: Arc::new(Repository {
            name: "team-a/api".into(),
            created_at: None,
            arn: "arn:aws:ecr:eu-west-1:123456789012:repository/team-a/api".into(),
            tag_mutability: Some(TagMutability::Mutable.into()),
            scan_on_push: false,
            encryption: Some(Encryption { type_: EncryptionType::Aes256, kms_key: None }),
        }),
        tags,
        lifecycle: None,
        policy: None,
    }
}

fn settings(existing: &mut Existing) -> &mut Repository {
    Arc::make_mut(&mut existing.repository)
}

fn ours() -> Existing {
    existing(owner("api").tags())
}

fn observed(existing: Existing) -> Observed {
    Observed { existing: Some(existing) }
}

fn policy(days: i32) -> Policy {
    let rule = LifecycleRule { untagged: Some(Untagged {}), expire_after_days: Some(days), ..LifecycleRule::default() };
    Policy::from_spec(&Lifecycle { rules: Some(vec![rule]), ..Lifecycle::default() }).expect("a policy")
}

/// Lets one account pull.
fn pull_for(account: u8) -> PolicyDocument {
    let grant = serde_json::json!({"principals": [format!("{account:012}")], "permissions": "Pull"});
    let grants: Vec<AccessGrant> = vec![serde_json::from_value(grant).expect("a grant")];
    PolicyDocument::from_grants(&grants).expect("a policy")
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_missing_repository_is_created_with_all_settings_and_owner_tags_in_one_call() {
    let wanted = Desired {
        tag_mutability: Some(TagMutability::Immutable.into()),
        scan_on_push: Some(true),
        tags: map(&[("team", "a")]),
        ..desired()
    };
    let actions = plan(&wanted, &Observed::default()).expect("planned");
    let [Action::Create(new)] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(new.tag_mutability, Some(TagMutability::Immutable.into()));
    assert_eq!(new.scan_on_push, Some(true));
    assert_eq!(new.tags.get("team").map(String::as_str), Some("a"));
    assert_eq!(Owner::from_tags(&new.tags), Some(owner("api")));
}

#[test]
fn a_lifecycle_policy_is_set_right_after_creation() {
    let wanted = Desired { lifecycle: Some(policy(7)), ..desired() };
    let actions = plan(&wanted, &Observed::default()).expect("planned");
    assert!(matches!(actions.as_slice(), [Action::Create(_), Action::PutLifecycle { from: None, .. }]));
}

#[test]
fn what_the_spec_leaves_out_is_left_alone() {
    let mut present = ours();
    settings(&mut present).tag_mutability = Some(TagMutability::Immutable.into());
    settings(&mut present).scan_on_push = true;
    present.lifecycle = Some(policy(3));
    present.tags.insert("by-hand".into(), "yes".into());
    assert_eq!(plan(&desired(), &observed(present)), Ok(Vec::new()));
}

#[test]
fn drift_is_changed_back() {
    let wanted = Desired {
        tag_mutability: Some(TagMutability::Immutable.into()),
        scan_on_push: Some(true),
        lifecycle: Some(policy(7)),
        tags: map(&[("team", "a")]),
        ..desired()
    };
    let mut present = ours();
    present.lifecycle = Some(policy(8));
    present.tags.insert("team".into(), "b".into());
    assert_eq!(
        plan(&wanted, &observed(present)),
        Ok(vec![
            Action::SetTagMutability { from: Some(TagMutability::Mutable.into()), to: TagMutability::Immutable.into() },
            Action::SetScanOnPush(true),
            Action::PutLifecycle { from: Some(policy(8)), to: policy(7) },
            Action::Tag(map(&[("team", "a")])),
        ])
    );
}

#[test]
fn a_policy_and_tags_that_left_the_spec_are_removed_only_if_they_came_from_it() {
    let wanted = Desired { managed_lifecycle: true, managed_tag_keys: vec!["team".into(), "gone".into()], ..desired() };
    let mut present = ours();
    present.lifecycle = Some(policy(7));
    present.tags.extend(map(&[("team", "a"), ("by-hand", "yes")]));
    assert_eq!(
        plan(&wanted, &observed(present)),
        Ok(vec![Action::DeleteLifecycle { from: policy(7) }, Action::Untag(vec!["team".into()])])
    );
}

#[test]
fn a_repository_without_owner_is_adopted_and_marked_as_such() {
    let actions = plan(&desired(), &observed(existing(BTreeMap::new()))).expect("planned");
    let [Action::Adopt { tags }] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(owner::is_adopted(tags));
    assert_eq!(Owner::from_tags(tags), Some(owner("api")));
}

#[test]
fn a_repository_without_owner_is_refused_where_the_spec_says_never() {
    let wanted = Desired { adoption: Adoption::Never, ..desired() };
    let failure = plan(&wanted, &observed(existing(BTreeMap::new()))).expect_err("refused");
    assert_eq!(failure.reason, Reason::AdoptionRefused);
    assert!(failure.message.contains("IfUnowned"), "{failure}");
}

#[test]
fn a_repository_of_another_object_is_never_touched() {
    for adoption in [Adoption::IfUnowned, Adoption::Never] {
        let wanted = Desired { adoption, tag_mutability: Some(TagMutability::Immutable.into()), ..desired() };
        let failure = plan(&wanted, &observed(existing(owner("other").tags()))).expect_err("refused");
        assert_eq!(failure.reason, Reason::OwnedByAnother);
        assert!(failure.message.contains("team-a/other"), "{failure}");
    }
}

#[test]
fn tags_that_name_an_owner_in_part_count_as_a_claim() {
    let half = map(&[("ecr-operator.io/name", "api")]);
    let failure = plan(&desired(), &observed(existing(half))).expect_err("refused");
    assert_eq!(failure.reason, Reason::OwnedByAnother);
}

#[test]
fn another_encryption_is_refused_in_words() {
    let kms = Encryption { type_: EncryptionType::Kms, kms_key: None };
    let wanted = Desired { encryption: Some(kms), ..desired() };
    let failure = plan(&wanted, &observed(ours())).expect_err("refused");
    assert_eq!(failure.reason, Reason::ImmutableField);
    assert!(failure.is_stalled());
}

#[test]
fn an_alias_of_a_key_is_not_compared_with_the_arn_that_ecr_gives_back() {
    let with_key = |key: &str| Encryption { type_: EncryptionType::Kms, kms_key: Some(key.into()) };
    let mut present = ours();
    settings(&mut present).encryption = Some(with_key("arn:aws:kms:eu-west-1:123456789012:key/1"));
    let mut wanted = Desired { encryption: Some(with_key("alias/ecr")), ..desired() };
    assert_eq!(plan(&wanted, &observed(present.clone())), Ok(Vec::new()));
    wanted.encryption = Some(with_key("arn:aws:kms:eu-west-1:123456789012:key/2"));
    assert!(plan(&wanted, &observed(present)).is_err());
}

#[test]
fn policies_are_set_right_after_creation_and_changed_back() {
    let wanted = Desired { policy: Some(pull_for(1)), ..desired() };
    let actions = plan(&wanted, &Observed::default()).expect("planned");
    assert!(matches!(actions.as_slice(), [Action::Create(_), Action::PutPolicy { from: None, .. }]));
    let mut present = ours();
    present.policy = Some(pull_for(2));
    let changed = Action::PutPolicy { from: Some(pull_for(2)), to: pull_for(1) };
    assert_eq!(plan(&wanted, &observed(present.clone())), Ok(vec![changed]));
    assert_eq!(plan(&desired(), &observed(present.clone())), Ok(Vec::new()), "one that somebody else set stays");
    let left = Desired { managed_policy: true, ..desired() };
    assert_eq!(plan(&left, &observed(present)), Ok(vec![Action::DeletePolicy { from: pull_for(2) }]));
}

#[test]
fn other_exclusion_filters_are_another_mutability() {
    let immutable_except = |filters: &[&str]| Mutability {
        mode: TagMutability::Immutable,
        except: filters.iter().map(|filter| (*filter).to_owned()).collect(),
    };
    let mut present = ours();
    settings(&mut present).tag_mutability = Some(immutable_except(&["dev-*", "latest"]));
    let wanted = |filters: &[&str]| Desired { tag_mutability: Some(immutable_except(filters)), ..desired() };
    assert_eq!(plan(&wanted(&["latest", "dev-*"]), &observed(present.clone())), Ok(Vec::new()), "in any order");
    let actions = plan(&wanted(&["latest"]), &observed(present)).expect("planned");
    assert_eq!(
        actions[0].to_string(),
        "change tag mutability from Immutable except dev-*, latest to Immutable except latest"
    );
}

#[test]
fn an_observer_is_told_every_difference_whoever_owns_the_repository() {
    let wanted = Desired {
        tag_mutability: Some(TagMutability::Immutable.into()),
        encryption: Some(Encryption { type_: EncryptionType::Kms, kms_key: None }),
        tags: map(&[("team", "a")]),
        ..desired()
    };
    let told = differences(&wanted, &existing(owner("other").tags()));
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("encrypted with Aes256"), "{told:?}");
    assert_eq!(told[1], "would change tag mutability from Mutable to Immutable");
    assert!(differences(&desired(), &existing(BTreeMap::new())).is_empty());
}

#[test]
fn an_owner_without_a_known_cluster_is_the_one_of_the_same_name() {
    let mut object = EcrRepository::new("api", Default::default());
    object.metadata.namespace = Some("team-a".into());
    let anywhere = Owner::of(&object, None);
    assert!(anywhere.is(&owner("api")) && !anywhere.is(&owner("other")));
    assert!(!owner("api").is(&anywhere), "but not the other way round");
}

#[test]
fn deletion_does_what_the_policy_says_with_what_was_created_here() {
    let present = observed(ours());
    let decide = |policy| deletion(policy, &owner("api"), &present);
    assert!(matches!(decide(DeletionPolicy::Retain), Deletion::Release { .. }));
    assert_eq!(decide(DeletionPolicy::Delete), Deletion::Delete { force: false });
    assert_eq!(decide(DeletionPolicy::DeleteWithImages), Deletion::Delete { force: true });
}

#[test]
fn nothing_that_was_not_created_here_is_deleted() {
    for policy in [DeletionPolicy::Retain, DeletionPolicy::Delete, DeletionPolicy::DeleteWithImages] {
        let decide = |tags| deletion(policy, &owner("api"), &observed(existing(tags)));
        assert!(matches!(decide(BTreeMap::new()), Deletion::Nothing { .. }), "unowned, {policy:?}");
        assert!(matches!(decide(owner("other").tags()), Deletion::Nothing { .. }), "another's, {policy:?}");
        assert!(matches!(decide(owner("api").tags_of_adopted()), Deletion::Release { .. }), "adopted, {policy:?}");
        let gone = deletion(policy, &owner("api"), &Observed::default());
        assert!(matches!(gone, Deletion::Nothing { .. }), "gone, {policy:?}");
    }
}

/// What ECR has after these actions.
fn after(actions: &[Action], before: Observed) -> Observed {
    let mut existing = before.existing;
    for action in actions {
        if let Action::Create(new) = action {
            let mut created = super::tests::existing(new.tags.clone());
            let made = settings(&mut created);
            made.tag_mutability = new.tag_mutability.clone().or(made.tag_mutability.clone());
            made.scan_on_push = new.scan_on_push.unwrap_or(false);
            made.encryption = new.encryption.clone().or(made.encryption.clone());
            existing = Some(created);
            continue;
        }
        let existing = existing.as_mut().expect("only creation goes without a repository");
        match action.clone() {
            Action::Create(_) => {}
            Action::Adopt { tags } | Action::Tag(tags) => existing.tags.extend(tags),
            Action::Untag(keys) => existing.tags.retain(|key, _| !keys.contains(key)),
            Action::SetTagMutability { to, .. } => settings(existing).tag_mutability = Some(to),
            Action::SetScanOnPush(on) => settings(existing).scan_on_push = on,
            Action::PutLifecycle { to, .. } => {
                existing.lifecycle = Some(Policy::parse(&to.text()).expect("what we print can be read"));
            }
            Action::DeleteLifecycle { .. } => existing.lifecycle = None,
            Action::PutPolicy { to, .. } => {
                existing.policy = Some(PolicyDocument::read(&to.text()).expect("what we print can be read"));
            }
            Action::DeletePolicy { .. } => existing.policy = None,
        }
    }
    Observed { existing }
}

fn mutability() -> impl Strategy<Value = Mutability> {
    let mode = prop_oneof![Just(TagMutability::Mutable), Just(TagMutability::Immutable)];
    (mode, proptest::collection::btree_set("[a-c][*]?", 0..3)).prop_map(|(mode, except)| Mutability { mode, except })
}

fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-d]", "[a-c]", 0..4)
}

prop_compose! {
    fn any_desired()(
        tag_mutability in proptest::option::of(mutability()),
        scan_on_push in proptest::option::of(any::<bool>()),
        lifecycle in proptest::option::of(1..5i32),
        grant in proptest::option::of(1..5u8),
        tags in tags(),
        managed_lifecycle in any::<bool>(),
        managed_policy in any::<bool>(),
        managed_tag_keys in proptest::collection::vec("[a-d]", 0..4),
    ) -> Desired {
        Desired {
            tag_mutability,
            scan_on_push,
            lifecycle: lifecycle.map(policy),
            policy: grant.map(pull_for),
            tags,
            managed_lifecycle,
            managed_policy,
            managed_tag_keys,
            ..desired()
        }
    }
}

prop_compose! {
    fn any_observed()(
        there in any::<bool>(),
        owned in any::<bool>(),
        tag_mutability in proptest::option::of(mutability()),
        scan_on_push in any::<bool>(),
        lifecycle in proptest::option::of(1..5i32),
        grant in proptest::option::of(1..5u8),
        mut tags in tags(),
    ) -> Observed {
        if owned {
            tags.extend(owner("api").tags());
        }
        let mut present = existing(tags);
        settings(&mut present).tag_mutability = tag_mutability;
        settings(&mut present).scan_on_push = scan_on_push;
        present.lifecycle = lifecycle.map(policy);
        present.policy = grant.map(pull_for);
        Observed { existing: there.then_some(present) }
    }
}

proptest! {
    #[test]
    fn a_second_plan_is_empty(wanted in any_desired(), before in any_observed()) {
        let actions = plan(&wanted, &before).expect("nothing in the way");
        let now = after(&actions, before);
        prop_assert_eq!(plan(&wanted, &now), Ok(Vec::new()));
    }

    #[test]
    fn tags_of_others_survive_every_plan(wanted in any_desired(), before in any_observed()) {
        let actions = plan(&wanted, &before).expect("nothing in the way");
        let now = after(&actions, before.clone());
        if let (Some(before), Some(now)) = (before.existing, now.existing) {
            for (key, value) in before.tags {
                if !wanted.tags.contains_key(&key) && !wanted.managed_tag_keys.contains(&key) {
                    prop_assert_eq!(now.tags.get(&key), Some(&value));
                }
            }
        }
    }
}
