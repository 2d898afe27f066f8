//! Platforms, and which of an index's images they select.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::sanitize;

/// An operating system and architecture: `linux/amd64`, `linux/arm/v7`, `windows/amd64:10.0.20348`.
///
/// Names are those of the OCI image specification (Go's `GOOS` and `GOARCH`). The usual other spellings are read too:
/// `x86_64`, `aarch64`, `armhf`, `armel`, `i386`; and `arm64/v8` and `amd64/v1` are `arm64` and `amd64`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
    os_version: Option<String>,
}

impl Platform {
    /// A platform from its parts, as an index or an image configuration gives them.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>, os_version: Option<&str>) -> Self {
        let part = |text: &str| text.trim().to_ascii_lowercase();
        let some = |text: Option<&str>| text.map(part).filter(|text| !text.is_empty());
        let (architecture, variant) = normalize(part(architecture), some(variant));
        let os = match part(os).as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        Self { os, architecture, variant, os_version: some(os_version) }
    }

    /// The operating system.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The processor architecture.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The architecture's variant, such as `v7`.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// The operating system's version; only Windows images have one.
    #[must_use]
    pub fn os_version(&self) -> Option<&str> {
        self.os_version.as_deref()
    }

    /// Whether asking for `self` selects an image of `offered`.
    ///
    /// A part that isn't asked for matches whatever is offered: `linux/arm` selects `v6` and `v7`. A version matches
    /// versions that go on after a dot: `10.0.20348` selects `10.0.20348.2966`.
    #[must_use]
    pub fn selects(&self, offered: &Platform) -> bool {
        let version = |wanted: &str| {
            offered.os_version.as_deref().is_some_and(|offered| {
                offered.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_none() || self.variant == offered.variant)
            && self.os_version.as_deref().is_none_or(version)
    }
}

/// One name for what has several.
fn normalize(architecture: String, variant: Option<String>) -> (String, Option<String>) {
    let own = |name: &str| name.to_owned();
    match (architecture.as_str(), variant.as_deref()) {
        ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => (own("amd64"), None),
        ("x86_64" | "x86-64", _) => (own("amd64"), variant),
        ("aarch64" | "arm64", None | Some("8" | "v8")) => (own("arm64"), None),
        ("aarch64", _) => (own("arm64"), variant),
        ("i386" | "i686" | "x86", _) => (own("386"), variant),
        ("armhf", _) => (own("arm"), Some(own("v7"))),
        ("armel", _) => (own("arm"), Some(own("v6"))),
        ("arm", Some(number @ ("5" | "6" | "7" | "8"))) => (own("arm"), Some(format!("v{number}"))),
        _ => (architecture, variant),
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let invalid = || PlatformError { platform: sanitize(text, 100) };
        let (rest, version) = match text.split_once(':') {
            Some((rest, version)) => (rest, Some(version)),
            None => (text, None),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.len() <= 64
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !(parts.iter().all(&word) && version.iter().all(word)) {
            return Err(invalid());
        }
        match parts.as_slice() {
            [os, architecture] => Ok(Self::new(os, architecture, None, version)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant), version)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if let Some(variant) = &self.variant {
            write!(f, "/{variant}")?;
        }
        if let Some(version) = &self.os_version {
            write!(f, ":{version}")?;
        }
        Ok(())
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform {platform:?}: write it as os/architecture or os/architecture/variant, such as linux/amd64")]
pub struct PlatformError {
    platform: String,
}

/// Which platforms of an image are copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlatformSelection {
    /// All of them: the digest stays the source's.
    #[default]
    All,
    /// Only these. An index that has others is rewritten without them, so its digest changes; one that has no others
    /// stays as it is.
    Only(Vec<Platform>),
}

impl PlatformSelection {
    /// The platforms given, or all if none is given.
    pub fn only(platforms: impl IntoIterator<Item = Platform>) -> Self {
        let platforms: Vec<_> = platforms.into_iter().collect();
        if platforms.is_empty() { Self::All } else { Self::Only(platforms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_platform_are_one_platform() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("windows/amd64:10.0.20348.1", "windows/amd64:10.0.20348.1"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_platform_selects_what_agrees_in_every_part_asked_for() {
        for (wanted, offered, selects) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/amd64/v3", "linux/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("windows/amd64", "windows/amd64:10.0.1", true),
            ("windows/amd64:10.0.1", "windows/amd64:10.0.1.22", true),
            ("windows/amd64:10.0.1", "windows/amd64:10.0.12", false),
            ("windows/amd64:10.0.1", "windows/amd64", false),
        ] {
            let (wanted, offered): (Platform, Platform) = (wanted.parse().unwrap(), offered.parse().unwrap());
            assert_eq!(wanted.selects(&offered), selects, "{wanted} {offered}");
        }
    }

    #[test]
    fn what_is_not_a_platform_is_refused() {
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux amd64", "linux/amd64:", "linux/a md"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
