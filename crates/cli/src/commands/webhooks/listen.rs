//! `brokkr webhooks listen`: a receiver on this machine, which verifies what arrives and prints it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Context;
use axum::{Router, body::Bytes, extract::State, routing::any};
use brokkr_webhooks::{ID, Verifier};
use clap::Args;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

use crate::output;

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Address and port to listen on
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// File with the secret (`whsec_…`) or the public key (`whpk_…`)
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    secret_file: Option<PathBuf>,
    /// The secret or the public key; better in the environment than on the command line, which others can see
    #[arg(long, env = "BROKKR_WEBHOOK_SECRET", hide_env_values = true, required_unless_present = "secret_file")]
    secret: Option<String>,
    /// End after so many verified messages
    #[arg(long, value_name = "COUNT")]
    count: Option<u32>,
}

struct Receiver {
    verifier: Verifier,
    left: Option<AtomicU32>,
    done: Notify,
}

pub(super) async fn run(args: ListenArgs) -> anyhow::Result<()> {
    let text = match (&args.secret_file, args.secret) {
        (Some(file), _) => std::fs::read_to_string(file).with_context(|| file.display().to_string())?,
        (None, Some(secret)) => secret,
        (None, None) => String::new(),
    };
    let verifier = Verifier::parse(text.trim()).context("the secret or public key")?;
    let listener = TcpListener::bind(args.listen).await.with_context(|| args.listen.to_string())?;
    let receiver = Arc::new(Receiver { verifier, left: args.count.map(AtomicU32::new), done: Notify::new() });
    output::note(&format!("listening on http://{}", listener.local_addr()?));
    let router = Router::new().fallback(any(receive)).with_state(Arc::clone(&receiver));
    let end = async move {
        tokio::select! {
            () = receiver.done.notified() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    // The last message is answered before this ends, or it would come again.
    axum::serve(listener, router).with_graceful_shutdown(end).await.context("the receiver")
}

async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now = output::now().as_micros() / 1_000_000;
    match receiver.verifier.verify(&headers, &body, now) {
        Err(why) => {
            let id = headers.get(ID).and_then(|id| id.to_str().ok()).unwrap_or("without an id");
            output::note(&format!("refused {id}: {why}"));
            StatusCode::UNAUTHORIZED
        }
        Ok(id) => {
            let message: Value = serde_json::from_slice(&body).unwrap_or_default();
            let trace = headers.get("traceparent").and_then(|value| value.to_str().ok());
            let printed = output::json(&json!({"id": id, "traceparent": trace, "message": message}));
            if printed.is_err() {
                return StatusCode::INTERNAL_SERVER_ERROR;
            }
            if receiver.left.as_ref().is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) <= 1) {
                receiver.done.notify_one();
            }
            StatusCode::NO_CONTENT
        }
    }
}
