//! The actions of the registry's controller as lines of a report.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::template;
use crate::controllers::registry::plan::Action;
use crate::controllers::registry::setting::{Document, Part, Setting};
use crate::ecr::settings::CacheRule;
use crate::plan::report::{Change, Sign};

/// One action on a part that is `present` so, with what it changes from and to. `None` for what changes nothing in ECR.
pub(super) fn change(part: Part, action: &Action, present: &Setting) -> Option<Change> {
    let change = |sign: Sign, words: &dyn Display| Change::new(sign, format!("spec.settings.{part}: {words}"));
    let told = |sign| change(sign, action);
    Some(match action {
        Action::PutScanning { from, to } => change(Sign::Change, &"change scanning").with(from_to(from, to)),
        Action::PutAccountSetting { .. } => told(Sign::Change),
        Action::PutReplication { from, to } => {
            change(Sign::Change, &"change replication").with(difference(&from.0, &to.0))
        }
        Action::PutPolicy { from: None, to } => change(Sign::Create, &"set the registry policy").with(statements(to)),
        Action::PutPolicy { from: Some(Ok(from)), to: Ok(to) } => {
            change(Sign::Change, &"change the registry policy").with(from.diff(to))
        }
        Action::PutPolicy { from: Some(_), to } => {
            change(Sign::Change, &"replace the registry policy, which can't be read here").with(statements(to))
        }
        Action::PutSigning { from: None, to } => change(Sign::Create, &"set signing").with(lines(&to.0)),
        Action::PutSigning { from: Some(from), to } => {
            change(Sign::Change, &"change signing").with(difference(&from.0, &to.0))
        }
        Action::DeletePolicy | Action::DeleteSigning => told(Sign::Delete).with(gone(present)),
        Action::CreateCacheRule { prefix, rule } => {
            change(Sign::Create, &format!("create pull-through-cache rule {prefix}")).with(fields(rule))
        }
        Action::UpdateCacheRule { prefix, from, to } => {
            change(Sign::Change, &format!("change pull-through-cache rule {prefix}")).with(from_to(from, to))
        }
        Action::DeleteCacheRule { prefix } => {
            let rule = if let Setting::CacheRules(rules) = present { rules.get(prefix) } else { None };
            told(Sign::Delete).with(rule.map(fields).unwrap_or_default())
        }
        Action::CreateTemplate { prefix, template } => {
            change(Sign::Create, &format!("create creation template {prefix}")).with(template::lines(template))
        }
        Action::UpdateTemplate { prefix, from, to } => {
            change(Sign::Change, &format!("change creation template {prefix}")).with(template::changes(from, to))
        }
        Action::DeleteTemplate { prefix } => {
            let template = if let Setting::Templates(templates) = present { templates.get(prefix) } else { None };
            told(Sign::Delete).with(template.map(template::lines).unwrap_or_default())
        }
        Action::Register { .. } => told(Sign::Create),
        Action::Deregister { .. } => told(Sign::Delete),
        Action::Adopt { .. } | Action::Release { .. } => return None,
    })
}

fn from_to(from: &impl Display, to: &impl Display) -> Vec<String> {
    vec![format!("from: {from}"), format!("to: {to}")]
}

fn lines<T: Display>(rules: &BTreeSet<T>) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

/// The rules that go and those that come.
fn difference<T: Display + Ord>(from: &BTreeSet<T>, to: &BTreeSet<T>) -> Vec<String> {
    let gone = from.difference(to).map(|rule| format!("- {rule}"));
    gone.chain(to.difference(from).map(|rule| format!("+ {rule}"))).collect()
}

fn statements(document: &Document) -> Vec<String> {
    match document {
        Ok(policy) => policy.statements(),
        Err(text) => vec![text.clone()],
    }
}

/// What a policy or signing configuration said.
fn gone(present: &Setting) -> Vec<String> {
    match present {
        Setting::Policy(Some(document)) => statements(document),
        Setting::Signing(Some(signing)) => lines(&signing.0),
        _ => Vec::new(),
    }
}

/// A rule in the spec's words.
fn fields(rule: &CacheRule) -> Vec<String> {
    let CacheRule { upstream, url, upstream_prefix, credential_arn, custom_role_arn } = rule;
    let fields = [
        ("upstreamRegistry", Some(upstream)),
        ("upstreamRegistryUrl", Some(url)),
        ("upstreamRepositoryPrefix", Some(upstream_prefix).filter(|prefix| *prefix != "ROOT")),
        ("credentialArn", credential_arn.as_ref()),
        ("customRoleArn", custom_role_arn.as_ref()),
    ];
    fields.into_iter().filter_map(|(field, value)| Some(format!("{field}: {}", value?))).collect()
}
