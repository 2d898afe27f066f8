//! Whose workloads a mirror may look at: those of its own namespace, and those of others where every EcrRegistry that it
//! mirrors to says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};

use crate::api::conditions::Reason;
use crate::api::{EcrRegistry, FromWorkloads, ImageMirror};
use crate::controllers::access::selects;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;

/// The namespaces that a mirror's selector matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::controllers) struct Served {
    pub(in crate::controllers) namespaces: BTreeSet<String>,
    /// Those of them that the mirror may not serve.
    pub(in crate::controllers) refused: BTreeSet<String>,
}

pub(super) async fn served(mirror: &ImageMirror, source: &FromWorkloads, context: &Context) -> Result<Served, Failure> {
    let own = mirror.namespace().unwrap_or_default();
    let Some(selector) = &source.namespace_selector else {
        return Ok(Served { namespaces: [own].into(), refused: BTreeSet::new() });
    };
    let selector = Selector::try_from(selector.clone()).map_err(|error| {
        let message = format!("spec.source.fromWorkloads.namespaceSelector can't be used: {error}");
        Failure::stalled(Reason::InvalidSpec, message)
    })?;
    let mut registries: Vec<Arc<EcrRegistry>> = Vec::new();
    for destination in &mirror.spec.destinations {
        registries.push(context.registry_object(&destination.registry_ref).await?);
    }
    context.pull_secrets.namespaces.filled().await;
    let all = context.pull_secrets.namespaces.store.state();
    let labels: BTreeMap<String, &BTreeMap<String, String>> =
        all.iter().map(|namespace| (namespace.name_any(), namespace.labels())).collect();
    Ok(judge(&own, &selector, &registries, &labels))
}

/// Which of the namespaces a mirror in `own` serves.
pub(in crate::controllers) fn judge(
    own: &str,
    selector: &Selector,
    registries: &[Arc<EcrRegistry>],
    labels: &BTreeMap<String, &BTreeMap<String, String>>,
) -> Served {
    let nothing = BTreeMap::new();
    let of_own = labels.get(own).copied().unwrap_or(&nothing);
    let mut served = Served::default();
    for (namespace, labels) in labels.iter().filter(|(_, labels)| selector.matches(labels)) {
        let may = namespace == own || registries.iter().all(|registry| lets_serve(registry, of_own, labels));
        let into = if may { &mut served.namespaces } else { &mut served.refused };
        into.insert(namespace.clone());
    }
    served
}

/// Whether a registry lets namespaces with these labels mirror for the workloads of a namespace with those. Without
/// `spec.access`, and with a selector that can't be understood, it lets nobody.
fn lets_serve(
    registry: &EcrRegistry,
    mirrors: &BTreeMap<String, String>,
    workloads: &BTreeMap<String, String>,
) -> bool {
    entries_for(registry, mirrors).any(|serves| selects(serves, workloads))
}

/// The namespaces that a registry's entries let mirrors serve, of those for namespaces with these labels.
pub(in crate::controllers) fn entries_for<'r>(
    registry: &'r EcrRegistry,
    mirrors: &'r BTreeMap<String, String>,
) -> impl Iterator<Item = &'r LabelSelector> {
    let entries = registry.spec.access.iter().flatten();
    entries
        .filter(|entry| selects(&entry.namespace_selector, mirrors))
        .filter_map(|entry| entry.serves_namespaces.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(access: &str) -> Arc<EcrRegistry> {
        let spec = format!("{{region: eu-west-1, access: {access}}}");
        Arc::new(EcrRegistry::new("default", serde_saphyr::from_str(&spec).expect("a spec")))
    }

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_terminator(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The namespaces that are served, and those that are refused.
    fn judged(registries: &[Arc<EcrRegistry>]) -> (Vec<String>, Vec<String>) {
        let (platform, shop, bank, system) =
            (labels("team=platform,mirror=on"), labels("mirror=on"), labels("mirror=on,secret=yes"), labels(""));
        let all = [("platform", &platform), ("shop", &shop), ("bank", &bank), ("kube-system", &system)];
        let all = all.into_iter().map(|(name, labels)| (name.to_owned(), labels)).collect();
        let selector = Selector::from(kube::core::Expression::Equal("mirror".into(), "on".into()));
        let served = judge("platform", &selector, registries, &all);
        (served.namespaces.into_iter().collect(), served.refused.into_iter().collect())
    }

    const ALL: &str =
        "[{namespaceSelector: {matchLabels: {team: platform}}, repositories: ['*'], servesNamespaces: {}}]";
    const NOT_SECRET: &str = "[{namespaceSelector: {}, repositories: ['*'], servesNamespaces: {matchExpressions: [{key: secret, operator: DoesNotExist}]}}]";

    #[test]
    fn a_registry_without_a_word_on_it_lets_a_mirror_serve_its_own_namespace_only() {
        for access in ["null", "[]", "[{namespaceSelector: {}, repositories: ['*']}]"] {
            let (served, refused) = judged(&[registry(access)]);
            assert_eq!(
                (served, refused),
                (vec!["platform".to_owned()], vec!["bank".to_owned(), "shop".into()]),
                "{access}"
            );
        }
    }

    #[test]
    fn an_entry_for_the_mirrors_namespace_lets_it_serve_those_that_it_selects() {
        assert_eq!(judged(&[registry(ALL)]).0, ["bank", "platform", "shop"]);
        assert_eq!(judged(&[registry(NOT_SECRET)]).0, ["platform", "shop"]);
        let others = ALL.replace("platform", "others");
        assert_eq!(judged(&[registry(&others)]).0, ["platform"]);
    }

    #[test]
    fn every_registry_has_to_agree() {
        let (served, refused) = judged(&[registry(ALL), registry(NOT_SECRET)]);
        assert_eq!((served, refused), (vec!["platform".to_owned(), "shop".into()], vec!["bank".to_owned()]));
    }

    #[test]
    fn a_selector_that_can_not_be_understood_lets_nobody() {
        let access = "[{namespaceSelector: {}, repositories: ['*'], servesNamespaces: {matchExpressions: [{key: a, operator: Near, values: [b]}]}}]";
        assert_eq!(judged(&[registry(access)]).0, ["platform"]);
    }
}
