//! Owner tags: AWS tags by which a repository is known to belong to one object of one cluster.

use std::collections::BTreeMap;

use kube::ResourceExt as _;

use crate::api::EcrRepository;

const CLUSTER: &str = "ecr-operator.io/cluster";
const NAMESPACE: &str = "ecr-operator.io/namespace";
const NAME: &str = "ecr-operator.io/name";
const ADOPTED: &str = "ecr-operator.io/adopted";

/// The object that a repository belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    cluster: String,
    namespace: String,
    name: String,
}

impl Owner {
    /// The owner that this object is.
    pub(super) fn of(object: &EcrRepository, cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    /// The owner that a repository's tags name. Tags that name one in part count: somebody claims the repository.
    pub(super) fn from_tags(tags: &BTreeMap<String, String>) -> Option<Self> {
        let value = |key: &str| tags.get(key).cloned();
        match (value(CLUSTER), value(NAMESPACE), value(NAME)) {
            (None, None, None) => None,
            (cluster, namespace, name) => Some(Self {
                cluster: cluster.unwrap_or_default(),
                namespace: namespace.unwrap_or_default(),
                name: name.unwrap_or_default(),
            }),
        }
    }

    /// The tags that name this owner.
    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let Self { cluster, namespace, name } = self;
        [(CLUSTER, cluster), (NAMESPACE, namespace), (NAME, name)]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    }

    /// The tags that name this owner of a repository that it did not create.
    pub(super) fn tags_of_adopted(&self) -> BTreeMap<String, String> {
        let mut tags = self.tags();
        tags.insert(ADOPTED.to_owned(), "true".to_owned());
        tags
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EcrRepository {}/{} of cluster {}", self.namespace, self.name, self.cluster)
    }
}

/// Whether the repository existed before its owner took it over.
pub(super) fn is_adopted(tags: &BTreeMap<String, String>) -> bool {
    tags.contains_key(ADOPTED)
}

/// The keys of all owner tags.
pub(super) fn keys() -> Vec<String> {
    [CLUSTER, NAMESPACE, NAME, ADOPTED].map(str::to_owned).into()
}
