//! What an ImageEnforcement's status says. Nothing here does I/O.

use super::plan::Plan;
use crate::api::{EnforcedUse, ImageEnforcementStatus, ValidationAction};
use crate::controllers::workloads::{PodImages, Usage};
use crate::enforcement::{Allowed, Verdict, judge};

/// How many namespaces are named.
const NAMESPACES: usize = 100;
/// How many images are named.
const IMAGES: usize = 20;

/// The status after a try. What is kept in the cluster stays in it while a new plan can't be made or written.
pub(super) fn status(
    previous: Option<&ImageEnforcementStatus>,
    kept: Option<&Plan>,
    in_use: &Usage<PodImages>,
) -> ImageEnforcementStatus {
    let previous = previous.cloned().unwrap_or_default();
    let Some(plan) = kept else { return ImageEnforcementStatus { common: Default::default(), ..previous } };
    ImageEnforcementStatus {
        common: Default::default(),
        policy: Some(plan.name.clone()),
        allowed: plan.wanted.allowed.prefixes.clone(),
        namespaces: u32::try_from(plan.namespaces.len()).unwrap_or(u32::MAX),
        namespace_names: plan.namespaces.iter().take(NAMESPACES).cloned().collect(),
        in_use: match in_use {
            Usage::Known(images) => Some(judged(images, &plan.wanted.allowed)),
            Usage::Filling => previous.in_use,
            Usage::Unknown { .. } => None,
        },
    }
}

fn judged(images: &PodImages, allowed: &Allowed) -> EnforcedUse {
    let mut judged = EnforcedUse::default();
    for (namespace, images) in images {
        for image in images.named.keys() {
            judged.images += 1;
            if judge(image, allowed) == Verdict::Allowed {
                continue;
            }
            judged.not_allowed += 1;
            if judged.first_not_allowed.len() < IMAGES {
                judged.first_not_allowed.push(format!("{namespace}: {image}"));
            }
        }
    }
    judged
}

/// The message of an object that is as it should be.
pub(super) fn words(plan: &Plan, actions: &[ValidationAction], in_use: Option<&EnforcedUse>) -> String {
    let actions: Vec<String> = actions.iter().map(|action| format!("{action:?}")).collect();
    let namespaces = plan.namespaces.len();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let mut words = format!(
        "{} for new pods of {namespaces} namespace{} with images that are not from {}",
        actions.join(" and "),
        plural(namespaces),
        plan.wanted.told.join(", "),
    );
    if plan.wanted.allowed.require_digest {
        words.push_str(", or have no digest");
    }
    if let Some(EnforcedUse { images, not_allowed, .. }) = in_use {
        words.push_str(&format!("; {not_allowed} of {images} images of the pods that are there are not allowed"));
    }
    words
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::plan::tests::plan_of_all;
    use super::*;
    use crate::api::conditions::Reason;
    use crate::api::{ImageEnforcement, ImageEnforcementSpec};
    use crate::controllers::failure::Failure;
    use crate::controllers::report::Outcome;
    use crate::controllers::states::{Case, spec};
    use crate::controllers::workloads::ImagesOfPods;

    fn used(images: &[(&str, &[&str])]) -> Usage<PodImages> {
        let of = |(namespace, images): &(&str, &[&str])| {
            let named = images.iter().map(|image| ((*image).into(), 1)).collect();
            ((*namespace).into(), ImagesOfPods { named, ..ImagesOfPods::default() })
        };
        Usage::Known(images.iter().map(of).collect())
    }

    #[test]
    fn images_that_pods_have_are_judged() {
        let plan = plan_of_all();
        let own = format!("{}/nginx", plan.wanted.allowed.prefixes[0]);
        let status = status(None, Some(&plan), &used(&[("bank", &[&own, "nginx"]), ("shop", &["nginx"])]));
        assert_eq!((status.namespaces, status.namespace_names.len()), (2, 2));
        let in_use = status.in_use.expect("it is known");
        assert_eq!((in_use.images, in_use.not_allowed), (3, 2));
        assert_eq!(in_use.first_not_allowed, ["bank: nginx", "shop: nginx"]);
        let words = words(&plan, &[ValidationAction::Warn, ValidationAction::Audit], Some(&in_use));
        assert!(
            words.starts_with("Warn and Audit for new pods of 2 namespaces with images that are not from "),
            "{words}"
        );
        assert!(words.ends_with("2 of 3 images of the pods that are there are not allowed"), "{words}");
    }

    #[test]
    fn few_of_many_are_named() {
        let images: Vec<String> = (0..50).map(|n| format!("nginx:{n}")).collect();
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let status = status(None, Some(&plan_of_all()), &used(&[("bank", &images)]));
        let in_use = status.in_use.expect("it is known");
        assert_eq!((in_use.not_allowed, in_use.first_not_allowed.len()), (50, IMAGES));
    }

    #[test]
    fn what_is_enforced_stays_told_while_nothing_new_can_be() {
        let before = status(None, Some(&plan_of_all()), &used(&[("bank", &["nginx"])]));
        let after = status(Some(&before), None, &Usage::Filling);
        assert_eq!(after, before);
        let filling = status(Some(&before), Some(&plan_of_all()), &Usage::Filling);
        assert_eq!(filling.in_use, before.in_use);
        let problem = Usage::Unknown { problem: "no".into() };
        assert_eq!(status(Some(&before), Some(&plan_of_all()), &problem).in_use, None);
    }

    /// What can become of what is enforced.
    pub(in crate::controllers) fn cases() -> Vec<Case<ImageEnforcement>> {
        let spec: ImageEnforcementSpec =
            spec(serde_json::json!({"validationActions": ["Warn"], "namespaceSelector": {}}));
        let kept = status(None, Some(&plan_of_all()), &used(&[("bank", &["nginx"])]));
        let actions = spec.validation_actions.clone();
        let object = || ImageEnforcement::new("judged", spec.clone());
        let failed = |what, failure| {
            let status = status(Some(&kept), None, &Usage::Filling);
            Case { what, object: object(), status, outcome: Outcome::Failed(failure) }
        };
        let message = words(&plan_of_all(), &actions, kept.in_use.as_ref());
        vec![
            Case {
                what: "the policy is there",
                object: object(),
                status: kept.clone(),
                outcome: Outcome::Ready { message },
            },
            failed("the EcrRegistry is missing", Failure::stalled(Reason::RegistryNotFound, "no EcrRegistry")),
            failed("the EcrRegistry is not ready", Failure::transient(Reason::RegistryNotReady, "not ready")),
            failed("the API server does not take it", Failure::transient(Reason::Retrying, "no")),
        ]
    }
}
