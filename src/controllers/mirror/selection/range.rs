//! Ranges of versions, as `tags.semver` has them.
//!
//! The words are those that users of Helm, Flux and npm know: `>=1.25, <2`, `^1.2`, `~1.2`, `1.27.x`, `1.2 - 1.4`,
//! `>=1 <2 || >=3`. A version without an operator is that version, and `1.27` is every 1.27.x: the crate `semver` would
//! read it as Cargo does, as every 1.x from 1.27 on.

use semver::{Prerelease, Version, VersionReq};

use super::version::number;

/// A range: what one of its alternatives contains.
#[derive(Clone, Debug)]
pub(super) struct Range(Vec<Alternative>);

#[derive(Clone, Debug)]
struct Alternative {
    all_of: VersionReq,
    none_of: Vec<VersionReq>,
}

/// Whether a version is in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contained {
    Yes,
    /// It would be if prereleases were asked for.
    AsPrerelease,
    No,
}

impl Range {
    /// Reads a range; the error says which part of it can't be read.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        text.split("||").map(alternative).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a version is in the range.
    ///
    /// A prerelease counts as the version that it leads to: 2.0.0-rc.1 is not below 2, and 1.25.0-rc.1 is not older than
    /// 1.25. Only where the range itself names a prerelease of the same version, their own order decides, and then it needs
    /// no `prereleases: true`.
    pub(super) fn contains(&self, version: &Version) -> Contained {
        let found = self.0.iter().map(|alternative| alternative.contains(version));
        found.fold(Contained::No, |best, next| match (best, next) {
            (Contained::Yes, _) | (_, Contained::Yes) => Contained::Yes,
            (Contained::AsPrerelease, _) | (_, Contained::AsPrerelease) => Contained::AsPrerelease,
            _ => Contained::No,
        })
    }
}

impl Alternative {
    fn contains(&self, version: &Version) -> Contained {
        if self.matches(version) {
            return Contained::Yes;
        }
        let names_it = self.all_of.comparators.iter().any(|comparator| {
            !comparator.pre.is_empty()
                && (comparator.major, comparator.minor, comparator.patch)
                    == (version.major, Some(version.minor), Some(version.patch))
        });
        if version.pre.is_empty() || names_it {
            return Contained::No;
        }
        let release = Version { pre: Prerelease::EMPTY, ..version.clone() };
        if self.matches(&release) { Contained::AsPrerelease } else { Contained::No }
    }

    fn matches(&self, version: &Version) -> bool {
        self.all_of.matches(version) && !self.none_of.iter().any(|not| not.matches(version))
    }
}

fn alternative(text: &str) -> Result<Alternative, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("there is nothing on one side of ||".to_owned());
    }
    if let Some((from, to)) = text.split_once(" - ") {
        let all_of = requirement(&format!(">={},<={}", version(from)?, version(to)?), text)?;
        return Ok(Alternative { all_of, none_of: Vec::new() });
    }
    let (mut all_of, mut none_of) = (Vec::new(), Vec::new());
    let mut pending = String::new();
    for word in text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()) {
        pending.push_str(word);
        if word.chars().all(|it| "<>=!~^".contains(it)) {
            // `>= 1.2`: the version is the next word.
            continue;
        }
        let part = std::mem::take(&mut pending);
        let rest = part.trim_start_matches(['<', '>', '=', '!', '~', '^']);
        let operator = match &part[..part.len() - rest.len()] {
            "!=" => {
                none_of.push(requirement(&format!("={}", version(rest)?), &part)?);
                continue;
            }
            // With wildcards the version says it all: `1.27.x`.
            "" | "=" | "==" if rest.contains(['x', 'X', '*']) && !rest.contains('-') => "",
            "" | "=" | "==" => "=",
            "~>" => "~",
            known @ ("<" | "<=" | ">" | ">=" | "~" | "^") => known,
            other => return Err(format!("{other:?} in {part:?} is no operator: use =, !=, <, <=, >, >=, ~ or ^")),
        };
        all_of.push(format!("{operator}{}", version(rest)?));
    }
    if !pending.is_empty() {
        return Err(format!("there is no version after {pending:?}"));
    }
    let all_of = if all_of.is_empty() { VersionReq::STAR } else { requirement(&all_of.join(","), text)? };
    Ok(Alternative { all_of, none_of })
}

fn requirement(text: &str, written: &str) -> Result<VersionReq, String> {
    VersionReq::parse(text).map_err(|error| format!("{written:?} can't be read: {error}"))
}

/// A version of a range as the crate wants it: without a `v`, and without leading zeros.
fn version(text: &str) -> Result<String, String> {
    let text = text.trim();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (core, suffix) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let part = |part: &str| match part {
        "x" | "X" | "*" => Some(part.to_owned()),
        part => number(part).map(|number| number.to_string()),
    };
    let parts: Option<Vec<String>> = core.split('.').map(part).collect();
    match parts {
        Some(parts) if parts.len() <= 3 => Ok(format!("{}{suffix}", parts.join("."))),
        _ => Err(format!("{text:?} is no version: write one such as 1, 1.27, 1.27.3 or 1.27.x")),
    }
}

#[cfg(test)]
mod tests {
    use super::Contained::{AsPrerelease, No, Yes};
    use super::*;
    use crate::controllers::mirror::selection::version::TagVersion;

    fn contains(range: &str, tag: &str) -> Contained {
        let version = TagVersion::read(tag).expect(tag).version;
        Range::parse(range).expect(range).contains(&version)
    }

    #[test]
    fn a_version_is_in_a_range_as_its_users_expect() {
        for (range, tag, expected) in [
            (">=1.25, <2", "1.25.0", Yes),
            (">=1.25, <2", "1.25", Yes),
            (">=1.25, <2", "v1.30.2", Yes),
            (">=1.25, <2", "1.24.9", No),
            (">=1.25, <2", "2.0.0", No),
            (">=1.25 <2", "1.26.0", Yes),
            (">= 1.25, < 2", "1.26.0", Yes),
            (">=v1.25", "v1.26.0", Yes),
            ("1.27", "1.27.9", Yes),
            ("1.27", "1.28.0", No),
            ("=1.27", "1.27.9", Yes),
            ("1.27.3", "1.27.3", Yes),
            ("1.27.3", "1.27.4", No),
            ("1", "1.99.0", Yes),
            ("1", "2.0.0", No),
            ("1.27.x", "1.27.5", Yes),
            ("1.27.x", "1.28.0", No),
            ("1.x", "1.28.0", Yes),
            ("1.*", "2.0.0", No),
            ("*", "0.1.0", Yes),
            ("^1.2", "1.9.0", Yes),
            ("^1.2", "2.0.0", No),
            ("^0.2.3", "0.2.9", Yes),
            ("^0.2.3", "0.3.0", No),
            ("~1.2", "1.2.9", Yes),
            ("~1.2", "1.3.0", No),
            ("~>1.2.3", "1.2.4", Yes),
            ("1.2 - 1.4", "1.4.9", Yes),
            ("1.2 - 1.4", "1.5.0", No),
            ("1.2 - 1.4", "1.1.9", No),
            (">1.27", "1.27.5", No),
            (">1.27", "1.28.0", Yes),
            ("<=1.27", "1.27.5", Yes),
            (">=1 <2 || >=3", "2.5.0", No),
            (">=1 <2 || >=3", "3.5.0", Yes),
            ("1.27 || 1.29", "1.28.0", No),
            (">=1.25, !=1.26.1", "1.26.1", No),
            (">=1.25, !=1.26.1", "1.26.2", Yes),
            ("!=1.26", "1.26.2", No),
            ("!=1.26", "1.27.0", Yes),
            (">=22.04", "22.10", Yes),
            (">=22.04", "20.04", No),
        ] {
            assert_eq!(contains(range, tag), expected, "{range:?} {tag}");
        }
    }

    #[test]
    fn a_prerelease_counts_as_the_version_that_it_leads_to() {
        for (range, tag, expected) in [
            (">=1.25, <2", "1.27.0-rc.1", AsPrerelease),
            (">=1.25, <2", "1.25.0-rc.1", AsPrerelease),
            (">=1.25, <2", "2.0.0-rc.1", No),
            (">=1.25, <2", "1.24.0-rc.1", No),
            ("1.27", "1.27.3-alpine", AsPrerelease),
            ("*", "1.0.0-alpha", AsPrerelease),
            (">=1.27.0-rc.2", "1.27.0-rc.2", Yes),
            (">=1.27.0-rc.2", "1.27.0-rc.3", Yes),
            (">=1.27.0-rc.2", "1.27.0-rc.1", No),
            (">=1.27.0-rc.2", "1.28.0-rc.1", AsPrerelease),
            (">=1.27.0-rc.2", "1.27.0", Yes),
            ("!=1.27.0", "1.27.0-rc.1", No),
        ] {
            assert_eq!(contains(range, tag), expected, "{range:?} {tag}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_part_that_is_wrong() {
        for (range, word) in [
            ("", "nothing"),
            ("1.2 ||", "nothing"),
            (">=", "no version after"),
            ("=>1.2", "operator"),
            (">=one", "one"),
            ("1.2.3.4", "1.2.3.4"),
            ("latest", "latest"),
            (">=1.2.3-", "1.2.3-"),
            ("<1.2.x.y", "1.2.x.y"),
        ] {
            let error = Range::parse(range).expect_err(range);
            assert!(error.contains(word), "{range:?}: {error}");
        }
    }
}
