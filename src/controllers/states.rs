//! Every state in which an object can be, as the code that writes statuses makes it, for the tools that GitOps users judge
//! objects with: `testbed/tools/kstatus` compares their verdicts with docs/spec/README.md.

use std::path::Path;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::report::{Outcome, told};
use crate::api::{HasStatus, UNOBSERVED};

/// Where the states are, one a line.
const FILE: &str = "testbed/tools/kstatus/testdata/states.jsonl";

/// A generation that objects have which are judged.
const GENERATION: i64 = 3;

/// One thing that a kind's own code can make of an object.
pub(in crate::controllers) struct Case<K: HasStatus> {
    /// What happened, in words.
    pub(in crate::controllers) what: &'static str,
    pub(in crate::controllers) object: K,
    pub(in crate::controllers) status: K::Status,
    pub(in crate::controllers) outcome: Outcome,
}

/// A spec as somebody would write it.
pub(in crate::controllers) fn spec<S: DeserializeOwned>(spec: Value) -> S {
    serde_json::from_value(spec).expect("a valid spec")
}

/// How docs/spec/README.md calls what happened.
fn row(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ready { .. } => "the object is as its spec says",
        Outcome::Progressing { .. } => "work goes on",
        Outcome::Suspended => "`spec.suspend` is true (ImageMirror)",
        Outcome::Failed(failure) if failure.is_stalled() => "it failed, and somebody has to change something",
        Outcome::Failed(_) => "it failed, and is tried again soon because that may pass by itself",
    }
}

fn state(row: &str, what: &str, object: Value) -> Value {
    json!({"row": row, "what": what, "object": object})
}

/// What comes of the cases of a kind: as they are, after another change of the spec, and while the object is deleted. And
/// one that is new.
fn states<K: HasStatus + Serialize>(cases: Vec<Case<K>>) -> Vec<Value> {
    let mut states = Vec::new();
    for Case { what, mut object, status, outcome } in cases {
        let meta = object.meta_mut();
        meta.generation = Some(GENERATION);
        meta.name.get_or_insert_with(|| "judged".to_owned());
        let status = told(&object, status, &outcome, Timestamp::UNIX_EPOCH);
        let mut object = serde_json::to_value(&object).expect("JSON");
        if states.is_empty() {
            object["status"] = json!({"observedGeneration": UNOBSERVED});
            states.push(state("nobody has looked at it yet", "it is new", object.clone()));
        }
        object["status"] = serde_json::to_value(&status).expect("JSON");
        states.push(state(row(&outcome), what, object.clone()));
        let mut changed = object.clone();
        changed["metadata"]["generation"] = json!(GENERATION + 1);
        states.push(state("its spec was changed since", what, changed));
        object["metadata"]["deletionTimestamp"] = json!(Timestamp::UNIX_EPOCH);
        states.push(state("it is being deleted", what, object));
    }
    states
}

fn all() -> Vec<Value> {
    let (pull_secrets, cluster_pull_secrets) = super::pull_secret::cases();
    let mut mirrors = super::mirror::cases();
    mirrors.extend(super::mirror::discovery::cases());
    [
        states(super::registry::cases()),
        states(super::repository::cases()),
        states(mirrors),
        states(pull_secrets),
        states(cluster_pull_secrets),
        states(super::enforcement::cases()),
    ]
    .concat()
}

#[test]
fn the_states_that_are_judged_are_those_that_the_code_makes() {
    let lines: String = all().iter().map(|state| format!("{state}\n")).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("WRITE_STATES").is_some() {
        std::fs::write(&path, &lines).expect("the file is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == lines, "{FILE} is out of date: run `make generate`");
}

/// The kinds whose status says how they are.
fn kinds() -> Vec<String> {
    let with_status = crate::api::crds().into_iter().filter(|crd| {
        let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        schema.and_then(|schema| schema.properties.as_ref()).is_some_and(|all| all.contains_key("status"))
    });
    with_status.map(|crd| crd.spec.names.kind).collect()
}

#[test]
fn every_kind_can_be_ready_and_can_fail_in_both_ways() {
    let failure = |stalled| match stalled {
        true => super::failure::Failure::stalled(crate::api::conditions::Reason::InvalidSpec, ""),
        false => super::failure::Failure::transient(crate::api::conditions::Reason::Retrying, ""),
    };
    let states = all();
    for kind in kinds() {
        let outcomes = [
            Outcome::Ready { message: String::new() },
            Outcome::Failed(failure(true)),
            Outcome::Failed(failure(false)),
        ];
        for outcome in outcomes {
            let found = states.iter().any(|state| state["object"]["kind"] == kind && state["row"] == row(&outcome));
            assert!(found, "{kind}: {}", row(&outcome));
        }
    }
}
