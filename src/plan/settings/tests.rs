//! What plans of settings say, on settings made by hand. Nothing here speaks to AWS.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::*;
use crate::api::conditions::Reason;
use crate::api::{ScanType, UpstreamRegistry};
use crate::controllers::registry::setting::Held;
use crate::ecr::ErrorKind;
use crate::ecr::settings::{AccountSetting, CacheRule, Replication, Scanning};
use crate::plan::tests::manifests;

/// A registry as ECR has it, by part.
pub(super) type Ecrs = BTreeMap<Part, Setting>;

fn place() -> Place {
    Place { account: "123456789012".into(), region: "eu-west-1".into() }
}

/// What a registry has that nobody has ever set anything in.
fn untouched() -> Ecrs {
    BTreeMap::from([
        (Part::Scanning, Setting::Scanning(Scanning { type_: Some(ScanType::Basic), rules: BTreeMap::new() })),
        (Part::BasicScanTypeVersion, Setting::Account(AccountSetting::BasicScanTypeVersion, "AWS_NATIVE".into())),
        (Part::Replication, Setting::Replication(Replication::default())),
        (Part::PolicyScope, Setting::Account(AccountSetting::RegistryPolicyScope, "V1".into())),
        (Part::Policy, Setting::Policy(None)),
        (Part::PullThroughCacheRules, Setting::CacheRules(BTreeMap::new())),
        (Part::CreationTemplates, Setting::Templates(BTreeMap::new())),
        (Part::BlobMounting, Setting::Account(AccountSetting::BlobMounting, "DISABLED".into())),
        (Part::Signing, Setting::Signing(None)),
        (Part::PullTimeUpdateExclusions, Setting::Exclusions(BTreeSet::new())),
    ])
}

/// A registry that is as these settings say.
pub(super) fn as_in(settings: &str) -> Ecrs {
    let settings = registry(settings).spec.settings.expect("settings");
    let set = desired(&settings, &place()).into_iter().map(|(part, setting)| (part, setting.expect("a setting")));
    untouched().into_iter().chain(set).collect()
}

fn file(name: &str, settings: &str, status: &str) -> String {
    format!(
        "---\napiVersion: ecr-operator.io/v1alpha1\nkind: EcrRegistry\nmetadata: {{name: {name}}}\nspec: {{region: eu-west-1, accountId: '123456789012', settings: {{{settings}}}}}\n{status}\n"
    )
}

fn registry(settings: &str) -> EcrRegistry {
    let manifests = manifests(&file("default", settings, ""));
    registries(&manifests).next().expect("a registry").1.clone()
}

/// What a plan says of the first registry of these manifests, where ECR has this.
async fn planned(now: &str, base: &str, ecr: &Ecrs) -> Entry {
    let (now, base) = (manifests(now), manifests(base));
    let question = Question { manifests: &now, base: &base, ..Question::default() };
    let subject = subjects(&question).remove(0);
    let observe = async |part| Ok::<_, EcrError>(ecr[&part].clone());
    let mut entry = Entry::new(&subject.title, &subject.file, "default", Vec::new());
    look(&subject.settings(), &place(), &subject.known, observe).await.tell(&mut entry);
    entry
}

fn text(entry: &Entry) -> String {
    let report = crate::plan::Report { registries: vec![entry.clone()], ..Default::default() }.text();
    report.lines().filter(|line| line.starts_with(' ')).map(|line| format!("{line}\n")).collect()
}

const HUB: &str = "{ecrRepositoryPrefix: docker-hub, upstreamRegistry: docker-hub, credentialArn: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf'}";
const OTHER_HUB: &str = "{ecrRepositoryPrefix: docker-hub, upstreamRegistry: docker-hub, credentialArn: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/new-AbCdEf'}";
const K8S: &str = "{ecrRepositoryPrefix: k8s, upstreamRegistry: k8s}";

fn complete() -> String {
    format!(
        "
  scanning: {{type: ENHANCED, rules: [{{frequency: SCAN_ON_PUSH, repositoryFilters: ['*']}}]}},
  replication: {{rules: [{{destinations: [{{region: eu-central-1}}], repositoryFilters: [prod/]}}]}},
  policy: {{scope: V2, grants: [{{principals: ['222222222222'], permissions: Replicate, repositories: ['prod/*']}}]}},
  pullThroughCacheRules: [{HUB}, {K8S}],
  creationTemplates: [{{prefix: docker-hub, appliedFor: [PULL_THROUGH_CACHE], tagMutability: Immutable, mutableTags: [latest], lifecycle: {{rules: [{{untagged: {{}}, expireAfterDays: 7}}]}}}}],
  blobMounting: Enabled,
  signing: {{rules: [{{signingProfileArn: 'arn:aws:signer:eu-west-1:123456789012:/signing-profiles/release'}}]}},
  pullTimeUpdateExclusions: ['arn:aws:iam::123456789012:role/mirror']
"
    )
}

#[tokio::test]
async fn all_parts_of_an_untouched_registry_are_shown() {
    let entry = planned(&file("default", &complete(), ""), "", &untouched()).await;
    assert_eq!(
        text(&entry),
        "  ~ spec.settings.scanning: change scanning
      from: BASIC without rules
      to: ENHANCED with 1 rule (SCAN_ON_PUSH: *)
  ~ spec.settings.replication: change replication
      + prod/ to 123456789012 in eu-central-1
  ~ spec.settings.policy.scope: change REGISTRY_POLICY_SCOPE from V1 to V2
  + spec.settings.policy: set the registry policy
      allow ecr:CreateRepository, ecr:ReplicateImage to 222222222222 on arn:aws:ecr:eu-west-1:123456789012:repository/prod/*
  + spec.settings.pullThroughCacheRules: create pull-through-cache rule docker-hub
      upstreamRegistry: docker-hub
      upstreamRegistryUrl: registry-1.docker.io
      credentialArn: arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf
  + spec.settings.pullThroughCacheRules: create pull-through-cache rule k8s
      upstreamRegistry: k8s
      upstreamRegistryUrl: registry.k8s.io
  + spec.settings.creationTemplates: create creation template docker-hub
      appliedFor: PULL_THROUGH_CACHE
      tagMutability: Immutable except latest
      encryption: Aes256
      lifecycle:
        rule 1: untagged images: expire 7 days after their push
  ~ spec.settings.blobMounting: change BLOB_MOUNTING from DISABLED to ENABLED
  + spec.settings.signing: set signing
      all repositories with arn:aws:signer:eu-west-1:123456789012:/signing-profiles/release
  + spec.settings.pullTimeUpdateExclusions: exclude arn:aws:iam::123456789012:role/mirror from pull times
"
    );
    assert_eq!(entry.outcome, Outcome::Change);
}

#[tokio::test]
async fn a_registry_that_is_as_the_spec_says_does_not_change() {
    let now = file("default", &complete(), "");
    let entry = planned(&now, "", &as_in(&complete())).await;
    assert_eq!((entry.outcome, entry.changes), (Outcome::Unchanged, Vec::new()));
    let adopted = |so: &str| {
        format!("spec.settings.pullThroughCacheRules: there and as the spec says, so adopted{so}: docker-hub, k8s")
    };
    assert!(entry.notes.contains(&adopted(" unless the object manages it already")), "{:?}", entry.notes);
    let entry = planned(&now, &file("other", "", ""), &as_in(&complete())).await;
    assert!(entry.notes.contains(&adopted("")), "it is new: {:?}", entry.notes);
    let entry = planned(&now, &now, &as_in(&complete())).await;
    assert_eq!((entry.outcome, entry.changes, entry.notes), (Outcome::Unchanged, Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_rule_of_others_is_refused_and_the_rest_is_shown() {
    let now = file("default", &format!("pullThroughCacheRules: [{OTHER_HUB}, {K8S}], blobMounting: Enabled"), "");
    let entry = planned(&now, "", &as_in(&format!("pullThroughCacheRules: [{HUB}]"))).await;
    let Outcome::Refused { reason, message } = &entry.outcome else { panic!("{entry:?}") };
    assert_eq!(reason, "AdoptionRefused");
    assert!(
        message.starts_with("spec.settings.pullThroughCacheRules: pull-through-cache rule docker-hub"),
        "{message}"
    );
    let told = text(&entry);
    for words in [
        "+ spec.settings.pullThroughCacheRules: create pull-through-cache rule k8s",
        "~ spec.settings.blobMounting: ",
        "note: spec.settings.pullThroughCacheRules: what the object manages already is changed and not refused; give the present manifests with --base to be sure",
        "note: what is refused holds up nothing else",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    // Base has other objects: this one is new, and nothing is left to suppose.
    let entry = planned(&now, &file("other", "", ""), &as_in(&format!("pullThroughCacheRules: [{HUB}]"))).await;
    assert!(matches!(entry.outcome, Outcome::Refused { .. }) && !text(&entry).contains("--base"), "{entry:?}");
}

#[tokio::test]
async fn a_rule_that_base_has_is_changed_and_what_that_supposes_is_said() {
    let base = file("default", &format!("pullThroughCacheRules: [{HUB}]"), "");
    let now = file("default", &format!("pullThroughCacheRules: [{OTHER_HUB}]"), "");
    let entry = planned(&now, &base, &as_in(&format!("pullThroughCacheRules: [{HUB}]"))).await;
    assert_eq!((&entry.outcome, entry.notes.as_slice()), (&Outcome::Change, [].as_slice()));
    assert_eq!(
        text(&entry),
        "  ~ spec.settings.pullThroughCacheRules: change pull-through-cache rule docker-hub
      from: docker-hub registry-1.docker.io with the credentials in arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf
      to: docker-hub registry-1.docker.io with the credentials in arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/new-AbCdEf
"
    );

    let mut others = untouched();
    let credential_arn = Some("arn:aws:secretsmanager:eu-west-1:123456789012:secret:others".to_owned());
    let rule = CacheRule { credential_arn, ..CacheRule::new(UpstreamRegistry::DockerHub, None, None) };
    others.insert(Part::PullThroughCacheRules, Setting::CacheRules(BTreeMap::from([("docker-hub".into(), rule)])));
    let entry = planned(&now, &base, &others).await;
    assert_eq!(entry.outcome, Outcome::Change);
    let note = "spec.settings.pullThroughCacheRules: not as --base says, so refused (AdoptionRefused) if the object does not manage it: docker-hub";
    assert_eq!(entry.notes, [note]);
}

#[tokio::test]
async fn what_leaves_the_spec_goes_where_ecr_deletes_such_a_thing() {
    let entry =
        planned(&file("default", "blobMounting: Enabled", ""), &file("default", &complete(), ""), &as_in(&complete()))
            .await;
    assert_eq!(entry.outcome, Outcome::Change);
    assert_eq!(
        text(&entry),
        "  - spec.settings.policy: delete the registry policy, which is no longer in the spec
      allow ecr:CreateRepository, ecr:ReplicateImage to 222222222222 on arn:aws:ecr:eu-west-1:123456789012:repository/prod/*
  - spec.settings.pullThroughCacheRules: delete pull-through-cache rule docker-hub, which is no longer in the spec
      upstreamRegistry: docker-hub
      upstreamRegistryUrl: registry-1.docker.io
      credentialArn: arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf
  - spec.settings.pullThroughCacheRules: delete pull-through-cache rule k8s, which is no longer in the spec
      upstreamRegistry: k8s
      upstreamRegistryUrl: registry.k8s.io
  - spec.settings.creationTemplates: delete creation template docker-hub, which is no longer in the spec
      appliedFor: PULL_THROUGH_CACHE
      tagMutability: Immutable except latest
      encryption: Aes256
      lifecycle:
        rule 1: untagged images: expire 7 days after their push
  - spec.settings.signing: delete the signing configuration, which is no longer in the spec
      all repositories with arn:aws:signer:eu-west-1:123456789012:/signing-profiles/release
  - spec.settings.pullTimeUpdateExclusions: take back the exclusion of arn:aws:iam::123456789012:role/mirror, which is no longer in the spec
  note: spec.settings.scanning leaves the spec: what ECR has stays as it is
  note: spec.settings.replication leaves the spec: what ECR has stays as it is
  note: spec.settings.policy.scope leaves the spec: what ECR has stays as it is
  note: only what the object made is deleted, and what was there before it stays: which is which is in status.settings of the object in the cluster and not in a spec
"
    );
}

#[tokio::test]
async fn a_status_knows_what_the_object_made_and_what_it_adopted() {
    let status = "status: {settings: [{name: pullThroughCacheRules, ready: true, reason: Succeeded, message: 2 rules, entries: [{name: docker-hub, created: true}, {name: k8s, created: false}]}]}";
    let ecr = as_in(&format!("pullThroughCacheRules: [{HUB}, {K8S}]"));
    let there = file("default", &format!("pullThroughCacheRules: [{HUB}, {K8S}]"), status);
    // The status can come with the object, or with its old self in base, which then knows more than a spec.
    for (now, base) in [
        (file("default", "pullThroughCacheRules: []", status), String::new()),
        (file("default", "pullThroughCacheRules: []", ""), there.clone()),
    ] {
        let entry = planned(&now, &base, &ecr).await;
        let told = text(&entry);
        assert_eq!(entry.changes.len(), 1, "{told}");
        assert!(
            told.contains("- spec.settings.pullThroughCacheRules: delete pull-through-cache rule docker-hub"),
            "{told}"
        );
        assert_eq!(
            entry.notes,
            ["spec.settings.pullThroughCacheRules: leave pull-through-cache rule k8s alone from now on"]
        );
    }
    let entry = planned(&there, "", &ecr).await;
    assert_eq!((entry.outcome, entry.notes), (Outcome::Unchanged, Vec::new()));
}

#[tokio::test]
async fn what_ecr_has_beside_the_spec_is_said_where_nothing_is_known() {
    let ecr = as_in(&format!("pullThroughCacheRules: [{HUB}, {K8S}]"));
    let now = file("default", &format!("pullThroughCacheRules: [{K8S}]"), "");
    let entry = planned(&now, "", &ecr).await;
    assert_eq!(entry.outcome, Outcome::Unchanged);
    let words = "there and not in the spec, so deleted if it came from this object (give the present manifests with --base to be sure): docker-hub";
    assert!(text(&entry).contains(words), "{entry:?}");
    assert!(!text(&planned(&now, &now, &ecr).await).contains("not in the spec"), "others' rules are none of ours");
}

#[tokio::test]
async fn a_policy_of_others_is_replaced_and_both_are_shown() {
    let grant =
        |account: &str| format!("policy: {{grants: [{{principals: ['{account}'], permissions: PullThroughCache}}]}}");
    let now = file("default", &grant("222222222222"), "");
    let told = text(&planned(&now, "", &as_in(&grant("333333333333"))).await);
    assert!(told.contains("~ spec.settings.policy: change the registry policy"), "{told}");
    assert!(told.contains("+ 222222222222") && told.contains("- 333333333333"), "{told}");
    let mut ecr = untouched();
    ecr.insert(Part::Policy, Setting::Policy(Some(Err("nonsense".into()))));
    let told = text(&planned(&now, "", &ecr).await);
    assert!(told.contains("replace the registry policy, which can't be read here"), "{told}");
}

#[tokio::test]
async fn what_can_not_be_looked_at_or_asked_for_is_refused_and_hides_no_other_part() {
    let settings =
        "blobMounting: Enabled, scanning: {type: BASIC}, replication: {rules: [{destinations: [{region: eu-west-1}]}]}";
    let settings = registry(settings).spec.settings.expect("settings");
    let asked = RefCell::new(Vec::new());
    let observe = async |part| {
        asked.borrow_mut().push(part);
        match part {
            Part::Scanning => Err(EcrError {
                operation: "ecr:GetRegistryScanningConfiguration",
                kind: ErrorKind::AccessDenied,
                message: "AccessDeniedException: no".into(),
            }),
            _ => Ok(untouched()[&part].clone()),
        }
    };
    let mut entry = Entry::new("EcrRegistry default", "all.yaml", "default", Vec::new());
    look(&settings, &place(), &Known::Unknown, observe).await.tell(&mut entry);
    assert_eq!(*asked.borrow(), [Part::Scanning, Part::BlobMounting], "what can't be had needs no look");
    let Outcome::Refused { reason, message } = &entry.outcome else { panic!("{entry:?}") };
    assert_eq!(reason, "SomeSettingsFailed");
    assert!(message.contains("spec.settings.scanning: ") && message.contains("AccessDeniedException"), "{message}");
    assert!(message.contains("spec.settings.replication names this registry itself"), "{message}");
    assert_eq!(entry.changes.len(), 1, "{entry:?}");
}

/// The entries of a plan that reaches no registry.
async fn unreached(now: &str, base: &str) -> Vec<Entry> {
    let (now, base) = (manifests(now), manifests(base));
    let question = Question { manifests: &now, base: &base, ..Question::default() };
    let no = Failure::stalled(Reason::AccountMismatch, "spec.accountId is another");
    let connections: Connections = HashMap::from([("default".to_owned(), Err(no))]);
    plan(&question, &connections).await
}

#[tokio::test]
async fn a_registry_that_can_not_be_reached_is_refused_if_it_has_settings() {
    let entries = unreached(&file("default", "blobMounting: Enabled", ""), "").await;
    assert_eq!(entries[0].outcome, Outcome::refused("AccountMismatch", "spec.accountId is another"));
    assert_eq!(unreached(&file("default", "", ""), "").await, Vec::new());
    let without = "---\napiVersion: ecr-operator.io/v1alpha1\nkind: EcrRegistry\nmetadata: {name: default}\nspec: {region: eu-west-1}\n";
    assert_eq!(unreached(without, without).await, Vec::new());
    // It had some: what goes is to be shown.
    assert_eq!(unreached(without, &file("default", "blobMounting: Enabled", "")).await.len(), 1);
}

#[tokio::test]
async fn a_registry_that_leaves_the_files_leaves_ecr_as_it_is() {
    let entries = unreached(&file("other", "", ""), &file("default", &complete(), "")).await;
    assert_eq!((entries.len(), &entries[0].outcome), (1, &Outcome::Unchanged));
    assert!(text(&entries[0]).contains("the object goes, and nothing changes in ECR"), "{entries:?}");
    assert_eq!(unreached(&file("other", "", ""), &file("default", "", "")).await, Vec::new());
}

#[test]
fn of_two_objects_for_one_registry_the_one_in_base_is_older_and_then_the_first() {
    let refused = |now: &str, base: &str| -> Vec<String> {
        let (now, base) = (manifests(now), manifests(base));
        let subjects = subjects(&Question { manifests: &now, base: &base, ..Question::default() });
        let all: Vec<_> = subjects.iter().filter(|it| !it.goes).map(|it| it.object.clone()).collect();
        let refused = all.iter().filter(|object| rival::refuse(object, &place(), &all).is_some());
        refused.map(|object| object.name_any()).collect()
    };
    let settings = "blobMounting: Enabled";
    let (one, two) = (file("one", settings, ""), file("two", settings, ""));
    assert_eq!(refused(&format!("{one}{two}"), ""), ["two"]);
    assert_eq!(refused(&format!("{one}{two}"), &two), ["one"]);
    assert_eq!(refused(&two, &one), Vec::<String>::new(), "what goes is in nobody's way");
    let dated = |text: &str, day: u8| {
        let name = if text == one { "one" } else { "two" };
        text.replace(
            &format!("{{name: {name}}}"),
            &format!("{{name: {name}, uid: u, creationTimestamp: '2026-01-0{day}T00:00:00Z'}}"),
        )
    };
    assert_eq!(refused(&format!("{one}{two}"), &format!("{}{}", dated(&one, 2), dated(&two, 1))), ["one"]);
}

#[test]
fn what_is_in_base_counts_as_made_where_it_would_be_deleted() {
    let known = Known::of(&registry(""), Some(&registry(&complete())), true);
    let held = known.held(&place());
    let made = |names: &[&str]| Held {
        created: false,
        entries: names.iter().map(|name| ((*name).to_owned(), true)).collect(),
    };
    assert_eq!(held[&Part::PullThroughCacheRules], made(&["docker-hub", "k8s"]));
    assert_eq!(held[&Part::CreationTemplates], made(&["docker-hub"]));
    assert!(held[&Part::Policy].created && held[&Part::Signing].created);
    assert_eq!(held[&Part::Scanning], Held::default());
    assert_eq!((Known::New.held(&place()), Known::Unknown.held(&place())), Default::default());
}
