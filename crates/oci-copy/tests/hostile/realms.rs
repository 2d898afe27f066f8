//! Token realms that aren't the registry's.

use oci_copy::{CredentialSource, Credentials, ErrorKind, StaticCredentials};

use crate::scene::{FORBIDDEN_HOSTS, Scene};

/// What a realm is, with `{bystander}`, `{port}` and `{registry}` for the hosts, and what comes of it.
const REALMS: [(&str, &[ErrorKind]); 22] = {
    use ErrorKind::{Blocked, Tls, Unauthorized, Unreachable};
    [
        // Another host, or another port of the same one, over HTTP: not asked at all.
        ("http://{bystander}/token", &[Blocked]),
        ("http://localhost:{port}/token", &[Blocked]),
        ("HTTP://{bystander}/token", &[Blocked]),
        ("http://{bystander}/{registry}/token", &[Blocked]),
        ("http://{bystander}/token?registry={registry}", &[Blocked]),
        ("http://{bystander}/token#@{registry}", &[Blocked]),
        ("http://{bystander}\\@{registry}/token", &[Blocked, Unauthorized]),
        ("http://{registry}.evil.invalid/token", &[Blocked, Unauthorized]),
        // Over TLS: asked as a stranger.
        ("https://{bystander}/token", &[Tls, Unreachable]),
        ("https://localhost:{port}/token", &[Tls, Unreachable]),
        ("https://{registry}/token", &[Tls, Unreachable]),
        ("https://token.invalid/token", &[Unreachable]),
        // Not usable: as if the registry had asked for nothing that we know.
        ("http://user:pass@{registry}/token", &[Unauthorized]),
        ("http://{registry}@{bystander}/token", &[Unauthorized]),
        ("http://x:@{bystander}/token", &[Unauthorized]),
        ("//{bystander}/token", &[Unauthorized]),
        ("/token", &[Unauthorized]),
        ("", &[Unauthorized]),
        ("file:///etc/passwd", &[Unauthorized]),
        ("gopher://{bystander}/", &[Unauthorized]),
        ("javascript:alert(1)", &[Unauthorized]),
        ("http://{registry}/token\",realm=\"http://{bystander}/token", &[Unauthorized]),
    ]
};

async fn resolve(case: &str, challenge: &str, expected: &[ErrorKind]) -> Scene {
    let scene = Scene::set(|registry, bystander| {
        let filled = challenge.replace("{bystander}", &bystander.host).replace("{port}", bystander.port());
        filled.replace("{registry}", &registry.host)
    })
    .await;
    let error = scene.engine.resolve(&scene.hostile.reference("a:v1")).await.expect_err(case);
    assert!(expected.contains(&error.kind()), "{case}: {:?} {error}", error.kind());
    scene.assert_no_leak(case, Some(&error));
    assert!(scene.hostile.seen().iter().all(|seen| seen.header("authorization").is_none()), "{case}");
    scene
}

#[tokio::test]
async fn a_realm_elsewhere_is_never_sent_credentials() {
    for (realm, expected) in REALMS {
        let scene = resolve(realm, &format!("Bearer realm=\"{realm}\",service=\"s\""), expected).await;
        if !realm.starts_with("https") {
            scene.assert_untouched(realm);
        }
    }
}

#[tokio::test]
async fn a_realm_at_the_metadata_service_is_not_asked_however_it_is_written() {
    for host in FORBIDDEN_HOSTS {
        for scheme in ["http", "https"] {
            let realm = format!("{scheme}://{host}/latest/meta-data");
            // A header can't hold every letter: what it can't hold is no realm.
            if realm.is_ascii() {
                resolve(&realm, &format!("Bearer realm=\"{realm}\""), &[ErrorKind::Blocked]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_challenge_that_offers_the_password_to_two_does_not_send_it_to_the_stranger() {
    for challenge in [
        "Basic realm=\"x\", Bearer realm=\"http://{bystander}/token\"",
        "Bearer realm=\"http://{bystander}/token\", Basic realm=\"x\"",
        "Negotiate, Bearer service=\"x\", realm=\"http://{bystander}/token\"",
    ] {
        resolve(challenge, challenge, &[ErrorKind::Blocked]).await.assert_untouched(challenge);
    }
}

#[tokio::test]
async fn credentials_are_given_for_their_own_host_and_for_none_that_looks_like_it() {
    let own = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let credentials = StaticCredentials::new(own, Credentials::new("AWS", "token"));
    assert!(credentials.credentials(own).await.unwrap().is_some());
    for host in [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.io",
        "evil.io.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "x123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.co",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn",
        "123456789012-dkr.ecr.eu-west-1.amazonaws.com",
        "123456789013.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-2.amazonaws.com",
        "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/evil.io",
        "evil.io/123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com@evil.io",
        "amazonaws.com",
        "",
    ] {
        assert!(credentials.credentials(host).await.unwrap().is_none(), "{host}");
    }
}
