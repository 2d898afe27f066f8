//! Content digests: `algorithm:hex`, as the OCI image specification defines them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The hash functions that the OCI image specification registers and that registries accept
/// ([descriptor.md, "Registered algorithms"]).
///
/// [descriptor.md, "Registered algorithms"]: https://github.com/opencontainers/image-spec/blob/main/descriptor.md#registered-algorithms
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256: 64 hexadecimal digits.
    Sha256,
    /// SHA-512: 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// The name in front of the colon.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    fn implementation(self) -> &'static aws_lc_rs::digest::Algorithm {
        match self {
            Self::Sha256 => &aws_lc_rs::digest::SHA256,
            Self::Sha512 => &aws_lc_rs::digest::SHA512,
        }
    }
}

/// A digest whose algorithm is known and whose hexadecimal part is complete and in lower case.
///
/// A value of this type holds nothing but `[a-z0-9:]`, so it can stand in a URL or a file name as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    text: Box<str>,
}

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The digest of `bytes` by `algorithm`.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Whether `bytes` have this digest.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        Self::of(self.algorithm, bytes) == *self
    }

    /// The algorithm in front of the colon.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal digits behind the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.as_str().len() + 1..]
    }

    /// The whole digest, `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let invalid = |problem| DigestError { digest: shorten(text), problem };
        let (name, hex) = text.split_once(':').ok_or_else(|| invalid(DigestProblem::NoColon))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(invalid(DigestProblem::Algorithm)),
        };
        if hex.len() != algorithm.hex_len() {
            return Err(invalid(DigestProblem::Length { expected: algorithm.hex_len() }));
        }
        // The specification wants lower case ("MUST match [a-f0-9]{64}").
        if !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid(DigestProblem::NotLowerHex));
        }
        Ok(Self { algorithm, text: text.into() })
    }
}

/// Text from elsewhere is shown, but never all of it.
fn shorten(text: &str) -> String {
    crate::error::sanitize(text, 200)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {digest:?}: {problem}")]
pub struct DigestError {
    digest: String,
    problem: DigestProblem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum DigestProblem {
    #[error("it has no colon; write it as sha256:<64 hexadecimal digits>")]
    NoColon,
    #[error("only sha256 and sha512 are supported")]
    Algorithm,
    #[error("the part behind the colon must have {expected} digits")]
    Length { expected: usize },
    #[error("the part behind the colon must be hexadecimal digits in lower case")]
    NotLowerHex,
}

/// Computes a digest over bytes that come in pieces.
#[derive(Clone)]
pub(crate) struct Hasher {
    algorithm: Algorithm,
    context: aws_lc_rs::digest::Context,
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, context: aws_lc_rs::digest::Context::new(algorithm.implementation()) }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        use fmt::Write;
        let hash = self.context.finish();
        let name = self.algorithm.as_str();
        let mut text = String::with_capacity(name.len() + 1 + self.algorithm.hex_len());
        text.push_str(name);
        text.push(':');
        for byte in hash.as_ref() {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
        }
        Digest { algorithm: self.algorithm, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_well_known_one() {
        assert_eq!(Digest::sha256(b"").as_str(), EMPTY);
        assert!(EMPTY.parse::<Digest>().unwrap().matches(b""));
        assert_eq!(Digest::of(Algorithm::Sha512, b"").hex().len(), 128);
    }

    #[test]
    fn what_is_not_a_digest_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("", "no colon"),
            ("sha256", "no colon"),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", "only sha256 and sha512"),
            ("sha256:", "64 digits"),
            ("sha256:abc", "64 digits"),
            (&EMPTY.to_uppercase().replace("SHA256", "sha256"), "lower case"),
            (&EMPTY.replace("e3b0", "../e"), "lower case"),
            (&EMPTY.replace("sha256", "SHA256"), "only sha256"),
        ] {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_digest_survives_json() {
        let digest: Digest = EMPTY.parse().unwrap();
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"sha256:../../etc\"").is_err());
    }
}
