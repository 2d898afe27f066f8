//! `ecr-operator login` against the AWS stand-in.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Stack, ecr_operator_with, env, run_with, unique};

/// An image that crane may read from ECR with the docker config in a folder, or the error.
async fn crane_lists(repository: &str, folder: &str) -> Result<String, String> {
    let repository = format!("{}/{repository}", env("ECR_REGISTRY"));
    run_with("crane", &["ls", &repository], &[("DOCKER_CONFIG", folder)]).await
}

#[tokio::test]
async fn a_token_is_printed_alone_and_is_good_for_another_client() {
    let stack = Stack::connect().await;
    let repository = unique("login");
    stack.ecr.create_repository().repository_name(&repository).send().await.expect("the repository is created");
    let own = ["login"];
    let named = ["login", "--registry", &env("ECR_REGISTRY")];
    for arguments in [&own[..], &named[..]] {
        let ran = ecr_operator_with(arguments, &[]).await;
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{arguments:?}");
        let token = ran.out.strip_suffix('\n').unwrap();
        assert!(!token.is_empty() && !token.contains(char::is_whitespace));
        let folder = tempfile::tempdir().unwrap();
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("AWS:{token}"));
        let config = json!({"auths": {env("ECR_REGISTRY"): {"auth": auth}}});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        crane_lists(&repository, folder.path().to_str().unwrap()).await.expect("the token is good");
    }
}

#[tokio::test]
async fn a_docker_config_gets_the_token_and_keeps_what_it_had() {
    let stack = Stack::connect().await;
    let repository = unique("login");
    stack.ecr.create_repository().repository_name(&repository).send().await.expect("the repository is created");
    let folder = tempfile::tempdir().unwrap();
    let (file, path) = (folder.path().join("config.json"), folder.path().to_str().unwrap());
    assert!(crane_lists(&repository, path).await.is_err(), "nobody is logged in");
    std::fs::write(&file, r#"{"auths": {"ghcr.io": {"auth": "eDp5"}}, "psFormat": "table"}"#).unwrap();

    let arguments = ["login", "--write", "--registry", &env("ECR_REGISTRY")];
    let ran = ecr_operator_with(&arguments, &[("DOCKER_CONFIG", path)]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.err);
    assert!(ran.err.contains("logged in"), "{}", ran.err);
    crane_lists(&repository, path).await.expect("it is logged in");
    let config: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&config["psFormat"], &config["auths"]["ghcr.io"]["auth"]), (&json!("table"), &json!("eDp5")));
    let auth = config["auths"][env("ECR_REGISTRY")]["auth"].as_str().unwrap();
    assert!(!ran.err.contains(auth), "no token in what is shown");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_token_is_given_for_ones_own_registry_only_and_exit_codes_tell_failures_apart() {
    Stack::connect().await;
    let wrong = [("AWS_ACCESS_KEY_ID", "AKIANOBODYKNOWSTHIS0")];
    for (arguments, variables, code, words) in [
        (&["--registry", "registry.example.com"][..], &[][..], 2, "is not the host of a private registry of ECR"),
        (&["--registry", "public.ecr.aws"], &[], 2, "is read without a token"),
        (&["--registry", "a.example.com", "--registry", "b.example.com"], &[], 2, "one token at a time"),
        (&["--config", "/nonexistent"], &[], 2, "--write"),
        (&[], &wrong, 4, "UnrecognizedClientException"),
    ] {
        let ran = ecr_operator_with(&[&["login"], arguments].concat(), variables).await;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(words), "{arguments:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{arguments:?}");
    }
}
