//! A gate on the way of spans to the receiver.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::lab::free_port;

/// What becomes of whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Refused.
    Shut,
    /// Let in and never answered.
    Silent,
    /// Let through.
    Open,
}

/// A port that is always the same.
#[derive(Debug)]
pub(super) struct Gate {
    port: u16,
    to: SocketAddr,
    guard: Option<JoinHandle<()>>,
}

impl Gate {
    pub(super) fn before(to: SocketAddr) -> Self {
        Self { port: free_port().expect("a port"), to, guard: None }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends every connection; the next ones are treated like this.
    pub(super) async fn set(&mut self, manner: Manner) {
        if let Some(guard) = self.guard.take() {
            guard.abort();
            // Cancelled, as asked.
            drop(guard.await);
        }
        if manner != Manner::Shut {
            let listener = TcpListener::bind(("127.0.0.1", self.port)).await.expect("the gate's port");
            self.guard = Some(guard(listener, self.to, manner));
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.abort();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the task ends with the value that holds it")]
fn guard(listener: TcpListener, to: SocketAddr, manner: Manner) -> JoinHandle<()> {
    tokio::spawn(async move {
        // Dropped with this task, and all connections with it.
        let mut connections = JoinSet::new();
        while let Ok((mut inside, _)) = listener.accept().await {
            connections.spawn(async move {
                if manner == Manner::Silent {
                    // Longer than anybody waits; what is sent stays in the socket.
                    tokio::time::sleep(Duration::from_secs(3_600)).await;
                } else if let Ok(mut outside) = TcpStream::connect(to).await {
                    // How a connection ends is its users' business.
                    drop(copy_bidirectional(&mut inside, &mut outside).await);
                }
            });
        }
    })
}
