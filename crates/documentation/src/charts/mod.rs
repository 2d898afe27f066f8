//! Charts of what the performance pages have in tables. They are committed beside the pages; `make charts` draws them
//! again when a table has changed.

mod figures;
mod svg;
mod table;

use std::path::{Path, PathBuf};

/// Horizontal bars, in groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The groups, from above.
    pub groups: Vec<Group>,
    /// Whether all groups have one scale.
    pub one_scale: bool,
}

/// Bars that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What they have in common.
    pub title: String,
    /// What the values are counted in; it stands behind each.
    pub unit: String,
    /// The bars, from above.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Whose it is.
    pub label: String,
    /// How long it is.
    pub value: f64,
    /// The least and the most that was measured, if that is known.
    pub range: Option<(f64, f64)>,
    /// How it looks.
    pub role: Role,
}

/// How a bar looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the page is about.
    Ours,
    /// What it is compared with.
    Other,
    /// The least that is possible.
    Floor,
}

/// All charts of the documentation in this folder: their files and what is in them.
///
/// # Errors
/// A table that is not there, or has not what a chart shows.
pub fn drawn(docs: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let charts = figures::all(docs)?;
    Ok(charts.into_iter().map(|(name, chart)| (docs.join("images").join(name), svg::draw(&chart))).collect())
}
