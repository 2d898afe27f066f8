//! Which certificates are trusted.

use axum::serve::Listener;
use oci_copy::{ErrorKind, RegistryConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::support::{Registry, engine};

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((connection, address)) = self.tcp.accept().await else { continue };
            if let Ok(connection) = self.acceptor.accept(connection).await {
                return (connection, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A registry with a certificate of its own authority, and that authority's certificate.
async fn start() -> (Registry, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = Registry::unserved(tcp.local_addr().unwrap().to_string());
    let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(server)) };
    let app = registry.app();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (registry, authority.pem())
}

#[tokio::test]
async fn a_registry_with_an_authority_of_its_own_is_trusted_by_its_ca_bundle_only() {
    let (registry, authority) = start().await;
    let image = registry.put_image("a", Some("v1"), "one");
    let reference = registry.reference("a:v1");
    let config = RegistryConfig::new(&registry.host).unwrap().endpoint(&format!("https://{}", registry.host)).unwrap();

    let untrusting = engine(&[]).with_registry(config.clone()).unwrap();
    let error = untrusting.resolve(&reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(!error.is_transient());
    assert!(registry.seen().is_empty());

    let trusting = engine(&[]).with_registry(config.ca_bundle(authority).unwrap()).unwrap();
    assert_eq!(trusting.resolve(&reference).await.unwrap().unwrap().digest, image.digest);
    let error = untrusting.resolve(&reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "trust is not shared: {error}");
}

#[tokio::test]
async fn a_registry_that_speaks_no_tls_is_not_spoken_to_without() {
    let registry = Registry::start().await;
    let config = RegistryConfig::new(&registry.host).unwrap().endpoint(&format!("https://{}", registry.host)).unwrap();
    let error = engine(&[]).with_registry(config).unwrap().resolve(&registry.reference("a:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(registry.seen().is_empty());
}
