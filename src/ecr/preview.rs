//! Lifecycle policy previews: what rules would do to the images that a repository has now. A preview changes nothing.

use aws_sdk_ecr::operation::get_lifecycle_policy_preview::GetLifecyclePolicyPreviewOutput;
use aws_sdk_ecr::types::{self as sdk, LifecyclePolicyPreviewStatus as Status};

use super::connect::Ecr;
use super::error::EcrError;
use super::host::RegistryHost;
use crate::api::PreviewAction;

/// What ECR says about a repository's last preview.
#[derive(Clone, Debug, PartialEq)]
pub enum Preview {
    /// There is none, or it was too long ago.
    None,
    /// ECR works on it.
    InProgress,
    /// ECR could not finish it.
    Failed,
    /// It is done.
    Complete(PreviewResult),
}

/// What the rules would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreviewResult {
    /// The policy that it is about, as JSON, if ECR says so.
    pub policy: Option<String>,
    /// How many images would expire.
    pub expiring: u32,
    /// How many images would be archived.
    pub archiving: u32,
    /// Which images these are, as far as they were asked for.
    pub images: Vec<PreviewedImage>,
}

/// An image that a rule would take away.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewedImage {
    /// Its digest.
    pub digest: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What would happen to it.
    pub action: PreviewAction,
    /// `rulePriority` of the rule.
    pub rule: Option<u32>,
}

/// Whether a preview could be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It was.
    Now,
    /// Another one is still going on, maybe of another policy. There can be only one at a time.
    Busy,
}

impl Ecr {
    /// Starts a preview of this policy, whether or not the repository has it.
    pub async fn start_lifecycle_preview(&self, name: &str, text: &str) -> Result<Started, EcrError> {
        let answer =
            self.api.start_lifecycle_policy_preview().repository_name(name).lifecycle_policy_text(text).send().await;
        match answer {
            Ok(_) => Ok(Started::Now),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_lifecycle_policy_preview_in_progress_exception()) =>
            {
                Ok(Started::Busy)
            }
            Err(error) => Err(EcrError::new("ecr:StartLifecyclePolicyPreview", &error)),
        }
    }

    /// The repository's last preview, with images up to `limit` rounded up to a page of 100. One call for each page, and one
    /// at least: the counts are of all images in any case.
    pub async fn lifecycle_preview(&self, name: &str, limit: usize) -> Result<Preview, EcrError> {
        const OPERATION: &str = "ecr:GetLifecyclePolicyPreview";
        const PAGE: i32 = 100;
        let mut pages =
            self.api.get_lifecycle_policy_preview().repository_name(name).into_paginator().page_size(PAGE).send();
        let mut result: Option<PreviewResult> = None;
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) if is_missing(&error) => return Ok(Preview::None),
                Err(error) => return Err(EcrError::new(OPERATION, &error)),
            };
            match page.status {
                Some(Status::Complete) => {}
                Some(Status::InProgress) => return Ok(Preview::InProgress),
                Some(Status::Expired) => return Ok(Preview::None),
                Some(Status::Failed) => return Ok(Preview::Failed),
                _ => return Err(EcrError::incomplete(OPERATION, "status")),
            }
            let result = result.get_or_insert_with(|| counts(&page));
            result.images.extend(page.preview_results.unwrap_or_default().into_iter().filter_map(image));
            if result.images.len() >= limit {
                break;
            }
        }
        result.map(Preview::Complete).ok_or_else(|| EcrError::incomplete(OPERATION, "status"))
    }

    /// What names of the repository's images may begin with: the same registry answers by several host names, and pods may
    /// use another one than the operator.
    pub fn repository_uris(&self, name: &str) -> Vec<String> {
        let mut hosts = host_names(&self.identity.account_id, &self.region);
        if !hosts.contains(&self.host) {
            hosts.insert(0, self.host.clone());
        }
        hosts.into_iter().map(|host| format!("{host}/{name}")).collect()
    }
}

/// The host names of a registry: with and without FIPS, for IPv4 and dual-stack.
fn host_names(account: &str, region: &str) -> Vec<String> {
    [(false, false), (true, false), (false, true), (true, true)]
        .map(|(fips, dual_stack)| RegistryHost::new(account, region, fips, dual_stack).to_string())
        .into()
}

/// ECR knows of no preview. A missing repository or policy is no such thing, and says so by another name.
fn is_missing(
    error: &aws_sdk_ecr::error::SdkError<
        aws_sdk_ecr::operation::get_lifecycle_policy_preview::GetLifecyclePolicyPreviewError,
    >,
) -> bool {
    use aws_sdk_ecr::error::ProvideErrorMetadata as _;
    matches!(error.code(), Some("LifecyclePolicyPreviewNotFoundException" | "LifecyclePolicyNotFoundException"))
}

fn counts(page: &GetLifecyclePolicyPreviewOutput) -> PreviewResult {
    let count = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
    let summary = page.summary.as_ref();
    let archiving = summary.map(|summary| summary.transitioning_image_total_counts()).unwrap_or_default();
    PreviewResult {
        policy: page.lifecycle_policy_text.clone(),
        expiring: count(summary.and_then(|summary| summary.expiring_image_total_count)),
        archiving: archiving.iter().map(|total| count(total.image_total_count)).sum(),
        images: Vec::new(),
    }
}

/// `None` for what has no digest, or an action that has no word here.
fn image(result: sdk::LifecyclePolicyPreviewResult) -> Option<PreviewedImage> {
    let action = match result.action?.r#type? {
        sdk::ImageActionType::Expire => PreviewAction::Expire,
        sdk::ImageActionType::Transition => PreviewAction::Archive,
        _ => return None,
    };
    Some(PreviewedImage {
        digest: result.image_digest?,
        tags: result.image_tags.unwrap_or_default(),
        action,
        rule: result.applied_rule_priority.and_then(|priority| u32::try_from(priority).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_answers_by_several_host_names() {
        assert_eq!(
            host_names("123456789012", "eu-west-1"),
            [
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
                "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
                "123456789012.dkr-ecr.eu-west-1.on.aws",
                "123456789012.dkr-ecr-fips.eu-west-1.on.aws",
            ]
        );
        assert!(host_names("123456789012", "cn-north-1")[2].ends_with(".on.amazonwebservices.com.cn"));
        assert!(host_names("123456789012", "us-iso-east-1")[0].ends_with(".c2s.ic.gov"));
    }

    #[test]
    fn images_of_a_preview_are_read_with_what_would_happen_to_them() {
        let action = |kind: &str| sdk::LifecyclePolicyRuleAction::builder().r#type(kind.into()).build();
        let result = |kind: &str| {
            let builder = sdk::LifecyclePolicyPreviewResult::builder().image_digest("sha256:a").image_tags("v1");
            image(builder.action(action(kind)).applied_rule_priority(2).build())
        };
        let expected = PreviewedImage {
            digest: "sha256:a".into(),
            tags: vec!["v1".into()],
            action: PreviewAction::Expire,
            rule: Some(2),
        };
        assert_eq!(result("EXPIRE"), Some(expected.clone()));
        assert_eq!(result("TRANSITION"), Some(PreviewedImage { action: PreviewAction::Archive, ..expected }));
        assert_eq!(result("HIDE"), None);
    }

    #[test]
    fn the_counts_are_those_of_the_summary() {
        let archived = sdk::TransitioningImageTotalCount::builder().image_total_count(4).build();
        let summary = sdk::LifecyclePolicyPreviewSummary::builder()
            .expiring_image_total_count(3)
            .transitioning_image_total_counts(archived)
            .build();
        let page = GetLifecyclePolicyPreviewOutput::builder().lifecycle_policy_text("{}").summary(summary).build();
        let result = counts(&page);
        assert_eq!((result.expiring, result.archiving, result.policy.as_deref()), (3, 4, Some("{}")));
        assert_eq!(counts(&GetLifecyclePolicyPreviewOutput::builder().build()), PreviewResult::default());
    }
}
