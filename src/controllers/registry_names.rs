//! Which EcrRegistry objects an object is about.

use crate::api::{ClusterEcrPullSecret, EcrPullSecret, EcrRegistry, EcrRepository, ImageEnforcement, ImageMirror};

/// An object that is, or refers to, EcrRegistry objects.
pub(super) trait RegistryNames {
    /// Their names, in the order of the spec.
    fn registry_names(&self) -> Vec<&str>;
}

impl RegistryNames for EcrRegistry {
    fn registry_names(&self) -> Vec<&str> {
        self.metadata.name.as_deref().into_iter().collect()
    }
}

impl RegistryNames for EcrRepository {
    fn registry_names(&self) -> Vec<&str> {
        vec![&self.spec.registry_ref.name]
    }
}

impl RegistryNames for ImageMirror {
    fn registry_names(&self) -> Vec<&str> {
        self.spec.destinations.iter().map(|destination| destination.registry_ref.name.as_str()).collect()
    }
}

impl RegistryNames for EcrPullSecret {
    fn registry_names(&self) -> Vec<&str> {
        self.spec.registries.iter().map(|reference| reference.name.as_str()).collect()
    }
}

impl RegistryNames for ClusterEcrPullSecret {
    fn registry_names(&self) -> Vec<&str> {
        self.spec.registries.iter().map(|reference| reference.name.as_str()).collect()
    }
}

impl RegistryNames for ImageEnforcement {
    fn registry_names(&self) -> Vec<&str> {
        self.spec.registries.iter().map(|reference| reference.name.as_str()).collect()
    }
}
