//! What the source and the destinations have.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use oci_copy::{Engine, Reference, Repository};

use super::failure::from_engine;
use super::selection::{RejectedBy, Rules, Verdicts};
use crate::api::conditions::Reason;
use crate::controllers::failure::Failure;
use crate::ecr::{Ecr, Read};

/// How many tags of one mirror are looked at at once.
const CONCURRENT_LOOKS: usize = 8;

/// Fewer tags than these are looked at one by one in a destination: a list of the repository has other images, too.
const WORTH_A_LIST: usize = 10;

/// How long reading a source's list of tags may take.
const LIST_DEADLINE: Duration = Duration::from_secs(300);

/// The digest of each tag, or why it could not be found out. `None`: there is no such tag.
pub(super) type Digests = BTreeMap<String, Result<Option<String>, Failure>>;

/// The tags that a source has, as far as they are of interest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    /// How many tags the source has, if they were listed.
    pub(super) found: Option<usize>,
    /// The selected tags.
    pub(super) tags: Vec<String>,
    /// How many tags each rule rejects.
    pub(super) rejected: BTreeMap<RejectedBy, usize>,
}

/// Lists the source's tags, if the rules need a list, and judges them. Of a long list only what may be selected is kept.
pub(super) async fn select(engine: &Engine, source: &Repository, rules: &Rules) -> Result<Selected, Failure> {
    if !rules.need_list() {
        let verdicts = rules.judge([]);
        return Ok(Selected { tags: verdicts.selected.into_keys().collect(), ..Selected::default() });
    }
    let (mut kept, mut rejected) = (Vec::new(), BTreeMap::<RejectedBy, usize>::new());
    let visit = |tag: String| match rules.rejects(&tag) {
        Some(rule) => *rejected.entry(rule).or_default() += 1,
        None => kept.push(tag.into_boxed_str()),
    };
    let listing = tokio::time::timeout(LIST_DEADLINE, engine.visit_tags(source, visit));
    let found = listing
        .await
        .map_err(|_| {
            let after = LIST_DEADLINE.as_secs();
            Failure::transient(Reason::Unreachable, format!("{source} did not list its tags within {after} seconds"))
        })?
        .map_err(|error| from_engine(&error, source.host()))?;
    let Verdicts { selected, rejected: by_others } = rules.judge(kept.iter().map(AsRef::as_ref));
    for (_, rule) in by_others {
        *rejected.entry(rule).or_default() += 1;
    }
    Ok(Selected { found: Some(found), tags: selected.into_keys().collect(), rejected })
}

/// Looks at each tag with one HEAD request.
pub(super) async fn digests(engine: &Engine, references: &BTreeMap<String, Reference>, source: &str) -> Digests {
    stream::iter(references.clone())
        .map(|(tag, reference)| async move {
            let found = match engine.resolve(&reference).await {
                Ok(found) => Ok(found.map(|descriptor| descriptor.digest.to_string())),
                Err(error) => Err(from_engine(&error, source)),
            };
            (tag, found)
        })
        .buffer_unordered(CONCURRENT_LOOKS)
        .collect()
        .await
}

/// What a destination has of some tags.
///
/// Many tags are looked up in lists of the repository, 1,000 images a call. A look-up of named images takes 100 a call:
/// BatchGetImage answers with whole manifests, hundreds of megabytes in the worst case, and DescribeImages fails as a whole
/// for one that is missing. No more lists are read than such look-ups would take calls; in a repository with many other
/// images, what has not come up by then is looked at one by one.
pub(super) async fn present(
    engine: &Engine,
    ecr: &Ecr,
    repository: &str,
    references: &BTreeMap<String, Reference>,
    source: &str,
) -> Digests {
    if references.len() < WORTH_A_LIST {
        return digests(engine, references, source).await;
    }
    let mut found = Digests::new();
    let read = ecr
        .visit_images(repository, references.len().div_ceil(100), |image| {
            let Some(digest) = image.image_digest else { return };
            if references.contains_key(&digest) {
                found.insert(digest.clone(), Ok(Some(digest.clone())));
            }
            if let Some(tag) = image.image_tag.filter(|tag| references.contains_key(tag)) {
                found.insert(tag, Ok(Some(digest)));
            }
        })
        .await;
    let missing = |found: &Digests| -> BTreeMap<String, Reference> {
        let missing = references.iter().filter(|(tag, _)| !found.contains_key(*tag));
        missing.map(|(tag, reference)| (tag.clone(), reference.clone())).collect()
    };
    match read {
        Ok(Read::All | Read::NoRepository) => {
            let missing = missing(&found).into_keys();
            found.extend(missing.map(|tag| (tag, Ok(None))).collect::<Vec<_>>());
        }
        Ok(Read::Part) => {
            let others = digests(engine, &missing(&found), source).await;
            found.extend(others);
        }
        // The registry can be asked as well, one by one: an identity may be allowed to push and not to list.
        Err(error) => {
            tracing::debug!(%error, repository, "images could not be listed, looking at them one by one");
            return digests(engine, references, source).await;
        }
    }
    found
}

/// Finds out why the source does not have a tag: one request more, only where something is missing.
pub(super) async fn why_missing(engine: &Engine, reference: &Reference) -> Failure {
    let repository = reference.repository();
    match engine.why_missing(reference).await {
        Ok(oci_copy::Missing::Repository) => Failure::stalled(
            Reason::SourceNotFound,
            format!("{repository} does not exist: correct spec.source.image, or give credentials that may see it"),
        ),
        Ok(_) => match reference.digest() {
            Some(digest) => Failure::stalled(
                Reason::TagNotFound,
                format!("{repository} has no image {digest}: correct spec.digests"),
            ),
            None => Failure::stalled(
                Reason::TagNotFound,
                format!(
                    "{repository} has no tag {:?}: correct spec.tags, or push the tag",
                    reference.tag().unwrap_or_default()
                ),
            ),
        },
        Err(error) => from_engine(&error, repository.host()),
    }
}
