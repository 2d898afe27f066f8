//! Documents that are refused, each with what the message says.

use serde_json::{Value, json};

use super::raw;
use crate::ecr::lifecycle::{Policy, PolicyError};

/// A document with one good rule, changed.
fn one(change: impl Fn(&mut Value)) -> Value {
    let mut rule = json!({
        "rulePriority": 1,
        "selection": {"tagStatus": "tagged", "tagPatternList": ["v*"], "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7},
        "action": {"type": "expire"},
    });
    change(&mut rule);
    json!({ "rules": [rule] })
}

/// A document whose one rule has its selection changed: a null takes a key away.
fn selection(keys: Value) -> Value {
    one(|rule| merge(&mut rule["selection"], &keys))
}

fn action(keys: Value) -> Value {
    one(|rule| merge(&mut rule["action"], &keys))
}

fn merge(into: &mut Value, keys: &Value) {
    let into = into.as_object_mut().expect("an object");
    for (key, value) in keys.as_object().expect("an object") {
        match value {
            Value::Null => _ = into.shift_remove(key),
            value => _ = into.insert(key.clone(), value.clone()),
        }
    }
}

/// A document with rules of these priorities and selections, which keep three images each.
fn several(rules: &[(i64, Value)]) -> Value {
    let rules = rules.iter().map(|(priority, keys)| {
        let mut selection = json!({"countType": "imageCountMoreThan", "countNumber": 3});
        merge(&mut selection, keys);
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    });
    json!({ "rules": rules.collect::<Vec<_>>() })
}

fn archived(status: &str) -> Value {
    json!({"tagStatus": status, "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 90})
}

fn of(status: &str) -> Value {
    json!({"tagStatus": status})
}

fn prefixes(list: &[&str]) -> Value {
    json!({"tagStatus": "tagged", "tagPrefixList": list})
}

fn patterns(list: &[&str]) -> Value {
    json!({"tagStatus": "tagged", "tagPatternList": list})
}

#[test]
fn bad_documents_are_refused_in_words_that_name_the_rule_and_the_field() {
    let long = "x".repeat(257);
    let pulled = |kind: &str| {
        one(|rule| {
            rule["selection"]["countType"] = json!("sinceImagePulled");
            rule["action"] = json!({"type": kind, "targetStorageClass": "archive"});
        })
    };
    let cases: Vec<(Value, &[&str])> = vec![
        // The document.
        (json!({"rules": []}), &["there is no rule", "add one"]),
        (several(&vec![(1, of("untagged")); 51]), &["there are 51 rules", "50 at most"]),
        (json!({"rules": [one(|_| {})["rules"][0]], "version": 1}), &["version is unknown", "only rules"]),
        (json!({"rules": ["expire"]}), &["rule 1: a rule is a text", "JSON object"]),
        (json!({"rules": [null]}), &["rule 1: a rule is null", "JSON object"]),
        // A rule.
        (one(|rule| merge(rule, &json!({"rulePriority": null}))), &["rule 1: rulePriority is missing"]),
        (one(|rule| merge(rule, &json!({"selection": null}))), &["rule 1: selection is missing"]),
        (one(|rule| merge(rule, &json!({"action": null}))), &["rule 1: action is missing"]),
        (one(|rule| rule["rulePriority"] = json!(0)), &["rule 1 (rulePriority 0)", "from 1 to"]),
        (one(|rule| rule["rulePriority"] = json!(-3)), &["rulePriority is -3", "from 1 to"]),
        (one(|rule| rule["rulePriority"] = json!(2_147_483_648_i64)), &["rulePriority is 2147483648", "to 2147483647"]),
        (one(|rule| rule["rulePriority"] = json!("1")), &["rulePriority is a text", "whole number"]),
        (one(|rule| rule["rulePriority"] = json!(1.5)), &["rulePriority is 1.5", "whole number"]),
        (one(|rule| rule["rulePriority"] = Value::Null), &["rulePriority is null", "whole number"]),
        (one(|rule| rule["priority"] = json!(1)), &["priority is unknown", "rulePriority, description"]),
        (one(|rule| rule["RulePriority"] = json!(1)), &["RulePriority is unknown", "write it rulePriority"]),
        (one(|rule| rule["description"] = json!(7)), &["rule 1: description is a number", "in quotes"]),
        (one(|rule| rule["description"] = Value::Null), &["description is null", "in quotes"]),
        (one(|rule| rule["description"] = json!(long)), &["description has 257 characters", "256"]),
        (one(|rule| rule["selection"] = json!([])), &["selection is a list", "JSON object"]),
        (one(|rule| rule["action"] = json!("expire")), &["action is a text", "JSON object"]),
        // The action.
        (action(json!({"type": null})), &["action.type is missing"]),
        (action(json!({"type": "delete"})), &["action.type is \"delete\"", "expire or transition"]),
        (action(json!({"type": "Expire"})), &["action.type is \"Expire\"", "expire or transition"]),
        (action(json!({"type": 1})), &["action.type is a number"]),
        (action(json!({"after": 1})), &["action.after is unknown", "type, targetStorageClass"]),
        (action(json!({"type": "transition"})), &["action.targetStorageClass is missing", "\"archive\""]),
        (
            action(json!({"type": "transition", "targetStorageClass": "standard"})),
            &["action.targetStorageClass is \"standard\"", "must be archive"],
        ),
        (action(json!({"targetStorageClass": "archive"})), &["action.targetStorageClass", "transition only"]),
        // Which images.
        (selection(json!({"tagStatus": null})), &["selection.tagStatus is missing"]),
        (selection(json!({"tagStatus": "ANY"})), &["selection.tagStatus is \"ANY\"", "tagged or untagged or any"]),
        (selection(json!({"tagPatternList": null})), &["tagStatus is tagged", "add tagPatternList or tagPrefixList"]),
        (selection(json!({"tagPrefixList": ["v"]})), &["tagPatternList and tagPrefixList can't go together"]),
        (
            selection(json!({"tagStatus": "untagged"})),
            &["selection.tagPatternList goes with tagStatus tagged only", "from untagged"],
        ),
        (
            selection(json!({"tagStatus": "any", "tagPatternList": null, "tagPrefixList": ["v"]})),
            &["selection.tagPrefixList goes with tagStatus tagged only", "from any"],
        ),
        (selection(json!({"tagStatus": "any", "tagPatternList": []})), &["tagPatternList"]),
        (selection(json!({"tagPatternList": []})), &["selection.tagPatternList is empty", "at least one"]),
        (selection(json!({"tagPatternList": "v*"})), &["selection.tagPatternList is a text", "list"]),
        (selection(json!({"tagPatternList": ["v*", 1]})), &["selection.tagPatternList has an entry that is a number"]),
        (selection(json!({"tagPatternList": ["v*", "v*"]})), &["selection.tagPatternList has \"v*\" twice"]),
        (selection(json!({"tagPatternList": [""]})), &["selection.tagPatternList has an empty entry"]),
        (
            selection(json!({"tagPatternList": ["*a*b*c*d*"]})),
            &["selection.tagPatternList has \"*a*b*c*d*\" with 5 wildcards", "can have 4"],
        ),
        (selection(json!({"tagPatternList": ["v 1*"]})), &["selects nothing", "no tag has ' '"]),
        (selection(json!({"tagPatternList": ["api:v*"]})), &["selects nothing", "no tag has ':'"]),
        (selection(json!({"tagPatternList": ["v[0-9]*"]})), &["selects nothing", "no tag has '['"]),
        (selection(json!({"tagPatternList": ["x".repeat(129)]})), &["129 characters", "128 at most"]),
        (several(&[(1, prefixes(&[]))]), &["selection.tagPrefixList is empty"]),
        (several(&[(1, prefixes(&[""]))]), &["selection.tagPrefixList has an empty entry"]),
        (several(&[(1, prefixes(&["v*"]))]), &["selection.tagPrefixList has \"v*\"", "no wildcard", "tagPatternList"]),
        (several(&[(1, prefixes(&["v/"]))]), &["selection.tagPrefixList has \"v/\"", "selects nothing"]),
        (several(&[(1, prefixes(&["v", "w", "v"]))]), &["selection.tagPrefixList has \"v\" twice"]),
        (selection(json!({"images": "all"})), &["selection.images is unknown", "countNumber"]),
        (selection(json!({"tagprefixlist": ["v"]})), &["selection.tagprefixlist is unknown", "write it tagPrefixList"]),
        // When.
        (selection(json!({"countType": null})), &["selection.countType is missing"]),
        (
            selection(json!({"countType": "sinceImageBuilt"})),
            &["selection.countType is \"sinceImageBuilt\"", "imageCountMoreThan or sinceImagePushed"],
        ),
        (
            selection(json!({"countUnit": null})),
            &["selection.countUnit is missing", "sinceImagePushed needs", "\"days\""],
        ),
        (selection(json!({"countUnit": "hours"})), &["selection.countUnit is \"hours\"", "must be days"]),
        (
            selection(json!({"countType": "imageCountMoreThan"})),
            &["selection.countUnit does not go with imageCountMoreThan", "remove it"],
        ),
        (selection(json!({"countNumber": null})), &["selection.countNumber is missing"]),
        (selection(json!({"countNumber": 0})), &["selection.countNumber is 0", "from 1 to"]),
        (selection(json!({"countNumber": -7})), &["selection.countNumber is -7", "from 1 to"]),
        (selection(json!({"countNumber": "7"})), &["selection.countNumber is a text", "whole number"]),
        (selection(json!({"countNumber": 7.5})), &["selection.countNumber is 7.5", "whole number"]),
        (selection(json!({"countNumber": 7.0})), &["selection.countNumber is 7.0", "whole number"]),
        (selection(json!({"countNumber": true})), &["selection.countNumber is a boolean"]),
        (
            selection(json!({"countNumber": 4_000_000_000_u32})),
            &["selection.countNumber is 4000000000", "to 2147483647"],
        ),
        (
            selection(json!({"countNumber": u64::MAX})),
            &["selection.countNumber is 18446744073709551615", "not that large"],
        ),
        // The archive.
        (
            selection(json!({"storageClass": "glacier"})),
            &["selection.storageClass is \"glacier\"", "standard or archive"],
        ),
        (
            selection(json!({"storageClass": "archive"})),
            &["selection.storageClass archive goes with sinceImageTransitioned only", "sinceImagePushed"],
        ),
        (pulled("expire"), &["action.type expire does not go with sinceImagePulled", "use transition"]),
        (
            several(&[(1, json!({"tagStatus": "any", "storageClass": "archive"}))]),
            &["storageClass archive goes with sinceImageTransitioned only", "imageCountMoreThan"],
        ),
        (
            selection(json!({"countType": "sinceImageTransitioned", "countNumber": 90})),
            &["selection.storageClass must be \"archive\" with sinceImageTransitioned"],
        ),
        (
            selection(json!({"countType": "sinceImageTransitioned", "storageClass": "standard", "countNumber": 90})),
            &["selection.storageClass must be \"archive\""],
        ),
        (
            selection(json!({"countType": "sinceImageTransitioned", "storageClass": "archive", "countNumber": 89})),
            &["selection.countNumber is 89", "90 days at least"],
        ),
        (
            one(|rule| {
                merge(&mut rule["selection"], &archived("tagged"));
                rule["action"] = json!({"type": "transition", "targetStorageClass": "archive"});
            }),
            &["action.type transition does not go with sinceImageTransitioned", "use expire"],
        ),
        // Rules together.
        (several(&[(1, of("untagged")), (1, of("any"))]), &["rule 2 (rulePriority 1)", "rule 1's already"]),
        (
            several(&[(5, of("untagged")), (9, prefixes(&["v"])), (5, of("any"))]),
            &["rule 3 (rulePriority 5)", "rule 1's already"],
        ),
        (
            several(&[(1, of("any")), (2, of("untagged"))]),
            &["rule 1: the rule for any image must be the last", "rule 2 comes after"],
        ),
        (
            several(&[(1, of("untagged")), (20, of("any")), (30, prefixes(&["v"]))]),
            &["rule 2 (rulePriority 20)", "must be the last", "rule 3 (rulePriority 30)"],
        ),
        (several(&[(2, of("untagged")), (1, of("any"))]), &["rule 2 (rulePriority 1)", "must be the last"]),
        (several(&[(1, of("any")), (2, of("any"))]), &["rule 1: the rule for any image must be the last"]),
        (several(&[(1, archived("any")), (2, archived("untagged"))]), &["rule 1:", "rules for archived images"]),
        (several(&[(1, of("untagged")), (2, of("untagged"))]), &["rule 2: rule 1 is for untagged images already"]),
        (
            several(&[(1, archived("untagged")), (2, archived("untagged"))]),
            &["rule 2: rule 1 is for archived untagged images already"],
        ),
        (
            several(&[(1, prefixes(&["a", "b"])), (2, prefixes(&["b", "a"]))]),
            &["rule 2: it is for images tagged with prefix a and b, as rule 1 is"],
        ),
        (
            several(&[(1, patterns(&["v*"])), (2, of("untagged")), (3, patterns(&["v*"]))]),
            &["rule 3: it is for images tagged v*, as rule 1 is"],
        ),
    ];
    assert!(cases.len() >= 60, "{}", cases.len());
    for (document, words) in &cases {
        let error = raw(&document.to_string()).expect_err(&document.to_string());
        let text = error.to_string();
        assert!(text.starts_with("lifecycle.policy"), "{document}\n{text}");
        for word in *words {
            assert!(text.contains(word), "{document}\nis refused without the words {word:?}: {text}");
        }
    }
}

#[test]
fn a_document_that_is_too_long_is_refused() {
    let tags: Vec<String> = (0..30).map(|number| format!("{number:0>128}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let rules: Vec<_> =
        (1..=14).map(|number| (number, prefixes(&tags[..usize::try_from(number).unwrap() + 10]))).collect();
    let text = several(&rules).to_string();
    let error = raw(&text).map(drop).expect_err("too long").to_string();
    assert!(error.contains("30720 at most"), "{error}");
}

#[test]
fn everything_that_is_wrong_is_said_at_once_in_the_order_of_the_rules() {
    let mut document = several(&[(1, of("any")), (2, of("nothing")), (3, of("untagged"))]);
    document["rules"][2]["selection"]["countNumber"] = json!(0);
    document["extra"] = json!(1);
    let Err(PolicyError::Invalid { problems, .. }) = raw(&document.to_string()) else { panic!("not refused") };
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(words[0].starts_with("extra is unknown"), "{words:?}");
    assert!(words[1].starts_with("rule 2: selection.tagStatus is \"nothing\""), "{words:?}");
    assert!(words[2].starts_with("rule 3: selection.countNumber is 0"), "{words:?}");
}

#[test]
fn of_very_many_problems_the_first_few_are_told() {
    let rules: Vec<_> = (1..=9).map(|number| (number, of("nothing"))).collect();
    let text = raw(&several(&rules).to_string()).unwrap_err().to_string();
    assert!(text.contains("rule 5: ") && text.ends_with("; and 4 more"), "{text}");
}

#[test]
fn what_is_refused_from_a_spec_is_still_read_from_ecr() {
    for document in [several(&[(1, of("any")), (2, of("any"))]), selection(json!({"countNumber": 0}))] {
        assert!(Policy::parse(&document.to_string()).is_ok(), "{document}");
    }
}
