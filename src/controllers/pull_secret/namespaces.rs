//! Which namespaces a ClusterEcrPullSecret is for. Nothing here does I/O.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt as _};
use wildmatch::WildMatch;

use crate::api::conditions::Reason;
use crate::api::{ClusterEcrPullSecretSpec, NamespaceNames};
use crate::controllers::failure::Failure;

/// What a spec selects.
pub(super) struct Selection {
    labels: Option<Selector>,
    names: Vec<String>,
    exclude: Vec<WildMatch>,
}

impl Selection {
    /// Reads the spec.
    pub(super) fn new(spec: &ClusterEcrPullSecretSpec) -> Result<Self, Failure> {
        let labels = spec.namespace_selector.clone().map(Selector::try_from).transpose().map_err(|error| {
            Failure::stalled(Reason::InvalidSpec, format!("spec.namespaceSelector can't be understood: {error}"))
        })?;
        let NamespaceNames { names, exclude } = spec.namespaces.clone().unwrap_or_default();
        let exclude = exclude.unwrap_or_default().iter().map(|pattern| WildMatch::new(pattern)).collect();
        Ok(Self { labels, names: names.unwrap_or_default(), exclude })
    }

    /// Whether a namespace of this name and with these labels is selected.
    pub(super) fn has(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let wanted = self.names.iter().any(|wanted| wanted == name)
            || self.labels.as_ref().is_some_and(|selector| selector.matches(labels));
        wanted && !self.exclude.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(spec: &str, name: &str, team: Option<&str>) -> bool {
        let labels = team.map(|team| ("team".to_owned(), team.to_owned())).into_iter().collect();
        let spec = serde_saphyr::from_str(spec).expect("a spec");
        Selection::new(&spec).expect("a selection").has(name, &labels)
    }

    #[test]
    fn labels_and_expressions_select_together_and_an_empty_selector_selects_all() {
        let spec = "namespaceSelector: {matchLabels: {team: a}}";
        assert!(selected(spec, "x", Some("a")) && !selected(spec, "x", Some("b")) && !selected(spec, "x", None));
        let spec = "namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [a, b]}, {key: team, operator: NotIn, values: [b]}]}";
        assert!(selected(spec, "x", Some("a")) && !selected(spec, "x", Some("b")));
        assert!(selected("namespaceSelector: {}", "x", None));
    }

    #[test]
    fn names_are_selected_beside_the_labels() {
        let spec = "namespaceSelector: {matchLabels: {team: a}}\nnamespaces: {names: [ci]}";
        assert!(selected(spec, "ci", None) && selected(spec, "x", Some("a")) && !selected(spec, "x", None));
        let spec = "namespaces: {names: [ci]}";
        assert!(selected(spec, "ci", None) && !selected(spec, "ci-2", Some("a")), "without a selector nothing else is");
    }

    #[test]
    fn what_is_excluded_is_selected_by_nothing() {
        let spec = "namespaceSelector: {}\nnamespaces: {exclude: ['kube-*', 'x?']}";
        assert!(!selected(spec, "kube-system", Some("a")) && !selected(spec, "x1", None));
        assert!(selected(spec, "my-kube-system", None) && selected(spec, "x", None) && selected(spec, "x12", None));
        assert!(!selected("namespaces: {names: [kube-system], exclude: ['kube-*']}", "kube-system", None));
    }

    #[test]
    fn a_selector_that_can_not_be_understood_is_told() {
        let spec = "namespaceSelector: {matchExpressions: [{key: team, operator: Near, values: [a]}]}";
        let spec = serde_saphyr::from_str(spec).expect("a spec");
        let failure = Selection::new(&spec).err().expect("refused");
        assert!(failure.is_stalled() && failure.message.contains("spec.namespaceSelector"), "{failure}");
    }
}
