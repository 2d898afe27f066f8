//! A preprocessor for mdBook: links that lead out of the documentation go to the repository, and those to a `README.md` to
//! the page that mdBook makes of it. In the source they are plain relative links, which work wherever the files are read.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::files::normal;
use crate::links::is_external;
use crate::markdown;

/// Where the rest of the repository can be read.
const REPOSITORY: &str = "https://github.com/ecr-operator/ecr-operator";

/// Rewrites the links of all chapters of a book, as mdBook hands it over. `root` is the root of the repository.
pub fn rewrite(book: &mut Value, root: &Path) {
    match book {
        Value::Object(fields) => {
            let path = ["source_path", "path"].iter().find_map(|name| fields.get(*name)?.as_str()).map(PathBuf::from);
            if let (Some(path), Some(Value::String(content))) = (path, fields.get_mut("content")) {
                *content = rewritten(content, &path, root);
            }
            fields.values_mut().for_each(|value| rewrite(value, root));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| rewrite(value, root)),
        _ => {}
    }
}

/// The text of a page, whose path starts at `docs`, with other links.
fn rewritten(text: &str, page: &Path, root: &Path) -> String {
    let mut out = text.to_owned();
    // From the end, so that what is yet to be replaced stays where it is. Of a link around an image the inner one is first.
    let mut links = markdown::read(text).links;
    links.sort_by_key(|link| std::cmp::Reverse(link.range.start));
    for link in links {
        let Some(to) = address(&link.to, page, root) else { continue };
        // A link's text comes before its target.
        if let Some(at) = out[link.range.clone()].rfind(&link.to).map(|at| link.range.start + at) {
            out.replace_range(at..at + link.to.len(), &to);
        }
    }
    out
}

/// Another target for a link, if it needs one.
fn address(to: &str, page: &Path, root: &Path) -> Option<String> {
    let (file, anchor) = match to.split_once('#') {
        Some((file, anchor)) => (file, format!("#{anchor}")),
        None => (to, String::new()),
    };
    if is_external(to) || file.is_empty() {
        return None;
    }
    let docs = Path::new("/docs");
    let target = normal(&docs.join(page.parent().unwrap_or(page)).join(file));
    if target.starts_with(docs) {
        let readme = file.strip_suffix("README.md")?;
        return Some(format!("{readme}index.md{anchor}"));
    }
    let target = target.strip_prefix("/").ok()?;
    let sort = if root.join(target).is_dir() { "tree" } else { "blob" };
    Some(format!("{REPOSITORY}/{sort}/main/{}{anchor}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn links_that_leave_the_documentation_go_to_the_repository() {
        let root = crate::files::root();
        let page =
            "[a](../README.md#b) [README.md](spec/README.md) [c](../examples) ![i](images/i.svg) [d](cli.md) [e](#f)";
        let mut book = json!({"items": [{"Chapter": {"name": "x", "path": "index.md", "source_path": "index.md", "content": page, "sub_items": [
            {"Chapter": {"path": "spec/index.md", "source_path": "spec/README.md", "content": "[a](../../SECURITY.md) [b](../security.md)"}}
        ]}}]});
        rewrite(&mut book, &root);
        let chapter = &book["items"][0]["Chapter"];
        let expected = format!(
            "[a]({REPOSITORY}/blob/main/README.md#b) [README.md](spec/index.md) [c]({REPOSITORY}/tree/main/examples) ![i](images/i.svg) [d](cli.md) [e](#f)"
        );
        assert_eq!(chapter["content"], expected);
        let nested = &chapter["sub_items"][0]["Chapter"]["content"];
        assert_eq!(nested, &format!("[a]({REPOSITORY}/blob/main/SECURITY.md) [b](../security.md)"));
    }
}
