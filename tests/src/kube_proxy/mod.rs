//! Faults between a program and the real API server, call by call: an HTTP proxy that a kubeconfig of its own points to.
//!
//! It takes plain HTTP and speaks TLS with the API server; bodies are streamed, so that watches work. Who the caller is stays
//! as it is: the token of the kubeconfig is passed on.

mod fault;
mod forward;

pub use fault::{Call, Fault, Outcome, Plan};

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

use crate::{
    control_plane,
    lab::{LabError, Scratch},
};
use fault::Log;
use forward::Upstream;

/// A running proxy. It ends when it is dropped.
pub struct KubeProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    kubeconfig: PathBuf,
    server: tokio::task::JoinHandle<()>,
    _scratch: Scratch,
}

struct Shared {
    upstream: Upstream,
    log: Mutex<Log>,
}

impl std::fmt::Debug for KubeProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl KubeProxy {
    /// Starts one before the API server of this kubeconfig, which must name its authority by file and its user by token.
    ///
    /// # Errors
    /// When the kubeconfig is another, or no port can be had.
    pub async fn start(kubeconfig: &Path) -> Result<Self, LabError> {
        let (base, authority) = control_plane::server_of(kubeconfig)?;
        let scratch = Scratch::new("kube-proxy")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(LabError::io("a port for the proxy"))?;
        let address = listener.local_addr().map_err(LabError::io("the proxy's port"))?;
        let text = std::fs::read_to_string(kubeconfig).map_err(LabError::io("the kubeconfig"))?;
        let file = scratch.write("kubeconfig", text.replace(&base, &format!("http://{address}")))?;
        let shared = Arc::new(Shared { upstream: Upstream::new(&base, &authority)?, log: Mutex::default() });
        let server = start(listener, Arc::clone(&shared));
        Ok(Self { shared, address, kubeconfig: file, server, _scratch: scratch })
    }

    /// The kubeconfig that leads through the proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What becomes of the calls from now on.
    pub fn plan(&self, plan: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.shared.log.lock().plan = Some(Box::new(plan));
    }

    /// No faults any more.
    pub fn calm(&self) {
        self.shared.log.lock().plan = None;
    }

    /// How many calls have come.
    pub fn count(&self) -> usize {
        self.shared.log.lock().calls.len()
    }

    /// The calls so far, oldest first; number N is at index N.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.log.lock().calls.clone()
    }
}

impl Drop for KubeProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "the task ends with the value that holds it")]
fn start(listener: TcpListener, shared: Arc<Shared>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        // Dropped with this task, and all connections with it.
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(connection(stream, Arc::clone(&shared)));
            while connections.try_join_next().is_some() {}
        }
    })
}

/// A caller's connection, with the one way to end it.
#[derive(Clone)]
struct Caller {
    shared: Arc<Shared>,
    close: Arc<Notify>,
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without this each small answer waits for the acknowledgement of the one before.
    drop(stream.set_nodelay(true));
    let close = Arc::new(Notify::new());
    let router = Router::new().fallback(answer).with_state(Caller { shared, close: Arc::clone(&close) });
    let builder = Builder::new(TokioExecutor::new());
    let serve = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        // How a connection ended is the caller's business.
        ended = serve => drop(ended),
        () = close.notified() => {}
    }
}

async fn answer(State(caller): State<Caller>, request: Request) -> Response<Body> {
    let (number, fault) = caller.shared.log.lock().arrived(&request);
    let done = |outcome: Outcome| caller.shared.log.lock().ended(number, outcome);
    match fault {
        None => match caller.shared.upstream.forward(request).await {
            Ok(answer) => {
                done(Outcome::Answered(answer.status().as_u16()));
                answer
            }
            Err(error) => {
                done(Outcome::Failed(error));
                hang_up(&caller).await
            }
        },
        Some(Fault::Silence) => {
            done(Outcome::Faulted(Fault::Silence));
            std::future::pending().await
        }
        Some(Fault::CloseBefore) => {
            done(Outcome::Faulted(Fault::CloseBefore));
            hang_up(&caller).await
        }
        Some(fault @ Fault::CloseAfter) => {
            // The answer's head is there when the API server has done what it was asked.
            let status = caller.shared.upstream.forward(request).await.map(|answer| answer.status().as_u16());
            done(status.map_or_else(Outcome::Failed, |_| Outcome::Faulted(fault)));
            hang_up(&caller).await
        }
        Some(fault) => {
            done(Outcome::Faulted(fault));
            fault.response()
        }
    }
}

/// Ends the connection without an answer.
async fn hang_up(caller: &Caller) -> Response<Body> {
    caller.close.notify_one();
    std::future::pending().await
}
