//! IAM policy documents for repositories and registries: what ECR refuses.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

use serde_json::Value;

/// What a document is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Subject {
    Repository,
    Registry,
}

/// Reads a document and writes it down as ECR gives it back, in other spaces; `None` when it is no policy.
pub(crate) fn read(text: &str, subject: Subject) -> Option<String> {
    let document: Value = serde_json::from_str(text).ok()?;
    let fields = document.as_object()?;
    let known = |key: &str| matches!(key, "Version" | "Id" | "Statement");
    let version = fields.get("Version").is_none_or(|version| version == "2012-10-17" || version == "2008-10-17");
    let statements = match fields.get("Statement")? {
        Value::Array(statements) => statements.iter().collect(),
        statement => vec![statement],
    };
    let valid = version
        && fields.keys().all(|key| known(key))
        && !statements.is_empty()
        && statements.iter().all(|statement| is_statement(statement, subject))
        && has_unique_ids(&statements);
    valid
        .then(|| serde_json::to_string_pretty(&document).expect("JSON is written"))
        .map(|text| text.replace("\": ", "\" : "))
}

fn is_statement(statement: &Value, subject: Subject) -> bool {
    let Some(fields) = statement.as_object() else { return false };
    let known = |key: &str| match key {
        "Sid" | "Effect" | "Principal" | "NotPrincipal" | "Action" | "NotAction" | "Condition" => true,
        // A repository's policy is about that repository: ECR refuses it where the statement names resources.
        "Resource" | "NotResource" => subject == Subject::Registry,
        _ => false,
    };
    let one_of = |a: &str, b: &str| fields.contains_key(a) != fields.contains_key(b);
    fields.keys().all(|key| known(key))
        && (statement["Effect"] == "Allow" || statement["Effect"] == "Deny")
        && one_of("Principal", "NotPrincipal")
        && one_of("Action", "NotAction")
        && (subject == Subject::Repository || one_of("Resource", "NotResource"))
        && ["Principal", "NotPrincipal"].iter().filter_map(|key| fields.get(*key)).all(is_principal)
        && ["Action", "NotAction"].iter().filter_map(|key| fields.get(*key)).all(|action| texts(action, is_action))
        && ["Resource", "NotResource"].iter().filter_map(|key| fields.get(*key)).all(|value| texts(value, is_resource))
        && fields.get("Condition").is_none_or(Value::is_object)
        && fields.get("Sid").is_none_or(Value::is_string)
}

fn has_unique_ids(statements: &[&Value]) -> bool {
    let mut ids: Vec<_> = statements.iter().filter_map(|statement| statement["Sid"].as_str()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ids.len() == count
}

fn is_principal(principal: &Value) -> bool {
    match principal {
        Value::String(all) => all == "*",
        Value::Object(kinds) => {
            !kinds.is_empty()
                && kinds.iter().all(|(kind, who)| match kind.as_str() {
                    "AWS" => texts(who, is_aws_principal),
                    "Service" => texts(who, |service| service.contains('.') && !service.contains(['*', ':'])),
                    "Federated" => texts(who, |provider| !provider.is_empty()),
                    _ => false,
                })
        }
        _ => false,
    }
}

/// An account, a user, a role or a session; a wildcard stands for everybody and for no part of an ARN.
fn is_aws_principal(who: &str) -> bool {
    if who == "*" || (who.len() == 12 && who.bytes().all(|byte| byte.is_ascii_digit())) {
        return true;
    }
    let parts: Vec<_> = who.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts[..] else { return false };
    arn == "arn"
        && partition.starts_with("aws")
        && (service == "iam" || service == "sts")
        && region.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && !resource.contains('*')
        && (resource == "root"
            || ["user/", "role/", "assumed-role/", "federated-user/"]
                .iter()
                .any(|kind| resource.strip_prefix(kind).is_some_and(|name| !name.is_empty())))
}

fn is_action(action: &str) -> bool {
    action == "*" || action.split_once(':').is_some_and(|(service, name)| !name.is_empty() && service == "ecr")
}

fn is_resource(resource: &str) -> bool {
    resource == "*" || resource.starts_with("arn:")
}

/// One text or a list of at least one, each of which `accepts` takes.
fn texts(value: &Value, accepts: impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => accepts(text),
        Value::Array(list) => !list.is_empty() && list.iter().all(|text| text.as_str().is_some_and(&accepts)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(more: Value) -> Value {
        let mut statement = json!({"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"},
                                   "Action": ["ecr:BatchGetImage"]});
        let fields = statement.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        fields.retain(|_, value| !value.is_null());
        json!({"Version": "2012-10-17", "Statement": [statement]})
    }

    fn taken(document: &Value, subject: Subject) -> bool {
        read(&document.to_string(), subject).is_some()
    }

    #[test]
    fn a_policy_comes_back_with_the_same_meaning_in_other_spaces() {
        let text = document(json!({})).to_string();
        let back = read(&text, Subject::Repository).expect("a policy");
        assert_ne!(back, text);
        assert_eq!(serde_json::from_str::<Value>(&back).expect("JSON"), document(json!({})));
    }

    #[test]
    fn policies_that_iam_takes_are_taken() {
        for more in [
            json!({"Sid": "Pull", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, "Principal": "*"}),
            json!({"Principal": {"Service": "lambda.amazonaws.com"}}),
            json!({"Principal": {"AWS": ["222222222222", "arn:aws-cn:iam::222222222222:role/path/x"]}}),
            json!({"Action": "ecr:*", "Effect": "Deny"}),
        ] {
            assert!(taken(&document(more.clone()), Subject::Repository), "{more}");
        }
        assert!(taken(&document(json!({"Resource": "arn:aws:ecr:eu-west-1:1:repository/*"})), Subject::Registry));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for more in [
            json!({"Resource": "*"}),
            json!({"Effect": "Permit"}),
            json!({"Principal": null}),
            json!({"Action": null}),
            json!({"Action": []}),
            json!({"Action": "s3:GetObject"}),
            json!({"Principal": {"AWS": "arn:aws:iam::222222222222:*"}}),
            json!({"Principal": {"AWS": "everyone"}}),
            json!({"Principal": {"Robot": "x"}}),
            json!({"Colour": "red"}),
        ] {
            assert!(!taken(&document(more.clone()), Subject::Repository), "{more}");
        }
        for text in ["", "[]", "{}", "{\"Statement\": []}", "nonsense"] {
            assert_eq!(read(text, Subject::Repository), None, "{text}");
        }
        assert!(!taken(&document(json!({})), Subject::Registry), "a registry's policy names resources");
    }
}
