//! The engine against registries in this process that write down every request: what holds is what went over the wire.
#![allow(clippy::unwrap_used)]

mod auth;
mod budget;
mod copying;
mod economy;
mod faults;
mod gate;
mod lookups;
mod reach;
mod reading;
mod referrers;
mod resume;
mod several;
mod subset;
mod support;
mod tls;
