//! Sources that are registries of ECR: they are read with the identity of their EcrRegistry, as far as `spec.access` lets the
//! mirror's namespace use the repository.

use std::sync::Arc;

use kube::ResourceExt as _;
use oci_copy::Repository;

use crate::api::EcrRegistry;
use crate::controllers::access::Use;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::ecr::Ecr;
use crate::ecr::host::RegistryHost;

/// The connection to the registry that a source is in, if an EcrRegistry is about it. Of several any will do that lets the
/// namespace in.
pub(super) async fn registry_of(
    context: &Context,
    namespace: &str,
    source: &Repository,
) -> Result<Option<Arc<Ecr>>, Failure> {
    context.registries.filled().await;
    let mut registries = context.registries.store.state();
    registries.retain(|registry| answers_to(registry, source.host()));
    registries.sort_by_key(|registry| registry.name_any());
    let mut refused = None;
    for registry in registries {
        match context.authorise(&registry, namespace, Use::Repository(source.path())).await {
            Ok(()) => return context.connect(&registry).await.map(Some),
            Err(failure) => refused = refused.or(Some(failure)),
        }
    }
    refused.map_or(Ok(None), Err)
}

/// Whether a host is one of a registry's, as far as its status tells.
fn answers_to(registry: &EcrRegistry, host: &str) -> bool {
    let Some(status) = &registry.status else { return false };
    let of_account =
        |of: RegistryHost| status.account_id.as_ref() == Some(&of.account) && of.region == registry.spec.region;
    status.registry_host.as_deref() == Some(host) || RegistryHost::parse(host).is_some_and(of_account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EcrRegistryStatus;

    #[test]
    fn a_registry_answers_to_its_endpoint_and_to_each_host_of_its_account_and_region() {
        let spec = serde_saphyr::from_str("{region: eu-west-1}").expect("a spec");
        let mut registry = EcrRegistry::new("default", spec);
        assert!(!answers_to(&registry, "127.0.0.1:5000"), "nothing is known of it yet");
        registry.status = Some(EcrRegistryStatus {
            account_id: Some("123456789012".into()),
            registry_host: Some("127.0.0.1:5000".into()),
            ..EcrRegistryStatus::default()
        });
        for (host, expected) in [
            ("127.0.0.1:5000", true),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", true),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", true),
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", false),
            ("210987654321.dkr.ecr.eu-west-1.amazonaws.com", false),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example", false),
            ("docker.io", false),
        ] {
            assert_eq!(answers_to(&registry, host), expected, "{host}");
        }
    }
}
