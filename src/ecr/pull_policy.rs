//! The session policy of a token that can pull, and nothing else. Nothing here does I/O.

use serde_json::json;

use super::host::Partition;

/// The longest session policy that STS takes, in characters.
///
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const LONGEST: usize = 2048;

/// What the registry API needs for pulling, beside a token.
///
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html>
const PULLING: [&str; 3] = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];

/// A policy is longer than STS takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session policy for {patterns} patterns of repositories has {characters} characters, and STS takes 2048 at most: use fewer and coarser patterns, such as team-a/*, in spec.access of the EcrRegistry or in spec.repositories"
)]
pub struct PolicyTooLarge {
    /// How many patterns the policy has.
    pub patterns: usize,
    /// How long it would be.
    pub characters: usize,
}

/// The policy that lets a session get a token, and pull from the repositories that match these globs. `*` and `?` are IAM's
/// wildcards too, and mean the same there.
///
/// # Errors
/// If STS would not take it.
pub fn pull_policy(
    partition: Partition,
    region: &str,
    account: &str,
    repositories: &[String],
) -> Result<String, PolicyTooLarge> {
    let arn = |repository: &String| format!("arn:{partition}:ecr:{region}:{account}:repository/{repository}");
    let resource = match repositories {
        [one] => json!(arn(one)),
        several => json!(several.iter().map(arn).collect::<Vec<_>>()),
    };
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Effect": "Allow", "Action": PULLING, "Resource": resource},
    ]})
    .to_string();
    // Every character of it is one of ASCII.
    match policy.len() <= LONGEST {
        true => Ok(policy),
        false => Err(PolicyTooLarge { patterns: repositories.len(), characters: policy.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(repositories: &[&str]) -> Result<String, PolicyTooLarge> {
        let repositories: Vec<String> = repositories.iter().map(|name| (*name).to_owned()).collect();
        pull_policy(Partition::Aws, "eu-west-1", "123456789012", &repositories)
    }

    #[test]
    fn it_allows_a_token_and_pulling_from_the_named_repositories_and_nothing_else() {
        let policy: serde_json::Value =
            serde_json::from_str(&policy(&["team-a/*", "base-?"]).expect("short")).expect("JSON");
        let arn = "arn:aws:ecr:eu-west-1:123456789012:repository";
        assert_eq!(
            policy,
            json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
                {
                    "Effect": "Allow",
                    "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                    "Resource": [format!("{arn}/team-a/*"), format!("{arn}/base-?")],
                },
            ]})
        );
    }

    #[test]
    fn the_arns_are_of_the_regions_partition() {
        let china = pull_policy(Partition::AwsCn, "cn-north-1", "123456789012", &["a".to_owned()]).expect("short");
        assert!(china.contains("\"arn:aws-cn:ecr:cn-north-1:123456789012:repository/a\""), "{china}");
    }

    #[test]
    fn it_is_at_most_as_long_as_sts_takes_and_says_what_to_do_else() {
        let names: Vec<String> = (0..100).map(|n| format!("team-{n:02}/*")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let fits = (0..=names.len()).take_while(|count| policy(&names[..*count]).is_ok()).count() - 1;
        assert!(fits >= 25, "only {fits} patterns fit");
        assert!(policy(&names[..fits]).expect("fits").len() <= 2048);
        let error = policy(&names[..=fits]).expect_err("too long");
        assert_eq!(error.patterns, fits + 1);
        assert!(error.characters > 2048 && error.to_string().contains("coarser patterns"), "{error}");
    }

    #[test]
    fn no_space_is_wasted() {
        assert!(!policy(&["a"]).expect("short").contains(char::is_whitespace));
    }
}
