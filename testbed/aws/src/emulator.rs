//! The emulator: its services, wired into one process that the front calls directly.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Extension, Query};
use fakecloud_core::auth::IamMode;
use fakecloud_core::dispatch::{DispatchConfig, dispatch};
use fakecloud_core::multi_account::MultiAccountState;
use fakecloud_core::registry::ServiceRegistry;
use fakecloud_ecr::{EcrService, EcrState, Repository, SharedEcrState};
use fakecloud_iam::iam_service::IamService;
use fakecloud_iam::sts_service::StsService;
use fakecloud_kms::hook::KmsServiceHook;
use fakecloud_kms::{KmsService, SharedKmsState};
use parking_lot::RwLock;

use crate::iam::Identities;
use crate::serve::{Request, Response};

/// The services behind the front, as one account sees them in one region. IAM and STS are the same in all.
pub(crate) struct Emulator {
    pub(crate) account: String,
    pub(crate) region: String,
    ecr: SharedEcrState,
    kms: KmsServiceHook,
    services: Arc<ServiceRegistry>,
    config: Arc<DispatchConfig>,
}

impl Emulator {
    /// `registry` is the origin of the registry API, with its scheme: the proxy endpoint of tokens, and the host in
    /// repository URIs.
    pub(crate) fn new(account: &str, region: &str, registry: &str, identities: &Identities) -> Self {
        let ecr: SharedEcrState = shared(account, region, registry);
        let kms: SharedKmsState = shared(account, region, registry);
        // There from the start, as in AWS: a registry needs no creation.
        ecr.write().get_or_create(account);

        let mut services = ServiceRegistry::new();
        services.register(Arc::new(EcrService::new(ecr.clone()).with_kms(kms.clone())));
        services.register(Arc::new(IamService::new(identities.state())));
        services.register(Arc::new(StsService::new(identities.state())));
        services.register(Arc::new(KmsService::new(kms.clone())));

        let config = DispatchConfig {
            region: region.to_owned(),
            account_id: account.to_owned(),
            // The front verifies, because it changes some requests on their way.
            verify_sigv4: false,
            iam_mode: IamMode::Off,
            credential_resolver: Some(identities.resolver()),
            policy_evaluator: None,
            resource_policy_provider: None,
            scp_resolver: None,
        };
        Self {
            account: account.to_owned(),
            region: region.to_owned(),
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

    /// Looks at the registry as a whole.
    pub(crate) fn registry<T>(&self, look: impl FnOnce(&EcrState) -> T) -> Option<T> {
        self.ecr.read().get(&self.account).map(look)
    }

    /// Puts a repository there.
    #[cfg(test)]
    pub(crate) fn add_repository(&self, name: &str) {
        let arn = fakecloud_ecr::repository_arn(&self.region, &self.account, name);
        let repository = Repository::new(name, arn, &self.account, "registry");
        self.ecr.write().get_or_create(&self.account).repositories.insert(name.to_owned(), repository);
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
