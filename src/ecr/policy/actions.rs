//! The actions that policies can name.

/// What pulling needs.
pub(super) const PULL: [&str; 3] =
    ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];

/// What pulling and pushing need.
pub(super) const PUSH: [&str; 7] = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
];

/// All actions of Amazon ECR, without their prefix, in alphabetical order.
///
/// Source: "Actions, resources, and condition keys for Amazon Elastic Container Registry" in the Service Authorization
/// Reference, and the operations of the ECR API.
const NAMES: [&str; 65] = [
    "BatchCheckLayerAvailability",
    "BatchDeleteImage",
    "BatchGetImage",
    "BatchGetRepositoryScanningConfiguration",
    "BatchImportUpstreamImage",
    "CompleteLayerUpload",
    "CreatePullThroughCacheRule",
    "CreateRepository",
    "CreateRepositoryCreationTemplate",
    "DeleteLifecyclePolicy",
    "DeletePullThroughCacheRule",
    "DeleteRegistryPolicy",
    "DeleteRepository",
    "DeleteRepositoryCreationTemplate",
    "DeleteRepositoryPolicy",
    "DeleteSigningConfiguration",
    "DeregisterPullTimeUpdateExclusion",
    "DescribeImageReplicationStatus",
    "DescribeImageScanFindings",
    "DescribeImageSigningStatus",
    "DescribeImages",
    "DescribePullThroughCacheRules",
    "DescribeRegistry",
    "DescribeReplicationBackfillResults",
    "DescribeRepositories",
    "DescribeRepositoryCreationTemplates",
    "GetAccountSetting",
    "GetAuthorizationToken",
    "GetDownloadUrlForLayer",
    "GetImageCopyStatus",
    "GetLifecyclePolicy",
    "GetLifecyclePolicyPreview",
    "GetRegistryPolicy",
    "GetRegistryScanningConfiguration",
    "GetRepositoryPolicy",
    "GetSigningConfiguration",
    "InitiateLayerUpload",
    "ListImageReferrers",
    "ListImages",
    "ListPullTimeUpdateExclusions",
    "ListReplicationBackfills",
    "ListTagsForResource",
    "PutAccountSetting",
    "PutImage",
    "PutImageScanningConfiguration",
    "PutImageTagMutability",
    "PutLifecyclePolicy",
    "PutRegistryPolicy",
    "PutRegistryScanningConfiguration",
    "PutReplicationConfiguration",
    "PutSigningConfiguration",
    "RegisterPullTimeUpdateExclusion",
    "ReplicateImage",
    "SetRepositoryPolicy",
    "StartImageScan",
    "StartLifecyclePolicyPreview",
    "StartReplicationBackfill",
    "StopReplicationBackfill",
    "TagResource",
    "UntagResource",
    "UpdateImageStorageClass",
    "UpdatePullThroughCacheRule",
    "UpdateRepositoryCreationTemplate",
    "UploadLayerPart",
    "ValidatePullThroughCacheRule",
];

/// The action as AWS writes it, whatever case it is written in.
pub(super) fn canonical(action: &str) -> Option<&'static str> {
    let name = name_of(action)?;
    NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a pattern with `*` and `?` stands for at least one action of ECR.
pub(super) fn matches_any(pattern: &str) -> bool {
    pattern == "*"
        || name_of(pattern).is_some_and(|pattern| {
            let pattern = pattern.to_ascii_lowercase();
            NAMES.iter().any(|name| wildcard(pattern.as_bytes(), name.to_ascii_lowercase().as_bytes()))
        })
}

/// The known action that is spelled most like this one, if one is close.
pub(super) fn nearest(action: &str) -> Option<String> {
    let name = name_of(action).unwrap_or(action);
    nearest_of(name, NAMES).map(|name| format!("ecr:{name}"))
}

/// The word of `known` that needs the fewest letters changed to become `word`, if it is a third of them at most.
pub(super) fn nearest_of<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3)
        .map(|(_, candidate)| candidate)
}

fn name_of(action: &str) -> Option<&str> {
    let (service, name) = action.split_once(':')?;
    service.eq_ignore_ascii_case("ecr").then_some(name)
}

/// Whether `text` is what `pattern` says, with `*` for any text and `?` for any character.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => wildcard(rest, text) || (!text.is_empty() && wildcard(pattern, &text[1..])),
        (Some((b'?', pattern)), Some((_, text))) => wildcard(pattern, text),
        (Some((p, pattern)), Some((t, text))) => p == t && wildcard(pattern, text),
        _ => false,
    }
}

/// The Levenshtein distance of two words of ASCII letters.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_action_is_known() {
        for action in PULL.into_iter().chain(PUSH) {
            assert_eq!(canonical(&action.to_ascii_uppercase()), action.strip_prefix("ecr:"));
        }
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn patterns_stand_for_actions_that_exist() {
        for pattern in ["*", "ecr:*", "ECR:get*", "ecr:*Layer*", "ecr:?utImage", "ecr:Put*"] {
            assert!(matches_any(pattern), "{pattern}");
        }
        for pattern in ["ecr:Fetch*", "s3:*", "ecr", "ecr:", "ecr:Put?"] {
            assert!(!matches_any(pattern), "{pattern}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised_and_nonsense_is_not() {
        assert_eq!(nearest("ecr:BatchGetImages").as_deref(), Some("ecr:BatchGetImage"));
        assert_eq!(nearest("ecr:putimge").as_deref(), Some("ecr:PutImage"));
        assert_eq!(nearest("ecr:Frobnicate"), None);
        assert_eq!(nearest("s3:GetObject"), None);
    }
}
