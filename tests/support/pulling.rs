//! Pull secrets whose tokens can pull only, and docker configs for those who use them.

use ecr_operator::api::{EcrPullSecret, EcrRegistry};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Namespace, Stack, env, is_ready, run_with, unique};

/// The key of a docker config in a pull secret.
pub const KEY: &str = ".dockerconfigjson";

/// A role of the stand-in's account, which may do these things everywhere. Gives its ARN.
pub async fn role(stack: &Stack, name: &str, actions: &[&str]) -> String {
    let policy =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let made = stack.control("/roles", json!({"name": name, "policies": [policy]})).await;
    made["arn"].as_str().expect("an ARN").to_owned()
}

/// A registry like the default one, with more in its spec.
pub async fn registry(stack: &Stack, name: &str, more: Value) {
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut spec = json!({"region": "eu-west-1", "endpoints": default.spec.endpoints});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stack.apply::<EcrRegistry>(name, &spec.to_string()).await;
    stack.until::<EcrRegistry>(name, "ready", is_ready).await;
}

/// A registry from whose tokens every namespace can pull what is below its own name, and do nothing else.
pub struct PullOnly<'a> {
    stack: &'a Stack,
    pub name: String,
    pub arn: String,
}

impl<'a> PullOnly<'a> {
    pub async fn new(stack: &'a Stack, purpose: &str) -> Self {
        let name = unique(purpose);
        // The role itself may push: that the tokens can't is the session policy's doing.
        let arn = role(stack, &name, &["ecr:*"]).await;
        registry(stack, &name, Self::spec(&arn)).await;
        Self { stack, name, arn }
    }

    /// What a registry has in its spec to be like this one.
    pub fn spec(arn: &str) -> Value {
        json!({
            "pullRole": {"roleArn": arn},
            "access": [{"namespaceSelector": {}, "repositories": ["{namespace}/*"]}],
        })
    }

    /// Gives a namespace a pull secret named `ecr`.
    pub async fn secret(&self, namespace: &Namespace<'_>) -> Secret {
        namespace.apply::<EcrPullSecret>("ecr", &format!("registries: [{{name: {}}}]", self.name)).await;
        namespace.ready::<EcrPullSecret>("ecr").await;
        namespace.api::<Secret>().get("ecr").await.expect("the Secret is there")
    }

    pub async fn cleanup(self) {
        self.stack.delete::<EcrRegistry>(&self.name).await;
    }
}

/// The docker config in a pull secret.
pub fn docker_config(secret: &Secret) -> Value {
    serde_json::from_slice(&secret.data.as_ref().expect("data")[KEY].0).expect("JSON")
}

/// A folder with a docker config in it, as `DOCKER_CONFIG` names one.
pub struct Login(TempDir);

impl Login {
    /// Whoever reads this pull secret.
    pub fn with(secret: &Secret) -> Self {
        Self::having(&secret.data.as_ref().expect("data")[KEY].0)
    }

    /// The administrator of the stand-in's registry, who may push.
    pub async fn administrator(stack: &Stack) -> Self {
        let answer = stack.ecr.get_authorization_token().send().await.expect("a token");
        let token = answer.authorization_data()[0].authorization_token().expect("a token");
        let config = json!({"auths": {env("ECR_REGISTRY"): {"auth": token}}});
        Self::having(config.to_string().as_bytes())
    }

    fn having(config: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        Self(folder)
    }

    pub fn folder(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub fn file(&self) -> String {
        format!("{}/config.json", self.folder())
    }

    pub async fn crane(&self, arguments: &[&str]) -> Result<String, String> {
        run_with("crane", arguments, &[("DOCKER_CONFIG", self.folder())]).await
    }
}

impl Stack {
    /// Makes a repository in ECR and copies an image of the Docker Hub stand-in into it. Gives its name with host and tag.
    pub async fn image_in_ecr(&self, source: &str, repository: &str, tag: &str) -> String {
        self.ecr.create_repository().repository_name(repository).send().await.expect("the repository is made");
        let image = format!("{}/{repository}:{tag}", env("ECR_REGISTRY"));
        let source = format!("{}/{source}", env("UPSTREAM_REGISTRY"));
        let administrator = Login::administrator(self).await;
        administrator.crane(&["copy", &source, &image]).await.expect("the image is copied");
        image
    }

    /// Another EcrRegistry than the default one, in a region where nothing else of the tests is.
    pub async fn registry_in(&self, region: &str) -> String {
        let name = unique("region");
        let default = self.all::<EcrRegistry>().get("default").await.unwrap();
        let mut endpoints = serde_json::to_value(default.spec.endpoints).unwrap();
        endpoints["registry"] = format!("https://{}", self.registry_host(region).await).into();
        registry(self, &name, json!({"region": region, "endpoints": endpoints})).await;
        name
    }

    /// Host and port of the stand-in's registry in a region.
    pub async fn registry_host(&self, region: &str) -> String {
        let region = aws_sdk_ecr::config::Region::new(region.to_owned());
        let client = aws_sdk_ecr::Client::from_conf(self.ecr.config().to_builder().region(region).build());
        let answer = client.get_authorization_token().send().await.expect("a token");
        let endpoint = answer.authorization_data()[0].proxy_endpoint().expect("an endpoint");
        endpoint.strip_prefix("https://").expect("https").to_owned()
    }
}
