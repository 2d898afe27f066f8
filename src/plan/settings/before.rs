//! What an object held before, and from where that is known.

use std::collections::BTreeMap;

use crate::api::{EcrRegistry, RegistrySettings};
use crate::controllers::registry::desired::{Place, desired};
use crate::controllers::registry::plan::{Action, plan};
use crate::controllers::registry::setting::{Held, Part, Setting};

/// What is known of what an object held before.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    /// All: the operator wrote it into the object's status.
    Status(BTreeMap<Part, Held>),
    /// What its spec was. What is in there counts as held and, where it would be deleted, as made by the object.
    Spec(Box<RegistrySettings>),
    /// It held nothing: it is new.
    New,
    /// Nothing is known. It counts as new.
    Unknown,
}

impl Known {
    /// What is known of an object from its old self in `base`, if there is one, or else from its status.
    pub(super) fn of(object: &EcrRegistry, old: Option<&EcrRegistry>, has_base: bool) -> Self {
        let written = old.unwrap_or(object).status.as_ref().map(|status| Held::by_part(Some(status)));
        match (written, old) {
            (Some(held), _) => Self::Status(held),
            (None, Some(old)) => Self::Spec(Box::new(old.spec.settings.clone().unwrap_or_default())),
            (None, None) if has_base => Self::New,
            (None, None) => Self::Unknown,
        }
    }

    /// Whether the object held nothing, as far as is known.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::Status(held) => held.is_empty(),
            Self::Spec(settings) => **settings == RegistrySettings::default(),
            Self::New | Self::Unknown => true,
        }
    }

    /// What the object held, by the parts that it managed.
    pub(super) fn held(&self, place: &Place) -> BTreeMap<Part, Held> {
        match self {
            Self::Status(held) => held.clone(),
            Self::Spec(settings) => {
                desired(settings, place).into_keys().map(|part| (part, held(part, settings))).collect()
            }
            Self::New | Self::Unknown => BTreeMap::new(),
        }
    }

    /// Whether it can only be supposed that the object manages this rule, template or exclusion: ECR's is not as the old
    /// spec says, so it may never have been adopted.
    pub(super) fn supposes(&self, part: Part, name: &str, present: &Setting, place: &Place) -> bool {
        let Self::Spec(settings) = self else { return false };
        let Some(Ok(old)) = desired(settings, place).remove(&part) else { return true };
        let adopts = |action: &Action| matches!(action, Action::Adopt { name: adopted, .. } if adopted == name);
        !plan(Some(&old), present, &Held::default()).actions.iter().any(adopts)
    }
}

/// What the spec has of a part, as if the object had made it all.
fn held(part: Part, settings: &RegistrySettings) -> Held {
    let names: Vec<&String> = match part {
        Part::PullThroughCacheRules => {
            settings.pull_through_cache_rules.iter().flatten().map(|rule| &rule.ecr_repository_prefix).collect()
        }
        Part::CreationTemplates => {
            settings.creation_templates.iter().flatten().map(|template| &template.prefix).collect()
        }
        Part::PullTimeUpdateExclusions => settings.pull_time_update_exclusions.iter().flatten().collect(),
        _ => Vec::new(),
    };
    Held {
        created: matches!(part, Part::Policy | Part::Signing),
        entries: names.into_iter().map(|name| (name.clone(), true)).collect(),
    }
}
