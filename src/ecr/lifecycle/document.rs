//! Rules in ECR's JSON.
//!
//! Source: "Lifecycle policy properties in Amazon ECR" and "Automate the cleanup of images by using lifecycle policies in
//! Amazon ECR" in the Amazon ECR User Guide. ECR refuses keys that it does not know, and nulls.

use serde_json::{Map, Value, json};

use super::problem::{Place, Problem};
use super::rule::{Body, Effect, Rule, Selection};
use super::validate;

/// One rule in ECR's words.
pub(super) fn write(rule: &Rule) -> Value {
    let mut json = Map::new();
    json.insert("rulePriority".into(), json!(rule.priority));
    if let Some(description) = &rule.description {
        json.insert("description".into(), json!(description));
    }
    match &rule.body {
        Body::Known { selection, effect } => {
            let (selection, action) = known(selection, *effect);
            json.insert("selection".into(), selection);
            json.insert("action".into(), action);
        }
        Body::Foreign(rest) => json.extend(rest.as_object().cloned().unwrap_or_default()),
    }
    Value::Object(json)
}

fn known(selection: &Selection, effect: Effect) -> (Value, Value) {
    let mut json = Map::new();
    let status = match selection {
        Selection::Untagged => "untagged",
        Selection::Any => "any",
        Selection::Patterns(_) | Selection::Prefixes(_) => "tagged",
    };
    json.insert("tagStatus".into(), json!(status));
    match selection {
        Selection::Patterns(tags) => _ = json.insert("tagPatternList".into(), json!(tags)),
        Selection::Prefixes(tags) => _ = json.insert("tagPrefixList".into(), json!(tags)),
        Selection::Untagged | Selection::Any => {}
    }
    let expire = json!({ "type": "expire" });
    let archive = json!({ "type": "transition", "targetStorageClass": "archive" });
    let (count_type, action) = match effect {
        Effect::ExpireAfterDays(_) => ("sinceImagePushed", expire),
        Effect::KeepLast(_) => ("imageCountMoreThan", expire),
        Effect::ArchiveAfterDays(_) => ("sinceImagePushed", archive),
        Effect::ArchiveAllButLast(_) => ("imageCountMoreThan", archive),
        Effect::ArchiveUnpulledAfterDays(_) => ("sinceImagePulled", archive),
        Effect::ExpireArchivedAfterDays(_) => {
            json.insert("storageClass".into(), json!("archive"));
            ("sinceImageTransitioned", expire)
        }
    };
    json.insert("countType".into(), json!(count_type));
    if count_type != "imageCountMoreThan" {
        json.insert("countUnit".into(), json!("days"));
    }
    json.insert("countNumber".into(), json!(effect.number()));
    (Value::Object(json), action)
}

/// Reads one rule, or tells all that is wrong with its form.
pub(super) fn read(json: &Value, number: usize) -> Result<(Place, Rule), Vec<Problem>> {
    let place = Place { number, priority: json.get("rulePriority").and_then(Value::as_i64) };
    let mut problems = Vec::new();
    match rule(json, &mut problems) {
        Some(rule) if problems.is_empty() => Ok((place, rule)),
        _ => Err(problems.into_iter().map(|words| Problem::of(place, words)).collect()),
    }
}

/// Reads one rule that ECR has accepted: one of a form that is not known here stays as it is.
pub(super) fn read_accepted(json: &Value, number: usize) -> Rule {
    let json = normal(json.clone());
    if let Ok((_, rule)) = read(&json, number) {
        return rule;
    }
    let text = |key: &str| json.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let place = i64::try_from(number).unwrap_or(i64::MAX);
    Rule {
        priority: json.get("rulePriority").and_then(Value::as_i64).unwrap_or(place),
        description: text("description"),
        body: Body::Foreign(match json {
            Value::Object(mut rest) => {
                rest.retain(|key, _| key != "rulePriority" && key != "description");
                Value::Object(rest)
            }
            other => other,
        }),
    }
}

/// The same JSON without what has no meaning: nulls, the order of keys and tags, a fraction of zero.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let entry = |(key, value): (String, Value)| {
                let mut value = normal(value);
                if let ("tagPatternList" | "tagPrefixList", Some(list)) = (key.as_str(), value.as_array_mut()) {
                    list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                    list.dedup();
                }
                (key, value)
            };
            Value::Object(entries.into_iter().map(entry).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(normal).collect()),
        // Only what an i64 surely holds: 2^53 and its like.
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => json!(float as i64),
            _ => Value::Number(number),
        },
        other => other,
    }
}

/// What is wrong, in words that begin with the field's name.
type Problems = Vec<String>;

fn rule(json: &Value, problems: &mut Problems) -> Option<Rule> {
    const KEYS: [&str; 4] = ["rulePriority", "description", "selection", "action"];
    let fields = object(json, "a rule", problems)?;
    only(fields, "", &KEYS, problems);
    let priority = required(fields, "rulePriority", problems)
        .and_then(|value| whole_number(value, "rulePriority", problems))
        .and_then(|number| keep(validate::priority(number), problems));
    let description = fields.get("description").and_then(|value| text(value, "description", problems));
    let action = required(fields, "action", problems).and_then(|value| action(value, problems));
    let known = required(fields, "selection", problems).and_then(|value| selection(value, action.as_deref(), problems));
    let (selection, effect) = known?;
    Some(Rule {
        priority: priority?,
        description: description.filter(|text| !text.is_empty()).map(str::to_owned),
        body: Body::Known { selection, effect },
    })
}

/// `expire` or `transition`.
fn action(json: &Value, problems: &mut Problems) -> Option<String> {
    let fields = object(json, "action", problems)?;
    only(fields, "action.", &["type", "targetStorageClass"], problems);
    let kind = required_in(fields, "action.", "type", problems)
        .and_then(|value| one_of(value, "action.type", &["expire", "transition"], problems))?;
    match (kind, fields.get("targetStorageClass")) {
        ("transition", None) => problems.push(
            "action.targetStorageClass is missing: transition needs \"targetStorageClass\": \"archive\"".to_owned(),
        ),
        ("transition", Some(class)) => _ = one_of(class, "action.targetStorageClass", &["archive"], problems),
        (_, Some(_)) => {
            problems.push("action.targetStorageClass goes with type transition only: remove it to expire".to_owned());
        }
        (_, None) => {}
    }
    Some(kind.to_owned())
}

fn selection(json: &Value, action: Option<&str>, problems: &mut Problems) -> Option<(Selection, Effect)> {
    const KEYS: [&str; 7] =
        ["tagStatus", "tagPatternList", "tagPrefixList", "storageClass", "countType", "countUnit", "countNumber"];
    let fields = object(json, "selection", problems)?;
    only(fields, "selection.", &KEYS, problems);
    let images = images(fields, problems);
    let effect = effect(fields, action, problems);
    Some((images?, effect?))
}

fn images(fields: &Map<String, Value>, problems: &mut Problems) -> Option<Selection> {
    let status = required_in(fields, "selection.", "tagStatus", problems)
        .and_then(|value| one_of(value, "selection.tagStatus", &["tagged", "untagged", "any"], problems));
    let patterns = fields.get("tagPatternList").map(|value| tags(value, "selection.tagPatternList", problems));
    let prefixes = fields.get("tagPrefixList").map(|value| tags(value, "selection.tagPrefixList", problems));
    let status = status?;
    let problem = match (status, patterns, prefixes) {
        ("tagged", Some(patterns), None) => {
            return patterns.map(|tags| Selection::Patterns(tags.into_iter().collect()));
        }
        ("tagged", None, Some(prefixes)) => {
            return prefixes.map(|tags| Selection::Prefixes(tags.into_iter().collect()));
        }
        ("untagged", None, None) => return Some(Selection::Untagged),
        ("any", None, None) => return Some(Selection::Any),
        ("tagged", None, None) => {
            "selection.tagStatus is tagged: add tagPatternList or tagPrefixList to say which tags"
        }
        ("tagged", Some(_), Some(_)) => {
            "selection.tagPatternList and tagPrefixList can't go together: remove one, or make two rules"
        }
        (_, patterns, _) => {
            let list = if patterns.is_some() { "tagPatternList" } else { "tagPrefixList" };
            problems.push(format!(
                "selection.{list} goes with tagStatus tagged only: remove it, or change tagStatus from {status}"
            ));
            return None;
        }
    };
    problems.push(problem.to_owned());
    None
}

/// A list of tags that is neither empty nor names one twice.
fn tags(json: &Value, field: &str, problems: &mut Problems) -> Option<Vec<String>> {
    let Some(list) = json.as_array() else {
        problems.push(format!("{field} is {}: it must be a list of texts", kind(json)));
        return None;
    };
    let texts: Option<Vec<String>> = list
        .iter()
        .map(|entry| text(entry, &format!("{field} has an entry that"), problems).map(str::to_owned))
        .collect();
    let texts = texts?;
    let before = problems.len();
    problems.extend(validate::list(field, &texts));
    (problems.len() == before).then_some(texts)
}

/// What ECR's count, unit, class and action mean together.
fn effect(fields: &Map<String, Value>, action: Option<&str>, problems: &mut Problems) -> Option<Effect> {
    const COUNTS: [&str; 4] = ["imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"];
    let number = required_in(fields, "selection.", "countNumber", problems)
        .and_then(|value| whole_number(value, "selection.countNumber", problems))
        .and_then(|number| keep(validate::count("selection.countNumber", number), problems));
    let unit = fields.get("countUnit").map(|value| one_of(value, "selection.countUnit", &["days"], problems));
    let class = fields
        .get("storageClass")
        .map(|value| one_of(value, "selection.storageClass", &["standard", "archive"], problems));
    let count = required_in(fields, "selection.", "countType", problems)
        .and_then(|value| one_of(value, "selection.countType", &COUNTS, problems))?;
    let before = problems.len();

    match (count, &unit) {
        ("imageCountMoreThan", Some(_)) => problems
            .push("selection.countUnit does not go with imageCountMoreThan, which counts images: remove it".to_owned()),
        ("imageCountMoreThan", None) | (_, Some(_)) => {}
        (_, None) => {
            problems.push(format!("selection.countUnit is missing: {count} needs \"countUnit\": \"days\""));
        }
    }
    match (count, class.flatten()) {
        ("sinceImageTransitioned", Some("archive")) => {}
        ("sinceImageTransitioned", _) => problems.push(
            "selection.storageClass must be \"archive\" with sinceImageTransitioned, which is about archived images"
                .to_owned(),
        ),
        (_, Some("archive")) => problems.push(format!(
            "selection.storageClass archive goes with sinceImageTransitioned only: remove it, or change countType from {count}"
        )),
        _ => {}
    }
    match (count, action) {
        ("sinceImagePulled", Some("expire")) => problems.push(
            "action.type expire does not go with sinceImagePulled: ECR can only archive images by their last pull, use transition, and expire archived images in another rule".to_owned(),
        ),
        ("sinceImageTransitioned", Some("transition")) => problems.push(
            "action.type transition does not go with sinceImageTransitioned: these images are archived already, use expire".to_owned(),
        ),
        _ => {}
    }
    if problems.len() > before {
        return None;
    }
    let number = number?;
    Some(match (count, action?) {
        ("imageCountMoreThan", "expire") => Effect::KeepLast(number),
        ("imageCountMoreThan", _) => Effect::ArchiveAllButLast(number),
        ("sinceImagePushed", "expire") => Effect::ExpireAfterDays(number),
        ("sinceImagePushed", _) => Effect::ArchiveAfterDays(number),
        ("sinceImagePulled", _) => Effect::ArchiveUnpulledAfterDays(number),
        _ => Effect::ExpireArchivedAfterDays(number),
    })
}

fn object<'a>(json: &'a Value, what: &str, problems: &mut Problems) -> Option<&'a Map<String, Value>> {
    let found = json.as_object();
    if found.is_none() {
        problems.push(format!("{what} is {}: it must be a JSON object", kind(json)));
    }
    found
}

/// Complains about keys that ECR does not know.
fn only(fields: &Map<String, Value>, path: &str, known: &[&str], problems: &mut Problems) {
    for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        let meant = known.iter().find(|name| name.eq_ignore_ascii_case(key));
        problems.push(match meant {
            Some(name) => format!("{path}{key} is unknown: write it {name}"),
            None => format!("{path}{key} is unknown: ECR takes only {}", known.join(", ")),
        });
    }
}

fn required<'a>(fields: &'a Map<String, Value>, key: &str, problems: &mut Problems) -> Option<&'a Value> {
    required_in(fields, "", key, problems)
}

fn required_in<'a>(
    fields: &'a Map<String, Value>,
    path: &str,
    key: &str,
    problems: &mut Problems,
) -> Option<&'a Value> {
    let found = fields.get(key);
    if found.is_none() {
        problems.push(format!("{path}{key} is missing: every rule needs it"));
    }
    found
}

fn text<'a>(json: &'a Value, field: &str, problems: &mut Problems) -> Option<&'a str> {
    let found = json.as_str();
    if found.is_none() {
        problems.push(format!("{field} is {}: it must be a text in quotes", kind(json)));
    }
    found
}

fn one_of<'a>(json: &Value, field: &str, known: &[&'a str], problems: &mut Problems) -> Option<&'a str> {
    let found = text(json, field, problems)?;
    let value = known.iter().find(|value| **value == found).copied();
    if value.is_none() {
        problems.push(format!("{field} is {found:?}: it must be {}", known.join(" or ")));
    }
    value
}

fn whole_number(json: &Value, field: &str, problems: &mut Problems) -> Option<i64> {
    let found = json.as_i64();
    if found.is_none() {
        problems.push(match json {
            Value::Number(number) => format!("{field} is {number}: it must be a whole number, and not that large"),
            _ => format!("{field} is {}: it must be a whole number", kind(json)),
        });
    }
    found
}

fn keep<T>(result: Result<T, String>, problems: &mut Problems) -> Option<T> {
    result.map_err(|words| problems.push(words)).ok()
}

fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
