//! Which tags an ImageMirror mirrors, and when: lists of tags, minimum age, tags that move.

use ecr_operator::api::{ImageMirror, RELEASE, TagState};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::support::{Namespace, Stack, env, eventually, has_reason, message, push, unique};

const SMALL: &[&str] = &["--layers", "1", "--layer-size", "1024"];

fn source() -> String {
    format!("library/{}", unique("selected"))
}

fn destination(repository: &str) -> String {
    format!("docker.io/{repository}")
}

fn mirror(repository: &str, more: &str) -> String {
    format!("source: {{image: docker.io/{repository}}}\n{more}")
}

/// Pushes small images under these tags, each with a digest of its own.
async fn push_all(repository: &str, first_seed: u32, tags: &[&str]) -> Vec<String> {
    let mut digests = Vec::new();
    for (tag, seed) in tags.iter().zip(first_seed..) {
        digests.push(push(&format!("{repository}:{tag}"), seed, SMALL).await);
    }
    digests
}

fn state(object: &ImageMirror, tag: &str) -> Option<TagState> {
    let tags = &object.status.as_ref()?.destinations.first()?.tags;
    tags.iter().find(|known| known.name == tag).map(|known| known.state)
}

async fn events(namespace: &Namespace<'_>, reason: &str) -> Vec<String> {
    let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap().items;
    let of_reason = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
    of_reason.filter_map(|event| event.note).collect()
}

#[tokio::test]
async fn only_the_tags_that_all_filters_accept_are_mirrored_and_the_others_are_counted() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("filters").await;
    let repository = source();
    push_all(&repository, 100, &["1.24.0", "1.25.1", "v1.26.0", "1.27.0-rc.1", "1.27.0", "latest", "stable"]).await;
    let more = "tags: {names: [stable], semver: '>=1.25', latest: 2}";
    namespace.apply::<ImageMirror>("image", &mirror(&repository, more)).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    let status = object.status.as_ref().unwrap();
    assert_eq!(status.mirrored.as_deref(), Some("3/3"));
    assert!(status.next_sync_time.is_some());
    let counts = status.counts.as_ref().unwrap();
    assert_eq!((counts.found, counts.selected, counts.mirrored), (Some(7), 3, 3));
    for (rule, count) in [("semver", 1), ("prerelease", 1), ("latest", 1), ("not a version", 1)] {
        assert_eq!(counts.rejected.get(rule), Some(&count), "{rule}: {counts:?}");
    }
    for (tag, is_there) in [("1.27.0", true), ("v1.26.0", true), ("stable", true), ("1.25.1", false), ("latest", false)]
    {
        assert_eq!(stack.digest_in_ecr(&destination(&repository), tag).await.is_some(), is_there, "{tag}");
    }

    // What comes is found on the next look.
    push_all(&repository, 110, &["1.28.0"]).await;
    namespace.sync::<ImageMirror>("image").await;
    namespace.ready::<ImageMirror>("image").await;
    assert!(stack.digest_in_ecr(&destination(&repository), "1.28.0").await.is_some());
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_image_of_the_spec_is_mirrored_by_its_digest_with_all_its_platforms() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("digests").await;
    let repository = source();
    let digest = push_all(&repository, 120, &["1"]).await.remove(0);
    push_all(&repository, 121, &["1"]).await;
    let more = format!("digests: ['{digest}']\nplatforms: [linux/amd64]");
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &more)).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    assert_eq!(state(&object, &digest), Some(TagState::Mirrored));
    assert!(stack.digests_in_ecr(&destination(&repository)).await.contains(&digest));
    assert!(stack.digest_in_ecr(&destination(&repository), "1").await.is_none(), "no tag was asked for");
    namespace.cleanup().await;
}

#[tokio::test]
async fn rules_that_can_not_be_used_are_told_with_their_field() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("rules").await;
    let repository = source();
    for (more, word) in [
        ("tags: {regex: '('}", "spec.tags.regex"),
        ("tags: {semver: newest}", "spec.tags.semver"),
        ("tags: {latest: 1}\nschedule: '99 3 * * *'", "spec.schedule"),
        ("tags: {latest: 1}\nschedule: '0 3 * * *'\ntimeZone: Europe/Atlantis", "Atlantis"),
    ] {
        namespace.apply::<ImageMirror>("image", &mirror(&repository, more)).await;
        let told = |it: &ImageMirror| has_reason(it, "InvalidSpec") && message(it).contains(word);
        namespace.until::<ImageMirror>("image", word, told).await;
    }
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_digest_waits_for_its_age_and_the_annotation_lets_it_through() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("age").await;
    let repository = source();
    let digests = push_all(&repository, 130, &["1", "2"]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, "tags: {names: ['1', '2'], minAge: 72h}")).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    assert_eq!((state(&object, "1"), state(&object, "2")), (Some(TagState::Waiting), Some(TagState::Waiting)));
    assert!(message(&object).contains("2 wait for tags.minAge"), "{}", message(&object));
    assert_eq!(object.status.as_ref().unwrap().counts.as_ref().unwrap().waiting, 2);
    let seen = object.status.as_ref().unwrap().seen.clone();
    assert_eq!(seen.iter().map(|seen| &seen.digest).collect::<Vec<_>>(), digests.iter().collect::<Vec<_>>());

    let patch = json!({"metadata": {"annotations": {RELEASE: format!("1@{}", digests[0])}}});
    let params = PatchParams { field_manager: Some("the-test".to_owned()), ..PatchParams::default() };
    namespace.api::<ImageMirror>().patch("image", &params, &Patch::Merge(&patch)).await.unwrap();
    let object =
        namespace.until::<ImageMirror>("image", "released", |it| state(it, "1") == Some(TagState::Mirrored)).await;
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await.as_ref(), Some(&digests[0]));
    assert_eq!(state(&object, "2"), Some(TagState::Waiting), "only one was released");
    let notes = eventually("the release is told", || async {
        Some(events(&namespace, "Released").await).filter(|notes| !notes.is_empty())
    })
    .await;
    assert!(notes[0].contains(&digests[0]) && notes[0].contains("the-test"), "{notes:?}");

    // A tag that moves starts anew, and what was mirrored stays.
    let moved = push_all(&repository, 140, &["1"]).await.remove(0);
    let object = namespace.sync::<ImageMirror>("image").await;
    assert_eq!(state(&object, "1"), Some(TagState::Waiting));
    let status = object.status.as_ref().unwrap();
    let of_one = status.seen.iter().find(|seen| seen.tag == "1").unwrap();
    assert!(of_one.digest == moved && !of_one.released);
    assert_eq!(status.seen.iter().find(|seen| seen.tag == "2"), seen.iter().find(|seen| seen.tag == "2"));
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await.as_ref(), Some(&digests[0]));
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_digest_is_mirrored_as_soon_as_it_is_old_enough() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("old").await;
    let repository = source();
    let digest = push_all(&repository, 150, &["1"]).await.remove(0);
    // The next look would be in a day; the digest is due after ten seconds.
    let more = "tags: {names: ['1'], minAge: 10s}\ninterval: 24h";
    namespace.apply::<ImageMirror>("image", &mirror(&repository, more)).await;
    namespace.until::<ImageMirror>("image", "waiting", |it| state(it, "1") == Some(TagState::Waiting)).await;
    namespace.until::<ImageMirror>("image", "mirrored", |it| state(it, "1") == Some(TagState::Mirrored)).await;
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await, Some(digest));
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_tag_that_moved_upstream_is_kept_and_told_where_the_spec_says_so() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("kept").await;
    let repository = source();
    let first = push_all(&repository, 160, &["1"]).await.remove(0);
    let spec = mirror(&repository, "tags: {names: ['1']}\nonTagChange: Warn");
    namespace.apply::<ImageMirror>("image", &spec).await;
    namespace.ready::<ImageMirror>("image").await;
    push_all(&repository, 161, &["1"]).await;
    let object = namespace.sync::<ImageMirror>("image").await;
    assert_eq!(state(&object, "1"), Some(TagState::Kept));
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await.as_ref(), Some(&first));
    eventually("a warning", || async { (!events(&namespace, "TagMoved").await.is_empty()).then_some(()) }).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_a_tag_named_stays_under_a_backup_tag() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("backup").await;
    let repository = source();
    let first = push_all(&repository, 170, &["1"]).await.remove(0);
    let spec = mirror(&repository, "tags: {names: ['1']}\nbackupTag: '{tag}-{digest12}'");
    namespace.apply::<ImageMirror>("image", &spec).await;
    namespace.ready::<ImageMirror>("image").await;
    let second = push_all(&repository, 171, &["1"]).await.remove(0);
    namespace.sync::<ImageMirror>("image").await;
    namespace.ready::<ImageMirror>("image").await;
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await, Some(second));
    let backup = format!("1-{}", &first["sha256:".len()..][..12]);
    assert_eq!(stack.digest_in_ecr(&destination(&repository), &backup).await, Some(first));
    namespace.cleanup().await;
}

#[tokio::test]
async fn many_tags_are_looked_up_in_one_call_and_what_is_missing_is_put_back() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("many").await;
    let repository = source();
    let tags: Vec<String> = (0..12).map(|n| format!("1.{n}.0")).collect();
    let names: Vec<&str> = tags.iter().map(String::as_str).collect();
    let digests = push_all(&repository, 180, &names).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, "tags: {semver: '*'}")).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    assert_eq!(object.status.unwrap().mirrored.as_deref(), Some("12/12"));
    let id = aws_sdk_ecr::types::ImageIdentifier::builder().image_tag("1.3.0").build();
    stack.ecr.batch_delete_image().repository_name(destination(&repository)).image_ids(id).send().await.unwrap();
    namespace.sync::<ImageMirror>("image").await;
    namespace.ready::<ImageMirror>("image").await;
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1.3.0").await.as_ref(), Some(&digests[3]));
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_the_lifecycle_policy_has_no_room_for_is_told_and_not_copied() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("crowded").await;
    let repository = source();
    push_all(&repository, 200, &["1.0.0", "1.1.0", "1.2.0"]).await;
    let rule = "{tagged: {patterns: ['*']}, keepLast: 2}";
    let more = format!("tags: {{semver: '*'}}\ndestinations: [{{repository: {{lifecycle: {{rules: [{rule}]}}}}}}]");
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &more)).await;
    let words = namespace.not_ready::<ImageMirror>("image", "LifecycleConflict").await;
    assert!(words.contains("all but the last 2"), "{words}");
    assert!(stack.digest_in_ecr(&destination(&repository), "1.0.0").await.is_none());
    assert!(stack.digest_in_ecr(&destination(&repository), "1.2.0").await.is_some());
    namespace.cleanup().await;
}

#[tokio::test]
async fn of_two_mirrors_that_write_the_same_tag_the_older_writes() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("rivals").await;
    let (ours, theirs) = (source(), source());
    let first = push_all(&ours, 210, &["1"]).await.remove(0);
    push_all(&theirs, 211, &["1", "2"]).await;
    let name = format!("shared/{}", unique("repository"));
    stack.ecr.create_repository().repository_name(&name).send().await.unwrap();
    let shared = format!("destinations: [{{repositoryName: {name}, createRepository: false}}]");
    namespace.apply::<ImageMirror>("older", &mirror(&ours, &format!("tags: {{names: ['1']}}\n{shared}"))).await;
    namespace.ready::<ImageMirror>("older").await;
    // Creation times have no fractions of a second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    namespace.apply::<ImageMirror>("newer", &mirror(&theirs, &format!("tags: {{names: ['1', '2']}}\n{shared}"))).await;
    let words = namespace.not_ready::<ImageMirror>("newer", "OwnedByAnother").await;
    assert!(words.contains("/older"), "{words}");
    assert_eq!(stack.digest_in_ecr(&name, "1").await, Some(first));
    assert!(stack.digest_in_ecr(&name, "2").await.is_some(), "the other tag is nobody else's");
    namespace.cleanup().await;
}

/// Runs `ecr-operator plan --images` on the manifest of one mirror, which reaches Docker Hub's stand-in.
pub async fn plan(namespace: &str, spec: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("mirror.yaml");
    let spec = spec.replace('\n', "\n  ");
    let head = "apiVersion: ecr-operator.io/v1alpha1\nkind: ImageMirror";
    std::fs::write(&manifest, format!("{head}\nmetadata: {{name: image, namespace: {namespace}}}\nspec:\n  {spec}\n"))
        .unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_ecr-operator"))
        .args(["plan", "--images", "-f"])
        .arg(&manifest)
        .args(["--registries-config", &env("REGISTRIES_CONFIG")])
        .env("DOCKER_CONFIG", directory.path())
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn a_plan_says_which_images_would_be_copied_and_copies_none() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("planned").await;
    let repository = source();
    let digests = push_all(&repository, 220, &["1.24.0", "1.25.0", "latest"]).await;
    let spec = mirror(&repository, "tags: {semver: '>=1.25'}");
    let (code, text) = plan(&namespace.name, &spec).await;
    assert_eq!(code, Some(2), "{text}");
    for words in [
        format!("+ copy docker.io/{repository}:1.25.0 ({}), selected by filters", digests[1]),
        "not selected (semver), 1 of them".to_owned(),
        "not selected (not a version), 1 of them".to_owned(),
        "1 tags and digests are selected of 3 in the source; 0 are there already".to_owned(),
    ] {
        assert!(text.contains(&words), "{words}: {text}");
    }
    assert!(!stack.repository_exists(&destination(&repository)).await);

    namespace.apply::<ImageMirror>("image", &spec).await;
    namespace.ready::<ImageMirror>("image").await;
    let (code, text) = plan(&namespace.name, &spec).await;
    assert_eq!(code, Some(0), "after the mirror has done it: {text}");
    assert!(text.contains("1 are there already"), "{text}");
    let moved = push_all(&repository, 230, &["1.25.0"]).await.remove(0);
    let (code, text) = plan(&namespace.name, &spec).await;
    assert_eq!(code, Some(2));
    assert!(text.contains(&format!("~ move 1.25.0 from {} to {moved}", digests[1])), "{text}");
    namespace.cleanup().await;
}
