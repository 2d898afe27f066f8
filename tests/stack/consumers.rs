//! Pull secrets in the hands of programs that others wrote: the kubelet's keyring, crane, skopeo and helm.

use std::path::{Path, PathBuf};

use ecr_operator::api::{EcrPullSecret, EcrRegistry};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::support::pulling::{Login, PullOnly, docker_config, registry};
use crate::support::{Stack, env, push, run_with, run_with_input, skipped, unique};

/// What the kubelet would try for an image, given these pull secrets.
async fn keyring(secret: &Secret, image: &str) -> Vec<Value> {
    let secret = serde_json::to_string(secret).unwrap();
    let answer = run_with_input("keyring", &[image], &[], &secret).await.expect("the keyring answers");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["image"], image);
    answer["credentials"].as_array().expect("credentials").clone()
}

#[tokio::test]
async fn the_kubelet_finds_the_credentials_of_every_registry_for_its_images_and_for_no_others() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("keyring").await;
    let home = PullOnly::new(&stack, "keyring").await;
    // Two other regions: one at the address of the stand-in, one under the name that it has in AWS.
    let (frankfurt, virginia) = (format!("{}-frankfurt", home.name), format!("{}-virginia", home.name));
    let host = stack.registry_host("eu-central-1").await;
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let endpoints = serde_json::to_value(default.spec.endpoints).unwrap();
    let (mut there, mut unnamed) = (endpoints.clone(), endpoints);
    there["registry"] = format!("https://{host}").into();
    unnamed.as_object_mut().unwrap().remove("registry");
    for (name, region, endpoints) in [(&frankfurt, "eu-central-1", there), (&virginia, "us-east-1", unnamed)] {
        let mut spec = PullOnly::spec(&home.arn);
        spec["region"] = region.into();
        spec["endpoints"] = endpoints;
        registry(&stack, name, spec).await;
    }
    let spec = json!({
        "registries": [{"name": home.name}, {"name": frankfurt}, {"name": virginia}],
        "additionalHosts": ["DualStack"],
    });
    namespace.apply::<EcrPullSecret>("ecr", &spec.to_string()).await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let secret = namespace.api::<Secret>().get("ecr").await.unwrap();

    let account = env("AWS_ACCOUNT_ID");
    let in_aws = format!("{account}.dkr.ecr.us-east-1.amazonaws.com");
    let config = docker_config(&secret);
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let dual_stack = format!("{account}.dkr-ecr.us-east-1.on.aws");
    for host in [&env("ECR_REGISTRY"), &host, &in_aws, &dual_stack] {
        let wanted = json!([{
            "username": "AWS",
            "password": config["auths"][host]["password"],
            "secret": format!("{}/ecr", namespace.name),
        }]);
        assert!(wanted[0]["password"].is_string(), "{host}");
        for image in ["api", "api:v1", "a/b/c:v1", &format!("api@{digest}"), &format!("api:v1@{digest}")] {
            let image = format!("{host}/{}/{image}", namespace.name);
            assert_eq!(json!(keyring(&secret, &image).await), wanted, "{image}");
        }
    }
    for image in [
        "nginx",
        "nginx:1.27",
        "docker.io/library/nginx:1.27",
        "public.ecr.aws/docker/library/nginx:1.27",
        "127.0.0.1:1/team/api:v1",
        "localhost/team/api:v1",
        &format!("{account}.dkr.ecr.us-east-2.amazonaws.com/team/api:v1"),
        &format!("{account}.dkr.ecr-fips.us-east-1.amazonaws.com/team/api:v1"),
        &format!("999999999999{}/team/api:v1", in_aws.trim_start_matches(&account)),
        &format!("{in_aws}.example.com/team/api:v1"),
        &format!("example.com/{in_aws}/team/api:v1"),
    ] {
        assert_eq!(keyring(&secret, image).await, Vec::<Value>::new(), "{image}");
    }
    for name in [&frankfurt, &virginia] {
        stack.delete::<EcrRegistry>(name).await;
    }
    home.cleanup().await;
    namespace.cleanup().await;
}

/// Whether these are the words of somebody to whom ECR answered 403.
fn says_denied(words: &str) -> bool {
    ["403", "DENIED", "denied"].iter().any(|word| words.contains(word))
}

#[tokio::test]
async fn crane_pulls_with_the_secret_and_can_neither_push_nor_delete() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("crane").await;
    let registry = PullOnly::new(&stack, "crane").await;
    let (repository, elsewhere) = (format!("{}/api", namespace.name), format!("{}-other/api", namespace.name));
    let source = format!("{}:1", unique("crane"));
    let digest = push(&source, 31, &["--layer-size", "1000"]).await;
    let image = stack.image_in_ecr(&source, &repository, "1").await;
    let others = stack.image_in_ecr(&source, &elsewhere, "1").await;
    let login = Login::with(&registry.secret(&namespace).await);

    assert_eq!(login.crane(&["digest", &image]).await.as_deref(), Ok(digest.as_str()));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    login.crane(&["pull", "--format", "oci", &image, folder]).await.expect("the image is pulled");
    let index = std::fs::read_to_string(Path::new(folder).join("index.json")).unwrap();
    assert!(index.contains(&digest), "{index}");

    let host = env("ECR_REGISTRY");
    let before = stack.digests_in_ecr(&repository).await;
    let new = format!("{}:1", unique("crane"));
    push(&new, 32, &["--layer-size", "1000"]).await;
    for refused in [
        vec!["tag", &image, "stolen"],
        vec!["copy", &format!("{}/{new}", env("UPSTREAM_REGISTRY")), &format!("{host}/{repository}:stolen")],
        vec!["delete", &format!("{host}/{repository}@{digest}")],
        vec!["digest", &others],
        vec!["pull", &others, "/dev/null"],
    ] {
        let words = login.crane(&refused).await.expect_err(&refused.join(" "));
        assert!(says_denied(&words), "{refused:?}: {words}");
    }
    assert_eq!(stack.digests_in_ecr(&repository).await.len(), before.len());
    assert_eq!(stack.digest_in_ecr(&repository, "stolen").await, None);
    registry.cleanup().await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn skopeo_pulls_with_the_secret_and_can_not_push() {
    if !PathBuf::from(env("TESTBED_BIN")).join("skopeo").exists() {
        return skipped("skopeo is missing, so nobody tests that it takes a pull secret");
    }
    let stack = Stack::connect().await;
    let namespace = stack.namespace("skopeo").await;
    let registry = PullOnly::new(&stack, "skopeo").await;
    let repository = format!("{}/api", namespace.name);
    let source = format!("{}:1", unique("skopeo"));
    let digest = push(&source, 33, &["--layer-size", "1000"]).await;
    let image = stack.image_in_ecr(&source, &repository, "1").await;
    // A docker config as it is: what builders mount.
    let login = Login::with(&registry.secret(&namespace).await);
    let file = login.file();
    let copy = async |more: &[&str]| {
        let mut arguments = vec!["--insecure-policy", "copy", "--all", "--preserve-digests", "--authfile", &file];
        arguments.extend(more);
        run_with("skopeo", &arguments, &[]).await
    };

    let folder = tempfile::tempdir().unwrap();
    let folder = format!("oci:{}:1", folder.path().display());
    copy(&[&format!("docker://{image}"), &folder]).await.expect("the image is pulled");
    let raw = run_with("skopeo", &["inspect", "--raw", &folder], &[]).await.unwrap();
    let upstream = run_with("crane", &["manifest", &format!("{}/{source}", env("UPSTREAM_REGISTRY"))], &[]).await;
    assert_eq!(raw, upstream.unwrap());

    let stolen = format!("docker://{}/{repository}:stolen", env("ECR_REGISTRY"));
    let words = copy(&[&folder, &stolen]).await.expect_err("it can't be pushed");
    assert!(says_denied(&words), "{words}");
    assert_eq!(stack.digest_in_ecr(&repository, "stolen").await, None);
    assert_eq!(stack.digest_in_ecr(&repository, "1").await, Some(digest));
    registry.cleanup().await;
    namespace.cleanup().await;
}

/// Runs helm with nothing but this docker config, named by the variable by which Argo CD's helm can be given one.
async fn helm(login: &Login, arguments: &[&str]) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let file = login.file();
    let variables = [
        ("HELM_REGISTRY_CONFIG", file.as_str()),
        ("HELM_CACHE_HOME", home),
        ("HELM_CONFIG_HOME", home),
        ("HELM_DATA_HOME", home),
    ];
    run_with("helm", arguments, &variables).await
}

/// Packages the operator's own chart under a version, and gives the archive.
async fn package(folder: &Path, version: &str, login: &Login) -> PathBuf {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/ecr-operator");
    let folder = folder.to_str().unwrap();
    helm(login, &["package", chart, "--version", version, "--destination", folder]).await.expect("it is packaged");
    Path::new(folder).join(format!("ecr-operator-{version}.tgz"))
}

#[tokio::test]
async fn helm_pulls_a_chart_with_the_secret_and_can_not_push_one() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("helm").await;
    let registry = PullOnly::new(&stack, "helm").await;
    let repository = format!("{}/ecr-operator", namespace.name);
    stack.ecr.create_repository().repository_name(&repository).send().await.expect("the repository is made");
    let charts = format!("oci://{}/{}", env("ECR_REGISTRY"), namespace.name);
    let administrator = Login::administrator(&stack).await;
    let work = tempfile::tempdir().unwrap();
    let packaged = package(work.path(), "1.2.3", &administrator).await;
    helm(&administrator, &["push", packaged.to_str().unwrap(), &charts]).await.expect("the chart is pushed");
    let login = Login::with(&registry.secret(&namespace).await);

    let pulled = work.path().join("pulled");
    std::fs::create_dir(&pulled).unwrap();
    let destination = ["--destination", pulled.to_str().unwrap()];
    let chart = format!("{charts}/ecr-operator");
    let pull = async |version: &str| {
        helm(&login, &[&["pull", chart.as_str(), "--version", version][..], &destination[..]].concat()).await
    };
    pull("1.2.3").await.expect("the chart is pulled");
    let archive = std::fs::read(pulled.join("ecr-operator-1.2.3.tgz")).unwrap();
    assert_eq!(archive, std::fs::read(&packaged).unwrap());
    // A range needs the list of tags, which is not pulling.
    let words = pull(">=1.0.0").await.expect_err("the tags can't be listed");
    assert!(says_denied(&words), "{words}");

    let newer = package(work.path(), "9.9.9", &login).await;
    let words = helm(&login, &["push", newer.to_str().unwrap(), &charts]).await.expect_err("it can't be pushed");
    assert!(says_denied(&words), "{words}");
    assert_eq!(stack.digest_in_ecr(&repository, "9.9.9").await, None);
    registry.cleanup().await;
    namespace.cleanup().await;
}
