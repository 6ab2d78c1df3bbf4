//! One attempt: bounded in time and in memory, whatever the receiver does.

use std::{
    error::Error as StdError,
    sync::Arc,
    time::{Duration, Instant},
};

use brokkr_api::Timestamp;
use brokkr_telemetry::{
    TraceContext,
    metrics::HttpMethod,
    propagation::{Relation, relate},
    spans::{self, HttpClientSpan, SendWebhook},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::{Certificate, Response};
use tracing::{Dispatch, Instrument, instrument::WithSubscriber};
use url::Url;

pub use brokkr_telemetry::metrics::WebhookResult as AttemptClass;

use crate::{
    Guard, ID, Refused, SIGNATURE, Secret, TIMESTAMP,
    guard::{Guarded, Lookup, System},
    mask, signatures,
};

/// Time that a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Time that the beginning of an answer is waited for after its head: the head alone says how it went.
const TAIL: Duration = Duration::from_millis(500);
/// Bytes of an answer that are read; from there on the connection is closed.
const MOST_READ: usize = 4 * 1_024;
/// Longest time that a receiver may ask to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3_600);

/// A message to one endpoint.
#[derive(Debug, Clone)]
pub struct Message {
    /// The same in every attempt.
    pub id: String,
    /// Where it goes.
    pub url: Url,
    /// Id of the webhook.
    pub webhook_id: String,
    /// Its name.
    pub webhook: String,
    /// Type of the event.
    pub kind: String,
    /// What it says.
    pub body: Vec<u8>,
    /// Headers of the endpoint, and the type of the content.
    pub headers: HeaderMap,
    /// Who signs it.
    pub signing: Signing,
    /// Time for everything.
    pub timeout: Duration,
    /// Whether `traceparent` goes along.
    pub traceparent: bool,
    /// Whether `tracestate` does.
    pub tracestate: bool,
    /// 1 for the first.
    pub attempt: u32,
    /// What happened, and how the attempt relates to it.
    pub cause: Option<(TraceContext, Relation)>,
    /// The attempt before.
    pub before: Option<TraceContext>,
}

/// Who signs a message.
#[derive(Debug, Clone)]
pub enum Signing {
    /// Whoever sends it, with these secrets, the newest first.
    Secrets(Vec<Secret>),
    /// Somebody has: the signature is among the headers.
    Done,
}

impl Message {
    /// The same message with its signature at `now` among the headers.
    #[must_use]
    pub fn signed(mut self, now: Timestamp) -> Self {
        let Signing::Secrets(secrets) = std::mem::replace(&mut self.signing, Signing::Done) else { return self };
        let seconds = now.as_micros() / 1_000_000;
        let signature = signatures(&secrets, &self.id, seconds, &self.body);
        for (name, value) in [(ID, self.id.clone()), (TIMESTAMP, seconds.to_string()), (SIGNATURE, signature)] {
            // Letters, digits and base64 are a header's value.
            if let Ok(value) = HeaderValue::try_from(value) {
                self.headers.insert(name, value);
            }
        }
        self
    }

    /// The same message with as much of its place in a trace as is to go along.
    fn placed(mut self, place: Option<TraceContext>) -> Self {
        if let Some(mut place) = place.filter(|_| self.traceparent) {
            if !self.tracestate {
                place.tracestate = None;
            }
            place.inject(&mut self.headers);
        }
        self
    }

    /// What an answer must not be quoted with: values of headers whole, what stands behind a word such as `Bearer`, and secrets.
    fn secrets(&self) -> Vec<String> {
        let is_open = |name: &HeaderName| [header::CONTENT_TYPE, ID, TIMESTAMP].contains(name);
        let known = self.headers.iter().filter(|(name, _)| !is_open(name)).filter_map(|(_, value)| value.to_str().ok());
        let known = known.flat_map(|value| [Some(value), value.rsplit(' ').next()]).flatten().map(str::to_owned);
        match &self.signing {
            Signing::Secrets(secrets) => known.chain(secrets.iter().map(Secret::reveal)).collect(),
            Signing::Done => known.collect(),
        }
    }
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// In a word.
    pub class: AttemptClass,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// The time until then.
    pub latency: Duration,
    /// The beginning of the answer, masked, or why there was none.
    pub excerpt: String,
    /// So long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Where it stands in a trace.
    pub trace: Option<TraceContext>,
}

/// There can be no sender.
#[derive(Debug, thiserror::Error)]
#[error("webhooks cannot be sent")]
pub struct SetupError(#[source] Box<dyn StdError + Send + Sync>);

/// Sends. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Sender {
    http: reqwest::Client,
    guard: Arc<Guard>,
}

impl Sender {
    /// A sender that keeps these rules and believes the certificate authorities of the machine and those of `authorities`, which is PEM.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn new(guard: Guard, user_agent: &str, authorities: Option<&[u8]>) -> Result<Self, SetupError> {
        Self::with_lookup(guard, user_agent, authorities, Arc::new(System))
    }

    /// The same with a resolver of one's own.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn with_lookup(
        guard: Guard,
        user_agent: &str,
        authorities: Option<&[u8]>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, SetupError> {
        let setup = |source: reqwest::Error| SetupError(Box::new(source));
        let authorities = authorities.map(Certificate::from_pem_bundle).transpose().map_err(setup)?.unwrap_or_default();
        // A second installation fails, and means that there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let guard = Arc::new(guard);
        let http = reqwest::Client::builder()
            .user_agent(user_agent)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(8)
            .pool_idle_timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would connect for us, past the guard.
            .no_proxy()
            // A lost connection is no attempt of its own: whether it is tried again is decided by the schedule.
            .retry(reqwest::retry::never())
            .tls_certs_merge(authorities)
            .dns_resolver(Guarded { guard: Arc::clone(&guard), lookup })
            .build()
            .map_err(setup)?;
        Ok(Self { http, guard })
    }

    /// The rules.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Sends a message once, at `now`. It always ends, soon after `message.timeout` at the latest.
    pub async fn send(&self, message: Message, now: Timestamp) -> Attempt {
        let span = spans::send_webhook(SendWebhook {
            id: &message.id,
            webhook_id: &message.webhook_id,
            webhook: &message.webhook,
            event: &message.kind,
            attempt: message.attempt,
        });
        if let Some((cause, relation)) = &message.cause {
            relate(&span, cause, *relation);
        }
        if let Some(before) = &message.before {
            spans::link(&span, before);
        }
        let trace = TraceContext::of(&span);
        let started = Instant::now();
        let mut attempt = self.exchange(message, now).instrument(span.clone()).await;
        attempt.latency = started.elapsed();
        attempt.trace = trace;
        if attempt.class != AttemptClass::Success {
            spans::record_failure(&span, attempt.class.as_str());
        }
        attempt
    }

    async fn exchange(&self, message: Message, now: Timestamp) -> Attempt {
        if let Err(refused) = self.guard.check(&message.url) {
            return failed(AttemptClass::Blocked, &refused);
        }
        let span = spans::http_client(HttpClientSpan {
            method: HttpMethod::Post,
            server_address: message.url.host_str().unwrap_or_default(),
            server_port: message.url.port_or_known_default().unwrap_or_default(),
            url_template: None,
        });
        spans::record_resend_count(&span, message.attempt.saturating_sub(1));
        let secrets = message.secrets();
        let place = TraceContext::of(&span).or_else(|| message.cause.as_ref().map(|(cause, _)| cause.clone()));
        // Receivers of the first version of the recommendation refuse any flag but "sampled".
        let message = message.signed(now).placed(place.map(|place| place.with_flags_masked()));
        let timeout = message.timeout;
        let request = self.http.post(message.url).headers(message.headers).body(message.body);
        let exchange = async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = tokio::time::timeout(TAIL, beginning(response)).await.unwrap_or_default();
            Ok::<_, reqwest::Error>((status, headers, body))
        };
        // Where it sees no span: the task of a connection would hold on to the one that it began in, and a span ends with its last holder.
        let answer = tokio::time::timeout(timeout, exchange.with_subscriber(Dispatch::none())).await;
        match answer {
            Ok(Ok((status, headers, body))) => {
                spans::record_http_status_client(&span, status);
                let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
                Attempt {
                    class: of_status(status),
                    status: Some(status),
                    excerpt: mask::excerpt(&body, &secrets),
                    retry_after: retry_after(&headers, now),
                    latency: Duration::ZERO,
                    trace: None,
                }
            }
            Ok(Err(error)) => {
                let (class, why) = of_error(&error);
                spans::record_error(&span, class.as_str());
                Attempt { excerpt: why, ..failed(class, "") }
            }
            Err(_) => {
                spans::record_error(&span, AttemptClass::Timeout.as_str());
                failed(AttemptClass::Timeout, format_args!("there was no answer within {} s", timeout.as_secs()))
            }
        }
    }
}

fn failed(class: AttemptClass, why: impl std::fmt::Display) -> Attempt {
    Attempt { class, status: None, latency: Duration::ZERO, excerpt: why.to_string(), retry_after: None, trace: None }
}

/// Reads the beginning of an answer. What comes after it is never read: dropping the response closes the connection.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut kept = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MOST_READ - kept.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if kept.len() == MOST_READ {
            break;
        }
    }
    kept
}

fn of_status(status: u16) -> AttemptClass {
    match status {
        200..=299 => AttemptClass::Success,
        300..=399 => AttemptClass::Redirect,
        410 => AttemptClass::Gone,
        429 => AttemptClass::Throttled,
        400..=499 => AttemptClass::ClientError,
        _ => AttemptClass::ServerError,
    }
}

fn of_error(error: &reqwest::Error) -> (AttemptClass, String) {
    if let Some(refused) = find::<Refused>(error) {
        let class = if *refused == Refused::Unknown { AttemptClass::Dns } else { AttemptClass::Blocked };
        return (class, refused.to_string());
    }
    if let Some(error) = find::<rustls::Error>(error) {
        return (AttemptClass::Tls, error.to_string());
    }
    if error.is_timeout() {
        return (AttemptClass::Timeout, "the connection took too long".to_owned());
    }
    if error.is_connect() {
        let class = if is_lookup(error) { AttemptClass::Dns } else { AttemptClass::Connect };
        return (class, innermost(error));
    }
    (AttemptClass::Broken, innermost(error))
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        // An error of I/O hides what it carries.
        let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        carried.map(|carried| carried as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn is_lookup(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|error| error.to_string() == "dns error")
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Timestamp::from_system_time(httpdate::parse_http_date(text).ok()?).since(now),
    };
    Some(wait.min(LONGEST_PAUSE))
}

/// Whether a header may be one of an endpoint: not those that the message or its transport have themselves.
#[must_use]
pub fn is_free(name: &HeaderName) -> bool {
    const TAKEN: &[&str] = &[
        "baggage",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
    ];
    !TAKEN.contains(&name.as_str()) && !name.as_str().starts_with("webhook-")
}

#[cfg(test)]
mod tests;
