//! Which program this is.

use std::sync::LazyLock;

/// The version of the release that it is, or comes after.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, where whoever built it said so.
pub const COMMIT: Option<&str> = option_env!("ECR_OPERATOR_COMMIT");

/// Version and commit, as `--version` prints them.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match COMMIT {
        Some(commit) => format!("{VERSION} ({commit})"),
        None => VERSION.to_owned(),
    });
    &TEXT
}
