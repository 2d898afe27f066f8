//! The decisions about a registry's settings, as sentences.

use proptest::prelude::*;

use super::*;
use crate::api::{AppliedFor, EncryptionType, ScanFrequency, ScanType, UpstreamRegistry};
use crate::ecr::policy::PolicyDocument;
use crate::ecr::settings::{Destination, Mutability, ReplicationRule, SigningRule};

fn scanning(type_: ScanType, filters: &[&str]) -> Scanning {
    let filters: BTreeSet<String> = filters.iter().map(|it| (*it).to_owned()).collect();
    let rules = (!filters.is_empty()).then_some((ScanFrequency::ScanOnPush, filters));
    Scanning { type_: Some(type_), rules: rules.into_iter().collect() }
}

fn policy(account: u8) -> Document {
    let text = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "{account:012}"}},
            "Action": "ecr:ReplicateImage", "Resource": "arn:aws:ecr:eu-west-1:123456789012:repository/*"}}]}}"#
    );
    Ok(PolicyDocument::read(&text).expect("a policy"))
}

fn signing(profile: &str) -> Signing {
    Signing(BTreeSet::from([SigningRule { profile_arn: profile.into(), filters: BTreeSet::new() }]))
}

fn rule(secret: u8) -> CacheRule {
    let credential_arn = Some(format!("secret-{secret}"));
    CacheRule { credential_arn, ..CacheRule::new(UpstreamRegistry::DockerHub, None, None) }
}

fn template(description: u8) -> Template {
    Template {
        description: Some(description.to_string()),
        applied_for: BTreeSet::from([AppliedFor::Replication]),
        mutability: Some(Mutability::Mutable),
        exclusions: BTreeSet::new(),
        encryption: Some(EncryptionType::Aes256),
        kms_key: None,
        lifecycle: None,
        policy: None,
        tags: BTreeMap::new(),
        custom_role_arn: None,
    }
}

fn rules(entries: &[(&str, CacheRule)]) -> Setting {
    Setting::CacheRules(entries.iter().map(|(prefix, rule)| ((*prefix).to_owned(), rule.clone())).collect())
}

fn templates(entries: &[(&str, Template)]) -> Setting {
    Setting::Templates(entries.iter().map(|(prefix, it)| ((*prefix).to_owned(), it.clone())).collect())
}

fn exclusions(arns: &[&str]) -> Setting {
    Setting::Exclusions(arns.iter().map(|arn| (*arn).to_owned()).collect())
}

fn held(entries: &[(&str, bool)]) -> Held {
    Held { created: false, entries: entries.iter().map(|(name, created)| ((*name).to_owned(), *created)).collect() }
}

fn created() -> Held {
    Held { created: true, entries: BTreeMap::new() }
}

/// The actions of a plan in which nothing is refused.
fn actions(desired: Option<&Setting>, present: &Setting, held: &Held) -> Vec<Action> {
    let plan = plan(desired, present, held);
    assert_eq!(plan.refusals, Vec::new());
    plan.actions
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    for setting in [
        Setting::Scanning(scanning(ScanType::Enhanced, &["*"])),
        Setting::Account(AccountSetting::BlobMounting, "ENABLED".into()),
        Setting::Replication(Replication::default()),
        Setting::Policy(Some(policy(1))),
        Setting::Signing(Some(signing("a"))),
    ] {
        assert_eq!(actions(Some(&setting), &setting, &Held::default()), Vec::new(), "{setting:?}");
    }
}

#[test]
fn what_differs_is_changed_and_the_change_says_from_what_to_what() {
    let (from, to) = (scanning(ScanType::Basic, &[]), scanning(ScanType::Enhanced, &["prod/*"]));
    let planned = actions(Some(&Setting::Scanning(to)), &Setting::Scanning(from), &Held::default());
    let [action] = planned.as_slice() else { panic!("{planned:?}") };
    assert_eq!(
        action.to_string(),
        "change scanning from BASIC without rules to ENHANCED with 1 rule (SCAN_ON_PUSH: prod/*)"
    );

    let wanted = Setting::Account(AccountSetting::BlobMounting, "ENABLED".into());
    let present = Setting::Account(AccountSetting::BlobMounting, "DISABLED".into());
    let planned = actions(Some(&wanted), &present, &Held::default());
    assert_eq!(planned[0].to_string(), "change BLOB_MOUNTING from DISABLED to ENABLED");
}

#[test]
fn replication_can_be_switched_off_in_so_many_words() {
    let on = Replication(BTreeSet::from([ReplicationRule {
        destinations: BTreeSet::from([Destination { registry_id: "1".into(), region: "eu-west-2".into() }]),
        filters: BTreeSet::new(),
    }]));
    let off = Replication::default();
    let planned = actions(Some(&Setting::Replication(off)), &Setting::Replication(on), &Held::default());
    assert_eq!(planned[0].to_string(), "change replication from 1 rule (all repositories to 1 in eu-west-2) to off");
}

#[test]
fn a_policy_of_somebody_else_is_replaced_and_what_it_said_is_told() {
    let planned = actions(Some(&Setting::Policy(Some(policy(1)))), &Setting::Policy(Some(policy(2))), &Held::default());
    let [action @ Action::PutPolicy { from: Some(_), .. }] = planned.as_slice() else { panic!("{planned:?}") };
    assert!(action.to_string().contains("000000000002") && action.to_string().contains("000000000001"), "{action}");
    assert!(!held_after(&Held::default(), &planned).created, "it was there before, so it stays when the part goes");
}

#[test]
fn a_policy_that_can_not_be_read_is_replaced() {
    let present = Setting::Policy(Some(Err("nonsense".into())));
    let planned = actions(Some(&Setting::Policy(Some(policy(1)))), &present, &Held::default());
    assert!(matches!(planned.as_slice(), [Action::PutPolicy { from: Some(Err(_)), .. }]), "{planned:?}");
}

#[test]
fn a_policy_or_signing_goes_with_its_part_only_if_it_was_made_here() {
    let policy_there = Setting::Policy(Some(policy(1)));
    let signing_there = Setting::Signing(Some(signing("a")));
    assert_eq!(actions(None, &policy_there, &created()), [Action::DeletePolicy]);
    assert_eq!(actions(None, &policy_there, &Held::default()), Vec::new());
    assert_eq!(actions(None, &signing_there, &created()), [Action::DeleteSigning]);
    assert_eq!(actions(None, &signing_there, &Held::default()), Vec::new());
    assert_eq!(actions(None, &Setting::Policy(None), &created()), Vec::new(), "gone already");
    assert_eq!(actions(None, &Setting::Signing(None), &created()), Vec::new(), "gone already");
}

#[test]
fn what_was_made_here_is_remembered_when_it_is_changed() {
    let made = held_after(&Held::default(), &[Action::PutPolicy { from: None, to: policy(1) }]);
    assert!(made.created);
    let changed = held_after(&made, &[Action::PutPolicy { from: Some(policy(1)), to: policy(2) }]);
    assert!(changed.created);
    assert!(!held_after(&changed, &[Action::DeletePolicy]).created);
}

#[test]
fn what_can_not_be_taken_away_stays_when_its_part_goes() {
    for present in [
        Setting::Scanning(scanning(ScanType::Enhanced, &["*"])),
        Setting::Account(AccountSetting::BlobMounting, "ENABLED".into()),
        Setting::Replication(Replication::default()),
    ] {
        assert_eq!(actions(None, &present, &created()), Vec::new(), "{present:?}");
    }
}

#[test]
fn missing_rules_templates_and_exclusions_are_made() {
    let none = Held::default();
    let planned = actions(Some(&rules(&[("hub", rule(1))])), &rules(&[]), &none);
    assert_eq!(planned, [Action::CreateCacheRule { prefix: "hub".into(), rule: rule(1) }]);
    assert_eq!(held_after(&none, &planned), held(&[("hub", true)]));
    let planned = actions(Some(&templates(&[("prod", template(1))])), &templates(&[]), &none);
    assert_eq!(held_after(&none, &planned), held(&[("prod", true)]));
    let planned = actions(Some(&exclusions(&["arn"])), &exclusions(&[]), &none);
    assert_eq!(planned, [Action::Register { arn: "arn".into() }]);
    assert_eq!(held_after(&none, &planned), held(&[("arn", true)]));
}

#[test]
fn what_is_there_and_the_same_is_adopted_without_a_change() {
    let none = Held::default();
    for (desired, name) in [
        (rules(&[("hub", rule(1))]), "hub"),
        (templates(&[("prod", template(1))]), "prod"),
        (exclusions(&["arn"]), "arn"),
    ] {
        let planned = actions(Some(&desired), &desired, &none);
        assert!(matches!(planned.as_slice(), [Action::Adopt { .. }]), "{planned:?}");
        assert_eq!(held_after(&none, &planned), held(&[(name, false)]));
    }
}

#[test]
fn what_is_there_and_differs_is_never_changed_unless_it_is_ours() {
    let none = Held::default();
    let refused = plan(Some(&rules(&[("hub", rule(1)), ("new", rule(1))])), &rules(&[("hub", rule(2))]), &none);
    assert_eq!(refused.actions, [Action::CreateCacheRule { prefix: "new".into(), rule: rule(1) }], "the others go on");
    let [failure] = refused.refusals.as_slice() else { panic!("{refused:?}") };
    assert_eq!(failure.reason, Reason::AdoptionRefused);
    assert!(
        failure.message.contains("hub") && failure.message.contains("secret-2"),
        "what is there is shown: {failure}"
    );

    let refused = plan(Some(&templates(&[("prod", template(1))])), &templates(&[("prod", template(2))]), &none);
    assert_eq!(refused.actions, Vec::new());
    assert!(refused.refusals[0].message.contains("description"), "{:?}", refused.refusals);
}

#[test]
fn what_is_held_is_changed_back_where_ecr_can() {
    for ours in [true, false] {
        let held_hub = held(&[("hub", ours)]);
        let planned = actions(Some(&rules(&[("hub", rule(1))])), &rules(&[("hub", rule(2))]), &held_hub);
        let update = Action::UpdateCacheRule { prefix: "hub".into(), from: rule(2), to: rule(1) };
        assert_eq!(planned, [update]);
        assert_eq!(held_after(&held_hub, &planned), held_hub);
        let held_prod = held(&[("prod", ours)]);
        let planned =
            actions(Some(&templates(&[("prod", template(1))])), &templates(&[("prod", template(2))]), &held_prod);
        assert!(matches!(planned.as_slice(), [Action::UpdateTemplate { .. }]), "{planned:?}");
        assert_eq!(planned[0].to_string(), "change creation template prod: description");
    }
}

#[test]
fn a_rule_is_never_deleted_and_made_anew_to_change_it() {
    let other = CacheRule {
        credential_arn: Some("secret-1".into()),
        ..CacheRule::new(UpstreamRegistry::Chainguard, None, None)
    };
    let refused = plan(Some(&rules(&[("hub", other)])), &rules(&[("hub", rule(1))]), &held(&[("hub", true)]));
    assert_eq!(refused.actions, Vec::new());
    let [failure] = refused.refusals.as_slice() else { panic!("{refused:?}") };
    assert_eq!(failure.reason, Reason::ImmutableField);
    assert!(failure.message.contains("upstreamRegistry, upstreamRegistryUrl"), "{failure}");
}

#[test]
fn what_left_the_spec_is_deleted_only_if_it_was_made_here() {
    let there = held(&[("made", true), ("found", false), ("gone", true)]);
    let present = rules(&[("made", rule(1)), ("found", rule(2)), ("others", rule(3))]);
    for desired in [None, Some(rules(&[]))] {
        let planned = actions(desired.as_ref(), &present, &there);
        let release = |name: &str| Action::Release { what: Entry::CacheRule, name: name.into() };
        let delete = Action::DeleteCacheRule { prefix: "made".into() };
        assert_eq!(planned, [release("found"), release("gone"), delete]);
        assert_eq!(held_after(&there, &planned), Held::default());
    }
    let present = templates(&[("made", template(1)), ("found", template(2)), ("others", template(3))]);
    let planned = actions(None, &present, &there);
    assert!(planned.contains(&Action::DeleteTemplate { prefix: "made".into() }) && planned.len() == 3, "{planned:?}");
    let planned = actions(None, &exclusions(&["made", "found", "others"]), &there);
    assert!(planned.contains(&Action::Deregister { arn: "made".into() }) && planned.len() == 3, "{planned:?}");
}

#[test]
fn an_adopted_rule_that_was_deleted_by_hand_is_made_here_from_then_on() {
    let adopted = held(&[("hub", false)]);
    let planned = actions(Some(&rules(&[("hub", rule(1))])), &rules(&[]), &adopted);
    assert_eq!(held_after(&adopted, &planned), held(&[("hub", true)]));
}

/// What ECR has after these actions.
fn after(present: Setting, actions: &[Action]) -> Setting {
    actions.iter().cloned().fold(present, |present, action| match (present, action) {
        (Setting::CacheRules(mut rules), action) => {
            match action {
                Action::CreateCacheRule { prefix, rule } => assert!(rules.insert(prefix, rule).is_none()),
                Action::UpdateCacheRule { prefix, from, to } => {
                    assert_eq!(from.fixed_difference(&to), Vec::<&str>::new());
                    assert_eq!(rules.insert(prefix, to), Some(from));
                }
                Action::DeleteCacheRule { prefix } => assert!(rules.remove(&prefix).is_some()),
                _ => {}
            }
            Setting::CacheRules(rules)
        }
        (Setting::Templates(mut templates), action) => {
            match action {
                Action::CreateTemplate { prefix, template } => assert!(templates.insert(prefix, *template).is_none()),
                Action::UpdateTemplate { prefix, from, to } => assert_eq!(templates.insert(prefix, *to), Some(*from)),
                Action::DeleteTemplate { prefix } => assert!(templates.remove(&prefix).is_some()),
                _ => {}
            }
            Setting::Templates(templates)
        }
        (Setting::Exclusions(mut arns), action) => {
            match action {
                Action::Register { arn } => assert!(arns.insert(arn)),
                Action::Deregister { arn } => assert!(arns.remove(&arn)),
                _ => {}
            }
            Setting::Exclusions(arns)
        }
        (Setting::Policy(_), Action::PutPolicy { to, .. }) => Setting::Policy(Some(to)),
        (Setting::Policy(_), Action::DeletePolicy) => Setting::Policy(None),
        (Setting::Signing(_), Action::PutSigning { to, .. }) => Setting::Signing(Some(to)),
        (Setting::Signing(_), Action::DeleteSigning) => Setting::Signing(None),
        (Setting::Scanning(_), Action::PutScanning { to, .. }) => Setting::Scanning(to),
        (present, action) => panic!("{action:?} is not for {present:?}"),
    })
}

fn any_rule() -> impl Strategy<Value = CacheRule> {
    (0..3u8, any::<bool>()).prop_map(|(secret, hub)| match hub {
        true => rule(secret),
        false => CacheRule { upstream: "chainguard".into(), ..rule(secret) },
    })
}

fn map<T: fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = BTreeMap<String, T>> {
    proptest::collection::btree_map("[a-e]", value, 0..5)
}

/// What a spec asks for, if anything, and what is there.
fn both() -> impl Strategy<Value = (Option<Setting>, Setting)> {
    let option = proptest::option::of::<BoxedStrategy<Setting>>;
    let policy = || proptest::option::of((1..4u8).prop_map(policy));
    let signing = || proptest::option::of("[a-c]".prop_map(|profile| signing(&profile)));
    let scan =
        || prop_oneof![Just(ScanType::Basic), Just(ScanType::Enhanced)].prop_map(|type_| scanning(type_, &["*"]));
    prop_oneof![
        (option(map(any_rule()).prop_map(Setting::CacheRules).boxed()), map(any_rule()).prop_map(Setting::CacheRules)),
        (
            option(map((0..3u8).prop_map(template)).prop_map(Setting::Templates).boxed()),
            map((0..3u8).prop_map(template)).prop_map(Setting::Templates)
        ),
        (
            option(proptest::collection::btree_set("[a-e]", 0..5).prop_map(Setting::Exclusions).boxed()),
            proptest::collection::btree_set("[a-e]", 0..5).prop_map(Setting::Exclusions)
        ),
        (
            option(policy().prop_filter("a spec that has a policy", Option::is_some).prop_map(Setting::Policy).boxed()),
            policy().prop_map(Setting::Policy)
        ),
        (
            option(
                signing().prop_filter("a spec that has signing", Option::is_some).prop_map(Setting::Signing).boxed()
            ),
            signing().prop_map(Setting::Signing)
        ),
        (option(scan().prop_map(Setting::Scanning).boxed()), scan().prop_map(Setting::Scanning)),
    ]
}

fn any_held() -> impl Strategy<Value = Held> {
    (any::<bool>(), map(any::<bool>())).prop_map(|(created, entries)| Held { created, entries })
}

fn names(setting: &Setting) -> BTreeSet<String> {
    match setting {
        Setting::CacheRules(rules) => rules.keys().cloned().collect(),
        Setting::Templates(templates) => templates.keys().cloned().collect(),
        Setting::Exclusions(arns) => arns.clone(),
        _ => BTreeSet::new(),
    }
}

proptest! {
    #[test]
    fn a_second_plan_is_empty((wanted, before) in both(), held in any_held()) {
        let first = plan(wanted.as_ref(), &before, &held);
        let now = after(before, &first.actions);
        let second = plan(wanted.as_ref(), &now, &held_after(&held, &first.actions));
        prop_assert_eq!(second.actions, Vec::new());
        prop_assert_eq!(second.refusals, first.refusals, "and what was refused is refused again");
    }

    #[test]
    fn nothing_is_deleted_that_was_not_made_here((wanted, before) in both(), held in any_held()) {
        let first = plan(wanted.as_ref(), &before, &held);
        let now = after(before.clone(), &first.actions);
        for name in names(&before).difference(&names(&now)) {
            prop_assert_eq!(held.entries.get(name), Some(&true), "{} is gone", name);
        }
        if matches!(now, Setting::Policy(None) | Setting::Signing(None)) {
            prop_assert!(held.created || now == before);
        }
    }

    #[test]
    fn nothing_is_changed_that_is_not_held((wanted, before) in both(), held in any_held()) {
        let first = plan(wanted.as_ref(), &before, &held);
        for action in &first.actions {
            if let Action::UpdateCacheRule { prefix, .. } | Action::UpdateTemplate { prefix, .. } = action {
                prop_assert!(held.entries.contains_key(prefix));
            }
        }
    }

    #[test]
    fn a_part_that_is_handed_back_leaves_nothing_held((_, before) in both(), held in any_held()) {
        let planned = plan(None, &before, &held);
        prop_assert_eq!(planned.refusals, Vec::new());
        if matches!(before, Setting::CacheRules(_) | Setting::Templates(_) | Setting::Exclusions(_)) {
            prop_assert_eq!(held_after(&held, &planned.actions).entries, BTreeMap::new());
        }
    }
}
