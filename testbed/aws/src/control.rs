//! The control API: what tests ask and tell the stand-in.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use chrono::Utc;
use serde_json::{Value, json};

use crate::calls::{Calls, Counts};
use crate::faults::{Fault, Faults};
use crate::tokens::Tokens;

#[derive(Clone)]
struct Control {
    calls: Arc<Calls>,
    faults: Arc<Faults>,
    tokens: Arc<Tokens>,
}

pub(crate) fn router(calls: Arc<Calls>, faults: Arc<Faults>, tokens: Arc<Tokens>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/calls", get(calls_made).delete(forget_calls))
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/tokens/expire", post(expire_tokens))
        .with_state(Control { calls, faults, tokens })
}

async fn calls_made(State(control): State<Control>) -> Json<Counts> {
    Json(control.calls.counts())
}

async fn forget_calls(State(control): State<Control>) -> StatusCode {
    control.calls.reset();
    StatusCode::NO_CONTENT
}

async fn add_fault(
    State(control): State<Control>,
    Json(fault): Json<Fault>,
) -> Result<Json<Value>, (StatusCode, String)> {
    match control.faults.add(fault) {
        Ok(id) => Ok(Json(json!({ "id": id }))),
        Err(invalid) => Err((StatusCode::BAD_REQUEST, invalid.to_string())),
    }
}

async fn remove_fault(State(control): State<Control>, Path(id): Path<u64>) -> StatusCode {
    match control.faults.remove(id) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::NOT_FOUND,
    }
}

async fn clear_faults(State(control): State<Control>) -> StatusCode {
    control.faults.clear();
    StatusCode::NO_CONTENT
}

async fn expire_tokens(State(control): State<Control>) -> StatusCode {
    control.tokens.expire_all(Utc::now());
    StatusCode::NO_CONTENT
}
