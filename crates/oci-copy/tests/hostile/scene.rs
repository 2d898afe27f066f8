//! A registry that means harm, one that is copied to or from, and somebody who should hear of nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use oci_copy::{Credentials, Engine, Error, StaticCredentials};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Registry, Seen, engine_with, request};

const PASSWORD: &str = "hunter2-of-the-registry";

/// Records what it is sent, and answers that it has nothing.
#[derive(Clone)]
pub(crate) struct Bystander {
    pub(crate) host: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Bystander {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bystander = Self { host: listener.local_addr().unwrap().to_string(), received: Arc::default() };
        let received = bystander.received.clone();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let received = received.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    let mut own = Vec::new();
                    while let Ok(length @ 1..) = connection.read(&mut buffer).await {
                        received.lock().unwrap().extend_from_slice(&buffer[..length]);
                        own.extend_from_slice(&buffer[..length]);
                        if own.ends_with(b"\r\n\r\n") {
                            own.clear();
                            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                            if connection.write_all(answer).await.is_err() {
                                return;
                            }
                        } else if own.first() == Some(&0x16) {
                            // The beginning of TLS: nothing good comes of it.
                            return;
                        }
                    }
                });
            }
        });
        bystander
    }

    pub(crate) fn port(&self) -> &str {
        self.host.rsplit(':').next().unwrap()
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }
}

pub(crate) struct Scene {
    /// The one that means harm. It wants a password.
    pub(crate) hostile: Registry,
    /// An honest one, anonymous.
    pub(crate) honest: Registry,
    pub(crate) bystander: Bystander,
    pub(crate) engine: Engine,
}

impl Scene {
    /// Sets the scene; whoever comes without a password is asked for one by `challenge`.
    pub(crate) async fn set(challenge: impl Fn(&Registry, &Bystander) -> String) -> Self {
        let (hostile, honest, bystander) = (Registry::start().await, Registry::start().await, Bystander::start().await);
        for registry in [&hostile, &honest] {
            registry.create("b");
            registry.put_image("a", Some("v1"), "one");
        }
        let challenge = challenge(&hostile, &bystander);
        hostile.hook(move |seen| {
            let unauthorized = || (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge.clone())]).into_response();
            seen.header("authorization").is_none().then(unauthorized)
        });
        let engine = patient(&[&hostile, &honest], &hostile);
        Self { hostile, honest, bystander, engine }
    }

    pub(crate) async fn basic() -> Self {
        Self::set(|_, _| "Basic realm=\"x\"".to_owned()).await
    }

    /// With an engine that gives up sooner, where giving up is what is tested.
    pub(crate) fn in_a_hurry(mut self) -> Self {
        self.engine = hurried(&[&self.hostile, &self.honest], &self.hostile);
        self
    }

    /// Lets the hostile registry answer whoever has shown the password.
    pub(crate) fn answers(&self, answer: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static) {
        self.hostile.hook(move |seen| seen.header("authorization").and_then(|_| answer(seen)));
    }

    /// Copies from the hostile registry. Nothing may be tagged.
    pub(crate) async fn copy_from(&self) -> Error {
        let result = self.engine.copy(request(&self.hostile, "a:v1", &self.honest, "b:v1")).await;
        assert_eq!(self.honest.tag("b", "v1"), None, "nothing of a hostile registry is tagged");
        result.expect_err("the copy fails")
    }

    /// Copies to the hostile registry.
    pub(crate) async fn copy_to(&self) -> Error {
        self.engine.copy(request(&self.honest, "a:v1", &self.hostile, "b:v1")).await.expect_err("the copy fails")
    }

    /// Nobody but the hostile registry itself has seen its password, and no message shows it.
    pub(crate) fn assert_no_leak(&self, case: &str, error: Option<&Error>) {
        let received = String::from_utf8_lossy(&self.bystander.received()).into_owned();
        let shown = error.map(|error| format!("{error} {error:?}")).unwrap_or_default();
        let honest = format!("{:?}", self.honest.seen());
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{PASSWORD}"));
        for secret in [PASSWORD, &encoded, "Bearer", "uthorization:"] {
            assert!(!received.contains(secret), "{case}: the bystander was sent credentials: {received}");
        }
        for secret in [PASSWORD, &encoded] {
            assert!(!shown.contains(secret), "{case}: {shown}");
            assert!(!honest.contains(secret), "{case}: another registry was sent credentials");
        }
    }

    pub(crate) fn assert_untouched(&self, case: &str) {
        assert_eq!(self.bystander.received(), [0; 0], "{case}: the bystander was asked");
    }
}

/// An engine with the hostile registry's password, which doesn't wait long.
pub(crate) fn patient(registries: &[&Registry], owner: &Registry) -> Engine {
    waiting(Duration::from_millis(1500), registries, owner)
}

/// The same for answers that never end: it has to wait until it has waited enough.
pub(crate) fn hurried(registries: &[&Registry], owner: &Registry) -> Engine {
    waiting(Duration::from_millis(400), registries, owner)
}

fn waiting(long: Duration, registries: &[&Registry], owner: &Registry) -> Engine {
    let engine = engine_with(registries, |config| {
        config.retry.max_tries = 2;
        config.response_timeout = long;
        config.idle_timeout = long;
        config.connect_timeout = long;
    });
    let credentials = Credentials::new("user", PASSWORD);
    engine.with_credentials(Arc::new(StaticCredentials::new(&owner.host, credentials)))
}

/// The metadata service of the cloud, and this machine, in all the ways to write them.
pub(crate) const FORBIDDEN_HOSTS: [&str; 14] = [
    "169.254.169.254",
    "169.254.170.2",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "0xA9FEA9FE",
    "2852039166",
    "169.254.43518",
    "0251.0376.0251.0376",
    "169.254.169.254.",
    "\u{2460}\u{2465}\u{2468}.254.169.254",
];
