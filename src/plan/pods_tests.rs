use super::*;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const OBJECTS: &str = r#"
apiVersion: ecr-operator.io/v1alpha1
kind: EcrRegistry
metadata: {name: default}
spec: {region: eu-west-1}
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
    let found =
        looked(&[pod("team-a", "static", "nginx:1.27", mirror_pod), pod("team-a", "off", "nginx:1.27", off), over]);
    assert_eq!(found, Pods::default());
}

#[test]
fn namespaces_opt_out_by_the_label_that_the_files_give_them() {
    let namespace =
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {ecr-operator.io/rewrite: disabled}}\n";
    let found = looked(&[pod("team-a", "web", "nginx:1.27", ""), namespace.to_owned()]);
    assert_eq!((found.pods, found.images.len()), (1, 0));
}
