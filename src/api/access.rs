//! The typed form of a repository policy: who may pull and who may push.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lets some principals pull from a repository, or push to it. Principals of the repository's own account need no grant:
/// their IAM policies are enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.principals.exists(p, p == '*') || has(self.principalOrgIds) || has(self.principalOrgPaths)").message("access: principals can be \"*\" only beside principalOrgIds or principalOrgPaths"),
    validation = Rule::new("!(has(self.principalOrgIds) || has(self.principalOrgPaths)) || self.principals.all(p, p == '*' || p.startsWith('arn:') || !p.contains('.'))").message("access: principalOrgIds and principalOrgPaths go with accounts, roles, users and \"*\", not with AWS services: give services a grant of their own"),
    validation = Rule::new("!(has(self.sourceArns) || has(self.sourceAccounts)) || self.principals.all(p, p != '*' && !p.startsWith('arn:') && p.contains('.'))").message("access: sourceArns and sourceAccounts go with AWS services only: give accounts, roles and users a grant of their own")
)]
pub struct AccessGrant {
    /// Who: AWS accounts (12 digits, in quotes, or `arn:aws:iam::<account>:root`), IAM roles and users by ARN, AWS
    /// services such as `lambda.amazonaws.com`, or `"*"` for everybody in an organization. At most 20, of at most 180
    /// characters; a longer ARN needs `policy`.
    #[schemars(length(min = 1, max = 20), inner(length(max = 180)))]
    #[x_kube(validation = Rule::new("self.all(p, p.matches('^([0-9]{12}|[*]|arn:aws[a-z-]*:iam::[0-9]{12}:(root|(role|user)/[^*?]+)|([a-z0-9-]+[.])+(amazonaws[.](com|com[.]cn|eu)|gov|uk))$'))").message("access.principals: each is an account (12 digits in quotes, or arn:aws:iam::<account>:root), the ARN of an IAM role or user without wildcards, an AWS service such as lambda.amazonaws.com, or \"*\""))]
    pub principals: Vec<String>,

    /// What they may do.
    pub permissions: AccessPermissions,

    /// Only principals of these organizations (`aws:PrincipalOrgID`), such as `o-a1b2c3d4e5`. At most 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10), inner(length(max = 34), regex(pattern = r"^o-[a-z0-9]{10,32}$")))]
    pub principal_org_ids: Option<Vec<String>>,

    /// Only principals of these parts of organizations (`aws:PrincipalOrgPaths`), such as
    /// `o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/*`, with `*` and `?` as wildcards. At most 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 10),
        inner(length(max = 512), regex(pattern = r"^o-[a-z0-9]{10,32}/[a-z0-9*?/-]+$"))
    )]
    pub principal_org_paths: Option<Vec<String>>,

    /// Only when a service acts for these resources (`aws:SourceArn`), such as
    /// `arn:aws:lambda:eu-west-1:222222222222:function:*`, with `*` and `?` as wildcards. At most 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 10),
        inner(length(max = 512), regex(pattern = r"^arn:aws[a-z-]*:[^:]+:[^:]*:[^:]*:.+$"))
    )]
    pub source_arns: Option<Vec<String>>,

    /// Only when a service acts for resources of these accounts (`aws:SourceAccount`). At most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), inner(length(max = 12), regex(pattern = r"^[0-9]{12}$")))]
    pub source_accounts: Option<Vec<String>>,
}

/// What a grant lets its principals do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum AccessPermissions {
    /// Pull images.
    Pull,
    /// Pull and push images. `docker push` reads what is there before it writes, and so do build caches.
    Push,
}
