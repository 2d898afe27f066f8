//! Makes Amazon ECR match what Git declares.
//!
//! The program is [`cli`]; the resources that users write are [`api`]; what keeps AWS in line with them is
//! [`controllers`]; [`ecr`] is the client of Amazon ECR that they share; [`leadership`] says which of several replicas
//! works, and [`apiserver`] is how the API server is reached. [`plan`] and [`check`] work on [`manifests`] without
//! a cluster; [`iam`] knows which rights are needed for what; [`globs`] are how
//! repositories are named where many are meant; [`rewrite`] says which images pods get in place of those that they name, and
//! [`enforcement`] which they may have.

pub mod api;
pub mod apiserver;
pub mod check;
pub mod cli;
pub mod controllers;
pub mod dockerconfig;
pub mod ecr;
pub mod enforcement;
pub mod globs;
pub mod iam;
pub mod keychain;
pub mod leadership;
pub mod manifests;
pub mod metrics;
pub mod plan;
pub mod registries;
pub mod rewrite;
pub mod server;
pub mod telemetry;
pub mod verify;
pub mod version;
