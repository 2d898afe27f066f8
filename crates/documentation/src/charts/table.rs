//! Finds values in a page's tables.

use std::path::Path;

use crate::files::{read, shown};
use crate::markdown::{self, Table};

/// A table of a page, to ask for values by the names of rows and columns.
pub(super) struct Source {
    page: String,
    table: Table,
}

impl Source {
    /// The table of this page whose header begins with these words.
    pub(super) fn new(page: &Path, header: &[&str]) -> Result<Self, String> {
        let table = markdown::read(&read(page)).tables.into_iter().find(|table| {
            table.header.len() >= header.len() && table.header.iter().zip(header).all(|(cell, word)| cell == word)
        });
        let page = shown(page);
        let table = table.ok_or_else(|| format!("{page} has no table with the header {header:?}"))?;
        Ok(Self { page, table })
    }

    /// The rows of a part of the table: those from the row that begins with `part` to the next that begins with something.
    pub(super) fn part(&self, part: &str) -> Result<Vec<&[String]>, String> {
        let mut rows = self.table.rows.iter().skip_while(|row| row[0] != part);
        let first = rows.next().ok_or_else(|| self.lacks(part))?;
        Ok(std::iter::once(first).chain(rows.take_while(|row| row[0].is_empty())).map(Vec::as_slice).collect())
    }

    /// The row that begins with this name.
    pub(super) fn row(&self, name: &str) -> Result<&[String], String> {
        self.table.rows.iter().find(|row| row[0] == name).map(Vec::as_slice).ok_or_else(|| self.lacks(name))
    }

    /// The place of a column.
    pub(super) fn column(&self, name: &str) -> Result<usize, String> {
        self.table.header.iter().position(|cell| cell == name).ok_or_else(|| self.lacks(name))
    }

    fn lacks(&self, what: &str) -> String {
        format!("a table of {} has no {what:?} any more: correct it, or the charts", self.page)
    }
}

/// The numbers in a cell.
pub(super) fn numbers(cell: &str) -> Vec<f64> {
    cell.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|word| word.parse().ok()).collect()
}

/// The first number in a cell.
pub(super) fn number(cell: &str) -> Result<f64, String> {
    numbers(cell).first().copied().ok_or_else(|| format!("there is no number in {cell:?}"))
}

/// The first number after these words.
pub(super) fn number_after(cell: &str, words: &str) -> Result<f64, String> {
    let rest = cell.split(words).nth(1).ok_or_else(|| format!("{cell:?} has no {words:?}"))?;
    number(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_among_words() {
        assert_eq!(numbers("1.61 (1.56–2.61)"), [1.61, 1.56, 2.61]);
        assert_eq!(number("below 0.5 ms"), Ok(0.5));
        assert_eq!(number_after("events POST 2, secrets POST 1000", "secrets POST "), Ok(1000.0));
        assert!(number("none").is_err());
    }
}
