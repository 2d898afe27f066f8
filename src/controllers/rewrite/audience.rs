//! Whose pods get a mirror's images. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Selector, SelectorExt as _};

use crate::api::{EcrRegistry, REWRITE_LABEL};
use crate::controllers::mirror::discovery::serves::{entries_for, judge};
use crate::rewrite::policy::{DISABLED, ENABLED};

/// The namespaces of the control plane. Their pods are needed before anything that serves images is.
pub(in crate::controllers) const CONTROL_PLANE: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// The label that every namespace has, with its name.
pub(in crate::controllers) const NAME: &str = "kubernetes.io/metadata.name";

/// The labels of all namespaces, by name.
pub(crate) type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// Whose pods get a mirror's images.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Audience {
    pub(super) namespaces: BTreeSet<String>,
    /// Those that the selector matches and that the registry does not let the mirror serve.
    pub(super) refused: BTreeSet<String>,
    /// The same namespaces, as the API server finds them by their labels.
    pub(super) selector: LabelSelector,
}

/// Why the pods of a namespace keep their images, whatever mirrors say.
pub(super) fn is_spared(namespace: &str, labels: &BTreeMap<String, String>, operators: Option<&str>) -> bool {
    match labels.get(REWRITE_LABEL).map(String::as_str) {
        Some(DISABLED) => true,
        Some(ENABLED) => false,
        _ => CONTROL_PLANE.contains(&namespace) || operators == Some(namespace),
    }
}

/// The namespaces that a mirror in `own` with this selector reaches through a registry.
pub(super) fn selected(
    own: &str,
    selector: &LabelSelector,
    registry: &Arc<EcrRegistry>,
    namespaces: &Namespaces,
    operators: Option<&str>,
) -> Result<Audience, kube::core::ParseExpressionError> {
    let parsed = Selector::try_from(selector.clone())?;
    let labels = namespaces.iter().map(|(name, labels)| (name.clone(), labels)).collect();
    let served = judge(own, &parsed, std::slice::from_ref(registry), &labels);
    let spared: BTreeSet<String> = namespaces
        .iter()
        .filter(|(name, labels)| is_spared(name, labels, operators))
        .map(|(name, _)| name.clone())
        .collect();
    let reached: BTreeSet<String> = served.namespaces.difference(&spared).cloned().collect();
    let by_labels = by_labels(own, selector, registry, namespaces, &spared).filter(|by_labels| {
        // Where the labels say another thing than the registry does, as of the mirror's own namespace, names are listed.
        Selector::try_from(by_labels.clone()).is_ok_and(|by_labels| {
            namespaces.iter().all(|(name, labels)| {
                let labels = with_name(name, labels);
                let is_off = labels.get(REWRITE_LABEL).is_some_and(|value| value == DISABLED);
                is_off || by_labels.matches(&labels) == reached.contains(name)
            })
        })
    });
    Ok(Audience {
        selector: by_labels.unwrap_or_else(|| named("In", &reached)),
        namespaces: reached,
        refused: served.refused.difference(&spared).cloned().collect(),
    })
}

/// Both selectors in one, the mirror's and the registry's, where one entry of the registry decides: a new namespace then counts
/// from its first pod on, and the API server has no long list to look through.
fn by_labels(
    own: &str,
    selector: &LabelSelector,
    registry: &EcrRegistry,
    namespaces: &Namespaces,
    spared: &BTreeSet<String>,
) -> Option<LabelSelector> {
    let nothing = BTreeMap::new();
    let of_own = namespaces.get(own).unwrap_or(&nothing);
    let mut entries = entries_for(registry, of_own);
    let (Some(serves), None) = (entries.next(), entries.next()) else { return None };
    let mut expressions = Vec::new();
    for part in [selector, serves] {
        let labels = part.match_labels.iter().flatten();
        expressions.extend(labels.map(|(key, value)| requirement(key, "In", vec![value.clone()])));
        expressions.extend(part.match_expressions.iter().flatten().cloned());
    }
    // Those that don't exist are none of the list: they may come, and their names are known.
    let control_plane = CONTROL_PLANE.iter().map(|name| (*name).to_owned());
    let never: BTreeSet<String> = control_plane
        .filter(|name| namespaces.get(name).is_none() || spared.contains(name))
        .chain(spared.iter().cloned())
        .filter(|name| {
            namespaces.get(name).is_none_or(|labels| labels.get(REWRITE_LABEL).is_none_or(|value| value != DISABLED))
        })
        .collect();
    if !never.is_empty() {
        expressions.push(requirement(NAME, "NotIn", never.into_iter().collect()));
    }
    Some(LabelSelector { match_expressions: Some(expressions), match_labels: None })
}

pub(in crate::controllers) fn with_name(name: &str, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert(NAME.to_owned(), name.to_owned());
    labels
}

pub(in crate::controllers) fn requirement(key: &str, operator: &str, values: Vec<String>) -> LabelSelectorRequirement {
    LabelSelectorRequirement { key: key.to_owned(), operator: operator.to_owned(), values: Some(values) }
}

pub(super) fn named(operator: &str, names: &BTreeSet<String>) -> LabelSelector {
    let all = requirement(NAME, operator, names.iter().cloned().collect());
    LabelSelector { match_expressions: Some(vec![all]), match_labels: None }
}

#[cfg(test)]
#[path = "audience_tests.rs"]
mod tests;
