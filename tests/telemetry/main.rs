//! What an operator tells of its work: traces to a collector that is not ours, and logs. And how it reaches AWS where a proxy
//! stands in between. Run it with `make test`, on a local stack that has no operator of its own.
#![allow(clippy::unwrap_used)]

mod collector;
mod operator;
mod proxy;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use collector::{Collector, Span};
use ecr_operator::api::{EcrRegistry, EcrRepository, ImageMirror};
use kube::ResourceExt as _;
use operator::Operator;
use proxy::Proxy;
use serde_json::{Value, json};
use support::{Stack, env, eventually, has_reason, is_ready, push, unique};
use tokio::net::TcpListener;

/// Each operator works on all objects of the stack, so one test runs at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// So that nothing is waited for long.
const SOON: [(&str, &str); 2] = [("OTEL_BSP_SCHEDULE_DELAY", "200"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "500")];

/// What must be in no log and in no trace.
async fn secrets(stack: &Stack) -> Vec<String> {
    let token = stack.ecr.get_authorization_token().send().await.unwrap().authorization_data.unwrap();
    let token = token[0].authorization_token.clone().unwrap();
    let mut secrets = vec![env("OPERATOR_AWS_SECRET_ACCESS_KEY"), env("HUB_PASSWORD"), token];
    secrets.extend(
        ["Bearer ", "Basic ", "X-Amz-Signature", "X-Amz-Security-Token", "_state=", "password=", "test-header-secret"]
            .map(str::to_owned),
    );
    secrets
}

fn assert_has_none(text: &str, secrets: &[String], what: &str) {
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "{what} has a secret");
    }
}

#[tokio::test]
async fn a_reconcile_is_a_trace_with_what_it_did_and_each_of_its_log_lines_has_the_traces_id() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("traced").await;
    let source = format!("library/{}", unique("traced"));
    push(&format!("{source}:1"), 800, &[]).await;
    let collector = Collector::start().await;
    let mut variables = SOON.to_vec();
    variables.extend([
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=operator-0,k8s.namespace.name=registry"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=test-header-secret"),
    ]);
    let mut operator = Operator::start(&["--otlp-endpoint", &collector.url], &variables).await;
    namespace.apply::<EcrRepository>("api", &format!("repositoryName: {}", unique("traced"))).await;
    let mirror = format!("source: {{image: docker.io/{source}}}\ntags: {{names: ['1']}}");
    namespace.apply::<ImageMirror>("image", &mirror).await;
    let repository = namespace.ready::<EcrRepository>("api").await;
    namespace.ready::<ImageMirror>("image").await;
    operator.signal("TERM").await;
    assert_eq!(operator.ended().await.code(), Some(0));

    // What was not sent yet, the end sends.
    let spans = collector.spans().await;
    let secrets = secrets(&stack).await;
    assert_has_none(&collector.text().await, &secrets, "a trace");
    for span in &spans {
        assert_eq!(span.resource["service.name"], "ecr-operator");
        assert_eq!(span.resource["k8s.pod.name"], "operator-0");
        let urls: Vec<_> = span.attributes.values().filter(|value| value.to_string().contains("://")).collect();
        assert!(span.name == "copy" || urls.is_empty(), "{span:?}");
    }

    let of = |kind: &str, name: &str| -> Vec<&Span> {
        let is_it = |span: &&Span| {
            span.name == format!("reconcile {kind}")
                && span.attributes["object.namespace"] == namespace.name.as_str()
                && span.attributes["object.name"] == name
        };
        spans.iter().filter(is_it).collect()
    };
    let below = |root: &Span| -> Vec<&Span> {
        spans.iter().filter(|span| span.trace == root.trace && span.id != root.id).collect()
    };
    let created = of("EcrRepository", "api");
    let root = created.iter().find(|root| below(root).iter().any(|span| span.name == "ECR.CreateRepository"));
    let root = *root.expect("the reconcile that created the repository");
    assert_eq!(root.parent, "");
    assert_eq!(root.attributes["object.uid"], repository.uid().unwrap().as_str());
    assert_eq!(root.attributes["object.generation"], repository.metadata.generation.unwrap().to_string().as_str());
    assert_eq!((&root.attributes["outcome"], &root.attributes["reason"]), (&json!("Ready"), &json!("Succeeded")));
    assert_eq!(root.attributes["registry"], "default");
    let call = *below(root).iter().find(|span| span.name == "ECR.CreateRepository").unwrap();
    assert_eq!(call.parent, root.id);
    assert_eq!(
        (&call.attributes["rpc.service"], &call.attributes["rpc.method"]),
        (&json!("ECR"), &json!("CreateRepository"))
    );
    assert_eq!(
        (&call.attributes["aws.tries"], &call.attributes["http.response.status_code"]),
        (&json!("1"), &json!("200"))
    );
    assert!(call.attributes.contains_key("aws.request_id"), "{call:?}");
    let status = below(root).into_iter().find(|span| span.name == "Kubernetes patch ecrrepositories");
    let status = status.expect("the status was written");
    assert_eq!(
        (&status.attributes["kubernetes.name"], &status.attributes["kubernetes.subresource"]),
        (&json!("api"), &json!("status"))
    );

    let mirrored = of("ImageMirror", "image");
    let root = mirrored.iter().find(|root| below(root).iter().any(|span| span.name == "copy"));
    let root = *root.expect("the reconcile that copied the image");
    let copy = *below(root).iter().find(|span| span.name == "copy").unwrap();
    assert!(copy.attributes["copy.bytes"].as_str().unwrap().parse::<u64>().unwrap() > 1 << 20, "{copy:?}");
    let requests: Vec<_> =
        below(root).into_iter().filter(|span| span.attributes.contains_key("oci.operation")).collect();
    let operations: BTreeSet<_> =
        requests.iter().map(|span| span.attributes["oci.operation"].as_str().unwrap()).collect();
    for operation in ["HeadManifest", "GetManifest", "GetBlob", "StartUpload", "UploadBlob", "PutManifest"] {
        assert!(operations.contains(operation), "no {operation} in {operations:?}");
    }
    let put =
        requests.iter().find(|span| span.name == "PutManifest" && span.attributes["oci.reference"] == "1").unwrap();
    assert_eq!(
        (&put.attributes["http.request.method"], &put.attributes["http.response.status_code"]),
        (&json!("PUT"), &json!("201"))
    );
    assert_eq!(put.attributes["server.address"], "127.0.0.1");
    assert!(requests.iter().all(|span| spans.iter().any(|parent| parent.id == span.parent)), "none stands alone");

    let log = operator.log().await;
    assert_has_none(&log, &secrets, "the log");
    assert_tells_of_objects(&log);
    let told: BTreeSet<String> = lines(&log)
        .filter(|line| line["object"]["kind"] == "ImageMirror" && line["reconcile_id"] == root.trace.as_str())
        .filter_map(|line| line["message"].as_str().map(str::to_owned))
        .collect();
    for message in ["mirrored", "the registry answered", "the API server answered", "reconciled"] {
        assert!(told.contains(message), "the trace's lines do not say {message:?}: {told:?}");
    }
    let answered = lines(&log).find(|line| line["rpc.method"] == "CreateRepository").unwrap();
    assert!(answered["aws.request_id"].is_string() && answered["object"]["name"] == "api", "{answered}");
    namespace.cleanup().await;
}

fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line} is no JSON: {error}")))
}

/// Each line of what works on objects names the object, the reconcile, and the registry.
fn assert_tells_of_objects(log: &str) {
    let mut kinds = BTreeSet::new();
    for line in lines(log) {
        let target = line["target"].as_str().unwrap();
        let of_objects = ["report", "repository", "registry", "mirror", "pull_secret"]
            .iter()
            .any(|part| target.starts_with(&format!("ecr_operator::controllers::{part}")));
        // Work for no single object says so, and has an id, too.
        if line["task"].is_string() {
            assert!(line["reconcile_id"].is_string() && line.get("object").is_none(), "{line}");
            continue;
        }
        if of_objects || target.starts_with("oci_copy::") || line.get("reconcile_id").is_some() {
            for field in [&line["object"]["kind"], &line["object"]["name"], &line["reconcile_id"], &line["registry"]] {
                assert!(field.is_string(), "{line}");
            }
            kinds.insert(line["object"]["kind"].as_str().unwrap().to_owned());
        }
    }
    assert!(
        kinds.contains("EcrRegistry") && kinds.contains("EcrRepository") && kinds.contains("ImageMirror"),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn of_the_share_that_is_not_kept_nothing_is_sent_and_the_log_has_ids_all_the_same() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("sampled").await;
    let collector = Collector::start().await;
    let mut variables = SOON.to_vec();
    variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()));
    let mut operator = Operator::start(&["--trace-sampling-ratio", "0"], &variables).await;
    namespace.apply::<EcrRepository>("api", &format!("repositoryName: {}", unique("sampled"))).await;
    namespace.ready::<EcrRepository>("api").await;
    operator.signal("TERM").await;
    assert_eq!(operator.ended().await.code(), Some(0));
    let spans = collector.spans().await;
    assert!(spans.is_empty(), "{spans:?}");
    let log = operator.log().await;
    assert!(lines(&log).any(|line| line["message"] == "traces are sent"));
    let ids: BTreeSet<String> =
        lines(&log).filter_map(|line| line["reconcile_id"].as_str().map(str::to_owned)).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| id.len() == 32 && !id.bytes().all(|it| it == b'0')), "{ids:?}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_collector_that_hangs_up_holds_up_nothing_and_is_told_of_once() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("collector").await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", dead.local_addr().unwrap());
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = dead.accept().await {
            drop(connection);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut operator = Operator::start(&["--otlp-endpoint", &url], &SOON).await;
    let mut repositories = 0;
    while tries.load(Ordering::Relaxed) < 5 || repositories < 3 {
        repositories += 1;
        let name = format!("api-{repositories}");
        namespace.apply::<EcrRepository>(&name, &format!("repositoryName: {}", unique("collector"))).await;
        namespace.ready::<EcrRepository>(&name).await;
    }
    operator.signal("TERM").await;
    assert_eq!(operator.ended().await.code(), Some(0));
    let log = operator.log().await;
    let told: Vec<_> = lines(&log).filter(|line| line["collector"].is_string()).collect();
    let warnings = told.iter().filter(|line| line["level"] == "WARN").count();
    assert_eq!((told.len(), warnings), (2, 1), "one line where traces go, one that they don't get there: {told:?}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_collector_that_never_answers_keeps_no_operator_from_ending() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("silent").await;
    // Connections are made, and nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    // It would wait for longer than the test does.
    let variables = [("OTEL_BSP_SCHEDULE_DELAY", "200"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")];
    let mut operator = Operator::start(&["--otlp-endpoint", &url], &variables).await;
    namespace.apply::<EcrRepository>("api", &format!("repositoryName: {}", unique("silent"))).await;
    namespace.ready::<EcrRepository>("api").await;
    let (_connection, _) = silent.accept().await.unwrap();
    operator.signal("TERM").await;
    assert_eq!(operator.ended().await.code(), Some(0));
    assert!(lines(&operator.log().await).any(|line| line["message"] == "stopped"));
    namespace.cleanup().await;
}

#[tokio::test]
async fn aws_is_called_through_the_proxy_and_what_needs_none_without() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let proxy = Proxy::start().await;
    let api = env("AWS_ENDPOINT_URL").trim_start_matches("https://").trim_end_matches('/').to_owned();
    let (_, port) = api.rsplit_once(':').unwrap();
    proxy.refuse(&api);
    let url = format!("http://someone:test-proxy-secret@{}", proxy.address);
    let operator = Operator::start(&[], &[("HTTPS_PROXY", &url), ("NO_PROXY", "localhost")]).await;

    // The API server is reached although its address is the proxy's business as well.
    let unreachable = |it: &EcrRegistry| has_reason(it, "Unreachable");
    stack.until::<EcrRegistry>("default", "unreachable", unreachable).await;
    let direct = unique("direct");
    let endpoint = format!("https://localhost:{port}");
    let spec = json!({"region": env("AWS_REGION"), "endpoints": {"api": endpoint, "sts": endpoint}});
    stack.apply::<EcrRegistry>(&direct, &spec.to_string()).await;
    stack.until::<EcrRegistry>(&direct, "ready", is_ready).await;

    proxy.allow();
    stack.until::<EcrRegistry>("default", "ready", is_ready).await;
    let tunnels = proxy.tunnels();
    assert!(tunnels.contains(&api), "{tunnels:?}");
    assert!(!tunnels.iter().any(|to| to.starts_with("localhost")), "{tunnels:?}");
    assert!(proxy.saw_credentials(), "the proxy's user name and password come with the requests");
    stack.delete::<EcrRegistry>(&direct).await;
    assert_has_none(&operator.log().await, &["test-proxy-secret".to_owned()], "the log");
    eventually("the registry is gone", || async {
        stack.all::<EcrRegistry>().get_opt(&direct).await.unwrap().is_none().then_some(())
    })
    .await;
}
