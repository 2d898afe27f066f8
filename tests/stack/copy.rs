//! `ecr-operator copy` between the stand-ins of Docker Hub (CNCF distribution) and of AWS, as people and scripts run it.

use oci_copy::Digest;
use oci_copy::media_type::{OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};

use crate::support::{Ran, Stack, ecr_operator_with, env, push, run, unique};

/// ECR's name of the stand-in's registry, for which the AWS identity gives a token.
fn ecr_host() -> String {
    format!("{}.dkr.ecr.{}.amazonaws.com", env("AWS_ACCOUNT_ID"), env("AWS_REGION"))
}

/// A source repository in the stand-in for Docker Hub, and a repository in ECR to copy to.
struct Pair {
    stack: Stack,
    source: String,
    destination: String,
    /// Where both registries really are.
    config: tempfile::NamedTempFile,
}

impl Pair {
    async fn make() -> Self {
        Self::with(aws_sdk_ecr::types::ImageTagMutability::Mutable).await
    }

    async fn with(mutability: aws_sdk_ecr::types::ImageTagMutability) -> Self {
        let (stack, name) = (Stack::connect().await, unique("copy"));
        let create = stack.ecr.create_repository().repository_name(&name).image_tag_mutability(mutability);
        create.send().await.expect("the repository is created");
        let hub = std::fs::read_to_string(env("REGISTRIES_CONFIG")).unwrap();
        // By ECR's name, and by its own: a loopback address is reached only where the configuration names it.
        let ecr = [ecr_host(), env("ECR_REGISTRY")];
        let ecr = ecr.map(|host| format!("- host: {host}\n  endpoint: https://{}\n", env("ECR_REGISTRY"))).concat();
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), format!("{}\n{ecr}", hub.trim_end())).unwrap();
        Self { stack, source: format!("library/{name}"), destination: name, config }
    }

    fn from(&self, tag: &str) -> String {
        format!("docker.io/{}:{tag}", self.source)
    }

    fn to(&self, tag: &str) -> String {
        format!("{}/{}:{tag}", ecr_host(), self.destination)
    }

    async fn push(&self, tag: &str, seed: u32) -> String {
        push(&format!("{}:{tag}", self.source), seed, &["--layer-size", "65536"]).await
    }

    /// Copies with the AWS identity, and anonymously where that has nothing to say.
    async fn copy(&self, arguments: &[&str]) -> Ran {
        self.copy_with(arguments, &[]).await
    }

    async fn copy_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let config = self.config.path().to_str().unwrap();
        let all = [&["copy", "--registries-config", config], arguments].concat();
        ecr_operator_with(&all, variables).await
    }
}

/// The document of `-o json`, which is all of stdout.
fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err))
}

#[tokio::test]
async fn an_image_goes_into_ecr_with_the_aws_identity_and_the_second_time_it_was_there() {
    let pair = Pair::make().await;
    let digest = pair.push("1.0", 1).await;
    let ran = pair.copy(&["-o", "json", &pair.from("1.0"), &pair.to("1.0")]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let copy = document(&ran)["copies"][0].clone();
    assert_eq!((copy["digest"].as_str(), copy["sourceDigest"].as_str()), (Some(&*digest), Some(&*digest)));
    assert_eq!(
        (copy["source"].as_str(), copy["destination"].as_str()),
        (Some(&*pair.from("1.0")), Some(&*pair.to("1.0")))
    );
    assert_eq!(copy["unchanged"], false);
    assert!(copy["blobsCopied"].as_u64() > Some(0) && copy["bytesCopied"].as_u64() > Some(65_536), "{copy}");
    assert!(ran.err.contains(&format!("1.0 is {digest}")), "lines say what happens: {}", ran.err);
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, "1.0").await, Some(digest.clone()));

    let ran = pair.copy(&["--quiet", &pair.from("1.0"), &pair.to("1.0")]).await;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert_eq!(ran.out, format!("{} -> {} {digest} (was there)\n", pair.from("1.0"), pair.to("1.0")));
}

#[tokio::test]
async fn an_image_goes_from_ecr_into_cncf_distribution_which_mounts_it_elsewhere() {
    let pair = Pair::make().await;
    let digest = pair.push("1.0", 2).await;
    assert_eq!(pair.copy(&[&pair.from("1.0"), &pair.to("1.0")]).await.code, Some(0));
    let hub = env("UPSTREAM_REGISTRY");
    let (back, next) = (format!("{hub}/{}-back:1.0", pair.source), format!("{hub}/{}-next:1.0", pair.source));
    let ran = pair.copy(&["--plain-http", &hub, &pair.to("1.0"), &back]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(run("crane", &["digest", "--insecure", &back]).await, Ok(digest.clone()));

    let ran = pair.copy(&["--plain-http", &hub, "-o", "json", &back, &next]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let copy = document(&ran)["copies"][0].clone();
    assert_eq!((copy["blobsCopied"].as_u64(), copy["bytesCopied"].as_u64()), (Some(0), Some(0)), "{copy}");
    assert!(copy["blobsMounted"].as_u64() > Some(0), "{copy}");
    assert_eq!(run("crane", &["digest", "--insecure", &next]).await, Ok(digest));
}

#[tokio::test]
async fn credentials_come_from_the_docker_config_for_both_sides() {
    let pair = Pair::make().await;
    let source = format!("private/{}", pair.destination);
    let digest = push(&format!("{source}:1.0"), 3, &["--layer-size", "65536"]).await;
    let from = format!("docker.io/{source}:1.0");
    // Not ECR's name of it: the AWS identity has nothing to say.
    let to = format!("{}/{}:1.0", env("ECR_REGISTRY"), pair.destination);

    let folder = tempfile::tempdir().unwrap();
    let (config, docker) = (folder.path().join("config.json"), folder.path().to_str().unwrap());
    let hub = json!({"auths": {"https://index.docker.io/v1/": {"username": env("HUB_USER"), "password": env("HUB_PASSWORD")}}});
    std::fs::write(&config, hub.to_string()).unwrap();
    let refused = pair.copy_with(&["-o", "json", &from, &to], &[("DOCKER_CONFIG", docker)]).await;
    assert_eq!(refused.code, Some(4), "nobody is logged in to the destination: {}{}", refused.out, refused.err);
    assert_eq!(document(&refused)["copies"][0]["error"]["reason"], "unauthorized");

    let path = config.to_str().unwrap();
    let login = ["login", "--write", "--config", path, "--registry", &env("ECR_REGISTRY")];
    let login = ecr_operator_with(&login, &[]).await;
    assert_eq!((login.code, login.out.as_str()), (Some(0), ""), "{}", login.err);
    let ran = pair.copy_with(&[&from, &to], &[("DOCKER_CONFIG", docker)]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, "1.0").await, Some(digest));
    assert!(!ran.err.contains(&env("HUB_PASSWORD")) && !ran.out.contains(&env("HUB_PASSWORD")));

    let refused = pair.copy(&[&from, &pair.to("2.0")]).await;
    assert_eq!(refused.code, Some(4), "the source is private: {}", refused.err);
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, "2.0").await, None);
}

#[tokio::test]
async fn every_tag_of_a_repository_is_copied_and_one_that_fails_keeps_back_no_other() {
    let pair = Pair::make().await;
    let digests = [pair.push("1.0", 4).await, pair.push("1.1", 5).await, pair.push("latest", 5).await];
    let (from, to) = (format!("docker.io/{}", pair.source), format!("{}/{}", ecr_host(), pair.destination));
    let ran = pair.copy(&["--all-tags", "-o", "json", &from, &to]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let copies = document(&ran)["copies"].as_array().unwrap().clone();
    assert_eq!(copies.len(), 3);
    for (tag, digest) in ["1.0", "1.1", "latest"].iter().zip(&digests) {
        assert!(copies.iter().any(|copy| copy["destination"] == pair.to(tag) && copy["digest"] == **digest), "{tag}");
        assert_eq!(pair.stack.digest_in_ecr(&pair.destination, tag).await.as_ref(), Some(digest));
    }

    let moved = pair.push("1.0", 6).await;
    pair.push("1.1", 7).await;
    let path = format!("/v2/{}/manifests/1.1$", pair.source);
    let fault = json!({"path": path, "status": 403, "code": "DENIED", "message": "not this one", "times": 0});
    let fault = pair.stack.fault("HUB_CONTROL_URL", fault).await;
    let ran = pair.copy(&["--all-tags", "-o", "json", &from, &to]).await;
    fault.remove().await;
    assert_eq!(ran.code, Some(4), "{}", ran.err);
    assert_eq!(document(&ran)["copies"].as_array().unwrap().iter().filter(|copy| copy["error"].is_object()).count(), 1);
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, "1.0").await, Some(moved));
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, "1.1").await.as_ref(), Some(&digests[1]));
}

#[tokio::test]
async fn a_platform_is_copied_alone_and_the_new_digest_is_told() {
    let pair = Pair::make().await;
    let digest = pair.push("1.0", 8).await;
    let ran = pair.copy(&["--platform", "linux/arm64", "-o", "json", &pair.from("1.0"), &pair.to("1.0")]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let copy = document(&ran)["copies"][0].clone();
    assert_eq!(copy["sourceDigest"], *digest);
    assert_ne!(copy["digest"], *digest);
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, "1.0").await.as_deref(), copy["digest"].as_str());
    assert_eq!(pair.stack.digests_in_ecr(&pair.destination).await.len(), 2, "an index and one image");

    let ran = pair.copy(&["--platform", "linux/s390x", "-o", "json", &pair.from("1.0"), &pair.to("2.0")]).await;
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert_eq!(document(&ran)["copies"][0]["error"]["reason"], "platform_not_found");
}

/// Puts blobs and manifests into the stand-in for Docker Hub.
struct Upstream(reqwest::Client, String);

impl Upstream {
    fn new(repository: &str) -> Self {
        Self(reqwest::Client::new(), format!("http://{}/v2/{repository}", env("UPSTREAM_REGISTRY")))
    }

    async fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        let start = self.0.post(format!("{}/blobs/uploads/", self.1)).send().await.unwrap();
        let mut location = start.url().join(start.headers()["location"].to_str().unwrap()).unwrap();
        location.query_pairs_mut().append_pair("digest", digest.as_str());
        let put = self.0.put(location).body(bytes.to_vec());
        put.send().await.unwrap().error_for_status().expect("the blob is put");
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": bytes.len()})
    }

    async fn manifest(&self, tag: Option<&str>, media_type: &str, document: &Value) -> Value {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::sha256(&bytes);
        let url = format!("{}/manifests/{}", self.1, tag.unwrap_or(digest.as_str()));
        let put = self.0.put(url).header("content-type", media_type).body(bytes.clone());
        put.send().await.unwrap().error_for_status().expect("the manifest is put");
        json!({"mediaType": media_type, "digest": digest.as_str(), "size": bytes.len()})
    }

    /// A signature in the way of OCI 1.1, listed by the fallback tag: CNCF distribution has no other list.
    async fn sign(&self, subject: &str) -> String {
        let config = self.blob("application/vnd.oci.empty.v1+json", b"{}").await;
        let layer = self.blob("application/vnd.example.signature", subject.as_bytes()).await;
        let signature = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.signature",
            "config": config, "layers": [layer],
            "subject": {"mediaType": OCI_INDEX, "digest": subject, "size": 1},
        });
        let mut descriptor = self.manifest(None, OCI_MANIFEST, &signature).await;
        let digest = descriptor["digest"].as_str().unwrap().to_owned();
        descriptor["artifactType"] = "application/vnd.example.signature".into();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor]});
        self.manifest(Some(&subject.replace(':', "-")), OCI_INDEX, &index).await;
        digest
    }
}

#[tokio::test]
async fn what_refers_to_an_image_comes_along_if_it_is_asked_for() {
    let pair = Pair::make().await;
    let digest = pair.push("1.0", 9).await;
    let signature = Upstream::new(&pair.source).sign(&digest).await;
    // As cosign has it by default: a tag that is made of the digest.
    let cosign = format!("{}.sig", digest.replace(':', "-"));
    let signed =
        push(&format!("{}:{cosign}", pair.source), 10, &["--platforms", "linux/amd64", "--layer-size", "100"]).await;

    let ran = pair.copy(&[&pair.from("1.0"), &pair.to("plain")]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!pair.stack.digests_in_ecr(&pair.destination).await.contains(&signature), "nobody asked for it");

    let ran = pair.copy(&["--referrers", "-o", "json", &pair.from("1.0"), &pair.to("1.0")]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let referrers = document(&ran)["copies"][0]["referrers"].as_array().cloned().unwrap_or_default();
    let outcome = |digest: &str| referrers.iter().find(|it| it["digest"] == *digest).map(|it| it["outcome"].clone());
    assert_eq!(outcome(&signature), Some("copied".into()), "{referrers:?}");
    assert_eq!(outcome(&signed), Some("copied".into()), "{referrers:?}");
    assert!(pair.stack.digests_in_ecr(&pair.destination).await.contains(&signature));
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, &cosign).await, Some(signed));

    let ran = pair.copy(&["--referrers", &pair.from("1.0"), &pair.to("1.0")]).await;
    assert!(ran.out.ends_with("(was there; 2 that refer to it are there)\n"), "{}{}", ran.out, ran.err);
}

#[tokio::test]
async fn exit_codes_tell_failures_apart() {
    let pair = Pair::make().await;
    pair.push("1.0", 11).await;
    let missing = format!("{}/{}:1.0", ecr_host(), unique("missing"));
    let nowhere = "127.0.0.1:1/library/image:1.0";
    let elsewhere = format!("docker.io/library/{}", unique("missing"));
    let (from, to) = (pair.from("1.0"), pair.to("1.0"));
    let none = pair.from("none");
    let limit = json!({
        "path": format!("/v2/{}/manifests/limited$", pair.source), "status": 429, "times": 0,
        "code": "TOOMANYREQUESTS", "message": "later", "headers": {"Retry-After": "3600"},
    });
    let limit = pair.stack.fault("HUB_CONTROL_URL", limit).await;
    let limited = pair.from("limited");
    for (arguments, code, words) in [
        (vec![none.as_str(), &to], 3, "check the tag or digest"),
        (vec![&from, &missing], 3, "create the repository"),
        (vec!["--all-tags", &elsewhere, &to[..to.len() - 4]], 3, "the registry answered 404"),
        (vec!["Not A Name", &to], 2, "ecr-operator copy: "),
        (vec!["--platform", "linux", &from, &to], 2, "--platform"),
        (vec![&from], 2, "Usage"),
        (vec![&limited, &to], 5, "429"),
        (vec!["--plain-http", "127.0.0.1:1", nowhere, &to], 6, "127.0.0.1:1"),
    ] {
        let ran = pair.copy(&arguments).await;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(words), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}");
    }
    limit.remove().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "no JSON").unwrap();
    let broken = [("DOCKER_CONFIG", folder.path().to_str().unwrap())];
    for variables in [[("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWSTHIS0")], broken] {
        let ran = pair.copy_with(&[&from, &to], &variables).await;
        assert_eq!(ran.code, Some(4), "{variables:?}: {}", ran.err);
    }
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, "1.0").await, None);
}

#[tokio::test]
async fn an_immutable_tag_stays_and_the_same_image_is_no_failure() {
    let pair = Pair::with(aws_sdk_ecr::types::ImageTagMutability::Immutable).await;
    let digest = pair.push("1.0", 12).await;
    for _ in 0..2 {
        let ran = pair.copy(&[&pair.from("1.0"), &pair.to("1.0")]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    }
    pair.push("1.0", 13).await;
    let ran = pair.copy(&["-o", "json", &pair.from("1.0"), &pair.to("1.0")]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert_eq!(document(&ran)["copies"][0]["error"]["reason"], "tag_immutable");
    assert_eq!(pair.stack.digest_in_ecr(&pair.destination, "1.0").await, Some(digest));
}
