//! Registries that mean harm: what they answer is refused, nothing of it is tagged, and nobody is sent credentials that
//! aren't for them. Servers of the tests record every byte that they are sent.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../faults/network.rs"]
mod network;
#[allow(dead_code)]
#[path = "../wire/support.rs"]
mod support;

mod bodies;
mod manifests;
mod realms;
mod redirects;
mod scene;
mod uploads;
