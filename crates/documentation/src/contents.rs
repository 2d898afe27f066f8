//! The table of contents, `SUMMARY.md`, has every page once.

use std::collections::BTreeMap;
use std::path::Path;

use crate::files::{ending_with, normal, read, shown};
use crate::markdown;

/// What is wrong with the table of contents of a folder.
pub fn problems(docs: &Path) -> Vec<String> {
    let summary = docs.join("SUMMARY.md");
    let mut listed = BTreeMap::new();
    for link in markdown::read(&read(&summary)).links {
        *listed.entry(normal(&docs.join(link.to))).or_insert(0) += 1;
    }
    let missing = ending_with(docs, ".md")
        .into_iter()
        .filter(|page| *page != summary && !listed.contains_key(page))
        .map(|page| format!("{} is not in {}: add a line for it", shown(&page), shown(&summary)));
    let twice = listed
        .iter()
        .filter(|(_, count)| **count > 1)
        .map(|(page, _)| format!("{} is in {} more than once", shown(page), shown(&summary)));
    missing.chain(twice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_page_that_is_missing_and_one_that_is_there_twice_are_told() {
        let folder = std::env::temp_dir().join(format!("contents-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub")).unwrap();
        for page in ["a.md", "b.md", "sub/README.md"] {
            fs::write(folder.join(page), "").unwrap();
        }
        fs::write(folder.join("SUMMARY.md"), "- [A](a.md)\n- [Again](a.md)\n- [Sub](sub/README.md)\n").unwrap();
        let found = problems(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("b.md is not in "), "{}", found[0]);
        assert!(found[1].contains("a.md is in ") && found[1].ends_with("more than once"), "{}", found[1]);
    }
}
