//! A forward proxy that makes tunnels, and can refuse to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Seen {
    refused: Option<String>,
    tunnels: BTreeSet<String>,
    credentials: bool,
}

pub(crate) struct Proxy {
    pub(crate) address: String,
    seen: Arc<Mutex<Seen>>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(tunnel(connection, shared.clone()));
            }
        });
        Self { address, seen }
    }

    /// Makes no tunnels to this host and port.
    pub(crate) fn refuse(&self, authority: &str) {
        self.seen.lock().unwrap().refused = Some(authority.to_owned());
    }

    /// Makes tunnels to everywhere.
    pub(crate) fn allow(&self) {
        self.seen.lock().unwrap().refused = None;
    }

    /// Where it was asked to.
    pub(crate) fn tunnels(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap().tunnels.clone()
    }

    /// Whether somebody said who they are.
    pub(crate) fn saw_credentials(&self) -> bool {
        self.seen.lock().unwrap().credentials
    }
}

/// Serves one `CONNECT`.
async fn tunnel(connection: TcpStream, seen: Arc<Mutex<Seen>>) -> std::io::Result<()> {
    let mut client = BufReader::new(connection);
    let mut line = String::new();
    client.read_line(&mut line).await?;
    let authority = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_tunnel = line.starts_with("CONNECT ");
    loop {
        line.clear();
        if client.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        if line.to_ascii_lowercase().starts_with("proxy-authorization: basic ") {
            seen.lock().unwrap().credentials = true;
        }
    }
    let refused = {
        let mut seen = seen.lock().unwrap();
        seen.tunnels.insert(authority.clone());
        seen.refused.as_ref() == Some(&authority)
    };
    if refused || !is_tunnel {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    }
    let mut server = TcpStream::connect(&authority).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}
