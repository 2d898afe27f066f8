//! The client of Amazon ECR: a concrete type over the AWS SDK that speaks in types of ours.
//!
//! [`Pool`] connects to the registries that EcrRegistry objects describe, one [`Ecr`] each. An `Ecr` is proof that its
//! credentials reach the account that the object asks for.

mod calls;
mod connect;
mod error;
pub mod host;
#[cfg(test)]
mod host_fuzz;
mod http;
mod identity_token;
mod images;
pub mod lifecycle;
mod listing;
mod mint;
mod mints;
pub mod policy;
mod policy_calls;
mod pool;
mod preview;
mod probes;
mod public;
mod pull_policy;
mod repositories;
pub mod settings;
mod spans;
mod token;

pub use connect::{ApiEndpoints, ConnectError, Ecr, Identity};
pub use error::{EcrError, ErrorKind};
pub use identity_token::{IdentityToken, identity_token};
pub use images::Read;
pub use mint::{MintKey, PullRole};
pub use mints::{Minted, Mints, Slot, Step};
pub use pool::Pool;
pub use preview::{Preview, PreviewResult, PreviewedImage, Started};
pub use probes::Verdict;
pub use public::PublicEcr;
pub use pull_policy::{PolicyTooLarge, pull_policy};
pub use repositories::{Encryption, Mutability, NewRepository, Repository, TagMutability};
pub use token::Token;
