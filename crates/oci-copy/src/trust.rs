//! Whose certificates are trusted: the system's, and what a registry's configuration adds.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, Error};
use rustls_platform_verifier::Verifier;

/// What an engine trusts.
///
/// Reading the system's certificates means opening some hundred files, and every HTTP client would do it for itself.
#[derive(Default)]
pub(crate) struct Trust {
    /// The system's certificates alone, which most registries share.
    system: Mutex<Option<Arc<Verifier>>>,
}

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
        if let Some(pem) = bundle {
            let added: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            let added = added.map_err(|error| Error::General(error.to_string()))?;
            return Ok(Arc::new(Verifier::new_with_extra_roots(added, provider.clone())?));
        }
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verifier) = &*system {
            return Ok(verifier.clone());
        }
        let verifier = Arc::new(Verifier::new(provider.clone())?);
        Ok(system.insert(verifier).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_without_certificates_of_their_own_share_the_systems() {
        let trust = Trust::default();
        trust.client_config(None).unwrap();
        let first = trust.system.lock().unwrap().clone().unwrap();
        trust.client_config(None).unwrap();
        assert!(Arc::ptr_eq(&first, trust.system.lock().unwrap().as_ref().unwrap()));
    }
}
