//! Which namespace may use which repositories of a registry: `EcrRegistry.spec.access`. Nothing here does I/O.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use wildmatch::WildMatch;

use super::failure::Failure;
use crate::api::EcrRegistry;
use crate::api::conditions::Reason;
use crate::globs;

/// What an object wants of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use<'a> {
    /// This repository.
    Repository(&'a str),
    /// Whatever the namespace may use, and at least something.
    Anything,
}

/// The repositories that a namespace may use, as patterns with the wildcards `*` and `?`, as in IAM policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// Every repository: the registry has no `spec.access`.
    All,
    /// Those that match one of these patterns; none where there is no pattern.
    Matching(Vec<String>),
}

/// What `spec.access` of a registry grants a namespace with these labels. A selector that can't be understood grants
/// nothing.
pub fn granted(registry: &EcrRegistry, namespace: &str, labels: &BTreeMap<String, String>) -> Granted {
    let Some(access) = &registry.spec.access else { return Granted::All };
    let patterns = access
        .iter()
        .filter(|entry| selects(&entry.namespace_selector, labels))
        .flat_map(|entry| entry.repositories.iter().map(|pattern| globs::in_namespace(pattern, namespace)))
        .collect();
    Granted::Matching(patterns)
}

/// Whether a selector selects these labels. One that can't be understood selects nothing.
pub(super) fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// Whether a namespace with these labels may use a registry so, or why not.
pub fn authorise(
    registry: &EcrRegistry,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    wanted: Use<'_>,
) -> Result<(), Failure> {
    let Granted::Matching(patterns) = granted(registry, namespace, labels) else { return Ok(()) };
    let allowed = match wanted {
        Use::Anything => !patterns.is_empty(),
        Use::Repository(name) => patterns.iter().any(|pattern| WildMatch::new(pattern).matches(name)),
    };
    if allowed {
        return Ok(());
    }
    let registry = registry.name_any();
    let may = match patterns.as_slice() {
        [] => "no repository of it".to_owned(),
        patterns => format!("only {}", patterns.join(", ")),
    };
    let what = match wanted {
        Use::Repository(name) => format!("repository {name} of EcrRegistry {registry:?}"),
        Use::Anything => format!("EcrRegistry {registry:?}"),
    };
    Err(Failure::stalled(
        Reason::NamespaceNotAllowed,
        format!(
            "namespace {namespace} may not use {what}: spec.access of the EcrRegistry lets it use {may}; ask for an entry there, or use another name"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(access: &str) -> EcrRegistry {
        let spec = format!("{{region: eu-west-1, access: {access}}}");
        EcrRegistry::new("default", serde_saphyr::from_str(&spec).expect("a spec"))
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn allowed(registry: &EcrRegistry, namespace: &str, pairs: &[(&str, &str)], repository: &str) -> bool {
        authorise(registry, namespace, &labels(pairs), Use::Repository(repository)).is_ok()
    }

    #[test]
    fn without_access_every_namespace_may_use_every_repository() {
        let registry = registry("null");
        assert!(allowed(&registry, "any", &[], "whatever/it/is"));
        assert_eq!(granted(&registry, "any", &labels(&[])), Granted::All);
    }

    #[test]
    fn an_empty_list_lets_nobody_in() {
        let registry = registry("[]");
        assert!(!allowed(&registry, "any", &[], "a"));
        let refusal = authorise(&registry, "any", &labels(&[]), Use::Anything).expect_err("refused");
        assert_eq!(refusal.reason, Reason::NamespaceNotAllowed);
        assert!(refusal.message.contains("no repository of it"), "{refusal}");
    }

    #[test]
    fn a_pattern_is_matched_as_a_whole_and_its_wildcard_crosses_slashes() {
        let registry =
            registry("[{namespaceSelector: {matchLabels: {team: a}}, repositories: ['team-a/*', 'base-?']}]");
        let team = [("team", "a")];
        for (name, expected) in [
            ("team-a/api", true),
            ("team-a/deep/er", true),
            ("team-a", false),
            ("team-ab/api", false),
            ("x/team-a/api", false),
            ("base-1", true),
            ("base-12", false),
            ("base-", false),
        ] {
            assert_eq!(allowed(&registry, "ns", &team, name), expected, "{name}");
        }
        assert!(!allowed(&registry, "ns", &[("team", "b")], "team-a/api"));
        assert!(!allowed(&registry, "ns", &[], "team-a/api"));
    }

    #[test]
    fn an_empty_selector_is_for_every_namespace_and_the_namespace_can_be_part_of_a_pattern() {
        let registry = registry("[{namespaceSelector: {}, repositories: ['{namespace}/*']}]");
        assert!(allowed(&registry, "team-a", &[], "team-a/api"));
        assert!(!allowed(&registry, "team-b", &[], "team-a/api"));
    }

    #[test]
    fn grants_of_several_entries_add_up() {
        let registry = registry(
            "[{namespaceSelector: {}, repositories: ['shared/*']}, {namespaceSelector: {matchLabels: {team: a}}, repositories: ['a/*']}]",
        );
        assert!(
            allowed(&registry, "ns", &[("team", "a")], "shared/x") && allowed(&registry, "ns", &[("team", "a")], "a/x")
        );
        assert!(allowed(&registry, "ns", &[], "shared/x") && !allowed(&registry, "ns", &[], "a/x"));
        let refusal = authorise(&registry, "ns", &labels(&[]), Use::Repository("a/x")).expect_err("refused");
        assert!(refusal.message.contains("only shared/*") && refusal.message.contains("\"default\""), "{refusal}");
    }

    #[test]
    fn a_selector_that_can_not_be_understood_grants_nothing() {
        let registry = registry(
            "[{namespaceSelector: {matchExpressions: [{key: team, operator: Near, values: [a]}]}, repositories: ['*']}]",
        );
        assert!(!allowed(&registry, "ns", &[("team", "a")], "a"));
    }
}
