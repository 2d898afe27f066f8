//! Which charts there are, and from which tables.

use std::path::Path;

use super::table::{Source, number, number_after, numbers};
use super::{Bar, Chart, Group, Role};

/// All charts, by the names of their files.
pub(super) fn all(docs: &Path) -> Result<Vec<(&'static str, Chart)>, String> {
    let copy = Source::new(&docs.join("performance/copy.md"), &["scenario", "tool"])?;
    Ok(vec![
        ("copy-time.svg", copying(&copy, "Seconds to copy 30 images (a) and one layer of 2 GiB (d)", 2, "s")?),
        ("copy-cpu.svg", copying(&copy, "CPU seconds for the same", 3, "s")?),
        ("copy-transfer.svg", transfer(&copy)?),
        ("repositories.svg", repositories(docs)?),
        ("scale.svg", scale(docs)?),
        ("pull-secrets.svg", pull_secrets(docs)?),
        ("rewrite.svg", rewriting(docs)?),
    ])
}

const COPIES: [&str; 3] = ["a: cold", "a: cold, 20 ms added", "d: one layer of 2 GiB"];

/// A column of the copy table, for the scenarios in which something is copied.
fn copying(table: &Source, title: &str, column: usize, unit: &str) -> Result<Chart, String> {
    let group = |scenario: &&str| {
        let rows = table.part(scenario)?;
        let bars = rows.iter().map(|row| tool(row, column)).collect::<Result<_, String>>()?;
        Ok(Group { title: (*scenario).to_owned(), unit: unit.to_owned(), bars })
    };
    let groups = COPIES.iter().map(group).collect::<Result<_, String>>()?;
    Ok(Chart { title: title.to_owned(), groups, one_scale: true })
}

fn tool(row: &[String], column: usize) -> Result<Bar, String> {
    let values = numbers(&row[column]);
    let value = *values.first().ok_or_else(|| format!("there is no number in {:?}", row[column]))?;
    let role = match row[1].as_str() {
        "ours" => Role::Ours,
        "floor" => Role::Floor,
        _ => Role::Other,
    };
    let range = (values.len() == 3).then(|| (values[1], values[2]));
    Ok(Bar { label: row[1].clone(), value, range, role })
}

/// What goes over the wire for a cold copy.
fn transfer(table: &Source) -> Result<Chart, String> {
    let rows = table.part("a: cold")?;
    let group = |name: &str, unit: &str| {
        let column = table.column(name)?;
        let tools = rows.iter().filter(|row| row[1] != "floor");
        let bars = tools.map(|row| tool(row, column)).collect::<Result<_, String>>()?;
        Ok::<_, String>(Group { title: name.to_owned(), unit: unit.to_owned(), bars })
    };
    let groups = vec![group("MiB read", "MiB")?, group("MiB sent", "MiB")?, group("requests", "")?];
    Ok(Chart { title: "On the wire, for 30 images (a)".into(), groups, one_scale: false })
}

fn repositories(docs: &Path) -> Result<Chart, String> {
    let table = Source::new(&docs.join("performance/repositories.md"), &["repositories"])?;
    let header = table.row("seconds until all are ready")?.len();
    let group = |name: &str, title: &str, unit: &str| {
        let row = table.row(name)?;
        let bar = |column: usize| {
            let label = if column == 1 { "500" } else { "10,000" };
            Ok(Bar { label: label.into(), value: number(&row[column])?, range: None, role: Role::Ours })
        };
        let bars = (1..header).map(bar).collect::<Result<_, String>>()?;
        Ok::<_, String>(Group { title: title.into(), unit: unit.into(), bars })
    };
    let groups = vec![
        group("seconds until all are ready", "until all are ready", "s")?,
        group("operator: resident memory", "the operator's memory", "MiB")?,
        group("at rest, AWS calls in a resync interval", "AWS calls in a resync interval, at rest", "")?,
        group("restart until ready", "after a restart, until ready", "s")?,
    ];
    Ok(Chart { title: "500 and 10,000 repositories".into(), groups, one_scale: false })
}

fn scale(docs: &Path) -> Result<Chart, String> {
    let table = Source::new(&docs.join("performance/scale.md"), &["objects"])?;
    // The row, the numbers of it that are shown, and what they are.
    let group = |title: &str, unit: &str, shown: &[(&str, usize, &str)]| {
        let bar = |&(row, place, label): &(&str, usize, &str)| {
            let cell = &table.row(row)?[1];
            let value = *numbers(cell).get(place).ok_or_else(|| format!("{cell:?} has too few numbers"))?;
            Ok(Bar { label: label.into(), value, range: None, role: Role::Ours })
        };
        let bars = shown.iter().map(bar).collect::<Result<_, String>>()?;
        Ok::<_, String>(Group { title: title.into(), unit: unit.into(), bars })
    };
    let (start, hour) = ("operator: resident memory, peak", "an hour: resident memory in its three thirds");
    let reactions = "a new repository is ready after: p50, p95, p99";
    let groups = vec![
        group(
            "from the first object until all are ready",
            "s",
            &[
                ("until all namespaces have their Secret", 0, "Secrets"),
                ("until all repositories are ready", 0, "repositories"),
                ("until all mirrors are ready", 0, "mirrors"),
            ],
        )?,
        group(
            "the operator's memory",
            "MiB",
            &[(start, 1, "at its peak"), (start, 0, "all ready"), (hour, 2, "at rest")],
        )?,
        group(
            "then a new one is ready after",
            "s",
            &[(reactions, 0, "p50"), (reactions, 1, "p95"), (reactions, 2, "p99")],
        )?,
        group(
            "the leader is killed",
            "s",
            &[("the leader is killed: a repository created then is ready after", 0, "ready")],
        )?,
    ];
    let title = "10,000 repositories, 1,000 mirrors with 20,000 tags, 1,000 namespaces".into();
    Ok(Chart { title, groups, one_scale: false })
}

fn pull_secrets(docs: &Path) -> Result<Chart, String> {
    let table = Source::new(&docs.join("performance/pull-secrets.md"), &["namespaces"])?;
    let writes = &table.row("API server writes for that")?[1];
    let calls = &table.row("AWS calls for that")?[1];
    let later = &table.row("calls for tokens in 6 h")?[1];
    let bar = |label: &str, value: f64| Bar { label: label.into(), value, range: None, role: Role::Ours };
    let bars = vec![
        bar("Secrets", number_after(writes, "secrets POST ")?),
        bar("AWS calls", numbers(calls).iter().sum()),
        bar("every 6 h", number(later)?),
    ];
    let group = Group {
        title: "Secrets written, AWS calls for that, tokens asked for in 6 h".into(),
        unit: String::new(),
        bars,
    };
    let title = "A pull secret with ten registries, in 1,000 namespaces".into();
    Ok(Chart { title, groups: vec![group], one_scale: true })
}

fn rewriting(docs: &Path) -> Result<Chart, String> {
    let table = Source::new(&docs.join("performance/rewrite.md"), &["a pod", "median, ms"])?;
    let added = table.column("added, median")?;
    let group = |title: &str, rows: [&str; 2]| {
        let bar = |row: &str| {
            Ok(Bar { label: row.into(), value: number(&table.row(row)?[added])?, range: None, role: Role::Ours })
        };
        let bars = rows.into_iter().map(bar).collect::<Result<_, String>>()?;
        Ok::<_, String>(Group { title: title.into(), unit: "ms".into(), bars })
    };
    let groups = vec![
        group("a pod with one image", ["rewritten", "not rewritten"])?,
        group("with five", ["one of five images rewritten", "none of five images rewritten"])?,
    ];
    let title = "What a pod's creation takes longer, with 20,000 tags for its namespace".into();
    Ok(Chart { title, groups, one_scale: true })
}
