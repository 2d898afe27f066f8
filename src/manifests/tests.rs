//! Reading manifests, and refusing what the API server would refuse.

use super::*;

const HEAD: &str = "apiVersion: ecr-operator.io/v1alpha1\n";

fn parsed(text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let (mut manifests, mut refused) = (Vec::new(), Vec::new());
    parse("test.yaml", text, "default", &mut manifests, &mut refused)?;
    twice(&manifests, &mut refused);
    if refused.is_empty() { Ok(manifests) } else { Err(ManifestError::Refused(refused)) }
}

fn repository(spec: &str) -> String {
    format!("{HEAD}kind: EcrRepository\nmetadata: {{name: api}}\nspec: {spec}\n")
}

fn refusal(text: &str) -> String {
    parsed(text).expect_err(text).to_string()
}

#[test]
fn documents_lists_and_other_kinds_are_read() {
    let text = format!(
        "# a comment\n---\n{}---\n{HEAD}kind: EcrRegistry\nmetadata: {{name: default}}\nspec: {{region: eu-west-1}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: x}}\n---\napiVersion: v1\nkind: List\nitems:\n- {{apiVersion: ecr-operator.io/v1alpha1, kind: ImageMirror, metadata: {{name: nginx, namespace: a}}, spec: {{source: {{image: nginx}}, tags: {{names: ['1']}}}}}}\n",
        repository("{}")
    );
    let titles: Vec<_> = parsed(&text).expect("manifests").iter().map(Manifest::title).collect();
    assert_eq!(titles, ["EcrRepository default/api", "EcrRegistry default", "Namespace x", "ImageMirror a/nginx"]);
}

#[test]
fn defaults_are_filled_in() {
    let manifests = parsed(&repository("{scanOnPush: true}")).expect("a manifest");
    assert_eq!(manifests[0].value["spec"]["registryRef"]["name"], "default");
    assert!(matches!(&manifests[0].object, Some(Object::Repository(it)) if it.repository_name() == "default/api"));
}

#[test]
fn what_the_schema_refuses_is_refused_with_the_field() {
    for (spec, words) in [
        ("{tagMutability: Sometimes}", "spec.tagMutability: Unsupported value: \"Sometimes\""),
        ("{scanOnPush: maybe}", "spec.scanOnPush: Invalid type: must be boolean, and is string"),
        ("{scanOnPussh: true}", "spec.scanOnPussh: there is no such field"),
        ("{repositoryName: a}", "spec.repositoryName: Invalid value: at least 2 characters"),
        ("{encryption: {}}", "spec.encryption.type: Required value"),
        ("{tags: {a: 1}}", "spec.tags.a: Invalid type: must be string"),
        ("{lifecycle: {rules: []}}", "spec.lifecycle.rules: Invalid value: at least 1 items"),
        (
            "{access: [{principals: [], permissions: Pull}]}",
            "spec.access[0].principals: Invalid value: at least 1 items",
        ),
        ("null", "spec: Required value"),
    ] {
        let error = refusal(&repository(spec));
        assert!(error.starts_with("test.yaml: EcrRepository default/api: "), "{error}");
        assert!(error.contains(words), "{spec}: {error}");
    }
}

#[test]
fn what_a_cel_rule_refuses_is_refused_with_its_message() {
    for (spec, words) in [
        ("{repositoryName: Team/Api}", "repositoryName must be lower-case"),
        ("{encryption: {type: AES256, kmsKey: alias/x}}", "encryption.kmsKey goes with type KMS"),
        ("{tags: {'aws:x': z}}", "reserved"),
        ("{access: [{principals: ['*'], permissions: Pull}]}", "access: principals can be \"*\" only beside"),
        ("{access: [{principals: [x], permissions: Pull}]}", "access.principals: each is an account"),
        ("{access: [{principals: ['arn:aws:iam::222222222222:role/a*'], permissions: Pull}]}", "without wildcards"),
        (
            "{access: [{principals: [lambda.amazonaws.com], permissions: Pull, principalOrgIds: [o-a1b2c3d4e5]}]}",
            "give services a grant of their own",
        ),
        (
            "{access: [{principals: ['222222222222'], permissions: Pull, sourceAccounts: ['222222222222']}]}",
            "go with AWS services only",
        ),
        (
            "{access: [{principals: ['*'], permissions: Pull, principalOrgIds: [x]}]}",
            "spec.access[0].principalOrgIds[0]",
        ),
        ("{access: [{principals: ['222222222222'], permissions: Pull}], policy: '{}'}", "either access or policy"),
    ] {
        let error = refusal(&repository(spec));
        assert!(error.contains(words), "{spec}: {error}");
    }
}

#[test]
fn good_grants_pass_the_rules() {
    for grant in [
        "{principals: ['222222222222', 'arn:aws:iam::333333333333:root', 'arn:aws-us-gov:iam::333333333333:role/path/x'], permissions: Push}",
        "{principals: [lambda.amazonaws.com, codebuild.amazonaws.com.cn], permissions: Pull, sourceArns: ['arn:aws:lambda:eu-west-1:222222222222:function:*'], sourceAccounts: ['222222222222']}",
        "{principals: ['*'], permissions: Pull, principalOrgPaths: ['o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/*']}",
    ] {
        if let Err(error) = parsed(&repository(&format!("{{access: [{grant}]}}"))) {
            panic!("{grant}: {error}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text =
        format!("{}---\n{HEAD}kind: EcrThing\nmetadata: {{name: x}}\n---\nfoo: bar\n", repository("{a: 1, b: 2}"));
    assert_eq!(refusal(&text).lines().count(), 4);
    let old = "apiVersion: ecr-operator.io/v1\nkind: EcrRegistry\nmetadata: {name: x}\nspec: {}\n";
    assert!(refusal(old).contains("apiVersion must be ecr-operator.io/v1alpha1"));
    assert!(refusal(&format!("{HEAD}kind: EcrRegistry\nspec: {{}}\n")).contains("metadata.name is missing"));
}

#[test]
fn one_name_for_two_objects_is_refused() {
    let text = format!("{}---\n{}", repository("{}"), repository("{}"));
    assert!(refusal(&text).contains("EcrRepository default/api is already in test.yaml"));
}

#[test]
fn directories_are_read_with_all_that_is_below() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("sub")).expect("a directory");
    std::fs::write(directory.path().join("sub/a.yml"), repository("{}")).expect("a file");
    std::fs::write(directory.path().join("notes.txt"), "not: [yaml").expect("a file");
    let found = read(&[directory.path().to_owned()], "team-a").expect("manifests");
    assert_eq!(found.iter().map(Manifest::title).collect::<Vec<_>>(), ["EcrRepository team-a/api"]);
    let missing = read(&[directory.path().join("none")], "x").expect_err("no such file").to_string();
    assert!(missing.starts_with("can't read"), "{missing}");
}

#[test]
fn rules_about_pull_secrets_are_checked() {
    let object = |kind: &str, spec: &str| format!("{HEAD}kind: {kind}\nmetadata: {{name: pull}}\nspec: {spec}\n");
    for (kind, spec, words) in [
        ("ClusterEcrPullSecret", "{}", "namespaceSelector is needed unless namespaces.names has some"),
        ("ClusterEcrPullSecret", "{namespaces: {exclude: [a]}}", "namespaceSelector is needed"),
        ("ClusterEcrPullSecret", "{namespaceSelector: {}, namespaces: {}}", "give names, exclude, or both"),
        ("ClusterEcrPullSecret", "{namespaces: {names: [a, b], exclude: [b]}}", "in names and in exclude"),
        ("ClusterEcrPullSecret", "{namespaces: {names: ['team-*']}}", "namespaces.exclude takes wildcards"),
        (
            "ClusterEcrPullSecret",
            "{namespaceSelector: {}, namespaces: {exclude: ['A']}}",
            "namespaces.exclude: a pattern",
        ),
        ("EcrPullSecret", "{serviceAccounts: {}}", "serviceAccounts: give names, a selector, or both"),
        ("EcrPullSecret", "{serviceAccounts: {names: ['']}}", "serviceAccounts.names"),
        ("EcrPullSecret", "{secretName: a, additionalSecretRefs: [{name: a}]}", "can't be one of those"),
        ("EcrPullSecret", "{additionalHosts: [Ipv6]}", "additionalHosts"),
    ] {
        let error = refusal(&object(kind, spec));
        assert!(error.contains(words), "{kind} {spec}: {error}");
    }
    for (kind, spec) in [
        ("ClusterEcrPullSecret", "{namespaces: {names: [a, b], exclude: ['b?', 'c*']}}"),
        ("ClusterEcrPullSecret", "{namespaceSelector: {}, namespaces: {exclude: ['kube-*']}}"),
        (
            "EcrPullSecret",
            "{serviceAccounts: {selector: {}}, additionalHosts: [Standard, Fips, DualStack, DualStackFips]}",
        ),
        ("EcrPullSecret", "{secretName: a, additionalSecretRefs: [{name: b}]}"),
    ] {
        assert!(parsed(&object(kind, spec)).is_ok(), "{kind} {spec}: {:?}", parsed(&object(kind, spec)));
    }
}

#[test]
fn the_examples_are_accepted() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    if let Err(error) = read(&[examples.join("eks"), examples.join("quickstart")], "default") {
        // Examples of different set-ups may use one name; nothing else may be wrong with them.
        assert!(error.to_string().lines().all(|line| line.contains("is already in")), "{error}");
    }
}

#[test]
fn a_mirror_says_what_it_selects_and_its_patterns_are_checked() {
    let mirror = |spec: &str| {
        format!("{HEAD}kind: ImageMirror\nmetadata: {{name: nginx}}\nspec: {{source: {{image: nginx}}, {spec}}}\n")
    };
    for (spec, words) in [
        ("interval: 1h", "nothing is selected"),
        ("tags: {}", "nothing is selected"),
        ("tags: {minAge: 1h}", "nothing is selected"),
        ("tags: {names: ['1'], exclude: ['x']}", "tags.exclude takes away"),
        ("tags: {names: ['1'], prereleases: true}", "tags.prereleases is about versions"),
        ("tags: {latest: 1, minAge: 3d}", "tags.minAge must be"),
        ("tags: {latest: 0}", "spec.tags.latest"),
        ("digests: ['sha256:ab']", "digests must look like"),
        ("tags: {names: ['1']}, backupTag: '{tag}-old'", "backupTag must be"),
        ("tags: {names: ['1']}, backupTag: '{tag}/{digest}'", "backupTag must be"),
        ("tags: {names: ['1']}, schedule: '@daily'", "five fields"),
        ("tags: {names: ['1']}, destinations: [{repositoryName: '{image}/x'}]", "repositoryName must be"),
    ] {
        let error = refusal(&mirror(spec));
        assert!(error.contains(words), "{spec}: {error}");
    }
    for spec in [
        "tags: {names: ['1']}",
        "tags: {include: ['1.*'], exclude: ['*-rc?'], regex: '^1', semver: '>=1', prereleases: true, latest: 5, minAge: 72h}",
        "digests: ['sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef']",
        "tags: {names: ['1']}, onTagChange: Warn, backupTag: '{tag}-{digest12}', schedule: '0 3 * * *', timeZone: Europe/Berlin",
        "tags: {names: ['1']}, destinations: [{repositoryName: '{namespace}/{host}/{path}'}]",
    ] {
        assert!(parsed(&mirror(spec)).is_ok(), "{spec}: {:?}", parsed(&mirror(spec)));
    }
}
