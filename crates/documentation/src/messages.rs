//! Messages that a page quotes are messages of the program.
//!
//! A block whose fence says `text message` is one message of ours. `<...>` in it stands for what differs from time to
//! time; each piece between them is in the source, as it is written there.

use std::path::PathBuf;

use regex::Regex;

use crate::files::{read, shown};
use crate::markdown;

/// What marks a block as a message of the program.
const MARK: &str = "text message";

/// The program's text: its source with each string on one line.
pub fn source(files: &[PathBuf]) -> String {
    let continued = Regex::new(r"\\\n\s*").expect("the expression is sound");
    files.iter().map(|file| continued.replace_all(&read(file), "").replace("\\\"", "\"")).collect()
}

/// The quoted messages, of these pages, that the source does not have.
pub fn problems(pages: &[PathBuf], source: &str) -> Vec<String> {
    let variable = Regex::new("<[^<>]*>").expect("the expression is sound");
    let mut problems = Vec::new();
    for page in pages {
        for block in markdown::read(&read(page)).blocks.into_iter().filter(|block| block.info == MARK) {
            let message = block.text.split_whitespace().collect::<Vec<_>>().join(" ");
            let missing: Vec<_> = variable.split(&message).filter(|piece| !is_said(piece, source)).collect();
            if !missing.is_empty() {
                problems.push(format!("{}:{}: the program does not say {missing:?}", shown(page), block.line));
            }
        }
    }
    problems
}

/// Punctuation around variables says nothing: it joins messages, too.
fn is_said(piece: &str, source: &str) -> bool {
    let joins = |c: char| c.is_whitespace() || ";:,.".contains(c);
    !piece.contains(char::is_alphabetic) || source.contains(piece.trim_matches(joins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_message_that_the_program_does_not_say_is_told() {
        let folder = std::env::temp_dir().join(format!("messages-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (code, page) = (folder.join("a.rs"), folder.join("a.md"));
        fs::write(&code, "format!(\"repository {name} is \\\n     claimed by {owner}: \\\"give it up\\\"\")").unwrap();
        let text = "```text message\nrepository <name> is\nclaimed by <owner>: \"give it up\"\n```\n\n```text\nnot ours\n```\n\n```text message\nrepository <name> is free\n```\n";
        fs::write(&page, text).unwrap();
        let found = problems(&[page], &source(&[code]));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].ends_with(r#"a.md:10: the program does not say [" is free"]"#), "{}", found[0]);
    }
}
