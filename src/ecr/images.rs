//! The images of a repository.

use std::collections::BTreeMap;

use aws_sdk_ecr::types::{ImageFailureCode, ImageIdentifier};

use super::connect::Ecr;
use super::error::EcrError;
use super::repositories::if_found;

/// How far a list of images was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// To its end.
    All,
    /// As far as was allowed; there are more.
    Part,
    /// There is no such repository.
    NoRepository,
}

impl Ecr {
    /// Deletes tags of a repository, and with its last tag an image. Answers with the tags that are still there, each with
    /// ECR's reason; one that is not there any more is no failure.
    pub async fn delete_tags(&self, name: &str, tags: &[String]) -> Result<BTreeMap<String, String>, EcrError> {
        const OPERATION: &str = "ecr:BatchDeleteImage";
        const AT_ONCE: usize = 100;
        let mut failed = BTreeMap::new();
        for tags in tags.chunks(AT_ONCE) {
            let images = tags.iter().map(|tag| ImageIdentifier::builder().image_tag(tag).build()).collect();
            let call = self.api.batch_delete_image().repository_name(name).set_image_ids(Some(images));
            let Some(answer) = if_found(OPERATION, call.send().await)? else { continue };
            for failure in answer.failures.unwrap_or_default() {
                let Some(tag) = failure.image_id.and_then(|image| image.image_tag) else { continue };
                if failure.failure_code == Some(ImageFailureCode::ImageNotFound) {
                    continue;
                }
                let code = failure.failure_code.map(|code| code.as_str().to_owned()).unwrap_or_default();
                let reason = failure.failure_reason.unwrap_or_default();
                failed.insert(tag, format!("{OPERATION}: {code}: {reason}"));
            }
        }
        Ok(failed)
    }

    /// Shows images of a repository, by tag and digest, in pages of 1,000 and no more pages than `pages`. What is archived
    /// can't be pulled, and ECR leaves it out.
    pub async fn visit_images(
        &self,
        name: &str,
        pages: usize,
        mut visit: impl FnMut(ImageIdentifier),
    ) -> Result<Read, EcrError> {
        const OPERATION: &str = "ecr:ListImages";
        const PAGE: i32 = 1000;
        let mut token = None;
        for _ in 0..pages {
            let call = self.api.list_images().repository_name(name).max_results(PAGE).set_next_token(token);
            let Some(page) = if_found(OPERATION, call.send().await)? else { return Ok(Read::NoRepository) };
            page.image_ids.unwrap_or_default().into_iter().for_each(&mut visit);
            token = page.next_token;
            if token.is_none() {
                return Ok(Read::All);
            }
        }
        Ok(Read::Part)
    }
}
