//! Policies as ECR reads them. Written from AWS's documentation alone, so that the operator's own reading of it has a
//! second opinion.

pub(crate) mod document;
pub(crate) mod lifecycle;
pub(crate) mod selection;
