//! A receiver of webhooks, that behaves as badly as the path says that it is asked for.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use brokkr_api::{
    Name, Timestamp,
    webhooks::{CreateWebhook, SignatureKind, WebhookSettings},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

use crate::{fleet::Engine, lab::LabError, watch::SECRET};

/// A key for the secrets of webhooks on PostgreSQL, where the broker makes none itself.
pub const KEY: &str = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Longest request that is read.
const MOST: usize = 1024 * 1024;

/// A message as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The path of the URL.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// When, in microseconds since 1970.
    pub at: i64,
}

impl Received {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON, null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    /// Statuses that a path answers next; 204 when there are none left.
    statuses: Mutex<HashMap<String, VecDeque<u16>>>,
    arrived: Notify,
}

/// A receiver on a port of its own, gone with this value.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> Result<Self, LabError> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts it at this address.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn at(address: SocketAddr) -> Result<Self, LabError> {
        let listener = TcpListener::bind(address).await.map_err(LabError::io("a receiver's port"))?;
        let address = listener.local_addr().map_err(LabError::io("a receiver's port"))?;
        let shared = Arc::<Shared>::default();
        let mut tasks = JoinSet::new();
        let serving = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    // A connection that breaks is what some of these are for.
                    drop(serve(stream, &shared).await);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Settings of a broker that may send here.
    pub fn settings(&self, engine: Engine) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("BROKKR__WEBHOOKS__ALLOW_HTTP", "true".to_owned()),
            ("BROKKR__WEBHOOKS__ALLOWED_PORTS", format!("[{}]", self.address.port())),
            ("BROKKR__WEBHOOKS__ALLOWED_NETWORKS", "[\"127.0.0.0/8\"]".to_owned()),
        ];
        if engine == Engine::Postgres {
            settings.push(("BROKKR__ENCRYPTION__KEYS", KEY.to_owned()));
        }
        settings
    }

    /// A webhook that sends to a path.
    pub fn webhook(&self, name: Name, path: &str, settings: WebhookSettings) -> CreateWebhook {
        let headers = BTreeMap::from([("authorization".to_owned(), format!("Bearer {SECRET}"))]);
        CreateWebhook {
            name,
            url: format!("{}?token={SECRET}", self.url(path)),
            headers,
            signature: SignatureKind::Hmac,
            settings,
        }
    }

    /// Answers these statuses next on a path.
    pub fn answer(&self, path: &str, statuses: &[u16]) {
        self.shared.statuses.lock().entry(path.to_owned()).or_default().extend(statuses);
    }

    /// What has arrived on a path.
    pub fn received(&self, path: &str) -> Vec<Received> {
        self.shared.received.lock().iter().filter(|received| received.path == path).cloned().collect()
    }

    /// Takes everything that has arrived on any path, so that it is kept no longer.
    pub fn drain(&self) -> Vec<Received> {
        std::mem::take(&mut self.shared.received.lock())
    }

    /// Waits until so much has arrived on a path.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn wait_for(&self, path: &str, count: usize, limit: Duration) -> Result<Vec<Received>, LabError> {
        let arrive = async {
            loop {
                let arrived = self.shared.arrived.notified();
                let received = self.received(path);
                if received.len() >= count {
                    return received;
                }
                arrived.await;
            }
        };
        let late = |_| LabError::Late {
            what: format!("{count} messages on {path}"),
            limit,
            seen: self.received(path).len().to_string(),
        };
        tokio::time::timeout(limit, arrive).await.map_err(late)
    }
}

#[expect(clippy::disallowed_methods, reason = "what arrives is compared with the clock of this machine")]
fn now() -> i64 {
    Timestamp::from_system_time(std::time::SystemTime::now()).as_micros()
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(received) = read(&mut stream, &mut buffer).await? {
        let path = received.path.clone();
        shared.received.lock().push(received);
        shared.arrived.notify_waiters();
        match path.as_str() {
            "/hang" => std::future::pending().await,
            "/close" => return Ok(()),
            "/drip" => loop {
                stream.write_all(b"H").await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            },
            "/endless" => {
                stream.write_all(b"HTTP/1.1 500 Endless\r\ncontent-length: 1073741824\r\n\r\n").await?;
                let block = vec![b'a'; 64 * 1024];
                for _ in 0..16 * 1024 {
                    stream.write_all(&block).await?;
                }
            }
            "/redirect" => {
                let answer =
                    b"HTTP/1.1 307 Elsewhere\r\nlocation: http://169.254.169.254/latest/meta-data\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await?;
            }
            _ => {
                let status = shared.statuses.lock().get_mut(&path).and_then(VecDeque::pop_front).unwrap_or(204);
                let body =
                    if status == 204 { "\r\n".to_owned() } else { format!("content-length: {}\r\n\r\n{SECRET}", SECRET.len()) };
                stream.write_all(format!("HTTP/1.1 {status} Told\r\n{body}").as_bytes()).await?;
            }
        }
    }
    Ok(())
}

/// Reads one request; nothing at the end of the connection.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Received>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut lines = head.lines();
            let target = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default().to_owned();
            let header = |line: &str| {
                let (name, value) = line.split_once(": ")?;
                Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
            };
            let headers: HeaderMap = lines.filter_map(header).collect();
            let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let body = buffer[end + 4..whole].to_vec();
                buffer.drain(..whole);
                return Ok(Some(Received { path, headers, body, at: now() }));
            }
        }
        if buffer.len() > MOST || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
