//! The control API: what tests ask and tell the stand-in.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use chrono::{TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::lifecycle;
use crate::calls::Counts;
use crate::cloud::Cloud;
use crate::faults::Fault;
use crate::iam::NewUser;
use crate::quotas::Quota;

/// What a request that can't be taken is answered with.
type Refused = (StatusCode, String);

pub(crate) fn router(cloud: Arc<Cloud>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/calls", get(calls_made).delete(forget_calls))
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/tokens/expire", post(expire_tokens))
        .route("/quotas", post(set_quota).delete(clear_quotas))
        .route("/lifecycle/preview-delay", post(delay_previews))
        .route("/lifecycle/run", post(run_lifecycle))
        .route("/users", post(add_user))
        .route("/roles", post(add_role))
        .route("/oidc-providers", post(trust_issuer))
        .route("/pod-identities", post(associate))
        .route("/v1/credentials", get(pod_credentials))
        .with_state(cloud)
}

async fn calls_made(State(cloud): State<Arc<Cloud>>) -> Json<Counts> {
    Json(cloud.calls.counts())
}

async fn forget_calls(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.calls.reset();
    StatusCode::NO_CONTENT
}

async fn add_fault(State(cloud): State<Arc<Cloud>>, Json(fault): Json<Fault>) -> Result<Json<Value>, Refused> {
    match cloud.faults.add(fault) {
        Ok(id) => Ok(Json(json!({ "id": id }))),
        Err(invalid) => Err((StatusCode::BAD_REQUEST, invalid.to_string())),
    }
}

async fn remove_fault(State(cloud): State<Arc<Cloud>>, Path(id): Path<u64>) -> StatusCode {
    match cloud.faults.remove(id) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::NOT_FOUND,
    }
}

async fn clear_faults(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.faults.clear();
    StatusCode::NO_CONTENT
}

async fn expire_tokens(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.tokens.expire_all(Utc::now());
    StatusCode::NO_CONTENT
}

async fn set_quota(State(cloud): State<Arc<Cloud>>, Json(quota): Json<Quota>) -> Result<StatusCode, Refused> {
    if !(0.0..=1e6).contains(&quota.per_second) {
        return Err((StatusCode::BAD_REQUEST, format!("perSecond: {} is no rate", quota.per_second)));
    }
    cloud.quotas.set(quota);
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_quotas(State(cloud): State<Arc<Cloud>>) -> StatusCode {
    cloud.quotas.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delay {
    ms: u64,
}

async fn delay_previews(State(cloud): State<Arc<Cloud>>, Json(delay): Json<Delay>) -> StatusCode {
    *cloud.preview_delay.lock() = Duration::from_millis(delay.ms);
    StatusCode::NO_CONTENT
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct LifecycleRun {
    /// As if it were so many days later.
    in_days: u16,
}

async fn run_lifecycle(State(cloud): State<Arc<Cloud>>, run: Option<Json<LifecycleRun>>) -> Json<Value> {
    let Json(run) = run.unwrap_or_default();
    let now = Utc::now() + TimeDelta::days(run.in_days.into());
    let acted: usize = cloud.registries().iter().map(|registry| lifecycle::run(registry, now)).sum();
    Json(json!({ "images": acted }))
}

/// A user or a role for a test. The account is the stand-in's own when left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewIdentity {
    account: Option<String>,
    name: String,
    /// Policy documents; without any the identity may do everything.
    #[serde(default)]
    policies: Vec<Value>,
    /// Roles only: who may assume it; everybody when left out.
    trust_policy: Option<Value>,
}

impl NewIdentity {
    fn documents(&self) -> Vec<String> {
        self.policies.iter().map(Value::to_string).collect()
    }
}

async fn add_user(State(cloud): State<Arc<Cloud>>, Json(new): Json<NewIdentity>) -> Result<Json<Value>, Refused> {
    if new.trust_policy.is_some() {
        return Err((StatusCode::BAD_REQUEST, "trustPolicy: a user has none".to_owned()));
    }
    let id = uuid::Uuid::new_v4().simple().to_string().to_ascii_uppercase();
    let (access_key, secret_key) = (format!("AKIA{}", &id[..16]), uuid::Uuid::new_v4().simple().to_string());
    let account = new.account.as_deref().unwrap_or(cloud.account());
    cloud.identities.add_user(&NewUser {
        account,
        name: &new.name,
        access_key: &access_key,
        secret_key: &secret_key,
        policies: &new.documents(),
    });
    let arn = format!("arn:aws:iam::{account}:user/{}", new.name);
    Ok(Json(json!({"arn": arn, "accessKeyId": access_key, "secretAccessKey": secret_key})))
}

async fn add_role(State(cloud): State<Arc<Cloud>>, Json(new): Json<NewIdentity>) -> Json<Value> {
    let account = new.account.as_deref().unwrap_or(cloud.account());
    let arn = cloud.identities.add_role(account, &new.name, new.trust_policy.as_ref(), &new.documents());
    Json(json!({ "arn": arn }))
}

/// Lets the account trust an issuer of web identity tokens, such as a cluster.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    url: String,
    /// Any when left out.
    #[serde(default)]
    audiences: Vec<String>,
}

async fn trust_issuer(State(cloud): State<Arc<Cloud>>, Json(issuer): Json<Issuer>) -> Json<Value> {
    let arn = cloud.identities.trust_issuer(cloud.account(), &issuer.url, &issuer.audiences);
    Json(json!({ "arn": arn }))
}

/// Lets a token of EKS Pod Identity stand for a role.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Association {
    token: String,
    role_arn: String,
    #[serde(default = "session_name")]
    session_name: String,
}

fn session_name() -> String {
    "eks-pod-identity".to_owned()
}

async fn associate(State(cloud): State<Arc<Cloud>>, Json(new): Json<Association>) -> StatusCode {
    cloud.pods.associate(&new.token, &new.role_arn, &new.session_name);
    StatusCode::NO_CONTENT
}

async fn pod_credentials(State(cloud): State<Arc<Cloud>>, headers: HeaderMap) -> Result<Json<Value>, Refused> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let credentials = cloud.pods.credentials(&cloud.identities, cloud.account(), token);
    credentials.map(Json).ok_or_else(|| (StatusCode::UNAUTHORIZED, "the token stands for no role".to_owned()))
}
