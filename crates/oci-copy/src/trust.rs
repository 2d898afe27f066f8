//! Whose certificates are trusted: the system's, and what a registry's configuration adds.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, Error};
use rustls_platform_verifier::Verifier;

/// Different sets of certificates that are kept: one for each CA, and there are few.
const KEPT: usize = 16;

/// What an engine trusts.
///
/// Reading the system's certificates means opening some hundred files, and every HTTP client would do it for itself.
#[derive(Default)]
pub(crate) struct Trust {
    /// What verifies, by the certificates that are trusted beside the system's; most registries share one.
    verifiers: Mutex<Vec<(Bundle, Arc<Verifier>)>>,
}

/// Certificates beside the system's, PEM.
type Bundle = Option<Vec<u8>>;

impl Trust {
    /// The TLS of one registry, which trusts the certificates in `bundle`, PEM, beside the system's.
    ///
    /// Each registry has one of its own: sessions that are resumed in it were verified by the same rules.
    pub(crate) fn client_config(&self, bundle: Option<&[u8]>) -> Result<ClientConfig, Error> {
        let default = || Arc::new(aws_lc_rs::default_provider());
        let provider = CryptoProvider::get_default().cloned().unwrap_or_else(default);
        let verifier = self.verifier(bundle, &provider)?;
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    fn verifier(
        &self,
        bundle: Option<&[u8]>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        let mut verifiers = self.verifiers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = verifiers.iter().find(|(of, _)| of.as_deref() == bundle) {
            return Ok(known.clone());
        }
        let verifier = match bundle {
            Some(pem) => {
                let added: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
                let added = added.map_err(|error| Error::General(error.to_string()))?;
                Verifier::new_with_extra_roots(added, provider.clone())?
            }
            None => Verifier::new(provider.clone())?,
        };
        let verifier = Arc::new(verifier);
        if verifiers.len() >= KEPT {
            verifiers.remove(0);
        }
        verifiers.push((bundle.map(<[u8]>::to_vec), verifier.clone()));
        Ok(verifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_that_trust_the_same_share_what_verifies_and_others_do_not() {
        let trust = Trust::default();
        let pem =
            |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.pem().into_bytes();
        let (one, two) = (pem("one"), pem("two"));
        for bundle in [None, Some(one.as_slice()), None, Some(&one), Some(&two), Some(&one)] {
            trust.client_config(bundle).unwrap();
        }
        let verifiers = trust.verifiers.lock().unwrap();
        let kept: Vec<_> = verifiers.iter().map(|(bundle, _)| bundle.as_deref()).collect();
        assert_eq!(kept, [None, Some(one.as_slice()), Some(&two)]);
    }
}
