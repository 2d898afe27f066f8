//! Suites on the local stack: a real API server, an AWS stand-in and a Docker Hub stand-in, and the operator running.
//! Run them with `make test`.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod admission;
mod aws;
mod consumers;
mod copy;
mod enforcement;
mod errors;
mod guide;
mod kstatus;
mod lifecycle;
mod login;
mod manifests;
mod mirror;
mod mirror_discovery;
mod mirror_ecr_source;
mod mirror_limits;
mod mirror_midway;
mod mirror_prune;
mod mirror_public;
mod mirror_selection;
mod moto;
mod ownership;
mod plan;
mod pods;
mod pull_only;
mod pull_secret;
mod pull_secret_accounts;
mod pull_secret_entries;
mod pull_secret_namespaces;
mod registry;
mod registry_identity;
mod registry_settings;
mod registry_settings_admission;
mod registry_settings_errors;
mod repository;
mod rewrite;
mod rewrite_limits;
mod rewrite_pods;
mod rewrite_usage;
mod verification;
