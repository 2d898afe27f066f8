use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::controllers::workloads::ImagesOfPods;
use crate::rewrite::RewrittenImages;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

pub(in crate::controllers::rewrite) fn serving(
    name: &str,
    source: &str,
    namespaces: &[&str],
    tags: &[&str],
) -> Serving {
    Serving {
        namespace: "platform".into(),
        name: name.into(),
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        mirrored: Mirrored {
            source: source.into(),
            registry: "default".into(),
            images: RewrittenImages {
                repository: format!("ecr/{name}"),
                tags: tags.iter().map(|tag| ((*tag).to_owned(), DIGEST.to_owned())).collect(),
                ..RewrittenImages::default()
            },
            left_out: 0,
        },
    }
}

fn pods(namespace: &str, named: &[(&str, u64)], rewritten: &[(&str, &str, u64)]) -> PodImages {
    let images = ImagesOfPods {
        kept: [(Arc::from("nginx:kept"), 1)].into(),
        named: named.iter().map(|(image, count)| (Arc::from(*image), *count)).collect(),
        rewritten: rewritten
            .iter()
            .map(|(original, image, count)| ((Arc::from(*original), Arc::from(*image)), *count))
            .collect(),
    };
    [(Arc::from(namespace), images)].into()
}

#[test]
fn pods_that_were_rewritten_will_be_or_can_not_be_are_told_apart() {
    let mirrors = [serving("nginx", "docker.io/library/nginx", &["shop"], &["1.27", "1.28"])];
    let named = [
        ("nginx:1.27", 2),
        ("docker.io/library/nginx:1.28", 1),
        ("nginx:1.20", 3),
        ("nginx", 1),
        ("nginx:kept", 1),
        ("redis", 9),
    ];
    let rewritten = [("nginx:1.27", "ecr/nginx:1.27@sha256:b", 5), ("nginx:1.26", "ecr/nginx-old:1.26", 7)];
    let found = &in_use(&mirrors, &pods("shop", &named, &rewritten))[0];
    assert_eq!((found.rewritten, found.next_start, found.not_mirrored), (5, 3, 4));
    assert_eq!(found.first_not_mirrored.iter().collect::<Vec<_>>(), ["nginx", "nginx:1.20"]);
}

#[test]
fn pods_of_namespaces_that_the_mirror_does_not_serve_do_not_count() {
    let mirrors = [serving("nginx", "docker.io/library/nginx", &["shop"], &["1.27"])];
    let found = in_use(&mirrors, &pods("bank", &[("nginx:1.27", 1)], &[("nginx:1.27", "ecr/nginx:1.27", 1)]));
    assert_eq!(found, [InUse::default()]);
}

#[test]
fn an_image_counts_for_the_mirror_that_has_it_or_else_for_the_eldest() {
    let source = "docker.io/library/nginx";
    let mirrors = [serving("elder", source, &["shop"], &["1"]), serving("younger", source, &["shop"], &["1", "2"])];
    let found = in_use(&mirrors, &pods("shop", &[("nginx:1", 1), ("nginx:2", 1), ("nginx:3", 1)], &[]));
    assert_eq!((found[0].next_start, found[0].not_mirrored), (1, 1));
    assert_eq!((found[1].next_start, found[1].not_mirrored), (1, 0));
}

#[test]
fn digests_and_names_that_are_none_are_read_as_pods_have_them() {
    let mirrors = [serving("nginx", "docker.io/library/nginx", &["shop"], &["1"])];
    let by_digest = format!("nginx@{DIGEST}");
    let found = in_use(&mirrors, &pods("shop", &[(&by_digest, 1), ("not a name", 1)], &[]));
    assert_eq!((found[0].next_start, found[0].not_mirrored), (1, 0));
}

fn message(in_use: &InUse) -> String {
    let condition = Condition {
        type_: "RewritesPods".into(),
        status: "True".into(),
        reason: "Succeeded".into(),
        message: "new pods get 1 image".into(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: None,
    };
    told(condition, in_use).message
}

#[test]
fn the_condition_tells_what_pods_have() {
    assert_eq!(message(&InUse::default()), "new pods get 1 image");
    let first_not_mirrored = ["nginx:3".to_owned()].into();
    let all = InUse { rewritten: 2, next_start: 1, not_mirrored: 1, first_not_mirrored };
    assert_eq!(
        message(&all),
        "new pods get 1 image; images of pods that are there: 2 rewritten, 1 at the pod's next start, 1 not mirrored (nginx:3)"
    );
}
