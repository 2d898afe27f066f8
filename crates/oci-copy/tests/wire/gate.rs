//! The gate that a program may close in the middle of a copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci_copy::{ErrorKind, WriteGate};

use crate::support::{Registry, engine_with, request};

#[tokio::test]
async fn whenever_the_gate_closes_nothing_is_written_from_then_on() {
    for open_for in 0.. {
        let (source, destination) = (Registry::start().await, Registry::start().await);
        destination.create("b");
        source.put_image("a", Some("v1"), "one");
        let asked = Arc::new(AtomicUsize::new(0));
        let engine = engine_with(&[&source, &destination], |config| {
            let asked = asked.clone();
            config.gate = WriteGate::new(move || {
                let is_open = asked.fetch_add(1, Ordering::SeqCst) < open_for;
                is_open.then_some(()).ok_or_else(|| "it is closed".to_owned())
            });
        });
        let outcome = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await;
        // Each write asks before it goes out.
        assert!(destination.writes().len() <= open_for, "{open_for}: {:?}", destination.writes());
        let Err(error) = outcome else {
            assert!(open_for >= 7, "two layers, a config and a manifest need more than {open_for} writes");
            break;
        };
        assert_eq!(error.kind(), ErrorKind::Blocked, "{open_for}: {error}");
        assert!(error.to_string().contains("it is closed") && !error.is_transient(), "{error}");
        assert_eq!(destination.tag("b", "v1"), None, "{open_for}");
    }
}
