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
pub(crate) struct Owner {
    /// UID of the cluster. `None` without a cluster, where nobody knows it: then any will do.
    cluster: Option<String>,
    namespace: String,
    name: String,
}

impl Owner {
    /// The owner that this object is, in this cluster.
    pub(crate) fn of(object: &EcrRepository, cluster: Option<&str>) -> Self {
        Self {
            cluster: cluster.map(str::to_owned),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }

    /// Whether this is the owner that a repository's tags name.
    pub(crate) fn is(&self, named: &Self) -> bool {
        let same_cluster = self.cluster.is_none() || self.cluster == named.cluster;
        same_cluster && self.namespace == named.namespace && self.name == named.name
    }

    /// The owner that a repository's tags name. Tags that name one in part count: somebody claims the repository.
    pub(crate) fn from_tags(tags: &BTreeMap<String, String>) -> Option<Self> {
        let value = |key: &str| tags.get(key).cloned();
        match (value(CLUSTER), value(NAMESPACE), value(NAME)) {
            (None, None, None) => None,
            (cluster, namespace, name) => Some(Self {
                cluster: Some(cluster.unwrap_or_default()),
                namespace: namespace.unwrap_or_default(),
                name: name.unwrap_or_default(),
            }),
        }
    }

    /// The tags that name this owner.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let Self { cluster, namespace, name } = self;
        [(CLUSTER, cluster.as_ref()), (NAMESPACE, Some(namespace)), (NAME, Some(name))]
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.clone())))
            .collect()
    }

    /// The tags that name this owner of a repository that it did not create.
    pub(crate) fn tags_of_adopted(&self) -> BTreeMap<String, String> {
        let mut tags = self.tags();
        tags.insert(ADOPTED.to_owned(), "true".to_owned());
        tags
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EcrRepository {}/{}", self.namespace, self.name)?;
        self.cluster.as_ref().map_or(Ok(()), |cluster| write!(f, " of cluster {cluster}"))
    }
}

/// Whether the repository existed before its owner took it over.
pub(crate) fn is_adopted(tags: &BTreeMap<String, String>) -> bool {
    tags.contains_key(ADOPTED)
}

/// The keys of all owner tags.
pub(crate) fn keys() -> Vec<String> {
    [CLUSTER, NAMESPACE, NAME, ADOPTED].map(str::to_owned).into()
}
