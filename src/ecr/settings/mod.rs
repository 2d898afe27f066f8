//! Registry-wide settings: the calls, and the settings in forms in which equal meaning is equal value.
//!
//! ECR gives lists back in another order than it got them and fills in its defaults. What is read here is put into the
//! same form as what a spec asks for, so that the two can be compared.

mod account;
mod cache_rules;
mod exclusions;
mod policy;
mod replication;
mod scanning;
mod signing;
mod templates;

pub use account::AccountSetting;
pub use cache_rules::CacheRule;
pub use replication::{Destination, Replication, ReplicationRule};
pub use scanning::Scanning;
pub use signing::{Signing, SigningRule};
pub use templates::{Mutability, Template};

use std::collections::BTreeSet;
use std::fmt::Display;

/// How many entries of a list are asked for at once: as many as ECR gives.
const PAGE: i32 = 1000;

/// Entries as a person reads them.
fn listed<T: Display>(entries: impl IntoIterator<Item = T>) -> String {
    entries.into_iter().map(|entry| entry.to_string()).collect::<Vec<_>>().join(", ")
}

/// Filters as a person reads them; none means everything.
fn filters(filters: &BTreeSet<String>) -> String {
    if filters.is_empty() { "all repositories".to_owned() } else { listed(filters) }
}

/// A number with its noun.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
