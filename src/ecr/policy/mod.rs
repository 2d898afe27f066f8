//! Repository and registry policies: from typed grants, or read from an IAM policy document; checked before AWS sees
//! them, and compared by meaning.
//!
//! What means nothing to IAM is no difference: the order of statements and of lists, a single string or a list of one,
//! the case of actions and condition keys, `123456789012` or `arn:aws:iam::123456789012:root`, `Sid`, `Id`, and `Version`
//! while no policy variable is used.

mod actions;
mod diff;
mod grants;
mod json;
mod normal;
mod validate;

use serde_json::Value;

use crate::api::AccessGrant;
use normal::Normal;
pub use validate::{PolicyError, Problem};

/// The most characters that ECR takes for a repository policy or a registry policy.
///
/// Source: the length constraints of `policyText` in SetRepositoryPolicy and PutRegistryPolicy.
pub const MAX_CHARACTERS: usize = 10_240;

/// What a policy is attached to. The rules differ: a registry policy names resources, a repository policy must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One repository (`SetRepositoryPolicy`).
    Repository,
    /// The whole registry (`PutRegistryPolicy`).
    Registry,
}

/// A policy document. Two are equal when they mean the same.
#[derive(Clone, Debug)]
pub struct PolicyDocument {
    document: Value,
    normal: Normal,
}

impl PartialEq for PolicyDocument {
    fn eq(&self, other: &Self) -> bool {
        self.normal == other.normal
    }
}

impl Eq for PolicyDocument {}

impl PolicyDocument {
    /// The repository policy that typed grants ask for, a statement for each grant.
    ///
    /// # Errors
    /// What the API server's rules refuse too, and a policy that is longer than [`MAX_CHARACTERS`].
    pub fn from_grants(grants: &[AccessGrant]) -> Result<Self, PolicyError> {
        grants::check(grants)?;
        Self::checked(grants::document(grants), Scope::Repository)
    }

    /// Reads a document that a user wrote.
    ///
    /// # Errors
    /// Everything that is known to be refused by AWS, all at once, each with its place in the document.
    pub fn parse(text: &str, scope: Scope) -> Result<Self, PolicyError> {
        Self::checked(json::parse(text)?, scope)
    }

    /// Reads a document that ECR has. Nothing but its shape is checked: AWS took it, and knows actions that we don't.
    ///
    /// # Errors
    /// It is not JSON, or does not have the shape of a policy.
    pub fn read(text: &str) -> Result<Self, PolicyError> {
        let document = json::parse(text)?;
        match Normal::of(&document) {
            Some(normal) => Ok(Self { document, normal }),
            None => Err(Problem::NotAPolicy.into()),
        }
    }

    fn checked(document: Value, scope: Scope) -> Result<Self, PolicyError> {
        validate::validate(&document, scope)?;
        let normal = Normal::of(&document).ok_or(Problem::NotAPolicy)?;
        let policy = Self { document, normal };
        match policy.text().chars().count() {
            characters if characters > MAX_CHARACTERS => Err(Problem::TooLong { characters }.into()),
            _ => Ok(policy),
        }
    }

    /// The document as AWS takes it: JSON without white space.
    pub fn text(&self) -> String {
        self.document.to_string()
    }

    /// What each statement says, in words, in an order that depends on nothing but their meaning.
    pub fn statements(&self) -> Vec<String> {
        self.normal.statements.iter().map(ToString::to_string).collect()
    }

    /// What changes when this policy is replaced by `wanted`: a line for each statement that comes (`+`), goes (`-`) or
    /// changes (`~`). Empty when both mean the same.
    pub fn diff(&self, wanted: &Self) -> Vec<String> {
        diff::diff(&self.normal, &wanted.normal)
    }

    /// Ids that AWS put in the place of principals that were deleted, such as `AROAEXAMPLE`. They grant nothing any more.
    pub fn deleted_principals(&self) -> Vec<&str> {
        self.normal.deleted_principals()
    }
}

#[cfg(test)]
mod tests;
