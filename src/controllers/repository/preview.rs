//! The lifecycle preview of a repository: when ECR is asked, and what its answer means to this cluster.
//!
//! [`of`] and [`advance`] are the I/O; [`step`], [`judge`], [`summary`] and [`warning`] decide.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::runtime::events::EventType;

use crate::api::{EcrRepository, ImageInUse, LifecyclePreview, PreviewAction, PreviewState, SYNC_AT};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::workloads::{Usage, Uses, Workloads};
use crate::ecr::lifecycle::Policy;
use crate::ecr::{Ecr, EcrError, Preview, PreviewResult, PreviewedImage, Started};

/// Images come and go by themselves: what a preview says is renewed after so long.
const VALID: SignedDuration = SignedDuration::from_hours(24);
/// A preview without a result is tried again after so long.
const RETRY: SignedDuration = SignedDuration::from_hours(1);
/// A preview that takes longer than this has got stuck.
const STUCK: SignedDuration = SignedDuration::from_hours(1);
/// How long the result waits for the list of pods, when that is being read for the first time.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// How many images are compared with pods: each hundred is a call.
const COMPARED: usize = 5000;
/// How many images in use the status names, and how many tags and namespaces of each.
const EXAMPLES: usize = 10;
const NAMES: usize = 5;

/// What is asked for.
#[derive(Clone, Debug)]
struct Ask<'a> {
    /// The repository's name.
    name: &'a str,
    /// What names of its images begin with, by all host names that the registry has.
    uris: &'a [String],
    /// The policy that the spec asks for.
    policy: &'a Policy,
    /// What the status says now.
    previous: Option<&'a LifecyclePreview>,
    /// Whether the policy was just put into ECR, or the object asks to be looked at now.
    afresh: bool,
    now: Timestamp,
}

/// The preview of the object's lifecycle policy, brought a step further, if the object asks for one. Publishes an event
/// when pods run images that would go.
pub(super) async fn of(
    object: &EcrRepository,
    context: &Context,
    ecr: &Ecr,
    policy: Option<&Policy>,
    was_put: bool,
) -> Option<LifecyclePreview> {
    let asks = object.spec.settings.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.preview);
    let policy = policy.filter(|_| asks)?;
    let name = object.repository_name();
    let status = object.status.as_ref();
    let handled = status.and_then(|status| status.common.last_handled_sync_at.as_ref());
    let ask = Ask {
        name: &name,
        uris: &ecr.repository_uris(&name),
        policy,
        previous: status.and_then(|status| status.lifecycle_preview.as_ref()),
        afresh: was_put || object.annotations().get(SYNC_AT) != handled,
        now: Timestamp::now(),
    };
    let preview = advance(ecr, &context.workloads, &ask).await;
    if let Some(words) = warning(ask.previous, &preview) {
        context.event(object, EventType::Warning, "ImagesInUse", words).await;
    }
    Some(preview)
}

/// Does the next thing there is to do about the preview, which mostly is nothing. A preview that fails is no reason for
/// the repository not to be ready: it says so itself.
async fn advance(ecr: &Ecr, workloads: &Workloads, ask: &Ask<'_>) -> LifecyclePreview {
    let advanced = match step(ask) {
        Step::Keep(preview) => Ok(preview.clone()),
        Step::Start => start(ecr, ask).await,
        Step::Poll(running) => match workloads.pods_of_repository(ask.uris) {
            Usage::Filling if ask.now.duration_since(running.started_at.0) < PATIENCE => Ok(running.clone()),
            usage => poll(ecr, &usage, running, ask).await,
        },
    };
    let preview = advanced.unwrap_or_else(|error| failed(ask, &Failure::from(error).message));
    if preview.state == PreviewState::InProgress {
        // Early, so that the pods are known by the time that ECR is done.
        workloads.want_pods();
    }
    preview
}

async fn start(ecr: &Ecr, ask: &Ask<'_>) -> Result<LifecyclePreview, EcrError> {
    match ecr.start_lifecycle_preview(ask.name, &ask.policy.text()).await? {
        // What is going on is waited for; that it is of other rules would be seen once it is done.
        Started::Now | Started::Busy => Ok(started(ask)),
    }
}

async fn poll(
    ecr: &Ecr,
    usage: &Usage,
    running: &LifecyclePreview,
    ask: &Ask<'_>,
) -> Result<LifecyclePreview, EcrError> {
    // Without pods to compare with, the counts are enough.
    let limit = match usage {
        Usage::Known(uses) if !uses.is_empty() => COMPARED,
        _ => 0,
    };
    let answer = ecr.lifecycle_preview(ask.name, limit).await?;
    match judge(&answer, usage, running, ask) {
        Judgement::Say(preview) => Ok(preview),
        Judgement::StartAnew => start(ecr, ask).await,
    }
}

/// What there is to do about the preview.
#[derive(Clone, Debug, PartialEq)]
enum Step<'a> {
    /// Nothing: what the status says holds.
    Keep(&'a LifecyclePreview),
    /// Ask ECR for one.
    Start,
    /// Ask ECR how far this one is.
    Poll(&'a LifecyclePreview),
}

/// A preview is asked for when there is none for these rules, when it is wanted afresh, and when the last one is old.
fn step<'a>(ask: &Ask<'a>) -> Step<'a> {
    let Some(previous) = ask.previous.filter(|previous| previous.policy == ask.policy.fingerprint()) else {
        return Step::Start;
    };
    let age = ask.now.duration_since(previous.started_at.0);
    match previous.state {
        // One at a time: what is going on is fresh enough.
        PreviewState::InProgress => Step::Poll(previous),
        _ if ask.afresh => Step::Start,
        PreviewState::Complete if age >= VALID => Step::Start,
        PreviewState::Failed if age >= RETRY => Step::Start,
        PreviewState::Complete | PreviewState::Failed => Step::Keep(previous),
    }
}

/// What ECR's answer means.
#[derive(Clone, Debug, PartialEq)]
enum Judgement {
    /// The status says this.
    Say(LifecyclePreview),
    /// It is not the preview that was asked for: ask again.
    StartAnew,
}

fn judge(answer: &Preview, usage: &Usage, running: &LifecyclePreview, ask: &Ask<'_>) -> Judgement {
    let is_ours = |result: &PreviewResult| match &result.policy {
        Some(text) => Policy::parse(text).as_ref() == Ok(ask.policy),
        None => true,
    };
    let is_stuck = ask.now.duration_since(running.started_at.0) >= STUCK;
    match answer {
        Preview::Complete(result) if is_ours(result) => Judgement::Say(complete(result, usage, running)),
        Preview::Failed => Judgement::Say(failed(ask, "ECR could not finish it")),
        // However often it was started anew.
        _ if is_stuck => Judgement::Say(failed(ask, "ECR has not finished it within an hour")),
        Preview::InProgress => Judgement::Say(running.clone()),
        // Of other rules: somebody else asked, or we did before the spec changed.
        Preview::Complete(_) | Preview::None => Judgement::StartAnew,
    }
}

/// How long there is nothing to do about a preview. They are done within seconds, mostly: ECR is asked after two seconds,
/// and then after as long as it has taken so far.
pub(super) fn again(preview: &LifecyclePreview, now: Timestamp) -> Duration {
    let age = now.duration_since(preview.started_at.0);
    let wait = match preview.state {
        PreviewState::InProgress => age.clamp(SignedDuration::from_secs(2), SignedDuration::from_secs(60)),
        PreviewState::Complete => VALID - age,
        PreviewState::Failed => RETRY - age,
    };
    Duration::try_from(wait).unwrap_or_default()
}

/// The preview is on its way. Until it is there the counts of the last one for these rules stay. One that is started anew
/// goes on, so that it is asked for ever less often, and not for ever.
fn started(ask: &Ask<'_>) -> LifecyclePreview {
    let policy = ask.policy.fingerprint();
    let last = ask.previous.filter(|previous| previous.policy == policy);
    let goes_on = last.filter(|last| last.state == PreviewState::InProgress);
    LifecyclePreview {
        state: PreviewState::InProgress,
        started_at: goes_on.map_or(Time(ask.now), |running| running.started_at.clone()),
        expiring: last.and_then(|last| last.expiring),
        archiving: last.and_then(|last| last.archiving),
        in_use: last.and_then(|last| last.in_use),
        in_use_images: last.map(|last| last.in_use_images.clone()).unwrap_or_default(),
        message: "ECR works on the preview".to_owned(),
        policy,
    }
}

fn failed(ask: &Ask<'_>, why: &str) -> LifecyclePreview {
    LifecyclePreview {
        state: PreviewState::Failed,
        started_at: Time(ask.now),
        policy: ask.policy.fingerprint(),
        expiring: None,
        archiving: None,
        in_use: None,
        in_use_images: Vec::new(),
        message: format!("there is no preview: {why}"),
    }
}

fn complete(result: &PreviewResult, usage: &Usage, running: &LifecyclePreview) -> LifecyclePreview {
    let (in_use, note) = match usage {
        Usage::Known(uses) => (Some(in_use(&result.images, uses)), not_compared(result, uses)),
        Usage::Unknown { problem } => {
            (None, format!("; which of them pods run is not known: can't list pods: {problem}"))
        }
        Usage::Filling => (None, "; which of them pods run is not known: the list of pods takes long".to_owned()),
    };
    let images = in_use.as_deref().unwrap_or_default();
    LifecyclePreview {
        state: PreviewState::Complete,
        started_at: running.started_at.clone(),
        policy: running.policy.clone(),
        expiring: Some(result.expiring),
        archiving: Some(result.archiving),
        in_use: in_use.as_ref().map(|images| length(images.len())),
        in_use_images: images.iter().take(EXAMPLES).cloned().collect(),
        message: format!("{}{note}", summary(result.expiring, result.archiving, images)),
    }
}

fn not_compared(result: &PreviewResult, uses: &Uses) -> String {
    let all = u64::from(result.expiring) + u64::from(result.archiving);
    let compared = result.images.len() as u64;
    if uses.is_empty() || compared >= all {
        return String::new();
    }
    format!("; only {compared} of them were compared with pods")
}

/// Those of the images that pods run or name, most pods first.
fn in_use(images: &[PreviewedImage], uses: &Uses) -> Vec<ImageInUse> {
    let mut used: Vec<ImageInUse> = images
        .iter()
        .filter_map(|image| {
            let pods = uses.of_image(&image.digest, &image.tags);
            let namespaces: BTreeSet<&str> = pods.iter().map(|pod| &*pod.namespace).collect();
            (!pods.is_empty()).then(|| ImageInUse {
                digest: image.digest.clone(),
                tags: image.tags.iter().take(NAMES).cloned().collect(),
                action: image.action,
                rule: image.rule,
                pods: length(pods.len()),
                namespaces: namespaces.into_iter().take(NAMES).map(str::to_owned).collect(),
            })
        })
        .collect();
    used.sort_by(|a, b| (b.pods, &a.digest).cmp(&(a.pods, &b.digest)));
    used
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The result in a sentence.
fn summary(expiring: u32, archiving: u32, in_use: &[ImageInUse]) -> String {
    let what = match (expiring, archiving) {
        (0, 0) => "no image would expire or be archived".to_owned(),
        (expiring, 0) => format!("{} would expire", images(expiring)),
        (0, archiving) => format!("{} would be archived", images(archiving)),
        (expiring, archiving) => format!("{} would expire and {archiving} be archived", images(expiring)),
    };
    match in_use.len() {
        0 => what,
        1 => format!("{what}, and pods of this cluster run one of them"),
        count => format!("{what}, and pods of this cluster run {count} of them"),
    }
}

fn images(count: u32) -> String {
    if count == 1 { "1 image".to_owned() } else { format!("{count} images") }
}

/// What to warn of: images in use that were not among those of the last result.
fn warning(previous: Option<&LifecyclePreview>, preview: &LifecyclePreview) -> Option<String> {
    let LifecyclePreview { state: PreviewState::Complete, in_use: Some(1..), in_use_images, message, .. } = preview
    else {
        return None;
    };
    let known: BTreeSet<&str> =
        previous.into_iter().flat_map(|previous| &previous.in_use_images).map(|image| image.digest.as_str()).collect();
    let example = in_use_images.iter().find(|image| !known.contains(image.digest.as_str()))?;
    let ImageInUse { digest, tags, action, rule, pods: _, namespaces } = example;
    let tags = if tags.is_empty() { String::new() } else { format!(" ({})", tags.join(", ")) };
    let by = rule.map(|rule| format!(" by rule {rule}")).unwrap_or_default();
    let fate = match action {
        PreviewAction::Expire => "expire",
        PreviewAction::Archive => "be archived",
    };
    Some(format!(
        "lifecycle: {message}: {digest}{tags} would {fate}{by} and is used in {}; change the rules or the pods: ECR acts within 24 hours",
        namespaces.join(", ")
    ))
}

#[cfg(test)]
#[path = "preview_tests.rs"]
mod tests;
