//! Connections that can be cut, listeners that can be away for a while, and certificates that can be wrong.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What a registry is spoken to by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
    TlsHttp2,
}

/// One authority for all servers of this process, and its certificate for 127.0.0.1 and localhost.
struct Identity {
    authority_pem: String,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    /// Signed by nobody whom the engine knows.
    stranger: Arc<ServerConfig>,
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (authority_pem, http1) = server_config(&[b"http/1.1"]);
    // The same authority can't be used twice without keeping it, so both protocols share one certificate.
    let mut http2 = (*http1).clone();
    http2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (_, stranger) = server_config(&[b"http/1.1"]);
    Identity { authority_pem, http1, http2: Arc::new(http2), stranger }
});

fn server_config(protocols: &[&[u8]]) -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (authority.pem(), Arc::new(config))
}

/// The certificate of the authority that signs for this process's servers.
pub(crate) fn authority() -> &'static str {
    &IDENTITY.authority_pem
}

/// What can go wrong with a listener's next connections.
#[derive(Default)]
pub(crate) struct Weather {
    /// How many connections get nonsense instead of TLS.
    pub(crate) nonsense: AtomicU32,
    /// How many connections get a certificate of a stranger.
    pub(crate) stranger: AtomicU32,
    /// For how many milliseconds nobody listens.
    pub(crate) away: AtomicU64,
    pub(crate) changed: tokio::sync::Notify,
}

impl Weather {
    fn takes(count: &AtomicU32) -> bool {
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// A listener on a port of its own.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    connections: mpsc::Receiver<Connection>,
}

impl Gate {
    pub(crate) async fn open(transport: Transport, weather: Arc<Weather>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::channel(16);
        tokio::spawn(accept(listener, transport, weather, sender));
        Self { address, connections }
    }
}

async fn accept(
    mut listener: TcpListener,
    transport: Transport,
    weather: Arc<Weather>,
    sender: mpsc::Sender<Connection>,
) {
    let address = listener.local_addr().unwrap();
    while !sender.is_closed() {
        let away = weather.away.swap(0, Ordering::SeqCst);
        if away > 0 {
            drop(listener);
            tokio::time::sleep(Duration::from_millis(away)).await;
            listener = loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = weather.changed.notified() => continue,
            () = sender.closed() => return,
        };
        let Ok((tcp, _)) = accepted else { continue };
        let _ = tcp.set_nodelay(true);
        tokio::spawn(greet(tcp, transport, weather.clone(), sender.clone()));
    }
}

async fn greet(mut tcp: TcpStream, transport: Transport, weather: Arc<Weather>, sender: mpsc::Sender<Connection>) {
    let stream = if transport == Transport::Plain {
        Stream::Plain(tcp)
    } else if Weather::takes(&weather.nonsense) {
        let _ = tcp.write_all(b"220 this is a mail server\r\n").await;
        return;
    } else {
        let identity = &*IDENTITY;
        let config = match transport {
            _ if Weather::takes(&weather.stranger) => &identity.stranger,
            Transport::TlsHttp2 => &identity.http2,
            _ => &identity.http1,
        };
        match TlsAcceptor::from(config.clone()).accept(tcp).await {
            Ok(tls) => Stream::Tls(Box::new(tls)),
            Err(_) => return,
        }
    };
    let _ = sender.send(Connection { stream, cut: Cut::default() }).await;
}

impl Listener for Gate {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.connections.recv().await {
            Some(connection) => (connection, self.address),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Cuts a connection: whatever is read or written next fails, and the other side sees a reset.
#[derive(Clone, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, Gate>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Gate>) -> Self {
        stream.io().cut.clone()
    }
}

pub(crate) struct Connection {
    stream: Stream,
    cut: Cut,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if !self.cut.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        let tcp = match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        let _ = tcp.set_zero_linger();
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
