//! What a request needs to be allowed.
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html>

use std::collections::HashMap;

use http::Method;
use serde_json::Value;

use crate::registry::route::Route;

/// One action on one resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Need {
    /// With its service, such as `ecr:PutImage`.
    pub(crate) action: String,
    /// An ARN, or `*` where the action knows no resources.
    pub(crate) resource: String,
    /// Tags that the request sets.
    pub(crate) request_tags: HashMap<String, String>,
    /// Of `iam:PassRole`: the service that the role is for.
    pub(crate) passed_to: Option<&'static str>,
}

/// Where repositories are.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
}

impl Place<'_> {
    fn repository(self, name: &str) -> String {
        fakecloud_ecr::repository_arn(self.region, self.account, name)
    }
}

/// What a request of ECR's API needs.
pub(crate) fn of_api(action: &str, asked: &Value, place: Place<'_>) -> Vec<Need> {
    let place = Place { account: asked["registryId"].as_str().unwrap_or(place.account), ..place };
    let request_tags = tags(&asked["tags"]);
    let need = |action: String, resource: String| Need {
        action,
        resource,
        request_tags: request_tags.clone(),
        passed_to: None,
    };
    let mut needs: Vec<_> =
        resources(action, asked, place).into_iter().map(|resource| need(format!("ecr:{action}"), resource)).collect();
    if action == "CreateRepository" && !request_tags.is_empty() {
        needs.extend(resources(action, asked, place).into_iter().map(|arn| need("ecr:TagResource".to_owned(), arn)));
    }
    if let Some(role) = asked["customRoleArn"].as_str() {
        let passed_to = Some(assumes(action));
        needs.push(Need { passed_to, ..need("iam:PassRole".to_owned(), role.to_owned()) });
    }
    needs
}

/// Which service assumes the role that a request names.
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-private.html>,
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-creation-templates-iam.html>
fn assumes(action: &str) -> &'static str {
    match action.ends_with("PullThroughCacheRule") {
        true => "pullthroughcache.ecr.amazonaws.com",
        false => "ecr.amazonaws.com",
    }
}

fn resources(action: &str, asked: &Value, place: Place<'_>) -> Vec<String> {
    if let Some(name) = asked["repositoryName"].as_str() {
        return vec![place.repository(name)];
    }
    if let Some(arn) = asked["resourceArn"].as_str() {
        return vec![arn.to_owned()];
    }
    let names = asked["repositoryNames"].as_array().map(Vec::as_slice).unwrap_or_default();
    match action {
        // All of them: AWS names the resource so in its refusals.
        "DescribeRepositories" if names.is_empty() => vec![place.repository("*")],
        "DescribeRepositories" | "BatchGetRepositoryScanningConfiguration" => {
            names.iter().filter_map(Value::as_str).map(|name| place.repository(name)).collect()
        }
        _ => vec!["*".to_owned()],
    }
}

fn tags(list: &Value) -> HashMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tags = list.as_array().into_iter().flatten();
    tags.map(|tag| (text(&tag["Key"]), text(&tag["Value"]))).collect()
}

/// What a request of the registry API needs.
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html>
pub(crate) fn of_registry(method: &Method, route: &Route<'_>, query: &str, place: Place<'_>) -> Vec<Need> {
    let on = |action: &str, repository: &str| Need {
        action: format!("ecr:{action}"),
        resource: place.repository(repository),
        request_tags: HashMap::new(),
        passed_to: None,
    };
    match (method.as_str(), route) {
        ("GET" | "HEAD", Route::Manifest { repository, .. }) => vec![on("BatchGetImage", repository)],
        ("PUT", Route::Manifest { repository, .. }) => vec![on("PutImage", repository)],
        ("DELETE", Route::Manifest { repository, .. }) => vec![on("BatchDeleteImage", repository)],
        ("HEAD", Route::Blob { repository, .. }) => vec![on("BatchCheckLayerAvailability", repository)],
        ("GET", Route::Blob { repository, .. }) => vec![on("GetDownloadUrlForLayer", repository)],
        ("POST", Route::Upload { repository }) => {
            let source = parameter(query, "from").filter(|_| query.contains("mount="));
            let mounted = source.map(|source| on("GetDownloadUrlForLayer", &source));
            [on("InitiateLayerUpload", repository)].into_iter().chain(mounted).collect()
        }
        ("PATCH", Route::Upload { repository }) => vec![on("UploadLayerPart", repository)],
        ("PUT", Route::Upload { repository }) => {
            vec![on("UploadLayerPart", repository), on("CompleteLayerUpload", repository)]
        }
        ("GET", Route::Tags { repository }) => vec![on("ListImages", repository)],
        ("GET", Route::Referrers { repository, .. }) => vec![on("BatchGetImage", repository)],
        _ => Vec::new(),
    }
}

/// The value of a query's parameter. Names of repositories hold nothing that is escaped but `/`.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace("%2F", "/").replace("%2f", "/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLACE: Place<'_> = Place { account: "123456789012", region: "eu-west-1" };

    fn api(action: &str, asked: Value) -> Vec<String> {
        of_api(action, &asked, PLACE).into_iter().map(|need| format!("{} {}", need.action, need.resource)).collect()
    }

    fn registry(method: Method, path: &str) -> Vec<String> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let needs = of_registry(&method, &Route::of(path), query, PLACE);
        needs.into_iter().map(|need| need.action).collect()
    }

    #[test]
    fn actions_on_repositories_name_them_and_others_name_everything() {
        let arn = "arn:aws:ecr:eu-west-1:123456789012:repository";
        for (action, asked, needs) in [
            ("PutLifecyclePolicy", json!({"repositoryName": "a/b"}), vec![format!("ecr:PutLifecyclePolicy {arn}/a/b")]),
            ("DescribeRepositories", json!({}), vec![format!("ecr:DescribeRepositories {arn}/*")]),
            (
                "DescribeRepositories",
                json!({"repositoryNames": ["a", "b"]}),
                vec![format!("ecr:DescribeRepositories {arn}/a"), format!("ecr:DescribeRepositories {arn}/b")],
            ),
            ("TagResource", json!({"resourceArn": "arn:x"}), vec!["ecr:TagResource arn:x".to_owned()]),
            ("GetAuthorizationToken", json!({}), vec!["ecr:GetAuthorizationToken *".to_owned()]),
        ] {
            assert_eq!(api(action, asked), needs, "{action}");
        }
    }

    #[test]
    fn some_actions_need_others() {
        let created = api("CreateRepository", json!({"repositoryName": "a", "tags": [{"Key": "k", "Value": "v"}]}));
        assert!(created.iter().any(|need| need.starts_with("ecr:TagResource ")), "{created:?}");
        for (action, service) in [
            ("CreateRepositoryCreationTemplate", "ecr.amazonaws.com"),
            ("UpdatePullThroughCacheRule", "pullthroughcache.ecr.amazonaws.com"),
        ] {
            let needs = of_api(action, &json!({"customRoleArn": "arn:aws:iam::1:role/x"}), PLACE);
            let pass = needs.iter().find(|need| need.action == "iam:PassRole").expect("a role is passed");
            assert_eq!((pass.resource.as_str(), pass.passed_to), ("arn:aws:iam::1:role/x", Some(service)), "{action}");
        }
    }

    #[test]
    fn requests_of_the_registry_api_need_ecrs_actions() {
        for (method, path, needs) in [
            (Method::GET, "/v2/", vec![]),
            (Method::HEAD, "/v2/a/manifests/1", vec!["ecr:BatchGetImage"]),
            (Method::PUT, "/v2/a/manifests/1", vec!["ecr:PutImage"]),
            (Method::GET, "/v2/a/blobs/sha256:1", vec!["ecr:GetDownloadUrlForLayer"]),
            (Method::POST, "/v2/a/blobs/uploads/", vec!["ecr:InitiateLayerUpload"]),
            (
                Method::POST,
                "/v2/a/blobs/uploads/?mount=sha256:1&from=b%2Fc",
                vec!["ecr:InitiateLayerUpload", "ecr:GetDownloadUrlForLayer"],
            ),
            (Method::GET, "/v2/a/tags/list", vec!["ecr:ListImages"]),
        ] {
            assert_eq!(registry(method.clone(), path), needs, "{method} {path}");
        }
    }
}
