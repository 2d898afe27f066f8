//! Who calls, and what IAM lets them do.
//!
//! The emulator keeps users, roles and policies, and evaluates policies; it does not ask them for ECR. The front does, for
//! ECR's API and for the registry API.

pub(crate) mod need;
pub(crate) mod sessions;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Utc;
use fakecloud_core::auth::{CredentialResolver, Principal, PrincipalType, ResolvedCredential};
use fakecloud_core::multi_account::MultiAccountState;
use fakecloud_iam::credential_resolver::IamCredentialResolver;
use fakecloud_iam::evaluator::{
    Decision, EvalRequest, PolicyDocument, RequestContext, collect_identity_policies, evaluate,
    evaluate_resource_policy_only,
};
use fakecloud_iam::{IamAccessKey, IamRole, IamUser, OidcProvider, SharedIamState};
use parking_lot::RwLock;
use serde_json::{Value, json};

use need::Need;

/// What a user without policies of its own may do, and a role to which none was given.
const EVERYTHING: &str =
    r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;

/// Users, roles and their credentials, in all accounts.
pub(crate) struct Identities {
    state: SharedIamState,
    resolver: Arc<dyn CredentialResolver>,
}

/// A user with its one access key.
pub(crate) struct NewUser<'a> {
    pub(crate) account: &'a str,
    pub(crate) name: &'a str,
    pub(crate) access_key: &'a str,
    pub(crate) secret_key: &'a str,
    /// Policy documents; without any it may do everything.
    pub(crate) policies: &'a [String],
}

/// Who makes a request: an identity, and the session policies of its credentials.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Caller {
    principal: Principal,
    session_policies: Vec<String>,
}

/// What IAM is asked about.
pub(crate) struct Question<'a> {
    pub(crate) need: &'a Need,
    pub(crate) region: &'a str,
    /// The account that owns the resource.
    pub(crate) owner: &'a str,
    /// The resource's own policy.
    pub(crate) resource_policy: Option<String>,
    /// Tags that the resource has.
    pub(crate) resource_tags: HashMap<String, String>,
}

/// A refusal, in AWS's words.
#[derive(Debug, PartialEq)]
pub(crate) struct Denied(pub(crate) String);

impl Identities {
    pub(crate) fn new(account: &str, region: &str) -> Self {
        let state: SharedIamState = Arc::new(RwLock::new(MultiAccountState::new(account, region, "")));
        let resolver = IamCredentialResolver::shared(state.clone());
        Self { state, resolver }
    }

    pub(crate) fn state(&self) -> SharedIamState {
        self.state.clone()
    }

    /// Looks up secrets and session tokens by access key, temporary credentials included.
    pub(crate) fn resolver(&self) -> Arc<dyn CredentialResolver> {
        self.resolver.clone()
    }

    pub(crate) fn add_user(&self, new: &NewUser<'_>) {
        let NewUser { account, name, access_key, secret_key, policies } = *new;
        let mut accounts = self.state.write();
        let state = accounts.get_or_create(account);
        let everything = [EVERYTHING.to_owned()];
        let policies = if policies.is_empty() { &everything } else { policies };
        let named = policies.iter().enumerate().map(|(n, document)| (format!("policy-{n}"), document.clone()));
        state.user_inline_policies.insert(name.to_owned(), named.collect());
        state.users.insert(
            name.to_owned(),
            IamUser {
                user_name: name.to_owned(),
                user_id: format!(
                    "AIDA{:X<17}",
                    name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_uppercase(), "")
                ),
                arn: format!("arn:aws:iam::{account}:user/{name}"),
                path: "/".to_owned(),
                created_at: Utc::now(),
                tags: Vec::new(),
                permissions_boundary: None,
            },
        );
        state.access_keys.insert(
            name.to_owned(),
            vec![IamAccessKey {
                access_key_id: access_key.to_owned(),
                secret_access_key: secret_key.to_owned(),
                user_name: name.to_owned(),
                status: "Active".to_owned(),
                created_at: Utc::now(),
            }],
        );
    }

    /// Makes a role, or makes it anew, and returns its ARN. Without a trust policy everybody may assume it.
    pub(crate) fn add_role(&self, account: &str, name: &str, trust: Option<&Value>, policies: &[String]) -> String {
        let arn = format!("arn:aws:iam::{account}:role/{name}");
        let anybody = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"},
            "Action": ["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", "sts:TagSession"]}]});
        let mut accounts = self.state.write();
        let state = accounts.get_or_create(account);
        let named = policies.iter().enumerate().map(|(n, document)| (format!("policy-{n}"), document.clone()));
        state.role_inline_policies.insert(name.to_owned(), named.collect());
        state.roles.insert(
            name.to_owned(),
            IamRole {
                role_name: name.to_owned(),
                role_id: format!("AROA{}", &uuid::Uuid::new_v4().simple().to_string().to_ascii_uppercase()[..17]),
                arn: arn.clone(),
                path: "/".to_owned(),
                assume_role_policy_document: trust.unwrap_or(&anybody).to_string(),
                created_at: Utc::now(),
                description: None,
                max_session_duration: 43_200,
                tags: Vec::new(),
                permissions_boundary: None,
            },
        );
        arn
    }

    /// Lets the account trust tokens of an issuer, for these audiences, and returns the provider's ARN.
    pub(crate) fn trust_issuer(&self, account: &str, url: &str, audiences: &[String]) -> String {
        let host = url.trim_start_matches("https://");
        let arn = format!("arn:aws:iam::{account}:oidc-provider/{host}");
        let provider = OidcProvider {
            arn: arn.clone(),
            url: url.to_owned(),
            client_id_list: audiences.to_vec(),
            thumbprint_list: Vec::new(),
            created_at: Utc::now(),
            tags: Vec::new(),
        };
        self.state.write().get_or_create(account).oidc_providers.insert(arn.clone(), provider);
        arn
    }

    /// Whether identity, session and resource policies together allow what a request needs.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html>
    pub(crate) fn authorize(&self, caller: &Caller, question: &Question<'_>) -> Result<(), Denied> {
        let request = question.request(&caller.principal);
        let identity = evaluate(&self.policies_of(&caller.principal), &request);
        let session = match caller.session_policies.as_slice() {
            [] => Decision::Allow,
            documents => {
                let documents: Vec<_> = documents.iter().map(|document| PolicyDocument::parse(document)).collect();
                evaluate(&documents, &request)
            }
        };
        let resource = question.resource_policy.as_deref().map_or(Decision::ImplicitDeny, |document| {
            evaluate_resource_policy_only(&PolicyDocument::parse(document), &request)
        });
        let refused = |why: &str| Err(caller.denied(question.need, why));
        let no =
            |which: &str| refused(&format!("because no {which} policy allows the {} action", question.need.action));
        let by = |which: &str| refused(&format!("with an explicit deny in a{which} policy"));
        match (identity, session, resource) {
            (Decision::ExplicitDeny, ..) => by("n identity-based"),
            (_, Decision::ExplicitDeny, _) => by(" session"),
            (.., Decision::ExplicitDeny) => by(" resource-based"),
            (_, Decision::ImplicitDeny, _) => no("session"),
            (Decision::Allow, _, Decision::ImplicitDeny) if caller.principal.account_id != question.owner => {
                no("resource-based")
            }
            (Decision::ImplicitDeny, _, Decision::Allow) if caller.principal.account_id == question.owner => Ok(()),
            (Decision::ImplicitDeny, ..) => no("identity-based"),
            (Decision::Allow, ..) => Ok(()),
        }
    }

    fn policies_of(&self, principal: &Principal) -> Vec<PolicyDocument> {
        let accounts = self.state.read();
        let found = accounts.get(&principal.account_id).map(|state| collect_identity_policies(state, principal));
        let found = found.unwrap_or_default();
        match principal.principal_type {
            PrincipalType::AssumedRole if found.is_empty() => vec![PolicyDocument::parse(EVERYTHING)],
            PrincipalType::Root => vec![PolicyDocument::parse(EVERYTHING)],
            _ => found,
        }
    }
}

impl From<ResolvedCredential> for Caller {
    fn from(credential: ResolvedCredential) -> Self {
        Self { principal: credential.principal, session_policies: credential.session_policies }
    }
}

impl Caller {
    /// The account that the identity belongs to.
    pub(crate) fn account(&self) -> &str {
        &self.principal.account_id
    }

    fn denied(&self, need: &Need, why: &str) -> Denied {
        let Need { action, resource, .. } = need;
        Denied(format!(
            "User: {} is not authorized to perform: {action} on resource: {resource} {why}",
            self.principal.arn
        ))
    }

    #[cfg(test)]
    pub(crate) fn user(account: &str, name: &str) -> Self {
        let arn = format!("arn:aws:iam::{account}:user/{name}");
        let principal = Principal {
            principal_type: PrincipalType::from_arn(&arn),
            user_id: name.to_owned(),
            arn,
            account_id: account.to_owned(),
            source_identity: None,
            tags: None,
        };
        Self { principal, session_policies: Vec::new() }
    }
}

impl Question<'_> {
    fn request<'a>(&self, principal: &'a Principal) -> EvalRequest<'a> {
        let service_keys = self.resource_tags.iter();
        let service_keys = service_keys.map(|(key, value)| (format!("ecr:ResourceTag/{key}"), vec![value.clone()]));
        let passed_to = self.need.passed_to.map(|service| ("iam:PassedToService".to_owned(), vec![service.to_owned()]));
        EvalRequest {
            principal,
            action: self.need.action.clone(),
            resource: self.need.resource.clone(),
            context: RequestContext {
                aws_principal_arn: Some(principal.arn.clone()),
                aws_principal_account: Some(principal.account_id.clone()),
                aws_requested_region: Some(self.region.to_owned()),
                aws_secure_transport: Some(true),
                aws_current_time: Some(Utc::now()),
                service_keys: service_keys.chain(passed_to).collect(),
                resource_tags: Some(self.resource_tags.clone()),
                request_tags: Some(self.need.request_tags.clone()),
                principal_tags: principal.tags.clone(),
                ..RequestContext::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "123456789012";
    const CREATE: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Action": ["ecr:Create*", "ecr:GetAuthorizationToken"], "Resource": "arn:aws:ecr:*:*:repository/team-?/*"}]}"#;

    fn identities(policies: &[&str]) -> Identities {
        let identities = Identities::new(ACCOUNT, "eu-west-1");
        let policies: Vec<_> = policies.iter().map(|document| (*document).to_owned()).collect();
        identities.add_user(&NewUser {
            account: ACCOUNT,
            name: "operator",
            access_key: "AKIA",
            secret_key: "secret",
            policies: &policies,
        });
        identities
    }

    fn ask(
        identities: &Identities,
        caller: &Caller,
        (action, resource): (&str, &str),
        resource_policy: Option<&str>,
    ) -> Result<(), Denied> {
        let resource = match resource {
            "*" => resource.to_owned(),
            name => format!("arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/{name}"),
        };
        let need = Need { action: format!("ecr:{action}"), resource, request_tags: HashMap::new(), passed_to: None };
        let question = Question {
            need: &need,
            region: "eu-west-1",
            owner: ACCOUNT,
            resource_policy: resource_policy.map(str::to_owned),
            resource_tags: HashMap::new(),
        };
        identities.authorize(caller, &question)
    }

    #[test]
    fn a_user_may_do_what_its_policies_allow_and_nothing_else() {
        let identities = identities(&[CREATE]);
        let operator = Caller::user(ACCOUNT, "operator");
        assert_eq!(ask(&identities, &operator, ("CreateRepository", "team-a/api"), None), Ok(()));
        let denied = ask(&identities, &operator, ("CreateRepository", "other/api"), None).expect_err("a refusal");
        assert_eq!(
            denied.0,
            "User: arn:aws:iam::123456789012:user/operator is not authorized to perform: ecr:CreateRepository on \
             resource: arn:aws:ecr:eu-west-1:123456789012:repository/other/api because no identity-based policy allows \
             the ecr:CreateRepository action"
        );
        assert!(ask(&identities, &operator, ("DeleteRepository", "team-a/api"), None).is_err());
        assert!(ask(&identities, &operator, ("GetAuthorizationToken", "*"), None).is_err(), "* is no repository");
    }

    #[test]
    fn a_user_without_policies_may_do_everything() {
        let identities = identities(&[]);
        let operator = Caller::user(ACCOUNT, "operator");
        assert_eq!(ask(&identities, &operator, ("PutRegistryPolicy", "*"), None), Ok(()));
    }

    #[test]
    fn a_session_policy_narrows() {
        let identities = identities(&[]);
        let narrowed = Caller { session_policies: vec![CREATE.to_owned()], ..Caller::user(ACCOUNT, "operator") };
        assert_eq!(ask(&identities, &narrowed, ("CreateRepository", "team-a/api"), None), Ok(()));
        let denied = ask(&identities, &narrowed, ("PutImage", "team-a/api"), None).expect_err("a refusal");
        assert!(denied.0.ends_with("because no session policy allows the ecr:PutImage action"), "{}", denied.0);
    }

    #[test]
    fn a_repository_policy_grants_within_the_account_and_is_needed_from_another() {
        let identities = identities(&[CREATE]);
        identities.add_user(&NewUser {
            account: "222222222222",
            name: "guest",
            access_key: "AKIB",
            secret_key: "secret",
            policies: &[],
        });
        let pull = r#"{"Statement": [{"Effect": "Allow", "Action": "ecr:BatchGetImage", "Principal": {"AWS":
            ["arn:aws:iam::222222222222:root", "arn:aws:iam::123456789012:user/operator"]}}]}"#;
        let asked = ("BatchGetImage", "x/api");
        let (own, guest) = (Caller::user(ACCOUNT, "operator"), Caller::user("222222222222", "guest"));
        assert!(ask(&identities, &own, asked, None).is_err());
        assert_eq!(ask(&identities, &own, asked, Some(pull)), Ok(()));
        let denied = ask(&identities, &guest, asked, None).expect_err("a refusal");
        assert!(denied.0.contains("no resource-based policy"), "{}", denied.0);
        assert_eq!(ask(&identities, &guest, asked, Some(pull)), Ok(()));
        let deny = pull.replace("Allow", "Deny");
        let denied = ask(&identities, &guest, asked, Some(&deny)).expect_err("a refusal");
        assert!(denied.0.ends_with("with an explicit deny in a resource-based policy"), "{}", denied.0);
    }
}
