//! Which IAM actions the operator needs, for what. One table says it: `docs/iam/` is tested against it, and
//! `ecr-operator check` asks AWS for what it says.

mod needs;
mod policy;
mod table;

pub use needs::{Need, needs, policy_for};
pub use policy::{ActionScope, document, scope};
pub use table::{Feature, TABLE, When};

#[cfg(test)]
mod tests;
