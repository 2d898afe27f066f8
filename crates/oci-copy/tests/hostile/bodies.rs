//! Answers without an end, and answers that are more than they seem.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use oci_copy::{Engine, ErrorKind, RegistryConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scene::{Scene, hurried};
use crate::support::{Registry, request};

/// Counts what it gives out, and never ends.
fn endless(sent: &Arc<AtomicUsize>, piece: usize, pause: Duration) -> Body {
    let sent = sent.clone();
    Body::from_stream(futures::stream::repeat(Bytes::from(vec![b' '; piece])).then(move |piece| {
        let sent = sent.clone();
        async move {
            tokio::time::sleep(pause).await;
            sent.fetch_add(piece.len(), Ordering::SeqCst);
            Ok::<_, std::io::Error>(piece)
        }
    }))
}

/// Between two bytes that come in time, by far.
const DRIP: Duration = Duration::from_millis(20);
/// More than is ever read of a body, with what buffers on the way may hold.
const MUCH: usize = 64 << 20;

#[tokio::test]
async fn a_manifest_an_error_or_a_list_without_an_end_is_not_read_for_ever() {
    for (status, part, limit) in
        [(200, "/manifests/", 4 << 20), (500, "/manifests/", 1 << 20), (200, "/tags/", 16 << 20)]
    {
        let scene = Scene::basic().await;
        let sent = Arc::<AtomicUsize>::default();
        let counter = sent.clone();
        scene.answers(move |seen| {
            let body = || endless(&counter, 64 << 10, Duration::ZERO);
            let status = StatusCode::from_u16(status).unwrap();
            (seen.method == "GET" && seen.path.contains(part)).then(|| (status, body()).into_response())
        });
        let error = match part {
            "/tags/" => scene.engine.list_tags(scene.hostile.reference("a:v1").repository()).await.unwrap_err(),
            _ => scene.copy_from().await,
        };
        assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Unavailable), "{part} {status}: {error}");
        let read = sent.load(Ordering::SeqCst);
        assert!(read >= limit / 2 && read < 2 * limit + MUCH, "{part} {status}: {read} bytes were read");
    }
}

#[tokio::test]
async fn a_length_that_nothing_has_is_refused_before_it_is_read() {
    let scene = Scene::basic().await;
    scene.answers(|seen| {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let length = [("content-length", "9223372036854775807")];
        (seen.method == "GET" && seen.path.contains("/manifests/")).then(|| (length, body).into_response())
    });
    assert_eq!(scene.copy_from().await.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_body_that_drips_for_ever_is_given_up() {
    // Each piece comes in time; all of it never does.
    let cases = [(200, "/manifests/"), (500, "/manifests/"), (401, "/manifests/"), (200, "/tags/")];
    let ends = cases.map(|(status, part)| async move {
        let scene = Scene::basic().await.in_a_hurry();
        scene.answers(move |seen| {
            let body = || endless(&Arc::default(), 1, DRIP);
            let mut headers = HeaderMap::new();
            headers.insert("www-authenticate", "Basic".parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            (seen.method == "GET" && seen.path.contains(part)).then(|| (status, headers, body()).into_response())
        });
        let ended = tokio::time::timeout(Duration::from_secs(60), async {
            match part {
                "/tags/" => {
                    drop(scene.engine.list_tags(scene.hostile.reference("a:v1").repository()).await.unwrap_err())
                }
                _ => drop(scene.copy_from().await),
            }
        });
        assert!(ended.await.is_ok(), "{part} {status}");
    });
    futures::future::join_all(ends).await;
}

#[tokio::test]
async fn a_compressed_bomb_is_bytes_and_no_more() {
    // 10 kB that unpack to 10 MB: nobody unpacks them.
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    bomb.extend_from_slice(&[0; 10_000]);
    for (status, part) in [(200, "/manifests/"), (500, "/manifests/"), (403, "/manifests/"), (200, "/tags/")] {
        for encoding in ["gzip", "br", "zstd", "deflate"] {
            let scene = Scene::basic().await;
            let bomb = bomb.clone();
            scene.answers(move |seen| {
                let headers = [("content-encoding", encoding), ("content-type", "application/json")];
                let status = StatusCode::from_u16(status).unwrap();
                (seen.method == "GET" && seen.path.contains(part))
                    .then(|| (status, headers, bomb.clone()).into_response())
            });
            let error = match part {
                "/tags/" => scene.engine.list_tags(scene.hostile.reference("a:v1").repository()).await.unwrap_err(),
                _ => scene.copy_from().await,
            };
            assert!(error.to_string().len() < 1_000, "{error}");
        }
    }
}

#[tokio::test]
async fn a_list_of_tags_that_makes_no_sense_is_refused() {
    for body in [
        "",
        "[]",
        "null",
        "{\"tags\":\"v1\"}",
        "{\"tags\":[1]}",
        "{\"tags\":[\"a\"],\"tags\":[\"b\"]}",
        "{\"tags\":[\"a\"]}{}",
        "<html>",
    ] {
        let scene = Scene::basic().await;
        scene.answers(move |_| Some(body.into_response()));
        let error = scene.engine.list_tags(scene.hostile.reference("a:v1").repository()).await.expect_err(body);
        assert_eq!(error.kind(), ErrorKind::Protocol, "{body}: {error}");
    }
}

#[tokio::test]
async fn pages_without_anything_new_end_the_list() {
    let scene = Scene::basic().await;
    let pages = AtomicUsize::new(0);
    scene.answers(move |_| {
        let link = format!("</v2/a/tags/list?page={}>; rel=next", pages.fetch_add(1, Ordering::SeqCst));
        Some(([("link", link)], "{\"tags\":[\"v1\"]}").into_response())
    });
    let error = scene.engine.list_tags(scene.hostile.reference("a:v1").repository()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(scene.hostile.seen().len() < 200, "{} pages were read", scene.hostile.seen().len());
}

/// What a token realm on the registry's own origin may answer.
async fn token(answer: impl Fn() -> Response + Send + Sync + 'static) -> (ErrorKind, String) {
    let registry = Registry::start().await;
    let challenge = format!("Bearer realm=\"{}\",service=\"s\"", registry.url("/token"));
    registry.hook(move |seen| {
        Some(match seen.path.as_str() {
            "/token" => answer(),
            _ => (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge.clone())]).into_response(),
        })
    });
    let error = hurried(&[&registry], &registry).resolve(&registry.reference("a:v1")).await.unwrap_err();
    (error.kind(), format!("{error} {error:?}"))
}

#[tokio::test]
async fn a_token_that_is_none_is_not_used_and_not_shown() {
    for body in [
        "",
        "secret",
        "\"secret\"",
        "[\"secret\"]",
        "{\"token\":\"\"}",
        "{\"token\":[\"secret\"]}",
        "{\"token\":\"secret\",\"token\":\"secret\"}",
        "{\"token\":\"secret\\r\\nx-evil: 1\"}",
        "{\"token\":\"secret\",\"expires_in\":\"soon\"}",
        "{\"token\":\"s\u{e4}cret secret\\u0000\"}",
    ] {
        let (kind, shown) = token(move || body.into_response()).await;
        assert!(matches!(kind, ErrorKind::Protocol | ErrorKind::Credentials), "{body}: {kind:?} {shown}");
        assert!(!shown.contains("secret"), "{body}: {shown}");
    }
}

#[tokio::test]
async fn a_token_without_an_end_is_not_read_for_ever() {
    let sent = Arc::<AtomicUsize>::default();
    let counter = sent.clone();
    let (kind, _) = token(move || endless(&counter, 64 << 10, Duration::ZERO).into_response()).await;
    assert_eq!(kind, ErrorKind::Protocol);
    assert!(sent.load(Ordering::SeqCst) < (2 << 20) + MUCH);
    let dripping = token(|| endless(&Arc::default(), 1, DRIP).into_response());
    let (kind, _) = tokio::time::timeout(Duration::from_secs(60), dripping).await.expect("it is given up");
    assert_eq!(kind, ErrorKind::Timeout);
}

/// A server that writes `first`, and then `again` for ever.
async fn raw(first: &'static [u8], again: &'static [u8]) -> (Engine, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 1024];
                let _ = connection.read(&mut head).await;
                let _ = connection.write_all(first).await;
                while !again.is_empty() && connection.write_all(again).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
    });
    let registry = Registry::unserved(host.clone());
    let config = RegistryConfig::new(&host).unwrap().endpoint(&format!("http://{host}")).unwrap();
    (hurried(&[], &registry).with_registry(config).unwrap(), host)
}

#[tokio::test]
async fn what_is_no_answer_at_all_ends_with_an_error() {
    let cases: [(&[u8], &[u8]); 9] = [
        (b"HTTP/1.1 200 OK\r\n", b"x-more: headers\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"\r\n"),
        (b"220 mail.example.com ESMTP\r\n", b""),
        (b"\x16\x03\x01\x02\x00\x01", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", b""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n", b""),
        (b"HTTP/9.9 200 OK\r\n\r\n", b""),
    ];
    let ends = cases.map(|(first, again)| async move {
        let (engine, host) = raw(first, again).await;
        let case = String::from_utf8_lossy(if first.is_empty() { again } else { first });
        let resolve = async { engine.list_tags(&format!("{host}/a").parse().unwrap()).await };
        let result = tokio::time::timeout(Duration::from_secs(60), resolve).await.expect(&case);
        let error = result.expect_err(&case);
        assert!(error.to_string().contains(&host) && error.to_string().len() < 1_000, "{case}: {error}");
    });
    futures::future::join_all(ends).await;
}

#[tokio::test]
async fn what_a_registry_says_can_be_shown_on_a_terminal() {
    for message in
        ["\u{1b}]0;title\u{7}\u{1b}[2J", "line\nline\r\nline", "\u{202e}gpj.exe", "\0\0", "\u{200b}\u{feff}x"]
    {
        let scene = Scene::basic().await;
        let body = serde_json::json!({"errors": [{"code": message, "message": message}]}).to_string();
        scene.answers(move |_| Some((StatusCode::FORBIDDEN, body.clone()).into_response()));
        let error = scene.engine.copy(request(&scene.hostile, "a:v1", &scene.honest, "b:v1")).await.unwrap_err();
        let shown = error.to_string();
        assert!(!shown.contains(|c: char| c.is_control() || ('\u{200b}'..='\u{202e}').contains(&c)), "{shown:?}");
    }
}
