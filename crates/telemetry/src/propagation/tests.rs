//! The cases of the W3C trace-context test suite, written from the text of the recommendation.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{MAX_TRACESTATE_BYTES, TraceContext};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn traceparent(value: &str) -> Option<String> {
    TraceContext::from_headers(&headers(&[("traceparent", value)])).map(|context| context.traceparent)
}

fn tracestate(values: &[&str]) -> Option<String> {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let mut pairs = vec![("traceparent", parent.as_str())];
    pairs.extend(values.iter().map(|value| ("tracestate", *value)));
    TraceContext::from_headers(&headers(&pairs)).expect("tracestate never spoils traceparent").tracestate
}

#[test]
fn a_valid_traceparent_is_taken_as_it_is() {
    for flags in ["00", "01", "02", "03"] {
        let value = format!("00-{TRACE}-{SPAN}-{flags}");
        assert_eq!(traceparent(&value), Some(value));
    }
}

#[test]
fn flags_that_mean_nothing_yet_are_not_passed_on() {
    assert_eq!(traceparent(&format!("00-{TRACE}-{SPAN}-ff")), Some(format!("00-{TRACE}-{SPAN}-03")));
    assert_eq!(traceparent(&format!("00-{TRACE}-{SPAN}-fc")), Some(format!("00-{TRACE}-{SPAN}-00")));
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    for later in [
        format!("cc-{TRACE}-{SPAN}-01"),
        format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
        format!("01-{TRACE}-{SPAN}-01-"),
    ] {
        assert_eq!(traceparent(&later), Some(format!("00-{TRACE}-{SPAN}-01")), "{later}");
    }
    assert_eq!(traceparent(&format!("cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like")), None);
}

#[test]
fn space_around_a_traceparent_does_not_matter() {
    assert_eq!(traceparent(&format!(" \t00-{TRACE}-{SPAN}-01\t ")), Some(format!("00-{TRACE}-{SPAN}-01")));
}

#[test]
fn a_malformed_traceparent_begins_a_new_trace() {
    let malformed = [
        String::new(),
        "00".to_owned(),
        // Version: illegal, too short, too long, forbidden, not lower case.
        format!("ff-{TRACE}-{SPAN}-01"),
        format!(".0-{TRACE}-{SPAN}-01"),
        format!("0.-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("000-{TRACE}-{SPAN}-01"),
        format!("CC-{TRACE}-{SPAN}-01"),
        // Trace id: zero, illegal, too short, too long, not lower case, with a sign.
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-.{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{}.-{SPAN}-01", &TRACE[1..]),
        format!("00-{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{TRACE}0-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-+{}-{SPAN}-01", &TRACE[1..]),
        // Span id: zero, illegal, too short, too long, not lower case.
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-.{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{SPAN}0-01"),
        format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
        // Flags: illegal, too short, too long, missing, with a sign.
        format!("00-{TRACE}-{SPAN}-.0"),
        format!("00-{TRACE}-{SPAN}-0."),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-001"),
        format!("00-{TRACE}-{SPAN}-+1"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-"),
        // Separators, and a tail that version 00 does not have.
        format!("00_{TRACE}_{SPAN}_01"),
        format!("00-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
        format!("00-{TRACE}-{SPAN}-01."),
        format!("00-{TRACE}-{SPAN}-01-"),
        // Not ASCII at the border of a field.
        format!("00-{TRACE}-{SPAN}-0é"),
    ];
    for value in malformed {
        let from_parts = TraceContext::from_parts(&value, None);
        assert_eq!(from_parts, None, "{value:?}");
        assert!(HeaderValue::from_str(&value).is_err() || traceparent(&value).is_none(), "{value:?}");
    }
}

#[test]
fn two_traceparents_are_none() {
    let value = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(TraceContext::from_headers(&headers(&[("traceparent", &value), ("traceparent", &value)])), None);
}

#[test]
fn names_of_headers_have_no_case_but_their_spelling() {
    let value = format!("00-{TRACE}-{SPAN}-01");
    assert!(TraceContext::from_headers(&headers(&[("TraceParent", &value)])).is_some());
    assert!(TraceContext::from_headers(&headers(&[("trace-parent", &value)])).is_none());
    assert!(TraceContext::from_headers(&headers(&[("trace.parent", &value)])).is_none());
}

#[test]
fn a_tracestate_without_traceparent_is_nothing() {
    assert_eq!(TraceContext::from_headers(&headers(&[("tracestate", "foo=1")])), None);
}

#[test]
fn a_valid_tracestate_is_passed_on_in_its_order() {
    let long_key = format!("{}=1", "z".repeat(256));
    let long_value = format!("k={}", "v".repeat(250));
    let cases: [(&[&str], &str); 13] = [
        (&["foo=1"], "foo=1"),
        (&["foo=1,bar=2"], "foo=1,bar=2"),
        (&["bar=2", "foo=1"], "bar=2,foo=1"),
        (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        (&["foo=1", ""], "foo=1"),
        (&["", "foo=1"], "foo=1"),
        (&["foo=1,,,bar=2,"], "foo=1,bar=2"),
        (&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        (&["foo= 1"], "foo= 1"),
        (&["foo@bar=1,tenant@system=2,1a-_*/b=3"], "foo@bar=1,tenant@system=2,1a-_*/b=3"),
        (&["a@b@c=1,0=0"], "a@b@c=1,0=0"),
        (&[&long_key], &long_key),
        (&[&long_value], &long_value),
    ];
    for (given, expected) in cases {
        assert_eq!(tracestate(given).as_deref(), Some(expected), "{given:?}");
    }
}

#[test]
fn a_malformed_tracestate_is_left_out_as_a_whole() {
    let long_key = format!("{}=1", "z".repeat(257));
    let long_value = format!("k={}", "v".repeat(257));
    let many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
    let malformed = [
        "foo",
        "foo=",
        "=1",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "foo=1,bar",
        "foo=bar=baz",
        "foo=1;bar=2",
        "foo=1,foo=1",
        "foo=1,foo=2",
        "@foo=1",
        "_a=1",
        "foo=a\u{9}b",
        &long_key,
        &long_value,
        &many,
    ];
    for value in malformed {
        assert_eq!(tracestate(&[value]), None, "{value:?}");
    }
    assert_eq!(tracestate(&["foo=1", "foo=2"]), None);
    assert_eq!(tracestate(&[""]), None);
    assert_eq!(tracestate(&[]), None);
}

#[test]
fn thirty_two_members_are_not_too_many() {
    let value = (0..32).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
    assert_eq!(tracestate(&[&value]), Some(value));
}

#[test]
fn a_long_tracestate_loses_whole_members_long_ones_first_then_from_the_right() {
    let long = format!("long={}", "v".repeat(200));
    let rest = (0..20).map(|n| format!("key-{n:02}={}", "v".repeat(20))).collect::<Vec<_>>();
    let kept = tracestate(&[&format!("first=1,{long},{}", rest.join(","))]).unwrap();
    assert!(kept.len() <= MAX_TRACESTATE_BYTES && kept.len() > MAX_TRACESTATE_BYTES - 30, "{}", kept.len());
    assert!(kept.starts_with("first=1,key-00=") && !kept.contains("long="), "{kept}");
    assert!(kept.split(',').all(|member| member == "first=1" || rest.iter().any(|whole| whole == member)), "{kept}");
}

#[test]
fn injecting_replaces_what_was_there_and_sends_no_empty_tracestate() {
    let mut sent = headers(&[("traceparent", "x"), ("traceparent", "y"), ("tracestate", "old=1"), ("tracestate", "older=1")]);
    TraceContext::from_parts(&format!("00-{TRACE}-{SPAN}-00"), None).unwrap().inject(&mut sent);
    assert_eq!(sent.get_all("traceparent").iter().collect::<Vec<_>>(), [&format!("00-{TRACE}-{SPAN}-00")]);
    assert!(!sent.contains_key("tracestate"));
}

#[test]
fn the_parts_of_a_context_can_be_read() {
    let context = TraceContext::from_parts(&format!("00-{TRACE}-{SPAN}-03"), Some("foo=1")).unwrap();
    assert_eq!((context.trace_id(), context.span_id(), context.is_sampled()), (TRACE, SPAN, true));
    let masked = context.with_flags_masked();
    assert_eq!((masked.traceparent, masked.tracestate.as_deref()), (format!("00-{TRACE}-{SPAN}-01"), Some("foo=1")));
}
