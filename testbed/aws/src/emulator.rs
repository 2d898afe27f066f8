//! The emulator: its services, wired into one process that the front calls directly.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Extension, Query};
use chrono::Utc;
use fakecloud_core::auth::{CredentialResolver, IamMode};
use fakecloud_core::dispatch::{DispatchConfig, dispatch};
use fakecloud_core::multi_account::MultiAccountState;
use fakecloud_core::registry::ServiceRegistry;
use fakecloud_ecr::{EcrService, Repository, SharedEcrState};
use fakecloud_iam::credential_resolver::IamCredentialResolver;
use fakecloud_iam::iam_service::IamService;
use fakecloud_iam::sts_service::StsService;
use fakecloud_iam::{IamAccessKey, IamUser, SharedIamState};
use fakecloud_kms::hook::KmsServiceHook;
use fakecloud_kms::{KmsService, SharedKmsState};
use parking_lot::RwLock;

use crate::serve::{Request, Response};

/// Name of the IAM user that the first access key belongs to.
const USER: &str = "ecr-operator";

/// The account that the emulator starts with.
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// Origin of the registry API, with its scheme: the proxy endpoint of tokens, and the host in repository URIs.
    pub(crate) registry: String,
}

/// The services behind the front.
pub(crate) struct Emulator {
    pub(crate) account: String,
    pub(crate) region: String,
    /// Looks up secrets and session tokens by access key, temporary credentials included.
    pub(crate) credentials: Arc<dyn CredentialResolver>,
    ecr: SharedEcrState,
    kms: KmsServiceHook,
    services: Arc<ServiceRegistry>,
    config: Arc<DispatchConfig>,
}

impl Emulator {
    pub(crate) fn new(account: Account) -> Self {
        let endpoint = &account.registry;
        let ecr: SharedEcrState = shared(&account.id, &account.region, endpoint);
        let iam: SharedIamState = shared(&account.id, &account.region, endpoint);
        let kms: SharedKmsState = shared(&account.id, &account.region, endpoint);
        add_user(&iam, &account);

        let mut services = ServiceRegistry::new();
        services.register(Arc::new(EcrService::new(ecr.clone()).with_kms(kms.clone())));
        services.register(Arc::new(IamService::new(iam.clone())));
        services.register(Arc::new(StsService::new(iam.clone())));
        services.register(Arc::new(KmsService::new(kms.clone())));

        let credentials = IamCredentialResolver::shared(iam);
        let config = DispatchConfig {
            region: account.region.clone(),
            account_id: account.id.clone(),
            // The front verifies, because it changes some requests on their way.
            verify_sigv4: false,
            iam_mode: IamMode::Off,
            credential_resolver: Some(credentials.clone()),
            policy_evaluator: None,
            resource_policy_provider: None,
            scp_resolver: None,
        };
        Self {
            account: account.id,
            region: account.region,
            credentials,
            ecr,
            kms: KmsServiceHook::new(kms, Arc::default()),
            services: Arc::new(services),
            config: Arc::new(config),
        }
    }

    /// Lets the emulator answer a request.
    pub(crate) async fn call(&self, request: Request) -> Response {
        let query =
            Query::<HashMap<String, String>>::try_from_uri(request.uri()).unwrap_or_else(|_| Query(HashMap::new()));
        dispatch(
            ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 0))),
            Extension(self.services.clone()),
            Extension(self.config.clone()),
            query,
            request,
        )
        .await
    }

    /// Looks at a repository, if it exists.
    pub(crate) fn repository<T>(&self, name: &str, look: impl FnOnce(&Repository) -> T) -> Option<T> {
        let accounts = self.ecr.read();
        accounts.get(&self.account)?.repositories.get(name).map(look)
    }

    /// Changes a repository, if it exists.
    pub(crate) fn change_repository(&self, name: &str, change: impl FnOnce(&mut Repository)) {
        let mut accounts = self.ecr.write();
        let repositories = accounts.get_mut(&self.account).map(|account| &mut account.repositories);
        if let Some(repository) = repositories.and_then(|all| all.get_mut(name)) {
            change(repository);
        }
    }

    /// ARN of the key that AWS manages for ECR, made on first use.
    pub(crate) fn managed_key(&self) -> String {
        let (arn, _) = self.kms.aws_managed_key_arn_tracked(&self.account, &self.region, "ecr", "ecr.amazonaws.com");
        arn
    }
}

fn shared<T: fakecloud_core::multi_account::AccountState>(
    account: &str,
    region: &str,
    endpoint: &str,
) -> Arc<RwLock<MultiAccountState<T>>> {
    Arc::new(RwLock::new(MultiAccountState::new(account, region, endpoint)))
}

fn add_user(iam: &SharedIamState, account: &Account) {
    let mut accounts = iam.write();
    let state = accounts.get_or_create(&account.id);
    state.users.insert(
        USER.to_owned(),
        IamUser {
            user_name: USER.to_owned(),
            user_id: "AIDATESTBEDECROPERATOR".to_owned(),
            arn: format!("arn:aws:iam::{}:user/{USER}", account.id),
            path: "/".to_owned(),
            created_at: Utc::now(),
            tags: Vec::new(),
            permissions_boundary: None,
        },
    );
    state.access_keys.insert(
        USER.to_owned(),
        vec![IamAccessKey {
            access_key_id: account.access_key.clone(),
            secret_access_key: account.secret_key.clone(),
            user_name: USER.to_owned(),
            status: "Active".to_owned(),
            created_at: Utc::now(),
        }],
    );
}
