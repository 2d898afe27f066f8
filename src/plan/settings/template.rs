//! Creation templates as lines of a report.

use crate::api::{AppliedFor, Encryption};
use crate::controllers::repository::plan::encryption_in_words;
use crate::ecr::lifecycle::Policy;
use crate::ecr::policy::PolicyDocument;
use crate::ecr::settings::{Mutability, Template};

/// What a template says.
pub(super) fn lines(template: &Template) -> Vec<String> {
    let mut lines: Vec<String> =
        fields(template).into_iter().filter_map(|(field, value)| Some(format!("{field}: {}", value?))).collect();
    lines.extend(template.tags.iter().map(|(key, value)| format!("tag {key}: {value}")));
    if let Some(lifecycle) = &template.lifecycle {
        lines.extend(below("lifecycle", read(lifecycle, Policy::lines)));
    }
    if let Some(policy) = &template.policy {
        lines.extend(below("repositoryPolicy", read(policy, PolicyDocument::statements)));
    }
    lines
}

/// What makes one template the other, in what counts as a difference.
pub(super) fn changes(from: &Template, to: &Template) -> Vec<String> {
    let differs = from.difference(to);
    let has = |field: &str| differs.contains(&field);
    let told = |field: &str| has(field) || field == "tagMutability" && has("mutableTags or immutableTags");
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let mut lines: Vec<String> = fields(from)
        .into_iter()
        .zip(fields(to))
        .filter(|((field, _), _)| told(field))
        .map(|((field, from), (_, to))| format!("{field}: {} -> {}", or_none(from), or_none(to)))
        .collect();
    if has("tags") {
        let gone = from.tags.keys().filter(|key| !to.tags.contains_key(*key)).map(|key| format!("- tag {key}"));
        lines.extend(gone);
        lines.extend(to.tags.iter().filter_map(|(key, value)| match from.tags.get(key) {
            Some(before) if before == value => None,
            Some(before) => Some(format!("~ tag {key}: {before} -> {value}")),
            None => Some(format!("+ tag {key}: {value}")),
        }));
    }
    if has("lifecycle") {
        let (from, to) = (from.lifecycle.as_ref(), to.lifecycle.as_ref());
        lines.extend(document("lifecycle", from, to, Policy::lines, Policy::diff));
    }
    if has("repositoryPolicy") {
        let (from, to) = (from.policy.as_ref(), to.policy.as_ref());
        lines.extend(document("repositoryPolicy", from, to, PolicyDocument::statements, PolicyDocument::diff));
    }
    lines
}

/// The fields with one value, by the names that [`Template::difference`] has for them.
fn fields(template: &Template) -> [(&'static str, Option<String>); 5] {
    let unknown = || "a kind unknown here".to_owned();
    let applied_for: Vec<&str> = template
        .applied_for
        .iter()
        .map(|scenario| match scenario {
            AppliedFor::Replication => "REPLICATION",
            AppliedFor::PullThroughCache => "PULL_THROUGH_CACHE",
            AppliedFor::CreateOnPush => "CREATE_ON_PUSH",
        })
        .collect();
    let mutability = template.mutability.map_or_else(unknown, |mutability| {
        let mode = match mutability {
            Mutability::Mutable => "Mutable",
            Mutability::Immutable => "Immutable",
        };
        let exclusions: Vec<&str> = template.exclusions.iter().map(String::as_str).collect();
        match exclusions.as_slice() {
            [] => mode.to_owned(),
            _ => format!("{mode} except {}", exclusions.join(", ")),
        }
    });
    let encryption = template
        .encryption
        .map_or_else(unknown, |type_| encryption_in_words(&Encryption { type_, kms_key: template.kms_key.clone() }));
    [
        ("description", template.description.clone()),
        ("appliedFor", Some(applied_for.join(", "))),
        ("tagMutability", Some(mutability)),
        ("encryption", Some(encryption)),
        ("customRoleArn", template.custom_role_arn.clone()),
    ]
}

fn read<T>(document: &Result<T, String>, lines: fn(&T) -> Vec<String>) -> Vec<String> {
    match document {
        Ok(document) => lines(document),
        Err(text) => vec![text.clone()],
    }
}

fn below(field: &str, lines: Vec<String>) -> Vec<String> {
    let lines = lines.into_iter().map(|line| format!("  {line}"));
    std::iter::once(format!("{field}:")).chain(lines).collect()
}

fn document<T>(
    field: &str,
    from: Option<&Result<T, String>>,
    to: Option<&Result<T, String>>,
    lines: fn(&T) -> Vec<String>,
    diff: fn(&T, &T) -> Vec<String>,
) -> Vec<String> {
    match (from, to) {
        (Some(Ok(from)), Some(Ok(to))) => below(field, diff(from, to)),
        (Some(from), None) => below(&format!("{field} (removed)"), read(from, lines)),
        (Some(Err(_)), Some(to)) => below(&format!("{field} (ECR's can't be read here)"), read(to, lines)),
        (_, Some(to)) => below(field, read(to, lines)),
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::as_in;
    use super::*;
    use crate::controllers::registry::setting::{Part, Setting};

    #[test]
    fn a_changed_template_shows_each_field_from_what_to_what() {
        let template = |words: &str| {
            let settings = format!(
                "creationTemplates: [{{prefix: a, customRoleArn: 'arn:aws:iam::123456789012:role/r', {words}}}]"
            );
            let Some(Setting::Templates(mut templates)) = as_in(&settings).remove(&Part::CreationTemplates) else {
                panic!()
            };
            templates.remove("a").expect("the template")
        };
        let old = template(
            "appliedFor: [REPLICATION], description: old, tagMutability: Immutable, mutableTags: [latest], tags: {a: b, c: d}, lifecycle: {rules: [{untagged: {}, expireAfterDays: 7}]}",
        );
        let new = template(
            "appliedFor: [REPLICATION, CREATE_ON_PUSH], tags: {a: x, e: f}, lifecycle: {rules: [{untagged: {}, expireAfterDays: 14}]}, encryption: {type: KMS}",
        );
        let lines = changes(&old, &new);
        assert_eq!(
            lines,
            [
                "description: old -> none",
                "appliedFor: REPLICATION -> REPLICATION, CREATE_ON_PUSH",
                "tagMutability: Immutable except latest -> Mutable",
                "encryption: Aes256 -> Kms",
                "- tag c",
                "~ tag a: b -> x",
                "+ tag e: f",
                "lifecycle:",
                "  rule 1: expireAfterDays 7 -> 14",
            ]
        );
        let read = |text: &str| Some(PolicyDocument::read(text).map_err(|_| text.to_owned()));
        let allowing = Template {
            policy: read(
                r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}]}"#,
            ),
            ..old.clone()
        };
        assert_eq!(changes(&allowing, &old)[0], "repositoryPolicy (removed):");
        assert_eq!(changes(&old, &allowing)[0], "repositoryPolicy:");
        let unreadable = Template { policy: Some(Err("nonsense".into())), ..old.clone() };
        assert_eq!(changes(&unreadable, &allowing)[0], "repositoryPolicy (ECR's can't be read here):");
    }
}
