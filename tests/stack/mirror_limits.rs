//! ImageMirror: pull budgets, and many mirrors at once.

use base64::Engine as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use ecr_operator::api::{EcrRegistry, ImageMirror, TagState};

use crate::support::{Namespace, Stack, env, eventually, has_reason, is_ready, is_stalled, message, push, unique};

/// A user of the Docker Hub stand-in, with a pull limit of its own.
struct User {
    name: String,
    http: reqwest::Client,
}

impl User {
    async fn with(limit: u32, remaining: u32, window_seconds: u32) -> Self {
        let user = Self { name: unique("user"), http: reqwest::Client::new() };
        user.post("/users", json!({"name": user.name, "password": "right"})).await;
        user.set(limit, remaining, window_seconds).await;
        user
    }

    /// Gives the user a limit, so much of it, and a window that begins now.
    async fn set(&self, limit: u32, remaining: u32, window_seconds: u32) {
        let what = json!({"user": self.name, "limit": limit, "remaining": remaining, "windowSeconds": window_seconds});
        self.post("/rate-limit", what).await;
    }

    async fn remaining(&self) -> u64 {
        let url = format!("{}/rate-limit/{}", env("HUB_CONTROL_URL"), self.name);
        let answer: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        answer["remaining"].as_u64().unwrap()
    }

    async fn post(&self, path: &str, what: Value) {
        let url = format!("{}{path}", env("HUB_CONTROL_URL"));
        self.http.post(url).json(&what).send().await.unwrap().error_for_status().unwrap();
    }

    /// A Secret `hub` with the user's password for a registry.
    async fn secret(&self, namespace: &Namespace<'_>, host: &str) {
        let config = json!({"auths": {host: {"username": self.name, "password": "right"}}});
        let encoded = base64::engine::general_purpose::STANDARD.encode(config.to_string());
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"},
            "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": encoded},
        });
        let api = namespace.api::<Secret>();
        api.patch("hub", &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
    }
}

/// Images of one platform, which are one pull each, or of several.
async fn push_tags(repository: &str, seed: u32, tags: &[&str], platforms: &str) {
    for (seed, tag) in (seed..).zip(tags) {
        let more = ["--layers", "1", "--layer-size", "1024", "--platforms", platforms];
        push(&format!("{repository}:{tag}"), seed, &more).await;
    }
}

fn mirror(host: &str, repository: &str, tags: &[&str], more: &str) -> String {
    format!(
        "source: {{image: {host}/{repository}, credentialsSecretRef: {{name: hub}}}}\ntags: {{names: {}}}\n{more}",
        json!(tags)
    )
}

fn anonymous(host: &str, repository: &str, more: &str) -> String {
    format!("source: {{image: {host}/{repository}}}\ntags: {{names: ['1']}}\n{more}")
}

fn mirrored(object: &ImageMirror) -> Option<&str> {
    object.status.as_ref()?.mirrored.as_deref()
}

/// The tags that wait for pulls.
fn limited(object: &ImageMirror) -> Vec<&str> {
    let tags = object.status.iter().flat_map(|status| &status.destinations).flat_map(|destination| &destination.tags);
    let limited = tags.filter(|tag| tag.state == TagState::Waiting && tag.reason.as_deref() == Some("RateLimited"));
    limited.map(|tag| tag.name.as_str()).collect()
}

#[tokio::test]
async fn tags_wait_for_pulls_with_the_time_leave_the_floor_to_others_and_go_on_by_themselves() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("budget").await;
    let repository = unique("limited");
    let tags = ["1", "2", "3", "4", "5"];
    push_tags(&repository, 700, &tags, "linux/amd64").await;
    // Of ten pulls seven are left, and four of these are kept for others.
    let user = User::with(10, 7, 40).await;
    user.secret(&namespace, "shared.test").await;
    namespace.apply::<ImageMirror>("image", &mirror("shared.test", &repository, &tags, "interval: 24h")).await;
    let object = namespace.until::<ImageMirror>("image", "waiting", |it| limited(it).len() == 2).await;
    assert!(has_reason(&object, "RateLimited") && !is_stalled(&object), "{}", message(&object));
    assert_eq!((mirrored(&object), user.remaining().await), (Some("3/5"), 4));
    let words = message(&object);
    assert!(words.contains("4 are kept for others") && words.contains("it goes on at 20"), "{words}");
    let status = object.status.as_ref().unwrap();
    assert_eq!(status.counts.as_ref().map(|counts| (counts.waiting, counts.failed)), Some((2, 0)));
    assert!(status.next_sync_time.is_some(), "it is told when it goes on");
    let metrics = stack.get_text(&env("OPERATOR_METRICS_URL")).await;
    let series =
        format!("ecr_operator_pull_budget_left{{registry=\"shared.test\",credentials=\"{}/hub\"}} 4", namespace.name);
    assert!(metrics.contains(&series), "{series}");

    // Nobody asks: it goes on when the window is over, and no earlier.
    namespace.ready::<ImageMirror>("image").await;
    assert_eq!(user.remaining().await, 8, "the last two, of a new window");
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_image_of_several_platforms_is_begun_only_with_pulls_for_all_of_them() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("platforms").await;
    let repository = unique("index");
    push_tags(&repository, 710, &["1"], "linux/amd64,linux/arm64,linux/s390x").await;
    let user = User::with(20, 6, 3600).await;
    user.secret(&namespace, "shared.test").await;
    namespace.apply::<ImageMirror>("image", &mirror("shared.test", &repository, &["1"], "interval: 24h")).await;
    let words = namespace.not_ready::<ImageMirror>("image", "RateLimited").await;
    assert!(words.contains("the image needs 3"), "{words}");
    assert_eq!(user.remaining().await, 5, "the index was read, which showed what it needs, and nothing else");

    // More tries cost nothing.
    namespace.sync::<ImageMirror>("image").await;
    assert_eq!(user.remaining().await, 5);

    user.set(20, 7, 3600).await;
    namespace.ask_to_sync::<ImageMirror>("image").await;
    namespace.ready::<ImageMirror>("image").await;
    assert_eq!(user.remaining().await, 4, "all platforms are three pulls");
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_two_new_repositories_lack_is_read_once_although_one_of_them_takes_its_time() {
    const REGION: &str = "ap-northeast-2";
    let stack = Stack::connect().await;
    let namespace = stack.namespace("once").await;
    let repository = unique("once");
    push_tags(&repository, 715, &["1"], "linux/amd64").await;
    let second = stack.registry_in(REGION).await;

    let slow = json!({"target": "api", "action": "CreateRepository", "region": REGION, "delayMs": 3000});
    stack.fault("AWS_CONTROL_URL", slow).await;
    // The configuration and the layer can be read, and nothing a second time.
    let blobs = format!("/v2/{repository}/blobs/");
    stack.fault("HUB_CONTROL_URL", json!({"method": "GET", "path": blobs, "times": 2})).await;
    let again = json!({"method": "GET", "path": blobs, "times": 0, "status": 404, "code": "BLOB_UNKNOWN"});
    let again = stack.fault("HUB_CONTROL_URL", again).await;
    let spec =
        anonymous("slow.test", &repository, &format!("destinations: [{{}}, {{registryRef: {{name: {second}}}}}]"));
    namespace.apply::<ImageMirror>("image", &spec).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    let arrived = object.status.iter().flat_map(|status| &status.destinations).flat_map(|it| &it.tags);
    assert_eq!(arrived.map(|tag| tag.state).collect::<Vec<_>>(), [TagState::Mirrored; 2]);
    again.remove().await;
    namespace.cleanup().await;
    stack.delete::<EcrRegistry>(&second).await;
}

#[tokio::test]
async fn new_mirrors_come_first_when_there_is_little() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("fair").await;
    let (many, few) = (unique("many"), unique("few"));
    let tags = ["1", "2", "3", "4", "5", "6"];
    push_tags(&many, 720, &tags, "linux/amd64").await;
    push_tags(&few, 730, &["1"], "linux/amd64").await;
    // Four are kept for others, so one is left.
    let user = User::with(40, 5, 3600).await;
    user.secret(&namespace, "shared.test").await;
    namespace.apply::<ImageMirror>("old", &mirror("shared.test", &many, &tags, "interval: 24h")).await;
    let one = |it: &ImageMirror| mirrored(it) == Some("1/6") && limited(it).len() == 5;
    namespace.until::<ImageMirror>("old", "waiting", one).await;
    namespace.apply::<ImageMirror>("new", &mirror("shared.test", &few, &["1"], "interval: 24h")).await;
    namespace.until::<ImageMirror>("new", "waiting", |it| limited(it).len() == 1).await;

    // One more: the old mirror asks first, and leaves it to the new one.
    user.set(40, 5, 3600).await;
    namespace.ask_to_sync::<ImageMirror>("old").await;
    let left = |it: &ImageMirror| message(it).contains("others have waited longer or read less");
    let old = namespace.until::<ImageMirror>("old", "behind the new one", left).await;
    assert_eq!((mirrored(&old), user.remaining().await), (Some("1/6"), 5), "{}", message(&old));
    namespace.ask_to_sync::<ImageMirror>("new").await;
    namespace.ready::<ImageMirror>("new").await;

    user.set(40, 40, 3600).await;
    namespace.ask_to_sync::<ImageMirror>("old").await;
    namespace.ready::<ImageMirror>("old").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_comes_back_is_shared_evenly_and_not_taken_by_whoever_comes_first() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("even").await;
    let repositories = [unique("even"), unique("even")];
    let tags = ["1", "2", "3", "4", "5", "6", "7", "8"];
    for (seed, repository) in (790..).step_by(10).zip(&repositories) {
        push_tags(repository, seed, &tags, "linux/amd64").await;
    }
    // Nothing is left beside what is kept.
    let user = User::with(40, 4, 3600).await;
    user.secret(&namespace, "shared.test").await;
    for repository in &repositories {
        let spec = mirror("shared.test", repository, &tags, "interval: 24h");
        namespace.apply::<ImageMirror>(repository, &spec).await;
        namespace.until::<ImageMirror>(repository, "waiting", |it| limited(it).len() == 8).await;
    }
    user.set(40, 12, 3600).await;
    for repository in &repositories {
        namespace.ask_to_sync::<ImageMirror>(repository).await;
        // One less where a connection broke: the registry may have counted what it did not answer.
        let half = |it: &ImageMirror| matches!(mirrored(it), Some("3/8" | "4/8")) && limited(it).len() >= 4;
        namespace.until::<ImageMirror>(repository, "mirrored to its half", half).await;
    }
    assert!((4..=6).contains(&user.remaining().await));
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_budget_that_others_used_up_is_told_and_not_asked_again() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("refused").await;
    let repository = format!("limits/{}", unique("refused"));
    push_tags(&repository, 740, &["1"], "linux/amd64").await;
    let user = User::with(100, 100, 3600).await;
    user.secret(&namespace, "docker.io").await;
    // The registry refuses, although it has just told that a hundred pulls are left.
    let refused = json!({
        "method": "GET", "path": format!("/v2/{repository}/manifests/"), "times": 1, "status": 429,
        "code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit.",
    });
    stack.fault("HUB_CONTROL_URL", refused).await;
    namespace.apply::<ImageMirror>("image", &mirror("docker.io", &repository, &["1"], "interval: 24h")).await;
    let words = namespace.not_ready::<ImageMirror>("image", "RateLimited").await;
    assert!(words.contains("pull rate limit") && words.contains("waits until 20"), "{words}");
    // A look, which is free, shows that there are some after all.
    namespace.ask_to_sync::<ImageMirror>("image").await;
    namespace.ready::<ImageMirror>("image").await;

    // With a time of the registry's own, that is when it goes on.
    push_tags(&repository, 741, &["2"], "linux/amd64").await;
    let refused = json!({
        "method": "GET", "path": format!("/v2/{repository}/manifests/"), "times": 1, "status": 429,
        "code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit.", "headers": {"retry-after": "5"},
    });
    stack.fault("HUB_CONTROL_URL", refused).await;
    let both = mirror("docker.io", &repository, &["1", "2"], "interval: 24h");
    namespace.apply::<ImageMirror>("image", &both).await;
    namespace.not_ready::<ImageMirror>("image", "RateLimited").await;
    namespace.ready::<ImageMirror>("image").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_registry_that_wants_fewer_requests_is_left_alone_by_all_mirrors_until_its_time() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("busy").await;
    let (first, second) = (unique("first"), unique("second"));
    for (seed, repository) in [(750, &first), (751, &second)] {
        push_tags(repository, seed, &["1"], "linux/amd64").await;
    }
    let fault = json!({
        "path": format!("/v2/{first}/"), "times": 1, "status": 429, "body": "Too Many Requests",
        "headers": {"retry-after": "20", "content-type": "text/plain"},
    });
    stack.fault("HUB_CONTROL_URL", fault).await;
    namespace.apply::<ImageMirror>("first", &anonymous("busy.test", &first, "interval: 24h")).await;
    let words = namespace.not_ready::<ImageMirror>("first", "RateLimited").await;
    assert!(words.contains("busy.test") && words.contains("fewer requests"), "{words}");
    assert!(!words.contains("pull budget"), "{words}");
    namespace.apply::<ImageMirror>("second", &anonymous("busy.test", &second, "interval: 24h")).await;
    let words = namespace.not_ready::<ImageMirror>("second", "RateLimited").await;
    assert!(words.contains("left alone until"), "{words}");
    for name in ["first", "second"] {
        namespace.ready::<ImageMirror>(name).await;
    }
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_source_that_never_answers_starves_no_other() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("silent").await;
    let repository = format!("limits/{}", unique("healthy"));
    push_tags(&repository, 760, &["1"], "linux/amd64").await;
    let elsewhere = "destinations: [{repositoryName: silent/all, createRepository: false}]";
    let api = namespace.api::<ImageMirror>();
    for number in 0..100 {
        let spec = anonymous("silent.test", &format!("image-{number}"), elsewhere);
        namespace.apply::<ImageMirror>(&format!("silent-{number}"), &spec).await;
    }
    namespace.apply::<ImageMirror>("healthy", &anonymous("docker.io", &repository, "")).await;
    namespace.ready::<ImageMirror>("healthy").await;
    // All of the others tell what is wrong, also those whose turn to look did not come.
    eventually("all are told", || async {
        let objects = api.list(&Default::default()).await.unwrap().items;
        let told = objects.iter().filter(|it| has_reason(*it, "Unreachable")).count();
        (told == 100).then_some(())
    })
    .await;
    // And a change of a mirror acts at once while the others wait.
    push_tags(&repository, 761, &["2"], "linux/amd64").await;
    let both = anonymous("docker.io", &repository, "").replace("['1']", "['1', '2']");
    namespace.apply::<ImageMirror>("healthy", &both).await;
    namespace.ready::<ImageMirror>("healthy").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn of_many_mirrors_of_one_source_those_that_have_to_wait_say_so_and_all_have_their_turn() {
    const MIRRORS: usize = 48;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("crowd").await;
    let repository = format!("limits/{}", unique("crowd"));
    push_tags(&repository, 790, &["other"], "linux/amd64").await;
    // A look for a tag that is not there takes a while, and no pull.
    let fault = json!({"method": "HEAD", "path": format!("/v2/{repository}/manifests/"), "times": 0, "delayMs": 3000});
    let fault = stack.fault("HUB_CONTROL_URL", fault).await;
    let elsewhere = "destinations: [{repositoryName: crowd/all, createRepository: false}]";
    for number in 0..MIRRORS {
        let spec = anonymous("crowd.test", &repository, elsewhere);
        namespace.apply::<ImageMirror>(&format!("crowd-{number}"), &spec).await;
    }
    let api = namespace.api::<ImageMirror>();
    eventually("one waits for its turn", || async {
        let objects = api.list(&Default::default()).await.unwrap().items;
        objects
            .iter()
            .any(|it| message(it) == "waiting for its turn: other mirrors of crowd.test come first")
            .then_some(())
    })
    .await;
    eventually("all have been looked at", || async {
        let objects = api.list(&Default::default()).await.unwrap().items;
        (objects.iter().filter(|it| has_reason(*it, "TagNotFound")).count() == MIRRORS).then_some(())
    })
    .await;
    fault.remove().await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn large_and_slow_images_hold_up_no_small_ones_of_the_same_source() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("slow").await;
    let (large, small) = (unique("large"), unique("small"));
    let names: Vec<String> = (0..6).map(|number| format!("{large}-{number}")).collect();
    for (seed, name) in (770..).zip(&names) {
        push(&format!("{name}:1"), seed, &["--layers", "6", "--layer-size", "4096"]).await;
    }
    push_tags(&small, 780, &["1"], "linux/amd64").await;
    let fault = json!({"method": "GET", "path": format!("/v2/{large}-.*/blobs/"), "times": 0, "delayMs": 600_000});
    let fault = stack.fault("HUB_CONTROL_URL", fault).await;
    for name in &names {
        namespace.apply::<ImageMirror>(name, &anonymous("slow.test", name, "")).await;
    }
    let is_copying = |it: &ImageMirror| message(it).contains("copying 1 image");
    for name in &names {
        namespace.until::<ImageMirror>(name, "copying", is_copying).await;
    }
    namespace.apply::<ImageMirror>("small", &anonymous("slow.test", &small, "")).await;
    namespace.ready::<ImageMirror>("small").await;
    for name in &names {
        let object = namespace.api::<ImageMirror>().get(name).await.unwrap();
        assert!(!is_ready(&object), "{name} is still being copied");
    }
    for name in &names {
        namespace.delete::<ImageMirror>(name).await;
        namespace.gone::<ImageMirror>(name).await;
    }
    fault.remove().await;
    namespace.cleanup().await;
}
