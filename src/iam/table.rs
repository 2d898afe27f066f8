//! The table: kind, field, actions.

/// What a field of a kind needs.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// The kind, such as `EcrRepository`.
    pub kind: &'static str,
    /// The field, such as `spec.lifecycle`. `spec` stands for the object as such.
    pub field: &'static str,
    /// When the field needs the actions.
    pub when: When,
    /// Whether it changes something in AWS. An object with `managementPolicy: Observe` needs nothing that does.
    pub changes: bool,
    /// The IAM actions.
    pub actions: &'static [&'static str],
}

/// When a field needs its actions.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// Wherever the object is.
    Always,
    /// Where the field is in the object.
    Present,
    /// Where the field has this value.
    Is(&'static str),
    /// Where the field has not this value, or is not there.
    IsNot(&'static str),
}

const fn reads(kind: &'static str, field: &'static str, when: When, actions: &'static [&'static str]) -> Feature {
    Feature { kind, field, when, changes: false, actions }
}

const fn changes(kind: &'static str, field: &'static str, when: When, actions: &'static [&'static str]) -> Feature {
    Feature { kind, field, when, changes: true, actions }
}

use When::{Always, Is, IsNot, Present};

const REPOSITORY: &str = "EcrRepository";
const REGISTRY: &str = "EcrRegistry";
const MIRROR: &str = "ImageMirror";

/// Every feature and its actions.
///
/// Source: the calls that the code makes, and "Actions, resources, and condition keys for Amazon Elastic Container
/// Registry" in the Service Authorization Reference for what they depend on.
pub const TABLE: &[Feature] = &[
    // The registry's condition Ready comes from a token; mirrors and pull secrets use it.
    reads(REGISTRY, "spec", Always, &["ecr:GetAuthorizationToken"]),
    // The operator's own identity assumes it; its session policy does the rest.
    reads(REGISTRY, "spec.pullRole", Present, &["sts:AssumeRole"]),
    reads(REGISTRY, "spec.pullRole.sessionTags", Present, &["sts:TagSession"]),
    // ECR's own answer on a new repository and its tags.
    reads(REPOSITORY, "spec", Always, &["ecr:DescribeRepositories", "ecr:ListTagsForResource"]),
    // Creating a repository with tags is both; an adopted one is tagged.
    changes(REPOSITORY, "spec", Always, &["ecr:CreateRepository", "ecr:TagResource"]),
    // Retain takes the owner tags off, and so does a tag that leaves the spec.
    changes(REPOSITORY, "spec", Always, &["ecr:UntagResource"]),
    // What a repository is like before it is adopted is shown first.
    reads(REPOSITORY, "spec.adoption", IsNot("Never"), &["ecr:GetLifecyclePolicy", "ecr:GetRepositoryPolicy"]),
    changes(REPOSITORY, "spec.deletionPolicy", Is("Delete"), &["ecr:DeleteRepository", "ecr:ListImages"]),
    changes(REPOSITORY, "spec.deletionPolicy", Is("DeleteWithImages"), &["ecr:DeleteRepository"]),
    changes(REPOSITORY, "spec.tagMutability", Present, &["ecr:PutImageTagMutability"]),
    changes(REPOSITORY, "spec.scanOnPush", Present, &["ecr:PutImageScanningConfiguration"]),
    reads(REPOSITORY, "spec.lifecycle", Present, &["ecr:GetLifecyclePolicy"]),
    // A preview changes no image and no policy.
    reads(REPOSITORY, "spec.lifecycle", Present, &["ecr:StartLifecyclePolicyPreview", "ecr:GetLifecyclePolicyPreview"]),
    changes(REPOSITORY, "spec.lifecycle", Present, &["ecr:PutLifecyclePolicy", "ecr:DeleteLifecyclePolicy"]),
    reads(REPOSITORY, "spec.access", Present, &["ecr:GetRepositoryPolicy"]),
    changes(REPOSITORY, "spec.access", Present, &["ecr:SetRepositoryPolicy", "ecr:DeleteRepositoryPolicy"]),
    reads(REPOSITORY, "spec.policy", Present, &["ecr:GetRepositoryPolicy"]),
    changes(REPOSITORY, "spec.policy", Present, &["ecr:SetRepositoryPolicy", "ecr:DeleteRepositoryPolicy"]),
    // ECR uses the caller's rights on the key when it creates the repository.
    changes(REPOSITORY, "spec.encryption.kmsKey", Present, &["kms:DescribeKey", "kms:CreateGrant", "kms:RetireGrant"]),
    // What the registry API asks for: look, mount or upload, then the manifest.
    changes(
        MIRROR,
        "spec.destinations",
        Always,
        &[
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:CompleteLayerUpload",
            "ecr:GetDownloadUrlForLayer",
            "ecr:InitiateLayerUpload",
            "ecr:PutImage",
            "ecr:UploadLayerPart",
        ],
    ),
    // What is there, when many tags are looked at at once; whether rules would take it away again. Only a mirror that copies
    // wants to know.
    changes(MIRROR, "spec.tags", Always, &["ecr:ListImages", "ecr:GetLifecyclePolicy"]),
    changes(MIRROR, "spec.prune", Is("true"), &["ecr:BatchDeleteImage"]),
    reads("EcrPullSecret", "spec", Always, &["ecr:GetAuthorizationToken"]),
    reads("ClusterEcrPullSecret", "spec", Always, &["ecr:GetAuthorizationToken"]),
    // Registry settings. Each is managed only where it is in the spec.
    reads(REGISTRY, "spec.settings.scanning", Present, &["ecr:GetRegistryScanningConfiguration"]),
    changes(REGISTRY, "spec.settings.scanning", Present, &["ecr:PutRegistryScanningConfiguration"]),
    changes(
        REGISTRY,
        "spec.settings.scanning.type",
        Is("ENHANCED"),
        &[
            "iam:CreateServiceLinkedRole",
            "inspector2:Enable",
            "inspector2:ListAccountPermissions",
            "inspector2:ListCoverage",
            "inspector2:ListFindings",
        ],
    ),
    reads(REGISTRY, "spec.settings.scanning.basicScanTypeVersion", Present, &["ecr:GetAccountSetting"]),
    changes(REGISTRY, "spec.settings.scanning.basicScanTypeVersion", Present, &["ecr:PutAccountSetting"]),
    reads(REGISTRY, "spec.settings.replication", Present, &["ecr:DescribeRegistry"]),
    changes(
        REGISTRY,
        "spec.settings.replication",
        Present,
        &["ecr:PutReplicationConfiguration", "iam:CreateServiceLinkedRole"],
    ),
    reads(REGISTRY, "spec.settings.policy", Present, &["ecr:GetRegistryPolicy"]),
    changes(REGISTRY, "spec.settings.policy", Present, &["ecr:PutRegistryPolicy", "ecr:DeleteRegistryPolicy"]),
    reads(REGISTRY, "spec.settings.policy.scope", Present, &["ecr:GetAccountSetting"]),
    changes(REGISTRY, "spec.settings.policy.scope", Present, &["ecr:PutAccountSetting"]),
    reads(REGISTRY, "spec.settings.pullThroughCacheRules", Present, &["ecr:DescribePullThroughCacheRules"]),
    changes(
        REGISTRY,
        "spec.settings.pullThroughCacheRules",
        Present,
        &["ecr:CreatePullThroughCacheRule", "ecr:UpdatePullThroughCacheRule", "ecr:DeletePullThroughCacheRule"],
    ),
    changes(REGISTRY, "spec.settings.pullThroughCacheRules[].credentialArn", Present, &["iam:CreateServiceLinkedRole"]),
    changes(REGISTRY, "spec.settings.pullThroughCacheRules[].customRoleArn", Present, &["iam:PassRole"]),
    reads(REGISTRY, "spec.settings.creationTemplates", Present, &["ecr:DescribeRepositoryCreationTemplates"]),
    changes(
        REGISTRY,
        "spec.settings.creationTemplates",
        Present,
        &[
            "ecr:CreateRepositoryCreationTemplate",
            "ecr:UpdateRepositoryCreationTemplate",
            "ecr:DeleteRepositoryCreationTemplate",
        ],
    ),
    changes(REGISTRY, "spec.settings.creationTemplates[].customRoleArn", Present, &["iam:PassRole"]),
    reads(REGISTRY, "spec.settings.blobMounting", Present, &["ecr:GetAccountSetting"]),
    changes(REGISTRY, "spec.settings.blobMounting", Present, &["ecr:PutAccountSetting"]),
    reads(REGISTRY, "spec.settings.signing", Present, &["ecr:GetSigningConfiguration"]),
    changes(
        REGISTRY,
        "spec.settings.signing",
        Present,
        &["ecr:PutSigningConfiguration", "ecr:DeleteSigningConfiguration"],
    ),
    reads(REGISTRY, "spec.settings.pullTimeUpdateExclusions", Present, &["ecr:ListPullTimeUpdateExclusions"]),
    changes(
        REGISTRY,
        "spec.settings.pullTimeUpdateExclusions",
        Present,
        &["ecr:RegisterPullTimeUpdateExclusion", "ecr:DeregisterPullTimeUpdateExclusion"],
    ),
];
