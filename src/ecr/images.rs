//! The images of a repository.

use aws_sdk_ecr::types::ImageIdentifier;

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
