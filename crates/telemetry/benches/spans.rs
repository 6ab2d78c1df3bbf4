//! What tracing costs at the least: CPU time of one request that does nothing, in this process, without and with it.
//!
//! A handler answers at once, alone or after so many statements that ask nothing. What a daemon spends on tracing a request cannot be less,
//! because none of what is measured here is work of the daemon. Spans are encoded and sent to another process, which throws them away.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure ends, and says where")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::Request, routing::get};
use brokkr_telemetry::{
    Service, Telemetry,
    capture::options,
    config::Protocol,
    http::ServerTelemetry,
    init,
    metrics::DbOperation,
    spans::{self, DbStatement},
};
use serde_json::json;
use tower::ServiceExt;
use tracing::instrument::WithSubscriber;

/// Requests of a round. What they leave behind has to find room in the queue: a span that is dropped is not encoded.
const REQUESTS: u32 = 10_000;
/// Rounds, of which the median counts.
const ROUNDS: usize = 15;
/// Spans that may wait.
const ROOM: usize = 100_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// No telemetry around the router at all.
    Bare,
    Off,
    /// Every request is decided about, and none is kept.
    Unkept,
    /// Every request is kept.
    Kept,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Bare, Self::Off, Self::Unkept, Self::Kept];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "without telemetry",
            Self::Off => "tracing off",
            Self::Unkept => "not kept",
            Self::Kept => "kept, encoded and sent",
        }
    }
}

async fn answer(State(statements): State<u32>) {
    for _ in 0..statements {
        let span = spans::db_statement(DbStatement {
            name: "desired_state.of_agent",
            operation: DbOperation::Select,
            collection: "deployments",
            system: "postgresql",
            namespace: "brokkr|public",
            server_address: Some("db.example.com"),
        });
        drop(span.entered());
    }
}

/// A router in one of the modes, with the telemetry around it.
struct Subject {
    mode: Mode,
    statements: u32,
    telemetry: Telemetry,
    router: Router,
    /// Microseconds of CPU for a request, by round.
    found: Vec<f64>,
}

impl Subject {
    fn new(mode: Mode, statements: u32, endpoint: &str) -> Self {
        let mut options = options(Service::Broker);
        options.telemetry.log.level = "off".to_owned();
        options.telemetry.enabled = matches!(mode, Mode::Unkept | Mode::Kept);
        options.telemetry.endpoint = Some(endpoint.to_owned());
        options.telemetry.protocol = Protocol::HttpProtobuf;
        options.telemetry.batch.queue_size = ROOM;
        if mode == Mode::Unkept {
            options.telemetry.sampling_rate = 0.0;
        }
        let telemetry = init(options).unwrap();
        let router = Router::new().route("/api/v1/agent/desired-state", get(answer)).with_state(statements);
        let router = match mode {
            Mode::Bare => router,
            _ => ServerTelemetry::new(&telemetry, Some(telemetry.broker_metrics())).wrap(router),
        };
        Self { mode, statements, telemetry, router, found: Vec::new() }
    }

    async fn round(&mut self) {
        let before = cpu();
        let work = async {
            for _ in 0..REQUESTS {
                let request = Request::get("/api/v1/agent/desired-state").body(Body::empty()).unwrap();
                self.router.clone().oneshot(request).await.unwrap();
            }
        };
        work.with_subscriber(self.telemetry.dispatch().clone()).await;
        let mut status = self.telemetry.status();
        while status.pending > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            status = self.telemetry.status();
        }
        let kept = if self.mode == Mode::Kept { u64::from(REQUESTS * (1 + self.statements)) } else { 0 };
        let rounds = self.found.len() as u64 + 1;
        assert!(
            status.exported == kept * rounds && status.failed + status.dropped == 0,
            "not everything was sent, which is not what is measured: {status:?}"
        );
        self.found.push((cpu() - before) / f64::from(REQUESTS));
    }

    fn median(&self) -> f64 {
        // The first round fills caches and connects.
        let mut sorted = self.found[1..].to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// Microseconds of CPU that the threads of this process have had.
fn cpu() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.unwrap().path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1000.0
}

/// Takes everything by HTTP, and answers that it has.
fn sink() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    thread::spawn(|| {
        // Ends with whoever started it.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        let mut stream = BufReader::new(stream.unwrap());
        thread::spawn(move || {
            loop {
                let mut length = 0;
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                if line.is_empty() || stream.read_exact(&mut vec![0; length]).is_err() {
                    return;
                }
                let ok = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                stream.get_mut().write_all(ok).unwrap();
            }
        });
    }
}

fn start_sink() -> (Child, String) {
    let mut sink = Command::new(env::current_exe().unwrap());
    let mut child = sink.arg("--sink").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, format!("http://{}", line.trim()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if env::args().any(|argument| argument == "--sink") {
        return sink();
    }
    let (mut child, endpoint) = start_sink();
    let mut subjects: Vec<_> =
        [0, 2].into_iter().flat_map(|statements| Mode::ALL.map(|mode| Subject::new(mode, statements, &endpoint))).collect();
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            subject.round().await;
        }
    }
    let of = |mode: Mode, statements: u32| {
        subjects.iter().find(|subject| subject.mode == mode && subject.statements == statements).unwrap().median()
    };
    let mut rows: Vec<_> = subjects
        .iter()
        .map(|subject| (format!("a request with {} statements, {}", subject.statements, subject.mode.name()), subject.median()))
        .collect();
    rows.push(("the decision not to keep one, above off".to_owned(), of(Mode::Unkept, 0) - of(Mode::Off, 0)));
    rows.push(("a span of a request that is kept, above off".to_owned(), of(Mode::Kept, 0) - of(Mode::Off, 0)));
    let below = (of(Mode::Kept, 2) - of(Mode::Kept, 0)) - (of(Mode::Off, 2) - of(Mode::Off, 0));
    rows.push(("a span below it, above off".to_owned(), below / 2.0));
    println!("{:<64} {:>10}", "what", "µs of CPU");
    for (name, value) in &rows {
        println!("{name:<64} {value:>10.2}");
    }
    let rows: Vec<_> = rows
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value, "unit": "us", "goal": null, "holds": null}))
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("spans.json"), serde_json::to_vec_pretty(&rows).unwrap()).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}
