//! Strangers: whatever somebody without a key sends, `/metrics` and the memory stay as they are, and nothing is a 5xx.

use std::{collections::BTreeSet, fs};

use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT},
    http::client,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use brokkr_tests::evidence::{count, leave};

/// Strangers who are at it at once.
const AT_ONCE: u64 = 8;
/// What the memory may grow by while strangers go on as they did before: noise of the allocator, and nothing for each of them.
const NOISE: u64 = 6 << 20;

const METHODS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];
/// Text of up to so many characters from a set.
fn text(random: &mut StdRng, most: usize, alphabet: &[u8]) -> String {
    let length = random.random_range(1..=most);
    (0..length).map(|_| char::from(*alphabet.choose(random).unwrap())).collect()
}

const WORD: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
const PATH: &[u8] = b"abcXYZ019-_.~/%:@!$&'()*+,;=";
const VALUE: &[u8] = b"abcXYZ019 -_.~/%:@!$&'()*+,;=\"{}[]<>?\t";

fn target(random: &mut StdRng, routes: &[String]) -> String {
    let path = match random.random_range(0..6) {
        // Not even HTTP.
        2 => format!("/{}\u{1}{}", text(random, 20, WORD), text(random, 20, VALUE)),
        0 => format!("/{}", text(random, 60, PATH)),
        // As long as anybody may make it, and never the same twice.
        1 => format!("/{}", text(random, 16_384, WORD)),
        3 => format!("/api/v1/{}", text(random, 200, PATH)),
        _ => {
            let filled = (0..4).map(|_| text(random, 40, WORD)).collect::<Vec<_>>();
            let values: Vec<&str> = filled.iter().map(String::as_str).collect();
            brokkr_api::routes::fill(routes.choose(random).unwrap(), &values)
        }
    };
    if random.random_bool(0.3) { format!("{path}?{}={}", text(random, 20, WORD), text(random, 4_000, PATH)) } else { path }
}

fn request(random: &mut StdRng, routes: &[String]) -> Vec<u8> {
    let method = match random.random_range(0..6) {
        0 => text(random, 24, WORD),
        _ => (*METHODS.choose(random).unwrap()).to_owned(),
    };
    let mut head =
        format!("{method} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", target(random, routes), text(random, 40, WORD));
    for _ in 0..random.random_range(0..8) {
        let name = match random.random_range(0..4) {
            0 => (*["authorization", "traceparent", "tracestate", "content-type", "if-none-match", "brokkr-protocol"]
                .choose(random)
                .unwrap())
            .to_owned(),
            _ => text(random, 30, WORD),
        };
        head += &format!("{name}: {}\r\n", text(random, 400, VALUE));
    }
    if random.random_bool(0.2) {
        let role = ["admin", "agent", "generator"].choose(random).unwrap();
        head += &format!("authorization: Bearer brokkr_{role}_{}\r\n", text(random, 80, WORD));
    }
    if random.random_bool(0.2) {
        head += &format!("traceparent: 00-{:032x}-{:016x}-01\r\n", random.random::<u128>(), random.random::<u64>());
    }
    let body = if random.random_bool(0.3) { text(random, 3_000, VALUE) } else { String::new() };
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Sends one request and returns the status; nothing where the connection was closed without an answer.
async fn status(address: &str, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has refused the head may close before it has read everything.
    drop(stream.write_all(request).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let head = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    head.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// What so many strangers were answered: every status that there was.
async fn strangers(address: &str, routes: &[String], seed: u64, requests: u64) -> BTreeSet<u16> {
    let mut at_once = tokio::task::JoinSet::new();
    for stranger in 0..AT_ONCE {
        let (address, routes, mut random) =
            (address.to_owned(), routes.to_vec(), StdRng::seed_from_u64(seed * AT_ONCE + stranger));
        at_once.spawn(async move {
            let mut statuses = BTreeSet::new();
            for _ in 0..requests / AT_ONCE {
                let request = request(&mut random, &routes);
                let status = timeout(LIMIT, status(&address, &request)).await.expect("an answer");
                let head = || String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
                assert!(status.is_none_or(|status| status < 500), "{status:?}: {}", head());
                statuses.extend(status);
            }
            statuses
        });
    }
    at_once.join_all().await.into_iter().flatten().collect()
}

/// Every method on every route without anything else, so that what there can be in `/metrics` is there.
async fn sweep(address: &str, routes: &[String]) {
    for method in METHODS.into_iter().chain(["BREW"]) {
        for route in routes {
            for extra in ["", "content-type: application/json\r\n"] {
                let request =
                    format!("{method} {route} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{extra}content-length: 0\r\n\r\n");
                status(address, request.as_bytes()).await;
            }
        }
    }
}

/// What `/metrics` is about: every name with its labels. The numbers change, these must not.
async fn series(broker: &Broker) -> BTreeSet<String> {
    let text = client().unwrap().get(format!("{}/metrics", broker.base)).send().await.unwrap().text().await.unwrap();
    text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

/// Every route: those that are documented, the probes, and one that is none.
async fn routes(broker: &Broker) -> Vec<String> {
    let url = format!("{}{}", broker.base, brokkr_api::routes::OPENAPI);
    let document: serde_json::Value = client().unwrap().get(url).send().await.unwrap().json().await.unwrap();
    let mut routes: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(routes.len() > 20, "{routes:?}");
    routes.extend(["/healthz", "/readyz", "/metrics", "/docs", "/nowhere"].map(str::to_owned));
    routes
}

/// The words that series are made of: names, and labels with their values.
fn words(series: &BTreeSet<String>) -> BTreeSet<&str> {
    series.iter().flat_map(|series| series.split(['{', ',', '}'])).collect()
}

fn resident(broker: &Broker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.process.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
}

#[derive(Debug, Serialize)]
struct Evidence {
    requests: u64,
    statuses: BTreeSet<u16>,
    series: usize,
    resident_before: u64,
    resident_after: u64,
}

/// A broker after strangers were at it, and after they went on for as long again and longer; what `/metrics` was about each time.
async fn try_out(settings: &[(&str, &str)], requests: u64) -> (Evidence, BTreeSet<String>, BTreeSet<String>) {
    let broker = Broker::start(Engine::Sqlite, settings).await.unwrap();
    let (address, routes) = (broker.base.trim_start_matches("http://").to_owned(), routes(&broker).await);
    sweep(&address, &routes).await;
    strangers(&address, &routes, 1, requests / 2).await;
    let (before, resident_before) = (series(&broker).await, resident(&broker));
    let statuses = strangers(&address, &routes, 2, requests).await;
    let (after, resident_after) = (series(&broker).await, resident(&broker));
    let evidence = Evidence { requests, statuses, series: after.len(), resident_before, resident_after };
    assert!(resident_after < resident_before + NOISE, "the memory grew: {evidence:?}");
    (evidence, before, after)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_strangers_send_the_metrics_and_the_memory_stay_as_they_are() {
    let unlimited = [("BROKKR__LIMITS__ANONYMOUS_REQUESTS_PER_SECOND", "0")];
    let (evidence, before, after) = try_out(&unlimited, count(1_600, 100_000)).await;
    leave("strangers", &evidence);
    assert!(evidence.statuses.is_superset(&BTreeSet::from([200, 400, 401, 404, 405])), "all kinds were tried: {evidence:?}");
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "strangers made new series: {new:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_are_held_back_leave_nothing_either() {
    let (evidence, before, after) = try_out(&[], count(800, 20_000)).await;
    leave("strangers-held-back", &evidence);
    assert!(evidence.statuses.contains(&429), "{evidence:?}");
    // Whom the limit meets at which route is a matter of time; that there is one brings one word, and it was there before.
    let (before, after) = (words(&before), words(&after));
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "strangers made new words: {new:#?}");
}
