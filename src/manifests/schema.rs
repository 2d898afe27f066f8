//! The structural schema of a CustomResourceDefinition, as far as ours use it.

use regex::Regex;
use serde_json::Value;

/// What is wrong with a value, each with the field's path, in the API server's words where they are good.
pub(super) fn problems(schema: &Value, object: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for member in ["spec", "metadata"] {
        if object.get(member).is_some_and(|value| !value.is_object())
            || (member == "spec" && object.get(member).is_none())
        {
            problems.push(format!("{member}: Required value"));
        }
    }
    if problems.is_empty() {
        check(&schema["properties"]["spec"], &object["spec"], "spec", &mut problems);
    }
    problems
}

fn check(schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    if value.is_null() {
        if schema["nullable"] != true {
            problems.push(format!("{at}: Invalid value: null"));
        }
        return;
    }
    if let Some(wanted) = schema["type"].as_str()
        && !is_of(wanted, value)
        && schema["x-kubernetes-int-or-string"] != true
    {
        problems.push(format!("{at}: Invalid type: must be {wanted}, and is {}", type_of(value)));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let words: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        problems.push(format!("{at}: Unsupported value: {value}: supported values: {}", words.join(", ")));
    }
    match value {
        Value::String(text) => {
            limits(schema, ["minLength", "maxLength"], text.chars().count() as f64, at, "characters", problems);
            if let Some(pattern) = schema["pattern"].as_str()
                && Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
            {
                problems.push(format!("{at}: Invalid value: {value}: should match '{pattern}'"));
            }
        }
        Value::Number(number) => {
            limits(schema, ["minimum", "maximum"], number.as_f64().unwrap_or_default(), at, "", problems);
        }
        Value::Array(list) => {
            limits(schema, ["minItems", "maxItems"], list.len() as f64, at, "items", problems);
            for (index, item) in list.iter().enumerate() {
                check(&schema["items"], item, &format!("{at}[{index}]"), problems);
            }
            if schema["x-kubernetes-list-type"] == "set" {
                for (index, item) in list.iter().enumerate().filter(|(index, item)| list[..*index].contains(item)) {
                    problems.push(format!("{at}[{index}]: Duplicate value: {item}"));
                }
            }
        }
        Value::Object(members) => {
            limits(schema, ["minProperties", "maxProperties"], members.len() as f64, at, "entries", problems);
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !members.contains_key(name) {
                    problems.push(format!("{at}.{name}: Required value"));
                }
            }
            let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true;
            for (name, member) in members {
                let at = format!("{at}.{name}");
                match (schema["properties"].get(name), &schema["additionalProperties"]) {
                    (Some(schema), _) | (None, schema @ Value::Object(_)) => check(schema, member, &at, problems),
                    (None, Value::Bool(true)) => {}
                    _ if keeps => {}
                    _ => problems.push(format!("{at}: there is no such field")),
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn limits(schema: &Value, [least, most]: [&str; 2], size: f64, at: &str, unit: &str, problems: &mut Vec<String>) {
    let words = |limit: &Value| format!("{limit} {unit}").trim_end().to_owned();
    if schema[least].as_f64().is_some_and(|limit| size < limit) {
        problems.push(format!("{at}: Invalid value: at least {}", words(&schema[least])));
    }
    if schema[most].as_f64().is_some_and(|limit| size > limit) {
        problems.push(format!("{at}: Invalid value: at most {}", words(&schema[most])));
    }
}

fn is_of(wanted: &str, value: &Value) -> bool {
    match wanted {
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        wanted => type_of(value) == wanted,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pattern_is_checked_and_named() {
        let schema = json!({"type": "array", "items": {"type": "string", "pattern": "^[0-9]{12}$"}});
        let mut found = Vec::new();
        check(&schema, &json!(["222222222222", "x"]), "spec.accounts", &mut found);
        assert_eq!(found, ["spec.accounts[1]: Invalid value: \"x\": should match '^[0-9]{12}$'"]);
    }

    #[test]
    fn a_set_has_each_item_once() {
        let schema = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}});
        let mut found = Vec::new();
        check(&schema, &json!([1, 2, 1]), "spec.list", &mut found);
        assert_eq!(found, ["spec.list[2]: Duplicate value: 1"]);
    }
}
