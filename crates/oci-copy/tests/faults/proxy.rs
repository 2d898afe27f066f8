//! What stands between the engine and a registry, and lets go wrong what a run has planned.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use oci_copy::Digest;

use crate::kinds::{Fault, Kind, Op, Side};
use crate::network::{Cut, Gate, Transport, Weather};
use crate::registry::{Registry, error};

/// Something that happens at the registry while it is asked.
pub(crate) type Event = Arc<dyn Fn(Kind) + Send + Sync>;

pub(crate) struct Proxy {
    side: Side,
    pub(crate) origin: String,
    /// What it is in front of.
    registry: Arc<Registry>,
    weather: Arc<Weather>,
    faults: Mutex<Vec<(Fault, u32)>>,
    healthy: AtomicBool,
    event: Mutex<Option<Event>>,
    /// Every request, with what was done to it.
    pub(crate) log: Arc<Mutex<Vec<String>>>,
    fired: Mutex<Vec<Kind>>,
}

impl Proxy {
    pub(crate) async fn start(
        side: Side,
        transport: Transport,
        registry: Arc<Registry>,
        log: Arc<Mutex<Vec<String>>>,
    ) -> Arc<Self> {
        let weather = Arc::new(Weather::default());
        let gate = Gate::open(transport, weather.clone()).await;
        let scheme = if transport == Transport::Plain { "http" } else { "https" };
        let proxy = Arc::new(Self {
            side,
            origin: format!("{scheme}://{}", gate.address),
            registry,
            weather,
            faults: Mutex::default(),
            healthy: AtomicBool::new(false),
            event: Mutex::default(),
            log,
            fired: Mutex::default(),
        });
        let app = Router::new().fallback(handle).with_state(proxy.clone());
        tokio::spawn(async move {
            let _ = axum::serve(gate, app.into_make_service_with_connect_info::<Cut>()).await;
        });
        proxy
    }

    pub(crate) fn host(&self) -> &str {
        self.origin.split("://").nth(1).unwrap()
    }

    pub(crate) fn plan(&self, faults: &[Fault], event: Event) {
        let own = faults.iter().filter(|fault| fault.side == self.side);
        *self.faults.lock().unwrap() = own.map(|fault| (*fault, 0)).collect();
        *self.event.lock().unwrap() = Some(event);
    }

    /// From now on everything goes well.
    pub(crate) fn heal(&self) {
        self.healthy.store(true, Ordering::SeqCst);
        self.weather.nonsense.store(0, Ordering::SeqCst);
        self.weather.stranger.store(0, Ordering::SeqCst);
    }

    pub(crate) fn fired(&self) -> Vec<Kind> {
        self.fired.lock().unwrap().clone()
    }

    fn next_fault(&self, op: Op) -> Option<Kind> {
        if self.healthy.load(Ordering::SeqCst) {
            return None;
        }
        let mut hit = None;
        for (fault, seen) in self.faults.lock().unwrap().iter_mut().filter(|(fault, _)| fault.op == op) {
            let due = *seen >= fault.skip && *seen - fault.skip < fault.times;
            *seen += 1;
            if due && hit.is_none() {
                hit = Some(fault.kind);
            }
        }
        let kind = hit?;
        self.fired.lock().unwrap().push(kind);
        Some(kind)
    }

    async fn forward(&self, request: Request) -> Response {
        self.registry.serve(&self.origin, request).await
    }

    fn challenge(&self) -> Response {
        self.registry.challenge(&self.origin)
    }

    fn happen(&self, kind: Kind) {
        let event = self.event.lock().unwrap().clone();
        if let Some(event) = event {
            event(kind);
        }
    }
}

async fn handle(State(proxy): State<Arc<Proxy>>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response {
    let op = Op::of(&request);
    let kind = proxy.next_fault(op);
    let line = format!("{:?} {} {}", proxy.side, request.method(), request.uri().path());
    let at = {
        let mut log = proxy.log.lock().unwrap();
        log.push(format!("{line} ..."));
        log.len() - 1
    };
    let response = match kind {
        None => proxy.forward(request).await,
        Some(kind) => fail(&proxy, kind, op, cut, request).await,
    };
    let fault = kind.map(|kind| format!(" [{kind:?}]")).unwrap_or_default();
    proxy.log.lock().unwrap()[at] = format!("{line} -> {}{fault}", response.status().as_u16());
    response
}

async fn fail(proxy: &Proxy, kind: Kind, op: Op, cut: Cut, request: Request) -> Response {
    use Kind as K;
    match kind {
        // Answers instead of the registry's.
        K::Unauthorized => instead(request, proxy.challenge()).await,
        K::Forbidden => instead(request, error(403, "DENIED", "not you")).await,
        K::RequestTimeout => instead(request, StatusCode::REQUEST_TIMEOUT.into_response()).await,
        K::TooMany => instead(request, error(429, "TOOMANYREQUESTS", "slower")).await,
        K::TooManyRetryNow => instead(request, retry_after(429, "0")).await,
        K::TooManyRetryLater => instead(request, retry_after(429, "3600")).await,
        K::InternalError => instead(request, error(500, "UNKNOWN", "something broke")).await,
        K::BadGateway => instead(request, (StatusCode::BAD_GATEWAY, "<html>bad</html>").into_response()).await,
        K::Unavailable => instead(request, StatusCode::SERVICE_UNAVAILABLE.into_response()).await,
        K::UnavailableRetryNow => instead(request, retry_after(503, "0")).await,
        K::GatewayTimeout => instead(request, StatusCode::GATEWAY_TIMEOUT.into_response()).await,
        K::EarlyUnavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        K::RepositoryGone => instead(request, error(404, "NAME_UNKNOWN", "no such repository")).await,
        K::HiddenBlob => instead(request, StatusCode::NOT_FOUND.into_response()).await,
        K::LostUpload => instead(request, error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")).await,
        K::SpentUpload => instead(request, error(416, "BLOB_UPLOAD_INVALID", "upload spent")).await,
        K::StaleBlob => instead(request, [("content-length", "7")].into_response()).await,
        K::StaleManifest => {
            let headers = [("content-type", oci_copy::media_type::OCI_MANIFEST), ("content-length", "7")];
            instead(request, headers.into_response()).await
        }
        K::CaptivePortal => {
            instead(request, ([("content-type", "text/html")], "<html>log in</html>").into_response()).await
        }
        K::NoLocation => instead(request, StatusCode::ACCEPTED.into_response()).await,
        K::ForeignLocation => {
            let foreign = [("location", "http://169.254.169.254/v2/b/blobs/uploads/1")];
            instead(request, (StatusCode::ACCEPTED, foreign).into_response()).await
        }
        K::FalseCommit => instead(request, StatusCode::CREATED.into_response()).await,
        K::StaleMount if request.uri().query().is_some_and(|query| query.contains("mount=")) => {
            instead(request, (StatusCode::CREATED, [("location", "/v2/b/blobs/x")]).into_response()).await
        }
        K::RedirectLoop => {
            let here = proxy.origin.clone() + request.uri().path();
            instead(request, (StatusCode::TEMPORARY_REDIRECT, [("location", here)]).into_response()).await
        }
        K::NameWithoutAddress => {
            let scheme = proxy.origin.split(':').next().unwrap_or_default();
            let nowhere = format!("{scheme}://storage.invalid/x?X-Amz-Signature=0123");
            instead(request, (StatusCode::TEMPORARY_REDIRECT, [("location", nowhere)]).into_response()).await
        }

        // Connections that break.
        K::ResetBeforeAnswer => {
            cut.now();
            StatusCode::OK.into_response()
        }
        K::ResetInRequest => {
            let _ = request.into_body().into_data_stream().next().await;
            cut.now();
            StatusCode::OK.into_response()
        }
        K::LostAnswer => {
            let response = proxy.forward(request).await;
            let _ = to_bytes(response.into_body(), usize::MAX).await;
            cut.now();
            StatusCode::OK.into_response()
        }
        K::StallBeforeAnswer => std::future::pending().await,
        K::StallInRequest => {
            let mut body = request.into_body().into_data_stream();
            let _ = body.next().await;
            std::future::pending().await
        }
        K::ConnectionRefused => {
            proxy.weather.away.store(25, Ordering::SeqCst);
            proxy.weather.changed.notify_one();
            cut.now();
            StatusCode::OK.into_response()
        }
        K::NonsenseInsteadOfTls => {
            proxy.weather.nonsense.store(2, Ordering::SeqCst);
            cut.now();
            StatusCode::OK.into_response()
        }
        K::CertificateOfAStranger => {
            proxy.weather.stranger.store(2, Ordering::SeqCst);
            cut.now();
            StatusCode::OK.into_response()
        }

        // Things that happen meanwhile.
        K::TagMoves | K::TokenExpires => {
            proxy.happen(kind);
            proxy.forward(request).await
        }

        // The registry's answer, spoilt.
        K::RangeIgnored => {
            let mut request = request;
            request.headers_mut().remove(header::RANGE);
            proxy.forward(request).await
        }
        _ => spoil(kind, op, cut, proxy.forward(request).await).await,
    }
}

/// Answers when the request was read, as a registry does.
async fn instead(request: Request, response: Response) -> Response {
    let _ = to_bytes(request.into_body(), usize::MAX).await;
    response
}

fn retry_after(status: u16, value: &'static str) -> Response {
    (StatusCode::from_u16(status).unwrap(), [("retry-after", value)]).into_response()
}

async fn spoil(kind: Kind, op: Op, cut: Cut, response: Response) -> Response {
    use Kind as K;
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = bytes.slice(..bytes.len() / 2);
    let body = match kind {
        K::ResetAfterHeaders => broken(Bytes::new(), cut),
        K::ResetInBody => broken(half, cut),
        K::ResetAfterBody => {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(3)).await;
                cut.now();
            });
            bytes.into()
        }
        K::Truncated => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(half)]))
        }
        K::StallInBody => {
            let pieces = futures::stream::iter([Ok::<_, std::io::Error>(half)]);
            Body::from_stream(pieces.chain(futures::stream::pending()))
        }
        K::SlowDrip => {
            let pieces: Vec<_> = bytes.chunks(bytes.len() / 8 + 1).map(Bytes::copy_from_slice).collect();
            Body::from_stream(futures::stream::iter(pieces).then(|piece| async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                Ok::<_, std::io::Error>(piece)
            }))
        }
        K::ConnectionCloses => {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            bytes.into()
        }
        K::FlippedBit if !bytes.is_empty() => {
            let mut spoilt = bytes.to_vec();
            let middle = spoilt.len() / 2;
            spoilt[middle] ^= 1;
            spoilt.into()
        }
        K::ExtraBytes => {
            parts.headers.remove(header::CONTENT_LENGTH);
            [bytes, Bytes::from_static(b" and more")].concat().into()
        }
        K::EmptyBody => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Body::empty()
        }
        K::WrongRange => {
            if let Some(range) = parts.headers.get(header::CONTENT_RANGE) {
                let moved = range.to_str().unwrap().replace("bytes ", "bytes 1");
                parts.headers.insert(header::CONTENT_RANGE, moved.parse().unwrap());
            }
            bytes.into()
        }
        K::WrongDigestHeader => {
            let other = Digest::sha256(b"something else").to_string();
            parts.headers.insert("docker-content-digest", other.parse().unwrap());
            if op == Op::HeadManifest { Body::empty() } else { bytes.into() }
        }
        K::WrongMediaType => {
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            bytes.into()
        }
        _ => bytes.into(),
    };
    Response::from_parts(parts, body)
}

/// A body that breaks off, after what came before had the time to leave.
fn broken(before: Bytes, cut: Cut) -> Body {
    let end = futures::stream::once(async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        cut.now();
        Err(std::io::Error::other("cut"))
    });
    Body::from_stream(futures::stream::iter([Ok(before)]).chain(end))
}
