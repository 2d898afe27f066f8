//! Policies as a whole. Properties are at the end.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::AccessPermissions;

fn grant(principals: &[&str], permissions: AccessPermissions) -> AccessGrant {
    AccessGrant {
        principals: principals.iter().map(ToString::to_string).collect(),
        permissions,
        principal_org_ids: None,
        principal_org_paths: None,
        source_arns: None,
        source_accounts: None,
    }
}

fn pull(principals: &[&str]) -> AccessGrant {
    grant(principals, AccessPermissions::Pull)
}

fn push(principals: &[&str]) -> AccessGrant {
    grant(principals, AccessPermissions::Push)
}

fn list(items: &[&str]) -> Option<Vec<String>> {
    Some(items.iter().map(ToString::to_string).collect())
}

fn typed(grants: &[AccessGrant]) -> PolicyDocument {
    PolicyDocument::from_grants(grants).expect("the grants are a policy")
}

fn read(document: &Value) -> PolicyDocument {
    PolicyDocument::read(&document.to_string()).expect("the document has the shape of a policy")
}

/// A repository policy of one statement with these members added or replaced.
fn with(members: Value) -> Value {
    let mut statement = json!({"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"});
    for (name, value) in members.as_object().expect("members") {
        statement[name] = value.clone();
    }
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

fn without(member: &str) -> Value {
    let mut document = with(json!({}));
    document["Statement"][0].as_object_mut().expect("a statement").remove(member);
    document
}

#[test]
fn a_grant_becomes_a_statement_with_ecrs_actions() {
    let grants = [pull(&["arn:aws:iam::222222222222:root"]), push(&["arn:aws:iam::333333333333:role/ci"])];
    let document: Value = serde_json::from_str(&typed(&grants).text()).expect("JSON");
    assert_eq!(document["Version"], "2012-10-17");
    assert_eq!(document["Statement"][0]["Principal"], json!({"AWS": ["arn:aws:iam::222222222222:root"]}));
    assert_eq!(
        document["Statement"][0]["Action"],
        json!(["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"])
    );
    assert_eq!(document["Statement"][1]["Action"].as_array().map(Vec::len), Some(7));
    assert!(document["Statement"][0].get("Condition").is_none() && document["Statement"][0].get("Resource").is_none());
}

#[test]
fn conditions_narrow_organizations_and_services() {
    let organization = AccessGrant {
        principal_org_ids: list(&["o-a1b2c3d4e5"]),
        principal_org_paths: list(&["o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/*"]),
        ..pull(&["*"])
    };
    let lambda = AccessGrant {
        source_arns: list(&["arn:aws:lambda:eu-west-1:222222222222:function:*"]),
        source_accounts: list(&["222222222222"]),
        ..pull(&["lambda.amazonaws.com"])
    };
    let document: Value = serde_json::from_str(&typed(&[organization, lambda]).text()).expect("JSON");
    assert_eq!(
        document["Statement"][0]["Condition"],
        json!({
            "StringEquals": {"aws:PrincipalOrgID": ["o-a1b2c3d4e5"]},
            "ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": ["o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/*"]},
        })
    );
    assert_eq!(document["Statement"][1]["Principal"], json!({"Service": ["lambda.amazonaws.com"]}));
    assert_eq!(
        document["Statement"][1]["Condition"],
        json!({
            "ArnLike": {"aws:SourceArn": ["arn:aws:lambda:eu-west-1:222222222222:function:*"]},
            "StringEquals": {"aws:SourceAccount": ["222222222222"]},
        })
    );
}

#[test]
fn accounts_and_services_can_share_a_grant() {
    let document: Value =
        serde_json::from_str(&typed(&[pull(&["222222222222", "lambda.amazonaws.com"])]).text()).expect("JSON");
    assert_eq!(
        document["Statement"][0]["Principal"],
        json!({"AWS": ["222222222222"], "Service": ["lambda.amazonaws.com"]})
    );
}

#[test]
fn sids_depend_on_the_grant_alone() {
    let sids = |grants: &[AccessGrant]| {
        let document: Value = serde_json::from_str(&typed(grants).text()).expect("JSON");
        let statements = document["Statement"].as_array().cloned().unwrap_or_default();
        statements.iter().map(|statement| statement["Sid"].clone()).collect::<Vec<_>>()
    };
    let (a, b) = (pull(&["222222222222", "333333333333"]), push(&["444444444444"]));
    let reordered = pull(&["333333333333", "222222222222"]);
    assert_eq!(sids(&[a.clone(), b.clone()])[1], sids(std::slice::from_ref(&b))[0]);
    assert_eq!(sids(std::slice::from_ref(&a)), sids(&[reordered]));
    assert_ne!(sids(std::slice::from_ref(&a)), sids(&[b]));
    assert_eq!(sids(&[a.clone(), a.clone()]), sids(&[a]), "a grant that is there twice is one statement");
}

#[test]
fn grants_that_would_let_in_more_than_they_seem_to_are_refused() {
    let organization = |grant| AccessGrant { principal_org_ids: list(&["o-a1b2c3d4e5"]), ..grant };
    let source = |grant| AccessGrant { source_accounts: list(&["222222222222"]), ..grant };
    for (grants, words) in [
        (vec![], "at least one"),
        (vec![pull(&["*"])], "only beside principalOrgIds"),
        (vec![pull(&["222222222222"]), push(&["*", "222222222222"])], "[1]: principals"),
        (vec![organization(pull(&["lambda.amazonaws.com"]))], "don't go with AWS services"),
        (vec![source(pull(&["222222222222"]))], "go with AWS services only"),
        (vec![source(pull(&["lambda.amazonaws.com", "*"]))], "go with AWS services only"),
        (vec![pull(&["arn:aws:iam::222222222222:role/team-*"])], "no wildcards"),
        (vec![pull(&["arn:aws:iam::222222222222:group/x"])], "is not an account"),
        (vec![pull(&["lambda.example.com"])], "is not an account"),
        (vec![pull(&["AROAEXAMPLEEXAMPLE12"])], "was deleted"),
    ] {
        let error = PolicyDocument::from_grants(&grants).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn more_grants_than_a_policy_can_hold_are_refused_with_its_length() {
    let names: Vec<String> = (0..20).map(|n| format!("arn:aws:iam::222222222222:role/{n:0600}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = PolicyDocument::from_grants(&[pull(&names)]).expect_err("too long").to_string();
    assert!(error.contains("ECR takes 10240 at most"), "{error}");
}

#[test]
fn documents_that_aws_would_refuse_are_refused_with_the_place_and_the_rule() {
    let cases: Vec<(String, &str)> = vec![
        ("{".into(), "not JSON"),
        ("[]".into(), "not an IAM policy document"),
        ("{}".into(), "no Statement"),
        (json!({"Version": "2012-10-17", "Statement": []}).to_string(), "no Statement"),
        (r#"{"Statement": [], "Statement": []}"#.into(), "the member \"Statement\" appears twice"),
        (json!({"Version": "2012-10-18", "Statement": [{}]}).to_string(), "Version must be"),
        (json!({"Version": 2012, "Statement": [{}]}).to_string(), "Version must be"),
        (json!({"statement": [{}]}).to_string(), "did you mean Statement?"),
        (json!({"Statement": ["x"]}).to_string(), "Statement[0] is not an object"),
        (without("Effect").to_string(), "Statement[0].Effect is missing"),
        (without("Action").to_string(), "Statement[0].Action is missing"),
        (without("Principal").to_string(), "Statement[0].Principal is missing"),
        (with(json!({"Effect": "allow"})).to_string(), "must be \"Allow\" or \"Deny\""),
        (with(json!({"Effect": true})).to_string(), "must be \"Allow\" or \"Deny\""),
        (with(json!({"Actions": "ecr:*"})).to_string(), "Statement[0].Actions is not an element of a policy; did you mean Action?"),
        (with(json!({"Sid": 1})).to_string(), "Statement[0].Sid must be text"),
        (with(json!({"NotAction": "ecr:*"})).to_string(), "Statement[0].Action and NotAction exclude"),
        (with(json!({"NotPrincipal": "*"})).to_string(), "Statement[0].Principal and NotPrincipal exclude"),
        (with(json!({"Action": []})).to_string(), "Statement[0].Action must be a text or a list"),
        (with(json!({"Action": {"ecr": 1}})).to_string(), "Statement[0].Action must be a text or a list"),
        (with(json!({"Action": ["ecr:BatchGetImage", 1]})).to_string(), "Statement[0].Action must be a text or a list"),
        (with(json!({"Action": "ecr:BatchGetImages"})).to_string(), "did you mean ecr:BatchGetImage?"),
        (with(json!({"Action": "ecr:Fetch*"})).to_string(), "not an action of ECR"),
        (with(json!({"Action": "s3:GetObject"})).to_string(), "\"s3:GetObject\" is not an action of ECR"),
        (with(json!({"Action": "BatchGetImage"})).to_string(), "did you mean ecr:BatchGetImage?"),
        (with(json!({"Action": "ecr:GetAuthorizationToken"})).to_string(), "allow it in IAM policies"),
        (with(json!({"Resource": "*"})).to_string(), "ECR refuses Resource in it: leave it out"),
        (with(json!({"NotResource": "*"})).to_string(), "Statement[0].NotResource"),
        (with(json!({"Principal": "222222222222"})).to_string(), "must be \"*\", or an object"),
        (with(json!({"Principal": {}})).to_string(), "must be \"*\", or an object"),
        (with(json!({"Principal": {"Aws": "*"}})).to_string(), "Principal.Aws must be"),
        (with(json!({"Principal": {"CanonicalUser": "x"}})).to_string(), "Principal.CanonicalUser"),
        (with(json!({"Principal": {"AWS": []}})).to_string(), "Principal.AWS must be a text or a list"),
        (with(json!({"Principal": {"AWS": "22222222222"}})).to_string(), "\"22222222222\" is not an account"),
        (with(json!({"Principal": {"AWS": "arn:aws:iam::222222222222:*"}})).to_string(), "no wildcards inside a principal"),
        (with(json!({"Principal": {"AWS": "arn:aws:iam::222222222222:role/"}})).to_string(), "is not an account"),
        (with(json!({"Principal": {"AWS": "arn:aws:s3:::bucket"}})).to_string(), "is not an account"),
        (with(json!({"Principal": {"AWS": "AIDAEXAMPLEEXAMPLE12"}})).to_string(), "was deleted: remove it"),
        (with(json!({"Principal": {"Service": "lambda"}})).to_string(), "not the name of an AWS service"),
        (with(json!({"Condition": "x"})).to_string(), "Statement[0].Condition must be an object"),
        (with(json!({"Condition": {"StringEquals": "x"}})).to_string(), "Condition.StringEquals must be an object"),
        (with(json!({"Condition": {"StringEqual": {"a": "b"}}})).to_string(), "did you mean StringEquals?"),
        (with(json!({"Condition": {"NullIfExists": {"a": "b"}}})).to_string(), "not a condition operator"),
        (with(json!({"Condition": {"StringEquals": {"a": {}}}})).to_string(), "Condition.StringEquals.a must be a text"),
        (with(json!({"Condition": {"StringEquals": {"a": [null]}}})).to_string(), "Condition.StringEquals.a must be a text"),
        (
            json!({"Statement": [with(json!({"Sid": "a"}))["Statement"][0], with(json!({"Sid": "a"}))["Statement"][0]]}).to_string(),
            "Statement[1].Sid: \"a\" is the Sid of an earlier statement",
        ),
        (with(json!({"Sid": "x".repeat(MAX_CHARACTERS)})).to_string(), "ECR takes 10240 at most"),
    ];
    for (text, words) in cases {
        let error = PolicyDocument::parse(&text, Scope::Repository).expect_err(&text).to_string();
        assert!(error.contains(words), "{text}\nis refused without {words:?}: {error}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let document =
        json!({"Version": "1", "Statement": [{"Effect": "allow", "Action": "ecr:Nothing", "Resource": "*"}]});
    let error = PolicyDocument::parse(&document.to_string(), Scope::Repository).expect_err("wrong");
    assert_eq!(error.problems.len(), 5, "{error}");
}

#[test]
fn documents_that_aws_takes_are_taken() {
    for document in [
        with(json!({})),
        json!({"Version": "2008-10-17", "Id": "x", "Statement": with(json!({}))["Statement"][0]}),
        with(json!({"Sid": "new statement", "Action": "*"})),
        with(json!({"Effect": "Deny", "Action": "ecr:*"})),
        with(json!({"Action": ["ECR:batchgetimage", "ecr:Get*"]})),
        with(json!({"Principal": {"AWS": ["222222222222", "arn:aws:iam::222222222222:root", "*"]}})),
        with(json!({"Principal": {"AWS": "arn:aws-us-gov:iam::222222222222:user/path/with@sign.x"}})),
        with(json!({"Principal": {"AWS": "arn:aws:sts::222222222222:assumed-role/ci/session"}})),
        with(json!({"Principal": {"Service": ["lambda.amazonaws.com", "codebuild.amazonaws.com.cn"]}})),
        with(json!({"Condition": {"StringLike": {"aws:SourceArn": "arn:aws:lambda:*"}}})),
        with(json!({"Condition": {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": ["o-a1b2c3d4e5/*"]}}})),
        with(
            json!({"Condition": {"BoolIfExists": {"aws:SecureTransport": true}, "Null": {"aws:SourceVpce": "false"}}}),
        ),
    ] {
        if let Err(error) = PolicyDocument::parse(&document.to_string(), Scope::Repository) {
            panic!("{document}\nshould be taken: {error}");
        }
    }
}

#[test]
fn a_registry_policy_names_resources() {
    let statement = json!({
        "Sid": "Replication", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"},
        "Action": ["ecr:CreateRepository", "ecr:ReplicateImage"], "Resource": "arn:aws:ecr:eu-west-1:123456789012:repository/*",
    });
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let policy = PolicyDocument::parse(&document.to_string(), Scope::Registry).expect("a registry policy");
    assert_eq!(
        policy.statements(),
        [
            "allow ecr:CreateRepository, ecr:ReplicateImage to 222222222222 on arn:aws:ecr:eu-west-1:123456789012:repository/*"
        ]
    );
    let error = PolicyDocument::parse(&with(json!({})).to_string(), Scope::Registry).expect_err("no Resource");
    assert_eq!(error.to_string(), "Statement[0].Resource is missing");
}

#[test]
fn what_ecr_has_is_read_although_we_know_no_such_action() {
    let document = with(json!({"Action": "ecr:SomethingOfNextYear", "Principal": {"AWS": "AROAEXAMPLEEXAMPLE12"}}));
    assert_eq!(read(&document).deleted_principals(), ["AROAEXAMPLEEXAMPLE12"]);
    assert!(PolicyDocument::read("{\"Statement\": [{}]}").is_err());
    assert!(PolicyDocument::read("nonsense").is_err());
}

#[test]
fn what_means_the_same_is_equal() {
    let base = with(
        json!({"Principal": {"AWS": ["222222222222", "333333333333"]}, "Action": ["ecr:PutImage", "ecr:BatchGetImage"]}),
    );
    for same in [
        with(
            json!({"Principal": {"AWS": ["arn:aws:iam::333333333333:root", "arn:aws:iam::222222222222:root"]}, "Action": ["ecr:BatchGetImage", "ecr:PutImage"]}),
        ),
        with(
            json!({"Principal": {"AWS": ["222222222222", "333333333333", "222222222222"]}, "Action": ["ECR:putimage", "ecr:BatchGetImage"]}),
        ),
        with(
            json!({"Principal": {"AWS": ["222222222222", "333333333333"]}, "Action": ["ecr:PutImage", "ecr:BatchGetImage"], "Sid": "named", "Condition": {}}),
        ),
        json!({"Version": "2008-10-17", "Id": "x", "Statement": base["Statement"][0]}),
        json!({"Statement": [base["Statement"][0], base["Statement"][0]]}),
    ] {
        assert_eq!(read(&base), read(&same), "{same}");
    }
    let condition = |value: Value| with(json!({"Condition": {"Bool": {"aws:SecureTransport": value}}}));
    assert_eq!(read(&condition(json!(true))), read(&condition(json!(["True"]))));
    assert_eq!(
        read(&with(json!({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-a"}}}))),
        read(&with(json!({"Condition": {"StringEquals": {"AWS:principalorgid": ["o-a"]}}})))
    );
    assert_eq!(read(&with(json!({"Principal": "*"}))), read(&with(json!({"Principal": {"AWS": "*"}}))));
}

#[test]
fn what_means_something_else_is_different() {
    let base = read(&with(json!({})));
    for other in [
        with(json!({"Effect": "Deny"})),
        with(json!({"Action": "ecr:PutImage"})),
        with(json!({"Action": ["ecr:BatchGetImage", "ecr:PutImage"]})),
        with(json!({"Principal": {"AWS": "222222222222"}})),
        with(json!({"Principal": {"Service": "lambda.amazonaws.com"}})),
        with(json!({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-a"}}})),
        json!({"Statement": {"Effect": "Allow", "NotPrincipal": "*", "Action": "ecr:BatchGetImage"}}),
        json!({"Statement": {"Effect": "Allow", "Principal": "*", "NotAction": "ecr:BatchGetImage"}}),
    ] {
        assert_ne!(base, read(&other), "{other}");
    }
    let arns = |arn: &str| read(&with(json!({"Principal": {"AWS": arn}})));
    assert_ne!(arns("arn:aws:iam::222222222222:role/a"), arns("arn:aws:iam::222222222222:role/A"), "names have a case");
    let variable = json!({"StringLike": {"aws:PrincipalTag/team": "${aws:username}"}});
    let versions = ["2008-10-17", "2012-10-17"].map(|version| {
        let mut document = with(json!({"Condition": variable}));
        document["Version"] = json!(version);
        read(&document)
    });
    assert_ne!(versions[0], versions[1], "only the newer version replaces variables");
}

#[test]
fn the_difference_is_said_in_words() {
    let present = typed(&[
        pull(&["222222222222"]),
        push(&["arn:aws:iam::333333333333:role/ci"]),
        pull(&["lambda.amazonaws.com"]),
    ]);
    let lambda = AccessGrant { source_accounts: list(&["222222222222"]), ..pull(&["lambda.amazonaws.com"]) };
    let wanted = typed(&[
        pull(&["arn:aws:iam::222222222222:root"]),
        pull(&["arn:aws:iam::333333333333:role/ci"]),
        lambda,
        push(&["555555555555"]),
    ]);
    assert_eq!(
        present.diff(&wanted),
        [
            "~ allow Push to arn:aws:iam::333333333333:role/ci: now Pull",
            "~ allow Pull to lambda.amazonaws.com: now where aws:SourceAccount StringEquals 222222222222",
            "+ allow Push to 555555555555",
        ]
    );
    assert_eq!(typed(&[pull(&["222222222222"])]).diff(&typed(&[push(&["222222222222"])])).len(), 1);
    assert_eq!(present.diff(&present), Vec::<String>::new());
}

#[test]
fn a_deleted_principal_is_a_difference_that_says_so() {
    let present = read(&with(json!({"Principal": {"AWS": "AROAEXAMPLEEXAMPLE12"}})));
    let wanted = read(&with(json!({"Principal": {"AWS": "arn:aws:iam::222222222222:role/ci"}})));
    assert_eq!(
        present.diff(&wanted),
        ["~ allow ecr:BatchGetImage: - AROAEXAMPLEEXAMPLE12 (deleted in IAM), + arn:aws:iam::222222222222:role/ci"]
    );
}

#[test]
fn statements_are_sentences() {
    let document = with(json!({
        "Effect": "Deny", "NotAction": ["ecr:batchgetimage"], "Principal": "*",
        "Condition": {"StringNotEqualsIfExists": {"aws:principalorgid": ["o-a", "o-b"]}, "Bool": {"aws:SecureTransport": false}},
    }));
    let mut document = document;
    document["Statement"][0].as_object_mut().expect("a statement").remove("Action");
    assert_eq!(
        read(&document).statements(),
        [
            "deny everything but ecr:BatchGetImage for everybody where aws:securetransport Bool false and aws:PrincipalOrgID StringNotEqualsIfExists o-a or o-b"
        ]
    );
}

fn principals() -> impl Strategy<Value = Vec<String>> {
    let one = prop_oneof![
        (100_000_000_000_u64..999_999_999_999).prop_map(|account| account.to_string()),
        (100_000_000_000_u64..999_999_999_999, "[a-zA-Z+=,.@_-]{1,12}")
            .prop_map(|(account, name)| format!("arn:aws:iam::{account}:role/{name}")),
        Just("lambda.amazonaws.com".to_owned()),
    ];
    prop::collection::vec(one, 1..5)
}

fn grants() -> impl Strategy<Value = Vec<AccessGrant>> {
    let permissions = prop_oneof![Just(AccessPermissions::Pull), Just(AccessPermissions::Push)];
    let one = (principals(), permissions).prop_map(|(principals, permissions)| AccessGrant {
        principals,
        permissions,
        principal_org_ids: None,
        principal_org_paths: None,
        source_arns: None,
        source_accounts: None,
    });
    prop::collection::vec(one, 1..5)
}

/// The same document in another spelling: lists turned round, single strings for lists of one, other cases and ARNs.
fn respelled(document: &Value) -> Value {
    let mut statements: Vec<Value> = document["Statement"].as_array().cloned().unwrap_or_default();
    statements.reverse();
    for (index, statement) in statements.iter_mut().enumerate() {
        statement["Sid"] = json!(format!("s{index}"));
        let shout = |action: &Value| json!(action.as_str().unwrap_or_default().to_ascii_uppercase());
        statement["Action"] =
            statement["Action"].as_array().map(|list| list.iter().rev().map(shout).collect()).unwrap_or_default();
        for kind in ["AWS", "Service"] {
            let Some(list) = statement["Principal"].get(kind).and_then(Value::as_array) else { continue };
            let spell = |principal: &Value| match principal.as_str() {
                Some(account) if account.len() == 12 => json!(format!("arn:aws:iam::{account}:root")),
                _ => principal.clone(),
            };
            let list: Vec<Value> = list.iter().rev().map(spell).collect();
            statement["Principal"][kind] = if let [one] = &list[..] { one.clone() } else { json!(list) };
        }
    }
    json!({"Statement": statements, "Version": "2008-10-17"})
}

proptest! {
    #[test]
    fn spelling_means_nothing(grants in grants()) {
        let policy = typed(&grants);
        let document: Value = serde_json::from_str(&policy.text()).expect("JSON");
        let other = read(&respelled(&document));
        prop_assert_eq!(&policy, &other);
        prop_assert!(policy.diff(&other).is_empty());
        prop_assert_eq!(policy.statements(), other.statements());
    }

    #[test]
    fn text_reads_back_as_the_same_policy(grants in grants()) {
        let policy = typed(&grants);
        prop_assert_eq!(PolicyDocument::parse(&policy.text(), Scope::Repository), Ok(policy.clone()));
        prop_assert_eq!(PolicyDocument::read(&policy.text()), Ok(policy));
    }

    #[test]
    fn there_are_lines_exactly_where_there_is_a_difference(a in grants(), b in grants()) {
        let (a, b) = (typed(&a), typed(&b));
        prop_assert_eq!(a == b, a.diff(&b).is_empty());
        prop_assert_eq!(a.diff(&b).is_empty(), b.diff(&a).is_empty());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = PolicyDocument::parse(&text, Scope::Repository);
        let _ = PolicyDocument::read(&text);
    }
}
