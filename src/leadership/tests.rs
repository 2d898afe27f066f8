//! Elections over a Lease in memory, with time that passes at once.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::client::Body;
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::election::{Candidate, Identity, Lost, Times};
use super::{Leadership, record};

const TIMES: Times =
    Times { lease: Duration::from_secs(12), deadline: Duration::from_secs(8), retry: Duration::from_millis(1500) };

/// An API server that has one Lease, if any.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    version: u64,
    /// Nothing is answered.
    silent: bool,
    /// Writes take effect, and their answers get lost.
    deaf: bool,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        Client::new(tower::service_fn(move |request| server.clone().answer(request)), "default")
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().expect("not poisoned"));
    }

    fn holder(&self) -> Option<String> {
        let state = self.0.lock().expect("not poisoned");
        record::holder(state.lease.as_ref()?).map(str::to_owned)
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let method = request.method().clone();
        let body = request.into_body().collect().await.expect("a body in memory").to_bytes();
        // A write takes a moment, so that others come in between.
        sleep(Duration::from_millis(20)).await;
        let (silent, deaf) = {
            let state = self.0.lock().expect("not poisoned");
            (state.silent, state.deaf)
        };
        if silent {
            std::future::pending::<()>().await;
        }
        let answer = self.take_effect(&method, &body);
        if deaf && method == Method::PUT {
            std::future::pending::<()>().await;
        }
        Ok(answer)
    }

    fn take_effect(&self, method: &Method, body: &[u8]) -> Response<Body> {
        let mut state = self.0.lock().expect("not poisoned");
        let present = state.lease.as_ref().map(|lease| lease.metadata.resource_version.clone());
        if method == Method::GET {
            return match &state.lease {
                Some(lease) => found(lease),
                None => refused(StatusCode::NOT_FOUND),
            };
        }
        let mut lease: Lease = serde_json::from_slice(body).expect("a Lease");
        match (method, present) {
            (&Method::POST, Some(_)) => return refused(StatusCode::CONFLICT),
            (&Method::PUT, None) => return refused(StatusCode::NOT_FOUND),
            (&Method::PUT, Some(version)) if version != lease.metadata.resource_version => {
                return refused(StatusCode::CONFLICT);
            }
            _ => {}
        }
        state.version += 1;
        lease.metadata.resource_version = Some(state.version.to_string());
        let answer = found(&lease);
        state.lease = Some(lease);
        answer
    }
}

fn found(lease: &Lease) -> Response<Body> {
    Response::new(Body::from(serde_json::to_vec(lease).expect("JSON")))
}

fn refused(code: StatusCode) -> Response<Body> {
    let reason = if code == StatusCode::NOT_FOUND { "NotFound" } else { "Conflict" };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code.as_u16(),
    });
    let mut answer = Response::new(Body::from(status.to_string().into_bytes()));
    *answer.status_mut() = code;
    answer
}

struct Replica {
    leadership: Leadership,
    stop: CancellationToken,
    outcome: JoinHandle<Result<(), Lost>>,
}

impl Replica {
    fn start(server: &Server, name: &str) -> Self {
        let (leadership, elected) = Leadership::contested();
        let stop = CancellationToken::new();
        let api = Api::namespaced(server.client(), "default");
        let candidate = Candidate::new(api, "it", Identity::new(Some(name)), TIMES);
        Self { leadership, stop: stop.clone(), outcome: tokio::spawn(candidate.run(elected, stop)) }
    }

    fn may_write(&self) -> bool {
        self.leadership.fence().check().is_ok()
    }

    async fn leads_within(&self, limit: Duration) -> bool {
        timeout(limit, self.leadership.leads()).await.is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_several_leads_and_goes_on_leading() {
    let server = Server::default();
    let replicas: Vec<_> = ["a", "b", "c"].iter().map(|name| Replica::start(&server, name)).collect();
    for _ in 0..200 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(replicas.iter().filter(|replica| replica.may_write()).count(), 1);
    }
    let lease = server.0.lock().expect("not poisoned").lease.clone().expect("there");
    assert_eq!(lease.spec.expect("there").lease_transitions, Some(0));
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_within_15_seconds_when_the_leader_dies() {
    let server = Server::default();
    for milliseconds in (0..3000).step_by(170) {
        server.set(|state| state.lease = None);
        let first = Replica::start(&server, "first");
        assert!(first.leads_within(Duration::from_secs(1)).await);
        let second = Replica::start(&server, "second");
        sleep(Duration::from_secs(20) + Duration::from_millis(milliseconds)).await;
        assert!(!second.may_write());
        first.outcome.abort();
        let died = Instant::now();
        assert!(second.leads_within(Duration::from_secs(15)).await, "{milliseconds}");
        assert!(died.elapsed() > TIMES.lease - TIMES.retry, "it waited for the lease to run out");
        second.outcome.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_gives_the_lease_back() {
    let server = Server::default();
    let first = Replica::start(&server, "first");
    assert!(first.leads_within(Duration::from_secs(1)).await);
    let second = Replica::start(&server, "second");
    sleep(Duration::from_secs(5)).await;
    first.stop.cancel();
    first.outcome.await.expect("no panic").expect("nothing was lost");
    assert!(first.leadership.fence().check().is_err());
    assert_eq!(server.holder(), None);
    assert!(second.leads_within(TIMES.retry * 2).await);
}

#[tokio::test(start_paused = true)]
async fn a_stand_by_that_stops_leaves_the_lease_alone() {
    let server = Server::default();
    let first = Replica::start(&server, "first");
    assert!(first.leads_within(Duration::from_secs(1)).await);
    let second = Replica::start(&server, "second");
    sleep(Duration::from_secs(5)).await;
    second.stop.cancel();
    second.outcome.await.expect("no panic").expect("nothing was lost");
    sleep(Duration::from_secs(30)).await;
    assert!(first.may_write());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cant_renew_stops_writing_before_another_takes_over() {
    let server = Server::default();
    let first = Replica::start(&server, "first");
    assert!(first.leads_within(Duration::from_secs(1)).await);
    server.set(|state| state.silent = true);
    let since = Instant::now();
    let lost = first.outcome.await.expect("no panic").expect_err("the lease is lost");
    assert!(matches!(lost, Lost::NotRenewed(_)), "{lost}");
    assert!(since.elapsed() <= TIMES.deadline && first.leadership.fence().check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_api_server_costs_nobody_the_lease() {
    let server = Server::default();
    let first = Replica::start(&server, "first");
    assert!(first.leads_within(Duration::from_secs(1)).await);
    for what in [(true, false), (false, true)] {
        server.set(|state| (state.silent, state.deaf) = what);
        sleep(Duration::from_secs(3)).await;
        server.set(|state| (state.silent, state.deaf) = (false, false));
        sleep(Duration::from_secs(20)).await;
        assert!(first.may_write() && !first.outcome.is_finished(), "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_took_or_somebody_emptied_or_deleted_is_lost() {
    type Change = fn(&mut State);
    type Expected = fn(&Lost) -> bool;
    let changes: [(Change, Expected); 3] = [
        (|state| edit(state, Some("other")), |lost| matches!(lost, Lost::Taken(who) if who == "other")),
        (|state| edit(state, None), |lost| matches!(lost, Lost::Freed)),
        (|state| state.lease = None, |lost| matches!(lost, Lost::Deleted)),
    ];
    for (change, expected) in changes {
        let server = Server::default();
        let first = Replica::start(&server, "first");
        assert!(first.leads_within(Duration::from_secs(1)).await);
        server.set(change);
        let lost = first.outcome.await.expect("no panic").expect_err("the lease is lost");
        assert!(expected(&lost), "{lost}");
        assert!(first.leadership.fence().check().is_err());
    }
}

fn edit(state: &mut State, holder: Option<&str>) {
    state.version += 1;
    let lease = state.lease.as_mut().expect("there");
    lease.metadata.resource_version = Some(state.version.to_string());
    lease.spec.as_mut().expect("there").holder_identity = holder.map(str::to_owned);
}

#[tokio::test(start_paused = true)]
async fn an_annotation_on_the_lease_costs_nobody_the_lease() {
    let server = Server::default();
    let first = Replica::start(&server, "first");
    assert!(first.leads_within(Duration::from_secs(1)).await);
    for _ in 0..5 {
        server.set(|state| {
            state.version += 1;
            let lease = state.lease.as_mut().expect("there");
            lease.metadata.resource_version = Some(state.version.to_string());
        });
        sleep(Duration::from_secs(4)).await;
        assert!(first.may_write());
    }
}

#[test]
fn all_times_follow_from_the_leases() {
    assert_eq!(Times::of(Duration::from_secs(12)), TIMES);
    let shortest = Times::of(Duration::ZERO);
    assert_eq!(shortest.lease, Times::SHORTEST);
    assert!(shortest.retry * 2 < shortest.deadline && shortest.deadline < shortest.lease);
}

#[test]
fn two_processes_of_one_pod_are_two() {
    assert_ne!(Identity::new(Some("pod-0")), Identity::new(Some("pod-0")));
}

#[tokio::test]
async fn one_without_rivals_leads_at_once() {
    let alone = Leadership::alone();
    alone.leads().await;
    assert!(alone.fence().check().is_ok());
}
