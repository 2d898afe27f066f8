//! Public keys.

use std::fmt;

use sigstore_verify::crypto::{KeyAlgorithm, SigningScheme, VerificationKey, validate_raw_public_key};
use sigstore_verify::types::{DerPublicKey, SignatureBytes};

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// A public key, with the ways in which cosign signs with the private one.
pub struct Key(Vec<VerificationKey>);

/// Why a text has no keys that can be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("there is no {BEGIN}")]
    None,
    /// One of them can't be used.
    #[error("it can't be used: {0}")]
    Unusable(String),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.scheme().name())).finish()
    }
}

impl Key {
    /// Reads all keys of a text in PEM.
    pub fn parse(pem: &str) -> Result<Vec<Self>, KeyError> {
        let blocks: Vec<&str> = pem.split(BEGIN).skip(1).collect();
        if blocks.is_empty() {
            return Err(KeyError::None);
        }
        let blocks = blocks.into_iter().map(|block| {
            let body = block.split_once(END).map_or(block, |(body, _)| body);
            Self::of(&format!("{BEGIN}{body}{END}\n"))
        });
        blocks.collect()
    }

    fn of(pem: &str) -> Result<Self, KeyError> {
        let unusable = |error: &dyn fmt::Display| KeyError::Unusable(error.to_string());
        let key = DerPublicKey::from_pem(pem).map_err(|error| unusable(&error))?;
        let algorithm = KeyAlgorithm::from_spki(&key).map_err(|error| unusable(&error))?;
        let keys = schemes(algorithm)
            .into_iter()
            .map(|scheme| {
                let key = VerificationKey::from_spki_with_scheme(&key, scheme)?;
                // Sizes and encodings that no signature is accepted of: better told now than taken for a wrong key later.
                validate_raw_public_key(scheme, key.as_bytes())?;
                Ok(key)
            })
            .collect::<Result<_, sigstore_verify::crypto::Error>>()
            .map_err(|error| unusable(&error))?;
        Ok(Self(keys))
    }

    /// Whether the private key made this signature of the data.
    pub(super) fn made(&self, data: &[u8], signature: &SignatureBytes) -> bool {
        self.0.iter().any(|key| key.verify(data, signature).is_ok())
    }
}

/// cosign hashes with SHA-256 whatever the key, or with the hash that belongs to the key.
fn schemes(algorithm: KeyAlgorithm) -> Vec<SigningScheme> {
    match algorithm {
        KeyAlgorithm::EcdsaP384 => vec![SigningScheme::EcdsaP384Sha384, SigningScheme::EcdsaP384Sha256],
        KeyAlgorithm::Rsa => {
            vec![SigningScheme::RsaPkcs1Sha256, SigningScheme::RsaPkcs1Sha384, SigningScheme::RsaPkcs1Sha512]
        }
        other => vec![other.default_signing_scheme()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sigstore_verify::crypto::KeyPair;

    #[test]
    fn a_key_knows_its_own_signatures() {
        let (pair, other) =
            (KeyPair::generate_ecdsa_p256().expect("a key"), KeyPair::generate_ecdsa_p256().expect("a key"));
        let signature = pair.sign(b"data").expect("a signature");
        let pem = pair.public_key_der().expect("a public key").to_pem();
        let key = Key::parse(&pem).expect("a key").remove(0);
        assert!(key.made(b"data", &signature));
        assert!(!key.made(b"date", &signature));
        assert!(!key.made(b"data", &other.sign(b"data").expect("a signature")));
        assert!(!key.made(b"data", &SignatureBytes::new(Vec::new())));
    }

    #[test]
    fn a_text_may_have_several_keys_and_words_around_them() {
        let pem = || KeyPair::generate_ecdsa_p256().and_then(|pair| pair.public_key_der()).expect("a key").to_pem();
        let text = format!("# old\r\n{}\n# new\n{}", pem().replace('\n', "\r\n"), pem());
        assert_eq!(Key::parse(&text).expect("keys").len(), 2);
    }

    #[test]
    fn what_is_no_public_key_is_refused_with_a_reason() {
        for text in [
            "",
            "nonsense",
            "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMFkw",
        ] {
            assert!(!Key::parse(text).expect_err(text).to_string().is_empty());
        }
        let small = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCqGKukO1De7zhZj6+H0qtjTkVxwTCpvKe4eCZ0FPqri0cb2JZfXJ/DgYSF6vUpwmJG8wVQZKjeGcjDOL5UlsuusFncCzWBQ7RKNUSesmQRMSGkVb1/3j+skZ6UtW+5u09lHNsj6tQ51s1SPrCBkedbNf0Tp0GbMJDyR4e9T04ZZwIDAQAB\n-----END PUBLIC KEY-----";
        let error = Key::parse(small).expect_err("1024 bits").to_string();
        assert!(error.contains("1024"), "{error}");
    }
}
