//! Links inside the repository lead to files and headings that are there. Nothing is asked over a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{normal, read, shown};
use crate::markdown::{self, Document, Link};

/// What is wrong with the links of these documents.
pub fn problems(documents: &[PathBuf]) -> Vec<String> {
    let mut known = Known::default();
    documents
        .iter()
        .flat_map(|path| {
            let links = known.document(path).links.clone();
            links.into_iter().filter_map(|link| known.problem(path, &link)).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a link leads out of the repository.
pub fn is_external(to: &str) -> bool {
    to.contains("://") || to.starts_with("mailto:") || to.starts_with("//")
}

/// The documents that were read already.
#[derive(Default)]
struct Known(BTreeMap<PathBuf, Document>);

impl Known {
    fn document(&mut self, path: &Path) -> &Document {
        self.0.entry(path.to_owned()).or_insert_with(|| markdown::read(&read(path)))
    }

    fn problem(&mut self, document: &Path, link: &Link) -> Option<String> {
        if is_external(&link.to) {
            return None;
        }
        let problem = |what: String| Some(format!("{}:{}: {}: {what}", shown(document), link.line, link.to));
        let (file, anchor) = link.to.split_once('#').unwrap_or((&link.to, ""));
        if file.starts_with('/') {
            return problem("a link is relative to its page".into());
        }
        let target = match file {
            "" => document.to_owned(),
            file => normal(&document.parent().unwrap_or(document).join(file)),
        };
        if !target.exists() {
            return problem("there is no such file".into());
        }
        let is_document = target.extension().is_some_and(|extension| extension == "md");
        if anchor.is_empty() || !is_document {
            return None;
        }
        if self.document(&target).anchors.contains(anchor) {
            return None;
        }
        problem(format!("{} has no such heading", shown(&target)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_to_nothing_are_told_with_file_and_line() {
        let folder = std::env::temp_dir().join(format!("links-{}", std::process::id()));
        fs::create_dir_all(folder.join("sub")).unwrap();
        let (one, two) = (folder.join("one.md"), folder.join("sub/two.md"));
        fs::write(&one, "[good](sub/two.md#a-b) [good](#one)\n\n# One\n\n[bad](three.md)\n[bad](sub/two.md#c)\n")
            .unwrap();
        fs::write(&two, "# A b\n\n[good](../one.md) [good](https://example.com/x) [bad](/one.md)\n").unwrap();
        let found = problems(&[one, two]);
        fs::remove_dir_all(&folder).unwrap();
        let ends: Vec<_> =
            found.iter().map(|text| text.split_once("links-").unwrap().1.split_once('/').unwrap().1).collect();
        assert_eq!(ends.len(), 3, "{ends:#?}");
        assert_eq!(ends[0], "one.md:5: three.md: there is no such file");
        assert!(
            ends[1].starts_with("one.md:6: sub/two.md#c: ") && ends[1].ends_with("sub/two.md has no such heading"),
            "{}",
            ends[1]
        );
        assert_eq!(ends[2], "sub/two.md:3: /one.md: a link is relative to its page");
    }
}
