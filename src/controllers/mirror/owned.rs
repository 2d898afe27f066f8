//! Objects that a mirror makes and owns: repositories, and mirrors of what workloads use.

use std::fmt::Debug;

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::api::ImageMirror;
use crate::api::conditions::Reason;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;

/// The field manager of these objects.
const MANAGER: &str = "ecr-operator";

/// Digits of a hash in a name.
const HASH: usize = 8;

/// What the name of an object has behind that of its owner, in bytes.
pub(super) const SUFFIX: usize = HASH + 1;

/// A kind that mirrors make objects of.
pub(super) trait Owned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}
impl<K> Owned for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

/// The name of an object: its mirror's, cut to so many characters, and a hash of what tells it from the mirror's others.
pub(super) fn name(mirror: &ImageMirror, longest: usize, distinction: &str) -> String {
    let hash: String = Sha256::digest(distinction).iter().map(|byte| format!("{byte:02x}")).collect();
    let name: String = mirror.name_any().chars().take(longest).collect();
    format!("{name}-{}", &hash[..HASH])
}

/// Makes the mirror the owner of an object in its namespace.
pub(super) fn adopt<K: Owned>(mirror: &ImageMirror, object: &mut K) {
    let metadata = object.meta_mut();
    metadata.namespace = mirror.namespace();
    metadata.owner_references = mirror.controller_owner_ref(&()).map(|owner| vec![owner]);
}

/// Whether a mirror owns an object.
pub(super) fn belongs<K: Owned>(object: &K, mirror: &ImageMirror) -> bool {
    let mut owners = object.owner_references().iter();
    object.namespace() == mirror.namespace()
        && owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == mirror.metadata.uid.as_ref())
}

/// Refuses to touch an object that has the name of one of the mirror's, and is another's.
pub(super) fn check_owner<K: Owned>(present: Option<&K>, mirror: &ImageMirror) -> Result<(), Failure> {
    match present.filter(|present| !belongs(*present, mirror)) {
        None => Ok(()),
        Some(other) => Err(Failure::stalled(
            Reason::NameConflict,
            format!(
                "{} {} exists and does not belong to this mirror: delete it, or give the mirror another name",
                K::kind(&()),
                other.name_any()
            ),
        )),
    }
}

/// Applies an object. `what` names it in words.
pub(super) async fn apply<K: Owned>(context: &Context, object: &K, what: &str) -> Result<K, Failure> {
    let params = PatchParams::apply(MANAGER).force();
    api(context, object).patch(&object.name_any(), &params, &Patch::Apply(object)).await.map_err(|error| {
        let message = format!("can't apply {what}: {error}");
        match &error {
            kube::Error::Api(answer) if matches!(answer.code, 403 | 422) => {
                Failure::stalled(Reason::InvalidSpec, message)
            }
            _ => Failure::transient(Reason::Retrying, message),
        }
    })
}

/// Deletes this very object, if it is still there.
pub(super) async fn delete<K: Owned>(context: &Context, object: &K) -> Result<(), Failure> {
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: object.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    match api(context, object).delete(&object.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        Err(error) => {
            let message = format!("can't delete {} {}: {error}", K::kind(&()), object.name_any());
            Err(Failure::transient(Reason::Retrying, message))
        }
    }
}

fn api<K: Owned>(context: &Context, object: &K) -> Api<K> {
    Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default())
}
