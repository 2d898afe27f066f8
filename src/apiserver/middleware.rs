//! What stands between the program and the API server.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::{Body, DynBody};
use tower::{BoxError, Layer, Service};
use tracing::Span;

use super::spans;
use super::watches::Watches;
use crate::leadership::Fence;

/// Lets no write through while the fence is closed, and notes what watches hear.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    fence: Fence,
    watches: Watches,
}

impl Guard {
    pub(super) fn new(fence: Fence, watches: Watches) -> Self {
        Self { fence, watches }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone() }
    }
}

/// A connection under guard.
pub(super) struct Guarded<S> {
    inner: S,
    guard: Guard,
}

type Answer = Response<UnsyncBoxBody<axum::body::Bytes, BoxError>>;

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_write(request.method())
            && let Err(fenced) = self.guard.fence.check()
        {
            return Box::pin(std::future::ready(Err(fenced.into())));
        }
        let kind = Kind::of(&request);
        let path = request.uri().path().to_owned();
        let watches = self.guard.watches.clone();
        let span = if kind == Kind::Write { spans::write(&request) } else { Span::none() };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = match kind {
                Kind::Write => spans::traced(span, answer).await?,
                Kind::Watch | Kind::OtherRead => answer.await?,
            };
            match kind {
                Kind::Watch => watches.heard(&path),
                Kind::OtherRead => watches.listed(&path),
                Kind::Write => {}
            }
            Ok(answer.map(|body| match kind {
                Kind::Watch => body
                    .map_frame(move |frame| {
                        watches.heard(&path);
                        frame
                    })
                    .boxed_unsync(),
                Kind::OtherRead | Kind::Write => body.boxed_unsync(),
            }))
        })
    }
}

/// What a request is to this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Watch,
    OtherRead,
    Write,
}

impl Kind {
    fn of<B>(request: &Request<B>) -> Self {
        let watches = || request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        match is_write(request.method()) {
            true => Self::Write,
            false if watches() => Self::Watch,
            false => Self::OtherRead,
        }
    }
}

fn is_write(method: &Method) -> bool {
    !method.is_safe()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use kube::Client;
    use kube::client::ClientBuilder;
    use tower::service_fn;

    use crate::leadership::Leadership;

    /// A client whose API server answers everything with an empty object, under guard.
    fn client(fence: &Fence, watches: &Watches) -> Client {
        let server = service_fn(|_: Request<Body>| async {
            let body: Box<DynBody> = Box::new(Body::from(b"{}".to_vec()).map_err(BoxError::from));
            Ok::<_, BoxError>(Response::new(body))
        });
        ClientBuilder::new(server, "default").with_layer(&Guard::new(fence.clone(), watches.clone())).build()
    }

    async fn ask(client: &Client, method: Method, uri: &str) -> Result<String, String> {
        let request = Request::builder().method(method).uri(uri).body(Vec::new()).expect("valid");
        client.request_text(request).await.map_err(|error| crate::controllers::chain(&error))
    }

    #[tokio::test]
    async fn nothing_is_written_while_the_fence_is_closed() {
        let (leadership, _elected) = Leadership::contested();
        let client = client(leadership.fence(), &Watches::default());
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let refused = ask(&client, method.clone(), "/api/v1/secrets").await.expect_err("it is fenced");
            assert!(refused.contains("does not hold the lease"), "{method}: {refused}");
        }
        assert_eq!(ask(&client, Method::GET, "/api/v1/secrets").await.as_deref(), Ok("{}"));
    }

    #[tokio::test]
    async fn an_open_fence_lets_everything_through() {
        let client = client(&Fence::open(), &Watches::default());
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(ask(&client, method, "/api/v1/secrets").await.as_deref(), Ok("{}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn watches_are_observed_and_other_requests_are_not() {
        let watches = Watches::default();
        let client = client(&Fence::open(), &watches);
        let _ = ask(&client, Method::GET, "/api/v1/secrets?limit=500").await;
        assert_eq!(watches.silent(), []);
        let _ = ask(&client, Method::GET, "/api/v1/secrets?watch=true&timeoutSeconds=290").await;
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(watches.silent(), [("/api/v1/secrets".to_owned(), second)]);
        let _ = ask(&client, Method::GET, "/api/v1/secrets?limit=500").await;
        assert_eq!(watches.silent(), [("/api/v1/secrets".to_owned(), Duration::ZERO)], "a relist is news");
    }
}
