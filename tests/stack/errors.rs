//! What a user sees of every error that ECR's API reference documents for the calls on a repository.
//!
//! Each error is played by the AWS stand-in for one object alone; the others of its action are played at the same time.

use ecr_operator::api::conditions::READY;
use ecr_operator::api::{EcrRepository, HasStatus as _};
use futures::future::join_all;
use serde_json::json;

use crate::support::{Namespace, Stack, has_reason, is_ready, is_stalled, message};

/// What is done to a repository that makes the operator call an action.
#[derive(Clone, Copy)]
enum Change {
    /// The object is applied for the first time.
    Created(&'static str),
    /// The object, ready with the first spec, is given the second.
    Changed(&'static str, &'static str),
    /// The object, ready with this spec, is to be compared in full.
    Compared(&'static str),
    /// The object is deleted.
    Deleted,
}

/// What the user is to see.
#[derive(Clone, Copy)]
enum Seen {
    /// Somebody has to do something: a reason, and a word of the advice.
    Stalled(&'static str, &'static str),
    /// It may pass by itself.
    Retrying,
    /// Somebody else seems to be at work on the repository.
    Contested,
    /// Nothing: what was to be done is done already.
    Nothing,
}

const INVALID: Seen = Seen::Stalled("InvalidParameter", "correct the spec");
const LIMIT: Seen = Seen::Stalled("LimitExceeded", "quota");
const DENIED: Seen = Seen::Stalled("AccessDenied", "IAM policy");
const CREDENTIALS: Seen = Seen::Stalled("InvalidCredentials", "valid AWS credentials");

const LIFECYCLE: &str = "lifecycle: {rules: [{untagged: {}, expireAfterDays: 7}]}";
const POLICY: &str = r#"policy: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"ecr:BatchGetImage"}]}'"#;

/// Plays each error for an object of its own, all at once, and checks what is told, that it recovers, and that an object
/// beside them is left in peace.
async fn play(action: &str, change: Change, errors: &[(&str, u16, Seen)]) {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("error").await;
    namespace.apply::<EcrRepository>("bystander", "{}").await;
    let before = ready_since(&namespace.ready("bystander").await);
    let played = errors.iter().enumerate();
    join_all(played.map(|(n, &error)| play_one(&namespace, format!("r{n}-x"), action, change, error))).await;
    let after = namespace.ready::<EcrRepository>("bystander").await;
    assert_eq!(before, ready_since(&after), "an object beside them is not disturbed");
    namespace.delete::<EcrRepository>("bystander").await;
    namespace.gone::<EcrRepository>("bystander").await;
    namespace.cleanup().await;
}

fn ready_since(object: &EcrRepository) -> Option<String> {
    let status = object.status.as_ref()?;
    EcrRepository::common(status).condition(READY).map(|ready| ready.last_transition_time.0.to_string())
}

async fn play_one(
    namespace: &Namespace<'_>,
    name: String,
    action: &str,
    change: Change,
    (code, status, seen): (&str, u16, Seen),
) {
    match change {
        Change::Created(_) => {}
        Change::Changed(spec, _) | Change::Compared(spec) => {
            namespace.apply::<EcrRepository>(&name, spec).await;
            namespace.ready::<EcrRepository>(&name).await;
        }
        Change::Deleted => {
            namespace.apply::<EcrRepository>(&name, "deletionPolicy: Delete").await;
            namespace.ready::<EcrRepository>(&name).await;
        }
    }
    let words = format!("no, says {code}");
    let repository = format!("{}/{name}\"", namespace.name);
    let fault = json!({"target": "api", "action": action, "times": 0, "status": status, "code": code,
                       "message": words, "request": repository});
    let fault = namespace.stack.fault("AWS_CONTROL_URL", fault).await;
    match change {
        Change::Created(spec) | Change::Changed(_, spec) => {
            namespace.apply::<EcrRepository>(&name, spec).await;
        }
        Change::Compared(_) => namespace.ask_to_sync::<EcrRepository>(&name).await,
        Change::Deleted => namespace.delete::<EcrRepository>(&name).await,
    }
    let what = format!("{action} answers {code}");
    let until = |reason: &'static str| {
        let what = format!("{what}: {reason}");
        async { namespace.until::<EcrRepository>(&name, &{ what }, |object| has_reason(object, reason)).await }
    };
    match seen {
        Seen::Stalled(reason, advice) => {
            let object = until(reason).await;
            let told = message(&object);
            assert!(is_stalled(&object), "{what}: {told}");
            assert!(told.contains(&format!("ecr:{action}")) && told.contains(code), "{what}: {told}");
            assert!(told.contains(&words) && told.contains(advice), "{what}: {told}");
        }
        Seen::Retrying => {
            let object = until("Retrying").await;
            let told = message(&object);
            assert!(!is_stalled(&object), "{what}: {told}");
            assert!(told.contains(&format!("ecr:{action}")) && told.contains(&words), "{what}: {told}");
        }
        Seen::Contested => {
            let object = until("Retrying").await;
            let told = message(&object);
            assert!(!is_stalled(&object) && told.contains(&name) && told.contains("somebody else"), "{what}: {told}");
        }
        Seen::Nothing if matches!(change, Change::Deleted) => namespace.gone::<EcrRepository>(&name).await,
        Seen::Nothing => {
            namespace.until::<EcrRepository>(&name, &what, is_ready).await;
        }
    }
    fault.remove().await;
    if !matches!(change, Change::Deleted) {
        namespace.until::<EcrRepository>(&name, "ready again", is_ready).await;
        namespace.delete::<EcrRepository>(&name).await;
    }
    namespace.gone::<EcrRepository>(&name).await;
}

#[tokio::test]
async fn errors_of_create_repository_are_told() {
    let errors = [
        ("InvalidParameterException", 400, INVALID),
        ("InvalidTagParameterException", 400, INVALID),
        ("KmsException", 400, INVALID),
        ("LimitExceededException", 400, LIMIT),
        ("TooManyTagsException", 400, LIMIT),
        ("RepositoryAlreadyExistsException", 400, Seen::Contested),
        ("ServerException", 500, Seen::Retrying),
    ];
    play("CreateRepository", Change::Created("{}"), &errors).await;
}

#[tokio::test]
async fn errors_that_any_call_can_have_are_told() {
    // https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html
    let errors = [
        ("AccessDeniedException", 400, DENIED),
        ("NotAuthorized", 400, DENIED),
        ("OptInRequired", 403, DENIED),
        ("ExpiredTokenException", 403, CREDENTIALS),
        ("IncompleteSignature", 403, CREDENTIALS),
        ("UnrecognizedClientException", 403, CREDENTIALS),
        ("RequestExpired", 400, Seen::Stalled("InvalidCredentials", "clock")),
        ("ValidationError", 400, INVALID),
        ("ValidationException", 400, INVALID),
        ("InternalFailure", 500, Seen::Retrying),
        ("ServiceUnavailable", 503, Seen::Retrying),
    ];
    play("CreateRepository", Change::Created("{}"), &errors).await;
}

#[tokio::test]
async fn errors_of_delete_repository_are_told() {
    let errors = [
        ("InvalidParameterException", 400, INVALID),
        ("KmsException", 400, INVALID),
        ("RepositoryNotFoundException", 400, Seen::Nothing),
        ("ServerException", 500, Seen::Retrying),
    ];
    play("DeleteRepository", Change::Deleted, &errors).await;
}

#[tokio::test]
async fn errors_of_put_image_tag_mutability_are_told() {
    let errors = [
        ("InvalidParameterException", 400, INVALID),
        ("RepositoryNotFoundException", 400, Seen::Contested),
        ("ServerException", 500, Seen::Retrying),
    ];
    let change = Change::Changed("tagMutability: Mutable", "tagMutability: Immutable");
    play("PutImageTagMutability", change, &errors).await;
}

#[tokio::test]
async fn errors_of_put_image_scanning_configuration_are_told() {
    let errors = [
        ("InvalidParameterException", 400, INVALID),
        ("RepositoryNotFoundException", 400, Seen::Contested),
        ("ServerException", 500, Seen::Retrying),
        ("ValidationException", 400, INVALID),
    ];
    play("PutImageScanningConfiguration", Change::Changed("scanOnPush: false", "scanOnPush: true"), &errors).await;
}

#[tokio::test]
async fn errors_of_the_lifecycle_policys_calls_are_told() {
    let put = [
        ("InvalidParameterException", 400, INVALID),
        ("RepositoryNotFoundException", 400, Seen::Contested),
        ("ServerException", 500, Seen::Retrying),
        ("ValidationException", 400, INVALID),
    ];
    let read = [
        ("InvalidParameterException", 400, INVALID),
        ("LifecyclePolicyNotFoundException", 400, Seen::Nothing),
        ("ServerException", 500, Seen::Retrying),
        ("ValidationException", 400, INVALID),
    ];
    tokio::join!(
        play("PutLifecyclePolicy", Change::Changed("{}", LIFECYCLE), &put),
        play("GetLifecyclePolicy", Change::Compared(LIFECYCLE), &read),
        play("DeleteLifecyclePolicy", Change::Changed(LIFECYCLE, "{}"), &read),
    );
}

#[tokio::test]
async fn errors_of_the_repository_policys_calls_are_told() {
    let set = [
        ("InvalidParameterException", 400, INVALID),
        ("RepositoryNotFoundException", 400, Seen::Contested),
        ("ServerException", 500, Seen::Retrying),
    ];
    let read = [
        ("InvalidParameterException", 400, INVALID),
        ("RepositoryPolicyNotFoundException", 400, Seen::Nothing),
        ("ServerException", 500, Seen::Retrying),
    ];
    tokio::join!(
        play("SetRepositoryPolicy", Change::Changed("{}", POLICY), &set),
        play("GetRepositoryPolicy", Change::Compared(POLICY), &read),
        play("DeleteRepositoryPolicy", Change::Changed(POLICY, "{}"), &read),
    );
}

#[tokio::test]
async fn errors_of_the_tags_calls_are_told() {
    let change = [
        ("InvalidParameterException", 400, INVALID),
        ("InvalidTagParameterException", 400, INVALID),
        ("TooManyTagsException", 400, LIMIT),
        ("RepositoryNotFoundException", 400, Seen::Contested),
        ("ServerException", 500, Seen::Retrying),
    ];
    let list = [
        ("InvalidParameterException", 400, INVALID),
        ("RepositoryNotFoundException", 400, Seen::Contested),
        ("ServerException", 500, Seen::Retrying),
    ];
    tokio::join!(
        play("TagResource", Change::Changed("{}", "tags: {team: a}"), &change),
        play("UntagResource", Change::Changed("tags: {team: a}", "{}"), &change),
        play("ListTagsForResource", Change::Compared("{}"), &list),
    );
}
