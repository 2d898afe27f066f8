//! Which operation a request asks for, and in which of AWS's protocols.

use axum::body::Bytes;
use http::{HeaderMap, header};

/// An operation of AWS's API.
pub(crate) struct Operation {
    /// Its name, such as `CreateRepository`; `unknown` when the request names none. Those of ECR Public, which shares names
    /// with ECR and is no part of the emulator, begin with `ecr-public:`.
    pub(crate) action: String,
    pub(crate) protocol: Protocol,
    target: String,
}

/// How requests and answers are written down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Protocol {
    /// awsJson: ECR and KMS.
    Json,
    /// awsQuery, answered in XML: STS and IAM.
    Query,
}

impl Operation {
    pub(crate) fn of(headers: &HeaderMap, body: &Bytes) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(target) = text("x-amz-target") {
            let name = target.rsplit('.').next().unwrap_or(target);
            let action = match target.starts_with("SpencerFrontendService.") {
                true => format!("ecr-public:{name}"),
                false => name.to_owned(),
            };
            return Self { action, protocol: Protocol::Json, target: target.to_owned() };
        }
        let form = text(header::CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let action = std::str::from_utf8(body)
            .ok()
            .filter(|_| form)
            .and_then(|body| body.split('&').find_map(|pair| pair.strip_prefix("Action=")));
        Self { action: action.unwrap_or("unknown").to_owned(), protocol: Protocol::Query, target: String::new() }
    }

    pub(crate) fn is_ecr(&self) -> bool {
        self.target.starts_with("AmazonEC2ContainerRegistry_V20150921.")
    }

    /// Whether each region has a state of its own: ECR and KMS, not IAM and STS.
    pub(crate) fn is_regional(&self) -> bool {
        self.is_ecr() || self.target.starts_with("TrentService.")
    }

    /// Whether the operation proves the caller by its own parameters instead of a signature.
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
    pub(crate) fn is_unsigned(&self) -> bool {
        matches!(self.action.as_str(), "AssumeRoleWithWebIdentity" | "AssumeRoleWithSAML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(headers: &[(&'static str, &str)], body: &'static str) -> Operation {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a header value")));
        Operation::of(&headers.collect(), &Bytes::from(body))
    }

    #[test]
    fn a_json_request_names_its_action_in_a_header() {
        let target = "AmazonEC2ContainerRegistry_V20150921.CreateRepository";
        let create = operation(&[("x-amz-target", target)], "{}");
        assert_eq!(create.action, "CreateRepository");
        assert_eq!(create.protocol, Protocol::Json);
        assert!(create.is_ecr());
    }

    #[test]
    fn a_request_to_ecr_public_is_told_from_one_to_ecr() {
        let token = operation(&[("x-amz-target", "SpencerFrontendService.GetAuthorizationToken")], "{}");
        assert_eq!((token.action.as_str(), token.is_ecr()), ("ecr-public:GetAuthorizationToken", false));
    }

    #[test]
    fn a_query_request_names_its_action_in_its_form() {
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        let body = "Version=2011-06-15&Action=AssumeRole&RoleArn=x";
        let assume = operation(&[("content-type", form)], body);
        assert_eq!(assume.action, "AssumeRole");
        assert_eq!(assume.protocol, Protocol::Query);
        assert!(!assume.is_ecr());
    }
}
