//! Which of a source's tags a mirror wants, and why it does not want the others. Nothing here does I/O.
//!
//! `tags.names` are wanted always. Beside them, a tag is wanted that every given filter accepts, and of these `latest`
//! takes the newest. What age has to say is in [`super::age`]: it needs digests, which are looked up for these tags only.

mod range;
#[cfg(test)]
mod tests;
mod version;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex::{Regex, RegexBuilder};
use wildmatch::WildMatch;

use crate::api::TagSelection;
use range::{Contained, Range};
use version::{TagVersion, natural};

/// The largest compiled form of a regular expression, in bytes. Its authors are the namespaces' users.
const REGEX_SIZE: usize = 256 << 10;

/// The group of `tags.regex` that is read as the version, if there is one of this name.
const VERSION_GROUP: &str = "version";

/// The rules of `spec.tags`, ready to judge.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    names: BTreeSet<String>,
    filters: Option<Filters>,
}

#[derive(Clone, Debug)]
struct Filters {
    include: Vec<WildMatch>,
    exclude: Vec<WildMatch>,
    regex: Option<Regex>,
    semver: Option<Range>,
    prereleases: bool,
    latest: Option<usize>,
}

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.tags.{field} can't be used: {problem}")]
pub(crate) struct RuleError {
    field: &'static str,
    problem: String,
}

/// The rule that selects a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SelectedBy {
    /// It is one of `tags.names`.
    Names,
    /// All filters accept it.
    Filters,
}

/// The rule that rejects a tag: the first one, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RejectedBy {
    /// It is none of `tags.names`, and there are no filters.
    Names,
    /// None of `tags.include` matches it.
    Include,
    /// One of `tags.exclude` matches it.
    Exclude,
    /// `tags.regex` does not match it.
    Regex,
    /// It is no version, and `semver`, or `latest` among tags that are versions, looks at versions only.
    NotAVersion,
    /// It is a prerelease, and `prereleases` is not true.
    Prerelease,
    /// Its version is not in the range of `tags.semver`.
    Semver,
    /// `tags.latest` tags are newer.
    Latest,
}

impl fmt::Display for SelectedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Names => "names",
            Self::Filters => "filters",
        })
    }
}

impl fmt::Display for RejectedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Names => "names",
            Self::Include => "include",
            Self::Exclude => "exclude",
            Self::Regex => "regex",
            Self::NotAVersion => "not a version",
            Self::Prerelease => "prerelease",
            Self::Semver => "semver",
            Self::Latest => "latest",
        })
    }
}

/// What became of a source's tags. Each is in one of the two, once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts<'t> {
    /// The wanted tags. `tags.names` are among them whether or not the source has them.
    pub(crate) selected: BTreeMap<String, SelectedBy>,
    /// The others.
    pub(crate) rejected: Vec<(&'t str, RejectedBy)>,
}

/// A tag that all filters but `latest` accept, and what it is compared by.
struct Candidate<'t> {
    tag: &'t str,
    version: Option<TagVersion>,
    text: &'t str,
}

impl Candidate<'_> {
    fn order(&self, other: &Self) -> Ordering {
        let order = self.version.cmp(&other.version).then_with(|| natural(self.text, other.text));
        order.then_with(|| natural(self.tag, other.tag))
    }
}

impl Rules {
    /// Reads the rules of a spec.
    ///
    /// # Errors
    /// What the schema can't tell: an expression or a range that is none.
    pub(crate) fn new(spec: &TagSelection) -> Result<Self, RuleError> {
        let TagSelection { names, include, exclude, regex, semver, prereleases, latest, min_age: _ } = spec;
        let patterns = |list: &[String]| list.iter().map(|pattern| WildMatch::new(pattern)).collect();
        let regex = regex.as_ref().map(|text| {
            RegexBuilder::new(text).size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE).build().map_err(|error| {
                // The crate's own message repeats the expression over several lines.
                let problem = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                RuleError { field: "regex", problem }
            })
        });
        let semver =
            semver.as_ref().map(|text| Range::parse(text).map_err(|problem| RuleError { field: "semver", problem }));
        let filters = Filters {
            include: patterns(include),
            exclude: patterns(exclude),
            regex: regex.transpose()?,
            semver: semver.transpose()?,
            prereleases: *prereleases,
            latest: latest.map(|latest| latest as usize),
        };
        Ok(Self { names: names.iter().cloned().collect(), filters: spec.has_filters().then_some(filters) })
    }

    /// Whether the source's tags have to be listed: `names` alone don't need it.
    pub(crate) fn need_list(&self) -> bool {
        self.filters.is_some()
    }

    /// The rule that rejects a tag whatever other tags there are. What passes goes to [`Self::judge`], where `latest` may
    /// still reject it: of a long list only such tags need to be kept.
    pub(crate) fn rejects(&self, tag: &str) -> Option<RejectedBy> {
        if self.names.contains(tag) {
            return None;
        }
        match &self.filters {
            Some(filters) => filters.candidate(tag).err(),
            None => Some(RejectedBy::Names),
        }
    }

    /// Judges all tags of a source, each of which is given once, in any order.
    pub(crate) fn judge<'t>(&self, tags: impl IntoIterator<Item = &'t str>) -> Verdicts<'t> {
        let mut verdicts = Verdicts::default();
        let mut candidates = Vec::new();
        for tag in tags {
            match self.filters.as_ref().map(|filters| filters.candidate(tag)) {
                None => verdicts.rejected.push((tag, RejectedBy::Names)),
                Some(Ok(candidate)) => candidates.push(candidate),
                Some(Err(rule)) => verdicts.rejected.push((tag, rule)),
            }
        }
        if let Some(latest) = self.filters.as_ref().and_then(|filters| filters.latest) {
            newest(&mut candidates, latest, &mut verdicts.rejected);
        }
        verdicts.rejected.retain(|(tag, _)| !self.names.contains(*tag));
        verdicts.selected.extend(candidates.into_iter().map(|it| (it.tag.to_owned(), SelectedBy::Filters)));
        verdicts.selected.extend(self.names.iter().map(|name| (name.clone(), SelectedBy::Names)));
        verdicts
    }
}

impl Filters {
    fn candidate<'t>(&self, tag: &'t str) -> Result<Candidate<'t>, RejectedBy> {
        if !self.include.is_empty() && !self.include.iter().any(|pattern| pattern.matches(tag)) {
            return Err(RejectedBy::Include);
        }
        if self.exclude.iter().any(|pattern| pattern.matches(tag)) {
            return Err(RejectedBy::Exclude);
        }
        let text = match &self.regex {
            None => tag,
            Some(regex) => {
                let captures = regex.captures(tag).ok_or(RejectedBy::Regex)?;
                captures.name(VERSION_GROUP).map_or(tag, |group| group.as_str())
            }
        };
        if self.semver.is_none() && self.latest.is_none() {
            return Ok(Candidate { tag, version: None, text });
        }
        let version = TagVersion::read(text);
        let contained = match (&self.semver, &version) {
            (Some(_), None) => return Err(RejectedBy::NotAVersion),
            (Some(range), Some(version)) => range.contains(&version.version),
            (None, Some(version)) if version.is_prerelease() => Contained::AsPrerelease,
            (None, _) => Contained::Yes,
        };
        match contained {
            Contained::No => Err(RejectedBy::Semver),
            Contained::AsPrerelease if !self.prereleases => Err(RejectedBy::Prerelease),
            Contained::Yes | Contained::AsPrerelease => Ok(Candidate { tag, version, text }),
        }
    }
}

/// Leaves the newest candidates. Where some are versions, only those count: a tag such as `latest` or `edge` is neither old
/// nor new among them.
fn newest<'t>(candidates: &mut Vec<Candidate<'t>>, count: usize, rejected: &mut Vec<(&'t str, RejectedBy)>) {
    if candidates.iter().any(|candidate| candidate.version.is_some()) {
        let others = candidates.extract_if(.., |candidate| candidate.version.is_none());
        rejected.extend(others.map(|candidate| (candidate.tag, RejectedBy::NotAVersion)));
    }
    candidates.sort_unstable_by(|a, b| b.order(a));
    rejected.extend(candidates.drain(count.min(candidates.len())..).map(|it| (it.tag, RejectedBy::Latest)));
}

/// Tags, the newest first: versions by their order, then what is no version by its own.
pub(crate) fn newest_first<'t>(tags: impl IntoIterator<Item = &'t str>) -> Vec<&'t str> {
    let read = |tag: &'t str| Candidate { tag, version: TagVersion::read(tag), text: tag };
    let mut all: Vec<_> = tags.into_iter().map(read).collect();
    all.sort_unstable_by(|a, b| b.order(a));
    all.into_iter().map(|candidate| candidate.tag).collect()
}
