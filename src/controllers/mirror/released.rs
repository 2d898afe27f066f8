//! Tells that a digest was let through before its time, and by whom.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::api::conditions::Reason;
use crate::api::{ImageMirror, RELEASE, SeenDigest};
use crate::controllers::context::Context;

/// Publishes an event for each digest.
pub(super) async fn tell(mirror: &ImageMirror, context: &Context, released: &[SeenDigest]) {
    let api: Api<ImageMirror> = Api::namespaced(context.client.clone(), &mirror.namespace().unwrap_or_default());
    // The caches keep no managed fields.
    let who = match api.get_metadata(&mirror.name_any()).await {
        Ok(present) => who(present.metadata.managed_fields.as_deref().unwrap_or_default()),
        Err(error) => {
            tracing::debug!(%error, "who set the annotation could not be read");
            None
        }
    };
    for SeenDigest { tag, digest, since, released: _ } in released {
        let note = format!(
            "{tag}@{digest}, seen since {}, is mirrored before its tags.minAge: the annotation {RELEASE} names it{}",
            since.0,
            who.as_deref().unwrap_or_default()
        );
        tracing::info!("{note}");
        context.event(mirror, EventType::Normal, Reason::Released.as_str(), note).await;
    }
}

/// The field manager that set the annotation, and when: all that an object's metadata tells.
fn who(managed: &[ManagedFieldsEntry]) -> Option<String> {
    let annotation = format!("f:{RELEASE}");
    let sets = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map_or(&Value::Null, |fields| &fields.0);
        fields["f:metadata"]["f:annotations"].get(&annotation).is_some()
    };
    let last = managed.iter().filter(sets).max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    let manager = last.manager.as_deref().unwrap_or("unknown");
    let when = last.time.as_ref().map_or_else(String::new, |time| format!(" at {}", time.0));
    Some(format!("; set by field manager {manager:?}{when}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_field_manager_that_has_the_annotation_is_named() {
        let managed: Vec<ManagedFieldsEntry> = serde_json::from_value(json!([
            {"manager": "flux", "operation": "Apply", "time": "2026-11-01T00:00:00Z", "fieldsV1": {"f:spec": {}}},
            {"manager": "kubectl-annotate", "operation": "Update", "time": "2026-11-02T00:00:00Z",
             "fieldsV1": {"f:metadata": {"f:annotations": {"f:ecr-operator.io/release": {}}}}},
        ]))
        .expect("managed fields");
        let words = who(&managed).expect("somebody");
        assert!(words.contains("\"kubectl-annotate\"") && words.contains("2026-11-02"), "{words}");
        assert_eq!(who(&managed[..1]), None);
    }
}
