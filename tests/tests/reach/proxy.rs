//! A small HTTP proxy of our own: it joins two TCP connections when it is asked with `CONNECT`, and remembers for whom.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
}

/// One `CONNECT`.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let running = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = running.clone();
                // A connection that ends early is its client's affair.
                tokio::spawn(async move { proxy.join(stream).await.ok() });
            }
        });
        proxy
    }

    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().clone()
    }

    async fn join(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut client = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            client.read_line(&mut line).await?;
            match line.trim() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let request = lines.first().cloned().unwrap_or_default();
        let Some(target) = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()) else {
            return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n").await;
        };
        let authorization = lines.iter().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
        });
        self.seen.lock().push(Asked { target: target.to_owned(), authorization });
        let mut server = TcpStream::connect(target).await?;
        server.set_nodelay(true)?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        copy_bidirectional(&mut client, &mut server).await.map(drop)
    }
}
