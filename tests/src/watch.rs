//! The harness puts one secret wherever something secret can be, and searches every byte that a daemon emits for it, in every
//! end-to-end test: lines of the log, and spans and metrics on their way to a collector. Keys that the broker makes are known by
//! their form.
//!
//! What is found ends the test program at once. Whoever causes a leak sees it, whatever the test is about.

use std::{
    io::Write,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use regex::bytes::Regex;

use crate::{
    marks::Marker,
    otlp::{Receiver, Where},
    receiver::KEY,
};

/// In passwords, tokens, manifests, headers, cookies and URLs of every test.
pub const SECRET: &str = "hunter2-is-in-every-test-swordfish";

/// Whether daemons send to [`Receiver::watching`] when the test says nothing about telemetry.
static WATCHED: AtomicBool = AtomicBool::new(true);

/// How many bytes have been searched in this process.
#[derive(Debug, Default)]
pub struct Searched {
    lines: AtomicU64,
    spans: AtomicU64,
    metrics: AtomicU64,
}

static SEARCHED: Searched = Searched { lines: AtomicU64::new(0), spans: AtomicU64::new(0), metrics: AtomicU64::new(0) };

impl Searched {
    /// Of logs, of spans and of metrics.
    pub fn bytes() -> [u64; 3] {
        [&SEARCHED.lines, &SEARCHED.spans, &SEARCHED.metrics].map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// What a daemon emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emitted {
    Line,
    Spans,
    Metrics,
}

/// Benchmarks start daemons as they come.
pub fn leave_alone() {
    WATCHED.store(false, Ordering::Relaxed);
}

/// What a daemon is told when the test that starts it says nothing about telemetry or metrics: to send everything.
pub(crate) fn settings(told: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let says = |prefixes: &[&str]| {
        told.iter().any(|(key, _)| !key.starts_with(LOG) && prefixes.iter().any(|prefix| key.starts_with(prefix)))
    };
    let mut settings = Vec::new();
    if !WATCHED.load(Ordering::Relaxed) {
        return settings;
    }
    let endpoint = Receiver::watching().grpc_endpoint();
    if !says(&["BROKKR__TELEMETRY__", "OTEL_", "OTLP_"]) {
        settings.extend([
            ("BROKKR__TELEMETRY__ENABLED", "true".to_owned()),
            ("BROKKR__TELEMETRY__ENDPOINT", endpoint.clone()),
            ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0".to_owned()),
            ("BROKKR__TELEMETRY__RATES__POLL", "1.0".to_owned()),
            ("BROKKR__TELEMETRY__RATES__JOB", "1.0".to_owned()),
            ("BROKKR__TELEMETRY__BATCH__DELAY", "200ms".to_owned()),
            ("BROKKR__TELEMETRY__HEADERS__COLLECTOR_KEY", SECRET.to_owned()),
        ]);
    }
    if !says(&["BROKKR__METRICS__"]) {
        settings.extend([
            ("BROKKR__METRICS__EXPORTER", "both".to_owned()),
            ("BROKKR__METRICS__ENDPOINT", endpoint),
            ("BROKKR__METRICS__PROTOCOL", "grpc".to_owned()),
            ("BROKKR__METRICS__INTERVAL", "2s".to_owned()),
        ]);
    }
    settings
}

impl Receiver {
    /// The one of this process that keeps nothing of what it has searched.
    ///
    /// # Panics
    /// When it cannot listen.
    #[expect(clippy::panic, reason = "a shared fixture that is missing fails every test that needs it, with the reason")]
    pub fn watching() -> &'static Self {
        static WATCHING: OnceLock<Receiver> = OnceLock::new();
        WATCHING
            .get_or_init(|| Self::start_forgetful(Where::default()).unwrap_or_else(|error| panic!("no OTLP receiver: {error}")))
    }
}

/// Searches what a daemon has emitted.
pub(crate) fn search(what: Emitted, of: &str, bytes: &[u8]) {
    let counter = match what {
        Emitted::Line => &SEARCHED.lines,
        Emitted::Spans => &SEARCHED.spans,
        Emitted::Metrics => &SEARCHED.metrics,
    };
    counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    if what == Emitted::Line && bytes.starts_with(SHOWN_ONCE) {
        return;
    }
    if let Some(excerpt) = find(bytes) {
        let message = format!("\n\nA SECRET LEAVES {of}, in {what:?}:\n{excerpt}\n\n");
        // Past the test harness, which would keep it for a test that is not told of.
        drop(std::io::stderr().write_all(message.as_bytes()));
        std::process::exit(101);
    }
}

/// How much a daemon logs is no word about what it exports.
const LOG: &str = "BROKKR__TELEMETRY__LOG__";

/// Where a broker shows the first key of an admin, once, to whoever starts it without a file for it.
const SHOWN_ONCE: &[u8] = b"first admin key (shown once, keep it): ";

/// What is around the first secret.
fn find(bytes: &[u8]) -> Option<String> {
    let found = pattern().find(bytes)?;
    let around = &bytes[found.start().saturating_sub(200)..bytes.len().min(found.end() + 100)];
    Some(String::from_utf8_lossy(around).into_owned())
}

/// The secret as it is and in base64, the key that seals, keys and tokens of ours, and secrets of webhooks.
fn pattern() -> &'static Regex {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let secret = Marker::key("the secret of every test", SECRET).forms().map(|form| regex::escape(&form)).join("|");
        let sealing = KEY.split(':').next_back().map(regex::escape).unwrap_or_default();
        let pattern = format!("{secret}|{sealing}|brokkr_[a-z]+_[0-9A-Za-z]{{40}}|whs(ec|k)_[0-9A-Za-z+/]{{24}}");
        #[expect(clippy::expect_used, reason = "a pattern that does not depend on anything")]
        Regex::new(&pattern).expect("a pattern")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::base64;

    #[test]
    fn a_secret_is_found_as_it_is_in_base64_and_by_its_form() {
        let key = format!("brokkr_agent_{}", "x1".repeat(24));
        let webhook = format!("whsec_{}=", "MfKQ".repeat(8));
        let encoded = base64(format!("x{SECRET}-").as_bytes());
        for secret in [SECRET, &key, &webhook, &encoded] {
            let bytes = [b"\x0a\xff before ".as_slice(), secret.as_bytes(), b" after"].concat();
            assert!(find(&bytes).is_some_and(|excerpt| excerpt.contains("before")), "{secret}");
        }
        for harmless in ["brokkr_agents_online", "brokkr_agent_work_orders_waiting_seconds_bucket", "whsec_", "hunter2"] {
            assert_eq!(find(harmless.as_bytes()), None, "{harmless}");
        }
    }

    #[test]
    fn what_a_test_says_about_telemetry_stays_as_it_is() {
        let keys = |told: &[(&str, &str)]| settings(told).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert!(keys(&[]).contains(&"BROKKR__TELEMETRY__ENABLED") && keys(&[]).contains(&"BROKKR__METRICS__EXPORTER"));
        assert!(!keys(&[("OTEL_TRACES_EXPORTER", "none")]).iter().any(|key| key.starts_with("BROKKR__TELEMETRY__")));
        assert_eq!(keys(&[("BROKKR__TELEMETRY__ENABLED", "false"), ("BROKKR__METRICS__ENABLED", "false")]), [""; 0]);
    }
}
