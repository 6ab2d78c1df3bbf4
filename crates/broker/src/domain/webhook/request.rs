//! What is asked of a webhook.

use std::collections::BTreeMap;

use brokkr_api::{
    ErrorCode, Problem,
    webhooks::{MAX_GENERATORS, MAX_HEADER, MAX_HEADERS, MAX_PATTERNS, MAX_URL, Replay, WebhookSettings},
};
use brokkr_webhooks::{Guard, send::is_free};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::filter::is_pattern;

fn field(place: &str, detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidField, detail).at(place)
}

/// Checks a URL: how it is written, and whether it may be reached as far as it says itself where it leads. Without a guard here
/// somebody else sends, and has one.
pub(crate) fn url(text: &str, guard: Option<&Guard>) -> Result<Url, Problem> {
    if !is_url(text) {
        return Err(field(
            "url",
            format!("write an http or https URL of at most {MAX_URL} characters, without spaces, user and fragment"),
        ));
    }
    let refused = |detail: String| Problem::new(ErrorCode::WebhookUrl, detail).at("url");
    let url = Url::parse(text).map_err(|error| refused(format!("this is no URL: {error}")))?;
    if let Some(guard) = guard {
        guard.check(&url).map_err(|why| refused(why.to_string()))?;
    }
    Ok(url)
}

/// Whether a text is written as a URL; the document says the same as a pattern.
fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let (place, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match place.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((address, port)) => {
            (address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.').then_some(address), port)
        }
        None => {
            let (host, port) = place.find(':').map_or((place, ""), |at| place.split_at(at));
            (host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-').then_some(host), port)
        }
    };
    let digits = port.strip_prefix(':');
    let is_port = port.is_empty()
        || digits.is_some_and(|digits| (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()));
    let is_path = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"!$%&'()*+,-./:;=?@_~".contains(&b));
    text.len() <= MAX_URL && host.is_some_and(|host| !host.is_empty()) && is_port && is_path
}

/// Checks headers, and reads them.
pub(crate) fn headers(headers: &BTreeMap<String, String>) -> Result<HeaderMap, Problem> {
    if headers.len() > MAX_HEADERS {
        return Err(field("headers", format!("a webhook has at most {MAX_HEADERS} headers")));
    }
    let mut read = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let place = format!("headers.{}", name.chars().take(80).collect::<String>());
        let is_name = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let name = HeaderName::try_from(name).ok().filter(|_| is_name);
        let name = name.ok_or_else(|| field(&place, "a name has 1 to 64 letters, digits and '-'"))?;
        if !is_free(&name) {
            return Err(field(&place, "this header belongs to the message or its transport"));
        }
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_graphic);
        let bytes = value.as_bytes();
        let is_value = bytes.len() <= MAX_HEADER
            && bytes.iter().all(|b| (b' '..=b'~').contains(b))
            && edge(bytes.first())
            && edge(bytes.last());
        let value = HeaderValue::try_from(value).ok().filter(|_| is_value);
        let mut value =
            value.ok_or_else(|| field(&place, format!("a value has 1 to {MAX_HEADER} printable ASCII characters")))?;
        value.set_sensitive(true);
        read.insert(name, value);
    }
    Ok(read)
}

/// Checks everything else.
pub(crate) fn settings(settings: &WebhookSettings) -> Result<(), Problem> {
    if !(1..=MAX_PATTERNS).contains(&settings.events.len()) || !settings.events.iter().all(|pattern| is_pattern(pattern)) {
        let detail = format!("name 1 to {MAX_PATTERNS} types: deployment.applied, deployment.* for all that begin so, * for all");
        return Err(field("settings.events", detail));
    }
    let selectors = [
        ("settings.stacks", &settings.stacks),
        ("settings.agents", &settings.agents),
        ("settings.deliver_by", &settings.deliver_by),
    ];
    for (place, selector) in selectors {
        if let Some(selector) = selector {
            selector.validate().map_err(|error| field(place, error.to_string()))?;
        }
    }
    if settings.generators.len() > MAX_GENERATORS {
        return Err(field("settings.generators", format!("a webhook names at most {MAX_GENERATORS} generators")));
    }
    let ranges = [
        ("settings.timeout_seconds", settings.timeout_seconds, 1..=30),
        ("settings.concurrency", settings.concurrency, 1..=64),
        ("settings.rate_per_second", settings.rate_per_second.unwrap_or(1), 1..=10_000),
    ];
    for (place, value, range) in ranges {
        if !range.contains(&value) {
            return Err(field(place, format!("is {} to {}", range.start(), range.end())));
        }
    }
    Ok(())
}

/// Checks that it is said in one way what is to be sent again.
pub(crate) fn replay(replay: &Replay) -> Result<(), Problem> {
    let range = (replay.since.is_some(), replay.until.is_some());
    let ways = usize::from(replay.delivery.is_some()) + usize::from(range == (true, true)) + usize::from(replay.failed);
    if ways == 1 && range.0 == range.1 {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::InvalidField, "send one of: delivery; since and until; failed: true").at("line 1, column 0"))
}

#[cfg(test)]
mod tests {
    use brokkr_api::Timestamp;

    use super::*;

    #[test]
    fn a_url_is_checked_as_it_is_written_and_for_where_it_leads() {
        let guard = Guard::default();
        assert!(url("https://hooks.example.com/a/b?c=d&e=%20", Some(&guard)).is_ok());
        assert!(url("http://receiver.tools.svc:8080/", None).is_ok(), "the agent's guard decides");
        assert_eq!(url("https://[zz]/", None).unwrap_err().code, ErrorCode::InvalidField);
        for (text, code) in [
            ("", ErrorCode::InvalidField),
            ("ftp://example.com", ErrorCode::InvalidField),
            ("https://", ErrorCode::InvalidField),
            ("https://user@example.com/", ErrorCode::InvalidField),
            ("https://example.com/#a", ErrorCode::InvalidField),
            ("https://example.com/a b", ErrorCode::InvalidField),
            ("https://example.com:/", ErrorCode::InvalidField),
            ("https://exämple.com/", ErrorCode::InvalidField),
            ("https://example.com:123456/", ErrorCode::InvalidField),
            ("http://example.com/", ErrorCode::WebhookUrl),
            ("https://example.com:8443/", ErrorCode::WebhookUrl),
            ("https://169.254.169.254/latest", ErrorCode::WebhookUrl),
            ("https://[::1]/", ErrorCode::WebhookUrl),
            ("https://0x7f.1/", ErrorCode::WebhookUrl),
            ("https://[zz]/", ErrorCode::InvalidField),
            ("https://[1:2]/", ErrorCode::WebhookUrl),
        ] {
            assert_eq!(url(text, Some(&guard)).map_err(|problem| problem.code).unwrap_err(), code, "{text}");
        }
        assert!(url(&format!("https://example.com/{}", "a".repeat(MAX_URL)), Some(&guard)).is_err());
    }

    #[test]
    fn headers_are_plain_and_free() {
        let of = |name: &str, value: &str| headers(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        assert_eq!(of("Authorization", "Bearer a b").unwrap()["authorization"], "Bearer a b");
        for (name, value) in [
            ("", "a"),
            ("a b", "a"),
            ("a", ""),
            ("a", "b\r\nc: d"),
            ("a", " b"),
            ("host", "a"),
            ("Webhook-Id", "a"),
            ("traceparent", "a"),
        ] {
            assert!(of(name, value).is_err(), "{name}: {value}");
        }
    }

    #[test]
    fn what_is_sent_again_is_said_in_one_way() {
        let at = Some(Timestamp::from_micros(0));
        let good = [Replay { failed: true, ..Replay::default() }, Replay { since: at, until: at, ..Replay::default() }];
        let bad = [
            Replay::default(),
            Replay { since: at, ..Replay::default() },
            Replay { failed: true, since: at, ..Replay::default() },
            Replay { failed: true, since: at, until: at, ..Replay::default() },
        ];
        assert!(
            good.iter().all(|replay| super::replay(replay).is_ok()) && bad.iter().all(|replay| super::replay(replay).is_err())
        );
    }
}
