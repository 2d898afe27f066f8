//! The role that the tokens of pull secrets are minted from.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A role that the operator's own identity assumes, with a session policy that allows pulling and nothing else.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullRole {
    /// ARN of the role.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$')").message("roleArn must be the ARN of an IAM role, such as arn:aws:iam::123456789012:role/ecr-pull"))]
    pub role_arn: String,

    /// The external ID that the role's trust policy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224))]
    pub external_id: Option<String>,

    /// Session tags, for policies and audits that look at them. At most 50. In a value `{cluster}` stands for the UID of
    /// the cluster's namespace `kube-system`, and `{namespace}` for the namespace that the token is for. With `{namespace}`
    /// every namespace has a token of its own; without it those with the same rights share one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub session_tags: BTreeMap<String, String>,

    /// Whose end counts as the end of a token: `Token`, the expiry that ECR gives (12 hours), or `Session`, the end of the
    /// role's session (1 hour) if that is earlier. Tokens are renewed after half of that life. Default: `Token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_within: Option<RenewWithin>,
}

/// Whose life a token has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RenewWithin {
    /// What ECR says of the token.
    #[default]
    Token,
    /// The session that asked for the token, if it ends earlier.
    Session,
}
