use super::*;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const OBJECTS: &str = r#"
apiVersion: ecr-operator.io/v1alpha1
kind: EcrRegistry
metadata: {name: default}
spec: {region: eu-west-1}
status: {accountId: '123456789012', registryHost: 123456789012.dkr.ecr.eu-west-1.amazonaws.com}
---
apiVersion: ecr-operator.io/v1alpha1
kind: ImageMirror
metadata: {name: nginx, namespace: team-a}
spec:
  source: {image: nginx}
  tags: {names: ["1.27", "1.28"]}
  rewrite: {pods: SameNamespace, pin: true}
status:
  source: nginx
  destinations:
  - registry: default
    repositoryName: mirror/nginx
    repositoryUri: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror/nginx
    tags:
    - {name: "1.27", state: Mirrored, sourceDigest: DIGEST, digest: DIGEST}
"#;

fn pod(namespace: &str, name: &str, image: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}{more}}}\nspec:\n  containers: [{{name: main, image: {image}}}]\n  initContainers: [{{name: init, image: busybox}}]\n  volumes: [{{name: data, image: {{reference: {image}}}}}]\n"
    )
}

fn looked(pods_of_files: &[String]) -> Pods {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("all.yaml");
    let text = format!("{}{}", OBJECTS.replace("DIGEST", DIGEST), pods_of_files.concat());
    std::fs::write(&file, text).expect("a file");
    let manifests = crate::manifests::read(&[file], "default").expect("manifests");
    let registries = manifests.iter().filter_map(|manifest| match &manifest.object {
        Some(Object::Registry(registry)) => Some((registry.name_any(), registry.clone())),
        _ => None,
    });
    pods(&manifests, &registries.collect(), None)
}

#[test]
fn pods_that_name_what_is_mirrored_would_change() {
    let found = looked(&[pod("team-a", "web", "nginx:1.27", ""), pod("team-b", "web", "nginx:1.27", "")]);
    assert_eq!(found.pods, 2);
    let becomes = Some(format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror/nginx:1.27@{DIGEST}"));
    let told: Vec<_> =
        found.images.iter().map(|it| (it.namespace.as_str(), it.container.as_str(), &it.becomes)).collect();
    assert_eq!(told, [("team-a", "main", &becomes), ("team-a", "volume data", &becomes)]);
    let text = found.text();
    assert!(
        text.starts_with("NAMESPACE  POD  CONTAINER    IMAGE       AT ITS NEXT START\nteam-a     web  main "),
        "{text}"
    );
    assert!(text.ends_with("1 of 2 pods would change at their next start; 0 images are not mirrored\n"), "{text}");
}

#[test]
fn what_is_not_mirrored_is_told() {
    let found = looked(&[pod("team-a", "web", "nginx:1.28", "")]);
    assert!(found.images.iter().all(|it| it.becomes.is_none() && it.mirror == "team-a/nginx"), "{found:?}");
    let text = found.text();
    assert!(text.starts_with("not mirrored: nginx:1.28 of team-a/web (main), by ImageMirror team-a/nginx\n"), "{text}");
    assert!(text.ends_with("0 of 1 pods would change at their next start; 2 images are not mirrored\n"), "{text}");
}

#[test]
fn pods_that_are_never_rewritten_are_left_out() {
    let mirror_pod = ", annotations: {kubernetes.io/config.mirror: x}";
    let off = ", labels: {ecr-operator.io/rewrite: disabled}";
    let over = format!("{}status: {{phase: Succeeded}}\n", pod("team-a", "over", "nginx:1.27", ""));
    let found = looked(&[
        pod("team-a", "static", "nginx:1.27", mirror_pod),
        pod("team-a", "opted-out", "nginx:1.27", off),
        over,
    ]);
    assert_eq!(found, Pods::default());
}

#[test]
fn namespaces_opt_out_by_the_label_that_the_files_give_them() {
    let namespace =
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {ecr-operator.io/rewrite: disabled}}\n";
    let found = looked(&[pod("team-a", "web", "nginx:1.27", ""), namespace.to_owned()]);
    assert_eq!((found.pods, found.images.len()), (1, 0));
}

const ENFORCEMENT: &str = "---
apiVersion: ecr-operator.io/v1alpha1
kind: ImageEnforcement
metadata: {name: strict}
spec:
  validationActions: [Deny]
  namespaceSelector: {}
  registries: [{name: default}]
  allow: [quay.io/team]
";

#[test]
fn of_images_that_pods_get_an_enforcement_says_which_are_not_allowed() {
    let off = ", labels: {ecr-operator.io/rewrite: disabled}";
    let found = looked(&[
        pod("team-a", "web", "nginx:1.27", ""),
        pod("team-a", "opted-out", "nginx:1.27", off),
        pod("kube-system", "dns", "coredns", ""),
        ENFORCEMENT.to_owned(),
    ]);
    let judged = found.enforcement.as_ref().expect("there is an enforcement");
    assert_eq!(judged.pods, 2, "the control plane's are left alone");
    let told: Vec<_> =
        judged.not_allowed.iter().map(|it| (it.pod.as_str(), it.container.as_str(), it.image.as_str())).collect();
    assert_eq!(
        told,
        [
            ("opted-out", "init", "busybox"),
            ("opted-out", "main", "nginx:1.27"),
            ("opted-out", "volume data", "nginx:1.27"),
            ("web", "init", "busybox")
        ],
        "what is rewritten comes from ECR"
    );
    let text = found.text();
    assert!(
        text.contains("\nnot allowed: busybox of team-a/web (init), by ImageEnforcement strict (Deny)\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\n2 of 2 pods would have images at their next start that an ImageEnforcement does not allow\n"),
        "{text}"
    );
}

#[test]
fn an_image_without_a_digest_is_told_where_one_is_required() {
    let strict = ENFORCEMENT.replace("  allow:", "  requireDigest: true\n  allow:");
    let found = looked(&[pod("team-b", "web", "quay.io/team/app:1", ""), strict]);
    let text = found.text();
    assert!(
        text.contains("\nno digest: quay.io/team/app:1 of team-b/web (main), by ImageEnforcement strict (Deny)\n"),
        "{text}"
    );
}

#[test]
fn an_enforcement_that_can_not_judge_says_why() {
    let other = ENFORCEMENT.replace("registries: [{name: default}]", "registries: [{name: us}]");
    let found = looked(&[pod("team-a", "web", "nginx:1.27", ""), other]);
    let text = found.text();
    assert!(text.contains("\nnot judged: ImageEnforcement strict: there is no EcrRegistry \"us\""), "{text}");
    assert_eq!(found.enforcement.map(|judged| judged.pods), Some(0));
}
