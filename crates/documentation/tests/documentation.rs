//! The documentation as it is: `make lint` runs this.

use std::path::PathBuf;

use documentation::fields::{self, Page};
use documentation::files::{ending_with, read, root, shown};
use documentation::{charts, contents, links, messages};

fn docs() -> PathBuf {
    root().join("docs")
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let documents = ending_with(&root(), ".md");
    assert!(documents.len() > 40, "the search for documents is broken: {}", documents.len());
    assert_none(&links::problems(&documents));
}

#[test]
fn the_table_of_contents_has_every_page_once() {
    assert_none(&contents::problems(&docs()));
}

#[test]
fn charts_show_what_the_tables_say() {
    let drawn = charts::drawn(&docs()).unwrap();
    let outdated = |(path, svg): &(PathBuf, String)| {
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        (committed != *svg).then(|| format!("{} is out of date: run `make charts`", shown(path)))
    };
    assert_none(&drawn.iter().filter_map(outdated).collect::<Vec<_>>());
}

#[test]
fn quoted_messages_are_those_of_the_program() {
    let sources = ["src", "crates/oci-copy/src"].map(|folder| ending_with(&root().join(folder), ".rs")).concat();
    let pages = ending_with(&docs(), ".md");
    assert_none(&messages::problems(&pages, &messages::source(&sources)));
}

#[test]
fn troubleshooting_has_every_reason() {
    let conditions = read(&root().join("src/api/conditions.rs"));
    let reasons: Vec<_> =
        conditions.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \"")).collect();
    assert!(reasons.len() > 30, "the search for reasons is broken: {}", reasons.len());
    let page = read(&docs().join("troubleshooting.md"));
    let missing = reasons.iter().filter(|(name, _)| !page.contains(&format!("| `{name}` |")));
    assert_none(&missing.map(|(name, _)| format!("docs/troubleshooting.md has no row for {name}")).collect::<Vec<_>>());
}

/// The fields of a kind that its pages do not describe. A page is its name, what it is about, and what its section on the
/// status is about.
fn undescribed(plural: &str, pages: &[(&str, &str, &str)], elsewhere: &[&str]) -> Vec<String> {
    let crd = read(&root().join(format!("crds/ecr-operator.io_{plural}.yaml")));
    let texts: Vec<_> = pages.iter().map(|(name, ..)| read(&docs().join("spec").join(name))).collect();
    let pages: Vec<_> =
        pages.iter().zip(&texts).map(|((_, about, status), text)| Page { text, about, status }).collect();
    fields::undescribed(&fields::of_crd(&crd), &pages, elsewhere)
}

#[test]
fn every_field_of_an_ecr_registry_is_described() {
    let pages = [("ecrregistry.md", "", "status"), ("registry-settings.md", "spec.settings", "status.settings")];
    // As those of an EcrRepository.
    let elsewhere = ["spec.settings.creationTemplates.encryption", "spec.settings.creationTemplates.lifecycle"];
    assert_none(&undescribed("ecrregistries", &pages, &elsewhere));
}

#[test]
fn every_field_of_an_ecr_repository_is_described() {
    let pages = [
        ("ecrrepository.md", "", "status"),
        ("lifecycle.md", "spec.lifecycle", ""),
        ("lifecycle.md", "status.lifecyclePreview", ""),
        ("access.md", "spec.access", ""),
    ];
    assert_none(&undescribed("ecrrepositories", &pages, &[]));
}

#[test]
fn every_field_of_an_image_mirror_is_described() {
    let elsewhere = [
        // As those of an EcrRepository.
        "spec.destinations.repository.access",
        "spec.destinations.repository.encryption",
        "spec.destinations.repository.lifecycle",
    ];
    assert_none(&undescribed("imagemirrors", &[("imagemirror.md", "", "status")], &elsewhere));
}

#[test]
fn every_field_of_pull_secrets_is_described() {
    assert_none(&undescribed("ecrpullsecrets", &[("ecrpullsecret.md", "", "status")], &[]));
    // As those of an EcrPullSecret.
    let elsewhere = ["spec.serviceAccounts", "status.ignoredEntries"];
    assert_none(&undescribed("clusterecrpullsecrets", &[("clusterecrpullsecret.md", "", "status")], &elsewhere));
}
