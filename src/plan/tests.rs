//! What is said about a plan. Nothing here speaks to AWS.

use serde_json::json;

use super::*;

fn entry(outcome: Outcome, changes: Vec<Change>) -> Entry {
    Entry {
        outcome,
        changes,
        ..Entry::new("EcrRepository team-a/api", "api.yaml", "default", Vec::new()).of_repository("team-a/api")
    }
}

fn report() -> Report {
    Report {
        pods: None,
        registries: Vec::new(),
        repositories: vec![
            entry(
                Outcome::Create,
                vec![Change::new(Sign::Create, "create the repository").with(vec!["tag mutability: Immutable".into()])],
            ),
            entry(Outcome::Change, vec![Change::new(Sign::Change, "change tag mutability from Mutable to Immutable")]),
            entry(Outcome::Unchanged, Vec::new()),
            entry(Outcome::refused("OwnedByAnother", "it belongs to somebody else"), Vec::new()),
            entry(Outcome::Delete, vec![Change::new(Sign::Delete, "delete the repository, which has no images")]),
        ],
    }
}

#[test]
fn the_report_reads_as_a_diff_and_counts() {
    assert_eq!(
        report().text(),
        "EcrRepository team-a/api: team-a/api
  + create the repository
      tag mutability: Immutable

EcrRepository team-a/api: team-a/api
  ~ change tag mutability from Mutable to Immutable

EcrRepository team-a/api: team-a/api
  ! refused (OwnedByAnother): it belongs to somebody else

EcrRepository team-a/api: team-a/api
  - delete the repository, which has no images

1 to create, 1 to change, 1 to delete, 1 unchanged, 1 refused
"
    );
}

#[test]
fn machines_get_the_same() {
    let json = report().json();
    assert_eq!(
        json["repositories"][0],
        json!({
            "object": "EcrRepository team-a/api", "file": "api.yaml", "registry": "default", "repository": "team-a/api",
            "outcome": "Create",
            "changes": [{"sign": "Create", "action": "create the repository", "details": ["tag mutability: Immutable"]}],
        })
    );
    assert_eq!(json["repositories"][3]["reason"], "OwnedByAnother");
    assert_eq!(json["registries"], json!([]));
    assert_eq!(json["summary"], json!({"create": 1, "change": 1, "delete": 1, "unchanged": 1, "refused": 1}));
}

#[test]
fn settings_of_registries_come_first_and_count_too() {
    let settings = Entry {
        uri: Some("123456789012.dkr.ecr.eu-west-1.amazonaws.com".into()),
        outcome: Outcome::Change,
        changes: vec![Change::new(Sign::Change, "spec.settings.blobMounting: change BLOB_MOUNTING")],
        ..Entry::new("EcrRegistry default", "registry.yaml", "default", vec!["a note".into()])
    };
    let unreached = Entry {
        outcome: Outcome::refused("Unreachable", "no answer"),
        ..Entry::new("EcrRegistry far", "registry.yaml", "far", Vec::new())
    };
    let report = Report { registries: vec![settings, unreached], ..report() };
    assert!(
        report.text().starts_with(
            "EcrRegistry default: 123456789012.dkr.ecr.eu-west-1.amazonaws.com
  ~ spec.settings.blobMounting: change BLOB_MOUNTING
  note: a note

EcrRegistry far
  ! refused (Unreachable): no answer

EcrRepository team-a/api: team-a/api
"
        ),
        "{}",
        report.text()
    );
    let json = report.json();
    assert_eq!(
        json["registries"][1],
        json!({
            "object": "EcrRegistry far", "file": "registry.yaml", "registry": "far",
            "outcome": "Refused", "reason": "Unreachable", "message": "no answer", "changes": [],
        })
    );
    assert_eq!(json["summary"], json!({"create": 1, "change": 2, "delete": 1, "unchanged": 1, "refused": 2}));
    let alone = Report { repositories: Vec::new(), ..report };
    assert!(alone.has_changes() && alone.has_refusals());
}

#[test]
fn changes_and_refusals_are_told_apart() {
    let only = |outcome| Report { repositories: vec![entry(outcome, Vec::new())], ..Report::default() };
    assert!(!Report::default().has_changes() && !Report::default().has_refusals());
    assert!(only(Outcome::Delete).has_changes() && !only(Outcome::Unchanged).has_changes());
    assert!(only(Outcome::refused("X", "y")).has_refusals() && !only(Outcome::Observed).has_changes());
}

pub(super) fn manifests(text: &str) -> Vec<Manifest> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("all.yaml");
    std::fs::write(&path, text).expect("a file");
    crate::manifests::read(&[path], "default").expect("manifests")
}

fn repository(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: ecr-operator.io/v1alpha1\nkind: EcrRepository\nmetadata: {{name: {name}, namespace: team-a}}\nspec: {spec}\n"
    )
}

#[test]
fn mirrors_bring_the_repositories_that_they_make() {
    let text = "apiVersion: ecr-operator.io/v1alpha1\nkind: ImageMirror\nmetadata: {name: nginx, namespace: team-a}\nspec:\n  source: {image: nginx}\n  tags: {names: ['1']}\n  destinations:\n  - repository: {scanOnPush: true}\n  - {repositoryName: mirror/nginx}\n  - {repositoryName: other/nginx, createRepository: false}\n";
    let manifests = manifests(text);
    let subjects = subjects(&Question { manifests: &manifests, ..Question::default() });
    let names: Vec<_> = subjects.iter().map(|it| it.object.repository_name()).collect();
    assert_eq!(names, ["docker.io/library/nginx", "mirror/nginx"]);
    assert_eq!(subjects[0].object.spec.settings.scan_on_push, Some(true));
}

#[test]
fn what_is_in_base_alone_goes_and_what_is_in_both_knows_what_it_managed() {
    let base = manifests(
        &(repository("a", "{lifecycle: {rules: [{any: {}, keepLast: 3}]}, tags: {x: z}}") + &repository("b", "{}")),
    );
    let now = manifests(&(repository("a", "{}") + &repository("c", "{}")));
    let subjects = subjects(&Question { manifests: &now, base: &base, ..Question::default() });
    let told: Vec<_> = subjects.iter().map(|it| (it.title.as_str(), it.goes, it.before.is_some())).collect();
    assert_eq!(
        told,
        [
            ("EcrRepository team-a/a", false, true),
            ("EcrRepository team-a/c", false, false),
            ("EcrRepository team-a/b", true, true)
        ]
    );
    let status = with_what_it_managed(&subjects[0].object, subjects[0].before.as_ref()).status.expect("a status");
    assert!(status.manages_lifecycle && !status.manages_policy);
    assert_eq!(status.managed_tag_keys, ["x"]);
    assert_eq!(with_what_it_managed(&subjects[1].object, None).status, None);
}

#[tokio::test]
async fn objects_without_their_registry_are_refused_and_say_what_to_do() {
    let now = manifests(&(repository("a", "{repositoryName: x/y}") + &repository("b", "{repositoryName: x/y}")));
    let report = plan(&Question { manifests: &now, ..Question::default() }).await;
    let text = report.text();
    assert!(text.contains("refused (RegistryNotFound): the files have no EcrRegistry \"default\""), "{text}");
    assert!(text.contains("x/y is claimed by EcrRepository team-a/a too"), "{text}");
}

#[test]
fn a_namespace_that_may_not_use_a_repository_is_refused() {
    let registry = "---\napiVersion: ecr-operator.io/v1alpha1\nkind: EcrRegistry\nmetadata: {name: default}\nspec:\n  region: eu-west-1\n  access: [{namespaceSelector: {matchLabels: {team: a}}, repositories: ['team-a/*']}]\n";
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {team: a}}\n";
    let check = |text: String| {
        let now = manifests(&text);
        let question = Question { manifests: &now, ..Question::default() };
        let registry = registries(&question).remove("default").expect("a registry");
        let subject = subjects(&question).remove(0);
        allowed(&question, &registry, &subject.object)
    };
    let with = |spec: &str| format!("{registry}{namespace}{}", repository("a", spec));
    assert_eq!(check(with("{}")), Ok(()));
    assert!(check(with("{repositoryName: team-b/x}")).is_err());
    let unknown = check(format!("{registry}{}", repository("a", "{}"))).expect_err("no labels").message;
    assert!(unknown.contains("give its file too"), "{unknown}");
}
