//! Events about objects, published in the background: no object waits for the news about another.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

/// Events that wait. Beyond, a reconcile waits until one was published: none is dropped, and memory is bounded.
const WAITING: usize = 1024;
/// Events that are published at once: few, for the writes that somebody waits for go first.
const AT_ONCE: usize = 2;

/// Of so many events it is remembered what they said: one that is said again counts on. kube's recorder would remember all
/// of six minutes, and go through them for each new one.
const REMEMBERED: usize = 256;

/// Where events go.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
}

impl Events {
    /// A queue of events, and what publishes them: it ends when all senders are gone and the queue is empty.
    pub(super) fn new(client: Client) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, mut waiting) = mpsc::channel(WAITING);
        let reporter = Reporter { controller: "ecr-operator".to_owned(), instance: None };
        let new_recorder = move || Recorder::new(client.clone(), reporter.clone());
        let mut recorder = new_recorder();
        let waiting = stream::poll_fn(move |task| waiting.poll_recv(task)).enumerate().map(move |(number, it)| {
            if number % REMEMBERED == REMEMBERED - 1 {
                recorder = new_recorder();
            }
            (recorder.clone(), it)
        });
        let publish = waiting.for_each_concurrent(
            AT_ONCE,
            |(recorder, (event, object)): (Recorder, (Event, ObjectReference))| async move {
                // An event that can't be published is logged: it is no reason to stop.
                if let Err(error) = recorder.publish(&event, &object).await {
                    tracing::warn!(
                        object.kind = object.kind,
                        object.namespace = object.namespace,
                        object.name = object.name,
                        reason = event.reason,
                        %error,
                        "an event could not be published"
                    );
                }
            },
        );
        (Self { queue }, publish)
    }

    /// Publishes an event on an object, soon.
    pub async fn publish(&self, object: ObjectReference, type_: EventType, reason: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        // Nobody publishes any more when the program has stopped.
        let _ = self.queue.send((event, object)).await;
    }
}
