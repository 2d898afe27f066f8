//! The resources that users write: group `ecr-operator.io`, version `v1alpha1`, one file a kind.
//!
//! The CustomResourceDefinitions in `crds/` are generated from these types; doc comments become their field
//! descriptions. Rules that the API server can check are CEL rules here, so that a bad object is refused when it is
//! applied and not hours later.

// Printer columns repeat `type_` and `json_path` in one attribute, as kube's derive wants it.
#![allow(clippy::duplicated_attributes)]

pub mod access;
mod common;
pub mod conditions;
mod creation_template;
mod enforcement;
pub mod lifecycle;
mod mirror;
mod mirror_status;
mod pull_role;
mod pull_secret;
mod pull_secret_parts;
mod registry;
mod registry_settings;
mod repository;
mod rewrite;
mod verification;

pub use access::{AccessGrant, AccessPermissions};
pub use common::*;
pub use creation_template::*;
pub use enforcement::*;
pub use lifecycle::{
    Any, ImageInUse, Lifecycle, LifecyclePreview, LifecycleRule, PreviewAction, PreviewState, Tagged, Untagged,
};
pub use mirror::*;
pub use mirror_status::*;
pub use pull_role::*;
pub use pull_secret::*;
pub use pull_secret_parts::*;
pub use registry::*;
pub use registry_settings::*;
pub use repository::*;
pub use rewrite::*;
pub use verification::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;
use serde_json::json;

/// The API group of every kind.
pub const GROUP: &str = "ecr-operator.io";

/// `status.observedGeneration` of an object that no reconcile has looked at yet.
pub const UNOBSERVED: i64 = -1;

/// All CustomResourceDefinitions, in the order in which they are printed and installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let crds = [
        EcrRegistry::crd(),
        EcrRepository::crd(),
        ImageMirror::crd(),
        EcrPullSecret::crd(),
        ClusterEcrPullSecret::crd(),
        ImageEnforcement::crd(),
    ];
    crds.into_iter().map(with_known_formats).map(unobserved_at_first).collect()
}

/// What the status of an object says that no reconcile has looked at yet: that it describes no generation. An object
/// without a status is one that is fine, to kstatus, so what waits for it would go on too early.
fn unobserved_at_first(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let status = schema.and_then(|schema| schema.properties.as_mut()).and_then(|all| all.get_mut("status"));
        if let Some(status) = status
            && status.properties.as_ref().is_some_and(|all| all.contains_key("observedGeneration"))
        {
            status.default = Some(JSON(json!({"observedGeneration": UNOBSERVED})));
        }
    }
    crd
}

/// The API server warns whoever applies a schema with a format that it doesn't know. Of integers it knows `int32` and
/// `int64`; that a number is not negative says `minimum`.
fn with_known_formats(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(schema) = schema {
            know_formats(schema);
        }
    }
    crd
}

fn know_formats(schema: &mut JSONSchemaProps) {
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = Some("int64".to_owned());
    }
    let items = match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        _ => None,
    };
    let values = match &mut schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(values),
        _ => None,
    };
    let properties = schema.properties.iter_mut().flat_map(|properties| properties.values_mut());
    items.into_iter().chain(values).map(|schema| &mut **schema).chain(properties).for_each(know_formats);
}

/// The files of `crds/`: their names, and their content as YAML.
pub fn crd_files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    crds()
        .iter()
        .map(|crd| {
            let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
            Ok((name, serde_saphyr::to_string(crd)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_with_a_status_begins_unobserved() {
        let defaults = crds().into_iter().filter_map(|crd| {
            let schema = crd.spec.versions.into_iter().next()?.schema?.open_api_v3_schema?;
            Some((crd.spec.names.kind, schema.properties?.get("status")?.default.clone()))
        });
        let defaults: Vec<_> = defaults.collect();
        assert_eq!(defaults.len(), 6, "{defaults:?}");
        for (kind, default) in defaults {
            assert_eq!(default, Some(JSON(json!({"observedGeneration": -1}))), "{kind}");
        }
    }

    #[test]
    fn every_format_of_an_integer_is_one_that_the_api_server_knows() {
        for (name, yaml) in crd_files().expect("CRDs can be printed") {
            let unknown: Vec<_> = yaml.lines().filter(|line| line.trim().starts_with("format: uint")).collect();
            assert!(unknown.is_empty(), "{name}: {unknown:?}");
        }
    }

    #[test]
    fn the_committed_crds_are_the_generated_ones() {
        for directory in ["crds", "charts/ecr-operator/files/crds"] {
            for (name, yaml) in crd_files().expect("CRDs can be printed") {
                let path = format!("{}/{directory}/{name}", env!("CARGO_MANIFEST_DIR"));
                let committed = std::fs::read_to_string(&path).unwrap_or_default();
                assert!(committed == yaml, "{directory}/{name} is out of date: run `make generate`");
            }
        }
    }
}
