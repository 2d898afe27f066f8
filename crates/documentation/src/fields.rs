//! Every field of a kind's CustomResourceDefinition is on the kind's pages, in the section that is about it.
//!
//! A heading with a path in it (`spec.source.image`) opens a section about that path. A field is described if a heading
//! names it or something below it, or if its name is written as code in the section with the longest path that leads to
//! it.

use serde_json::Value;

use crate::markdown::{self, Section};

/// A page, and what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The page's text.
    pub text: &'a str,
    /// The path that the whole page is about, such as `spec.lifecycle`; empty for the page of a kind, of which only what
    /// stands below a heading with a path counts.
    pub about: &'a str,
    /// The path that its section "Status" is about, if it has one.
    pub status: &'a str,
}

/// The paths of all fields of a CustomResourceDefinition, such as `spec.destinations.registryRef.name`. Lists and maps have
/// no mark. What Kubernetes itself explains is left out: conditions and the parts of label selectors.
///
/// # Panics
/// If this is no CustomResourceDefinition.
pub fn of_crd(yaml: &str) -> Vec<String> {
    let crd: Value = serde_saphyr::from_str(yaml).expect("a CustomResourceDefinition is YAML");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut paths = Vec::new();
    collect(schema, "", &mut paths);
    assert!(paths.len() > 2, "a CustomResourceDefinition has fields");
    paths
}

fn collect(schema: &Value, path: &str, paths: &mut Vec<String>) {
    collect_properties(schema, path, paths);
    collect_properties(&schema["items"], path, paths);
    collect_properties(&schema["additionalProperties"], path, paths);
}

fn collect_properties(schema: &Value, path: &str, paths: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    if properties.contains_key("matchExpressions") {
        return;
    }
    for (name, property) in properties {
        let path = join(path, name);
        if path == "status.conditions" || ["apiVersion", "kind", "metadata"].contains(&path.as_str()) {
            continue;
        }
        paths.push(path.clone());
        collect(property, &path, paths);
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The fields that no page describes. `elsewhere` are paths whose parts another kind's pages describe.
pub fn undescribed(fields: &[String], pages: &[Page<'_>], elsewhere: &[&str]) -> Vec<String> {
    let about: Vec<About> = pages.iter().flat_map(|page| sections(page, fields)).collect();
    let is_elsewhere = |field: &str| elsewhere.iter().any(|path| is_below(field, path));
    fields
        .iter()
        .filter(|field| !["spec", "status"].contains(&field.as_str()) && !is_elsewhere(field))
        .filter(|field| !is_described(field, &about))
        .cloned()
        .collect()
}

/// A section, and the path that it is about.
struct About {
    path: String,
    words: Vec<String>,
}

fn sections(page: &Page<'_>, fields: &[String]) -> Vec<About> {
    // What the headings above the present one are about, by their depth.
    let mut above: Vec<(usize, Vec<String>)> = vec![(0, vec![page.about.to_owned()])];
    let mut found = Vec::new();
    for section in markdown::read(page.text).sections {
        above.retain(|(depth, _)| *depth < section.depth || *depth == 0);
        let own = paths(&section, page, fields);
        if !own.is_empty() {
            above.push((section.depth, own));
        }
        let words: Vec<_> = section.code.iter().flat_map(|code| words(code)).collect();
        let paths = above.last().map(|(_, paths)| paths.clone()).unwrap_or_default();
        found
            .extend(paths.into_iter().filter(|path| !path.is_empty()).map(|path| About { path, words: words.clone() }));
    }
    found
}

/// What a heading is about, if it says so.
fn paths(section: &Section, page: &Page<'_>, fields: &[String]) -> Vec<String> {
    if section.heading == "Status" {
        return vec![page.status.to_owned()];
    }
    let known = |path: &String| fields.contains(path);
    let absolute = |code: &String| code.replace("[]", "");
    let from_page = |code: &String| join(page.about, &code.replace("[]", ""));
    section.heading_code.iter().filter_map(|code| [absolute(code), from_page(code)].into_iter().find(known)).collect()
}

fn words(code: &str) -> Vec<String> {
    code.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn is_below(field: &str, path: &str) -> bool {
    field.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

fn is_described(field: &str, about: &[About]) -> bool {
    if about.iter().any(|section| section.path == field || is_below(&section.path, field)) {
        return true;
    }
    let leads_here = |section: &&About| is_below(field, &section.path);
    let longest = about.iter().filter(leads_here).map(|section| section.path.len()).max();
    let name = field.rsplit('.').next().unwrap_or(field);
    about
        .iter()
        .filter(leads_here)
        .filter(|section| Some(section.path.len()) == longest)
        .any(|section| section.words.iter().any(|word| word == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRD: &str = "
spec:
  versions:
  - schema:
      openAPIV3Schema:
        properties:
          kind: {type: string}
          spec:
            properties:
              selector: {properties: {matchExpressions: {}, matchLabels: {}}}
              source: {properties: {image: {}, ref: {properties: {name: {}}}}}
              rules: {items: {properties: {name: {}}}}
          status: {properties: {conditions: {items: {properties: {type: {}}}}, seen: {}}}
";

    fn missing(text: &str) -> Vec<String> {
        undescribed(&of_crd(CRD), &[Page { text, about: "", status: "status" }], &[])
    }

    #[test]
    fn the_fields_are_those_of_the_schema() {
        let fields = of_crd(CRD);
        let expected = [
            "spec",
            "spec.selector",
            "spec.source",
            "spec.source.image",
            "spec.source.ref",
            "spec.source.ref.name",
            "spec.rules",
            "spec.rules.name",
            "status",
            "status.seen",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_field_counts_where_its_section_names_it_and_nowhere_else() {
        let page = "`name` `image` `seen`\n\n### `spec.selector`\n\n### `spec.source`\n\n`image` and `ref.name`.\n\n### `spec.rules`\n\n`image`\n\n## Status\n\n`seen`\n";
        assert_eq!(missing(page), ["spec.rules.name"]);
    }

    #[test]
    fn a_heading_describes_what_leads_to_it() {
        let page = "### `spec.selector`\n\n### `spec.source.ref.name`\n\n### `spec.rules[].name`\n\n## Status\n";
        assert_eq!(missing(page), ["spec.source.image", "status.seen"]);
    }

    #[test]
    fn a_page_of_its_own_counts_for_what_it_is_about() {
        let kind =
            Page { text: "### `spec.selector`\n### `spec.source`\n### `spec.rules`\n", about: "", status: "status" };
        let own = Page { text: "## `image`\n\n## More\n\n`ref`, `name`\n", about: "spec.source", status: "" };
        let fields = of_crd(CRD);
        assert_eq!(undescribed(&fields, &[kind, own], &["status"]), ["spec.rules.name"]);
        let without = ["spec.source.image", "spec.source.ref", "spec.source.ref.name", "spec.rules.name"];
        assert_eq!(undescribed(&fields, &[kind], &["status"]), without);
    }
}
