//! What a Markdown document has that can be checked: links, anchors, code and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A link, an image, or the `href` or `src` of an HTML element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it leads, as it is written.
    pub to: String,
    /// The line that it is on, from 1.
    pub line: usize,
    /// The bytes of the document that it takes.
    pub range: Range<usize>,
}

/// A fenced block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands behind the fence.
    pub info: String,
    /// Its text.
    pub text: String,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// A heading and what stands below it, up to the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The heading's text. It is empty for what stands before the first heading.
    pub heading: String,
    /// The heading's depth, from 1; 0 for what stands before the first one.
    pub depth: usize,
    /// The code in the heading.
    pub heading_code: Vec<String>,
    /// The code in the text below it.
    pub code: Vec<String>,
}

/// A table: its header and its rows, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The cells of the header.
    pub header: Vec<String>,
    /// The cells of each row.
    pub rows: Vec<Vec<String>>,
}

/// A document.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Where its links lead.
    pub links: Vec<Link>,
    /// What a `#` may name in it.
    pub anchors: BTreeSet<String>,
    /// Its blocks of code.
    pub blocks: Vec<Block>,
    /// Its headings, with what is below them.
    pub sections: Vec<Section>,
    /// Its tables.
    pub tables: Vec<Table>,
}

/// Reads a document.
pub fn read(text: &str) -> Document {
    Reader { text, document: Document::default(), counted: BTreeMap::new() }.read()
}

/// The anchor that GitHub and mdBook give a heading.
pub fn anchor(heading: &str) -> String {
    heading
        .trim()
        .chars()
        .filter_map(|c| match c {
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_lowercase().to_string()),
            c if c.is_whitespace() => Some("-".to_owned()),
            _ => None,
        })
        .collect()
}

/// What a reader understands beyond CommonMark.
fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}

struct Reader<'a> {
    text: &'a str,
    document: Document,
    /// How often each anchor was given already: the next one gets a number.
    counted: BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn read(mut self) -> Document {
        let mut section = Section::default();
        let mut block: Option<Block> = None;
        let mut table: Option<Table> = None;
        let (mut in_heading, mut cell) = (false, None::<String>);
        for (event, range) in Parser::new_ext(self.text, options()).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    self.link(&dest_url, range);
                }
                Event::Html(html) | Event::InlineHtml(html) => self.html(&html, range),
                Event::Start(Tag::Heading { level, .. }) => {
                    self.document.sections.push(std::mem::take(&mut section));
                    section.depth = level as usize;
                    in_heading = true;
                }
                Event::End(TagEnd::Heading(_)) => {
                    in_heading = false;
                    self.heading(&section.heading);
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(Block { info, text: String::new(), line: self.line(range.start) });
                }
                Event::End(TagEnd::CodeBlock) => self.document.blocks.extend(block.take()),
                Event::Start(Tag::Table(_)) => table = Some(Table::default()),
                Event::End(TagEnd::Table) => self.document.tables.extend(table.take()),
                Event::Start(Tag::TableRow) => table.iter_mut().for_each(|table| table.rows.push(Vec::new())),
                Event::Start(Tag::TableCell) => cell = Some(String::new()),
                Event::End(TagEnd::TableCell) => {
                    let text = cell.take().unwrap_or_default();
                    if let Some(table) = &mut table {
                        table.rows.last_mut().unwrap_or(&mut table.header).push(text);
                    }
                }
                Event::Code(code) => {
                    if let Some(cell) = &mut cell {
                        cell.push_str(&code);
                    }
                    if in_heading {
                        section.heading.push_str(&code);
                        section.heading_code.push(code.to_string());
                    } else {
                        section.code.push(code.to_string());
                    }
                }
                Event::Text(text) => match (&mut block, &mut cell) {
                    (Some(block), _) => block.text.push_str(&text),
                    (None, Some(cell)) => cell.push_str(&text),
                    (None, None) if in_heading => section.heading.push_str(&text),
                    (None, None) => {}
                },
                Event::SoftBreak if in_heading => section.heading.push(' '),
                _ => {}
            }
        }
        self.document.sections.push(section);
        self.document
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    fn link(&mut self, to: &str, range: Range<usize>) {
        let line = self.line(range.start);
        self.document.links.push(Link { to: to.to_owned(), line, range });
    }

    fn heading(&mut self, text: &str) {
        let anchor = anchor(text);
        let count = self.counted.entry(anchor.clone()).or_default();
        let unique = if *count == 0 { anchor } else { format!("{anchor}-{count}") };
        *count += 1;
        self.document.anchors.insert(unique);
    }

    fn html(&mut self, html: &str, range: Range<usize>) {
        for (attribute, is_anchor) in [("href=\"", false), ("src=\"", false), ("id=\"", true), ("name=\"", true)] {
            for part in html.split(attribute).skip(1) {
                let value = part.split('"').next().unwrap_or_default();
                if is_anchor {
                    self.document.anchors.insert(value.to_owned());
                } else {
                    self.link(value, range.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        assert_eq!(anchor("`spec.source.image`"), "specsourceimage");
        assert_eq!(anchor("Why it is built so"), "why-it-is-built-so");
        assert_eq!(anchor("1. The image"), "1-the-image");
        assert_eq!(anchor("`spec.prune`, `spec.pruneAfter`"), "specprune-specpruneafter");
    }

    #[test]
    fn a_heading_that_is_there_twice_has_a_number() {
        let document = read("# Fields\n\n## `a` *b*\n\n# Fields\n");
        assert_eq!(document.anchors.into_iter().collect::<Vec<_>>(), ["a-b", "fields", "fields-1"]);
    }

    #[test]
    fn links_images_and_html_are_found_and_code_is_not() {
        let document = read("[a](b.md#c)\n![i](i.svg) `[x](y.md)`\n\n<img src=\"h.svg\">\n\n```md\n[z](z.md)\n```\n");
        let found: Vec<_> = document.links.iter().map(|link| (link.to.as_str(), link.line)).collect();
        assert_eq!(found, [("b.md#c", 1), ("i.svg", 2), ("h.svg", 4)]);
    }

    #[test]
    fn tables_are_read_with_the_code_in_their_cells() {
        let document = read("| a | b |\n|---|---|\n| `c` d | 1.5 |\n|  | 2 |\n");
        let [table] = document.tables.as_slice() else { panic!("one table") };
        assert_eq!(table.header, ["a", "b"]);
        assert_eq!(table.rows, [["c d", "1.5"], ["", "2"]]);
    }

    #[test]
    fn code_belongs_to_the_heading_above_it() {
        let document = read("`before`\n\n## `spec.a`\n\n- `b`: c\n\n```yaml\nd: 1\n```\n");
        let [before, section] = document.sections.as_slice() else { panic!("two sections") };
        assert_eq!((before.depth, before.code.as_slice()), (0, ["before".to_owned()].as_slice()));
        assert_eq!((section.depth, section.heading_code.as_slice()), (2, ["spec.a".to_owned()].as_slice()));
        assert_eq!(section.code, ["b"]);
        assert_eq!(document.blocks, [Block { info: "yaml".into(), text: "d: 1\n".into(), line: 7 }]);
    }
}
