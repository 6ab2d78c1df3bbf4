//! The table: header lines, and what becomes of them.

pub(super) const TRACE: &str = "12345678901234567890123456789012";
pub(super) const PARENT: &str = "1234567890123456";

/// What is sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// A trace of its own.
    New,
    /// The caller's, with these flags and this tracestate.
    Continued { flags: &'static str, tracestate: Option<String> },
}

/// Header lines as they stand on the wire.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) lines: Vec<String>,
    pub(super) expected: Expected,
}

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    traceparents(&mut cases);
    names(&mut cases);
    tracestates(&mut cases);
    limits(&mut cases);
    cases
}

fn new(cases: &mut Vec<Case>, name: &'static str, traceparents: impl IntoIterator<Item = String>) {
    let line = |value| format!("traceparent: {value}");
    cases.extend(traceparents.into_iter().map(|value| Case { name, lines: vec![line(value)], expected: Expected::New }));
}

fn continued(cases: &mut Vec<Case>, name: &'static str, flags: &'static str, traceparents: impl IntoIterator<Item = String>) {
    let expected = || Expected::Continued { flags, tracestate: None };
    let case = |value| Case { name, lines: vec![format!("traceparent:{value}")], expected: expected() };
    cases.extend(traceparents.into_iter().map(case));
}

/// A valid traceparent and these tracestate headers.
fn state(cases: &mut Vec<Case>, name: &'static str, values: &[&str], tracestate: Option<&str>) {
    let lines = values.iter().map(|value| format!("tracestate: {value}"));
    let lines = std::iter::once(format!("traceparent: 00-{TRACE}-{PARENT}-00")).chain(lines).collect();
    let expected = Expected::Continued { flags: "00", tracestate: tracestate.map(str::to_owned) };
    cases.push(Case { name, lines, expected });
}

fn traceparents(cases: &mut Vec<Case>) {
    cases.push(Case { name: "no headers", lines: Vec::new(), expected: Expected::New });
    let of = |version: &str, trace: &str, parent: &str, flags: &str| format!("{version}-{trace}-{parent}-{flags}");
    let valid = |flags: &str| of("00", TRACE, PARENT, flags);
    continued(cases, "sampled", "01", [valid("01")]);
    continued(cases, "not sampled", "00", [valid("00")]);
    continued(cases, "random, not sampled", "02", [valid("02")]);
    continued(cases, "random and sampled", "03", [valid("03")]);
    continued(cases, "flags that mean nothing yet are not passed on", "00", [valid("04"), valid("f0"), valid("fc")]);
    continued(cases, "every flag", "03", [valid("ff")]);
    continued(
        cases,
        "space around the value",
        "01",
        ["", " ", "\t", "  ", " \t"].map(|space| format!("{space}{}{space}", valid("01"))),
    );
    continued(cases, "space after the value", "01", [" ", "\t", "\t "].map(|space| valid("01") + space));
    let tails = ["", "-", "-what-the-future-will-be-like", "-00", "-.", "- "];
    continued(
        cases,
        "a later version is read as far as it is known",
        "01",
        tails.map(|tail| of("cc", TRACE, PARENT, "01") + tail),
    );
    continued(cases, "the first later version", "01", [of("01", TRACE, PARENT, "01"), of("fe", TRACE, PARENT, "01")]);
    new(
        cases,
        "a tail that is none",
        [".what-the-future-will-not-be-like", "0", "_"].map(|tail| of("cc", TRACE, PARENT, "01") + tail),
    );
    new(cases, "version 00 has no tail", ["-", ".", "-00", "-what-the-future-will-be-like", " 0"].map(|tail| valid("01") + tail));
    new(cases, "the forbidden version", [of("ff", TRACE, PARENT, "01")]);
    new(
        cases,
        "a malformed version",
        [".0", "0.", "0", "000", "0000", "CC", "", "+0"].map(|version| of(version, TRACE, PARENT, "01")),
    );
    let (trace, parent) = (&TRACE[1..], &PARENT[1..]);
    let zero = "0".repeat(32);
    new(cases, "no trace", [of("00", &zero, PARENT, "01"), of("cc", &zero, PARENT, "01")]);
    let wrong = [".", "A", "g", "+", "-", " ", "%"];
    new(cases, "a trace id that is none", wrong.map(|first| of("00", &format!("{first}{trace}"), PARENT, "01")));
    new(cases, "a trace id that ends as none", wrong.map(|last| of("00", &format!("{trace}{last}"), PARENT, "01")));
    new(
        cases,
        "a trace id of another length",
        [trace.to_owned(), format!("{TRACE}3"), TRACE.repeat(2), String::new()].map(|id| of("00", &id, PARENT, "01")),
    );
    new(cases, "no parent", [of("00", TRACE, &zero[..16], "01")]);
    new(cases, "a parent id that is none", wrong.map(|first| of("00", TRACE, &format!("{first}{parent}"), "01")));
    new(cases, "a parent id that ends as none", wrong.map(|last| of("00", TRACE, &format!("{parent}{last}"), "01")));
    new(
        cases,
        "a parent id of another length",
        [parent.to_owned(), format!("{PARENT}7"), String::new()].map(|id| of("00", TRACE, &id, "01")),
    );
    new(
        cases,
        "malformed flags",
        [".0", "0.", "1", "001", "0001", "", "+1", "0A", "FF", "-1"].map(|flags| of("00", TRACE, PARENT, flags)),
    );
    new(
        cases,
        "fields are missing",
        ["", "00", "00-", &format!("00-{TRACE}"), &format!("00-{TRACE}-{PARENT}"), "-", "---"].map(str::to_owned),
    );
    new(cases, "other separators", [valid("01").replace('-', "_"), valid("01").replace('-', " "), valid("01").replace('-', "")]);
    new(cases, "two in one", [format!("{},{}", valid("01"), valid("01"))]);
    new(
        cases,
        "upper case",
        [of("00", &"abcdef".repeat(6)[..32].to_uppercase(), PARENT, "01"), of("00", TRACE, "ABCDEF0123456789", "01")],
    );
    let other = of("00", TRACE, "1234567890123457", "00");
    for second in [valid("01"), other, "nothing".to_owned()] {
        let lines = [valid("01"), second].map(|value| format!("traceparent: {value}")).to_vec();
        cases.push(Case { name: "two headers", lines: lines.clone(), expected: Expected::New });
        cases.push(Case { name: "two headers", lines: lines.into_iter().rev().collect(), expected: Expected::New });
    }
}

fn names(cases: &mut Vec<Case>) {
    let value = format!("00-{TRACE}-{PARENT}-01");
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        let expected = Expected::Continued { flags: "01", tracestate: None };
        cases.push(Case { name: "names have no case", lines: vec![format!("{name}: {value}")], expected });
    }
    for name in ["trace-parent", "trace.parent", "trace_parent", "traceparent2"] {
        cases.push(Case { name: "another name", lines: vec![format!("{name}: {value}")], expected: Expected::New });
    }
    for (name, kept) in
        [("TraceState", true), ("TrAcEsTaTe", true), ("TRACESTATE", true), ("trace-state", false), ("trace.state", false)]
    {
        let expected = Expected::Continued { flags: "01", tracestate: kept.then(|| "foo=1".to_owned()) };
        let lines = vec![format!("traceparent: {value}"), format!("{name}: foo=1")];
        cases.push(Case { name: "the name of tracestate", lines, expected });
    }
    for parent in [None, Some("traceparent: 00-nothing"), Some("traceparent:")] {
        let lines = parent.into_iter().chain(["tracestate: foo=1"]).map(str::to_owned).collect();
        cases.push(Case { name: "a tracestate without a trace", lines, expected: Expected::New });
    }
}

fn tracestates(cases: &mut Vec<Case>) {
    for whole in ["foo=1", "foo=1,bar=2", "bar=2,foo=1", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"] {
        state(cases, "as it came, in its order", &[whole], Some(whole));
    }
    state(
        cases,
        "several headers are one",
        &["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
        Some("foo=1,bar=2,rojo=1,congo=2,baz=3"),
    );
    state(cases, "empty headers are nothing", &["foo=1", ""], Some("foo=1"));
    state(cases, "empty headers are nothing", &["", "foo=1"], Some("foo=1"));
    state(cases, "empty headers are nothing", &["", "foo=1", "", "bar=2", ""], Some("foo=1,bar=2"));
    state(cases, "nothing but empty headers", &[""], None);
    state(cases, "nothing but empty headers", &["", " ", ",", " , "], None);
    for empty in ["foo=1,,,bar=2", ",foo=1,bar=2", "foo=1,bar=2,", "foo=1, ,\t,bar=2,,"] {
        state(cases, "empty members are nothing", &[empty], Some("foo=1,bar=2"));
    }
    for space in [
        "foo=1 \t , \t bar=2, \t baz=3",
        "foo=1\t \t,\t \tbar=2,\t \tbaz=3",
        " foo=1,bar=2,baz=3",
        "foo=1,bar=2,baz=3\t",
        "\t foo=1 , bar=2 , baz=3 \t",
    ] {
        state(cases, "space around members", &[space], Some("foo=1,bar=2,baz=3"));
    }
    state(cases, "space before a value is the value's", &["foo= 1,bar=2"], Some("foo= 1,bar=2"));
    state(cases, "space within a value", &["foo=a b  c"], Some("foo=a b  c"));
    for (twice, name) in [("foo=1,foo=1", "the same twice"), ("foo=1,foo=2", "a key twice"), ("foo=1,bar=2,foo=3", "a key twice")]
    {
        state(cases, name, &[twice], None);
    }
    state(cases, "a key twice in two headers", &["foo=1", "foo=2"], None);
    let key = "foo0123456789_-*/@abcdefghijklmnopqrstuvwxyz";
    let value: String = (b'!'..=b'~').map(char::from).filter(|byte| !",=".contains(*byte)).collect();
    let all = format!("{key}={value},0={value}");
    state(cases, "every character that is allowed", &[&all], Some(&all));
    for keys in ["1a=1", "a-b*c/d_e=1", "tenant@system=1", "a@b@c=1", "foo@=1", "9=1"] {
        state(cases, "keys", &[keys], Some(keys));
    }
    for key in [
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "fOo=1",
        "_a=1",
        "-a=1",
        "*a=1",
        "/a=1",
        "@a=1",
        "a b=1",
        "a\tb=1",
        "ä=1",
        "a:b=1",
        "=1",
        " =1",
        "\"a\"=1",
    ] {
        state(cases, "a key that is none", &[key], None);
        state(cases, "a key that is none among others", &["foo=1", key], None);
    }
    for value in ["foo=bar=baz", "foo=", "foo= ", "foo=\t", "foo==", "foo", "foo=a\tb", "foo=ä", "foo=1;bar=2=3"] {
        state(cases, "a value that is none", &[value], None);
        state(cases, "a value that is none among others", &[&format!("bar=2,{value}")], None);
    }
}

fn limits(cases: &mut Vec<Case>) {
    let members = |count: usize| (0..count).map(|number| format!("k{number:02}=1")).collect::<Vec<_>>();
    let joined = members(32).join(",");
    state(cases, "32 members", &[&joined], Some(&joined));
    let lines = members(32);
    state(cases, "32 members in as many headers", &lines.iter().map(String::as_str).collect::<Vec<_>>(), Some(&joined));
    state(cases, "33 members", &[&members(33).join(",")], None);
    state(cases, "33 members in two headers", &[&joined, "more=1"], None);
    for (length, kept) in [(1, true), (255, true), (256, true), (257, false)] {
        let member = format!("{}=1", "z".repeat(length));
        state(cases, "the length of a key", &[&member], kept.then_some(member.as_str()));
        let member = format!("z={}", "v".repeat(length));
        state(cases, "the length of a value", &[&member], kept.then_some(member.as_str()));
    }
    // 512 bytes must go on; of more, whole members.
    let exact = (0..16).map(|number| format!("k{number:02}={}", "v".repeat(27))).collect::<Vec<_>>().join(",") + "w";
    assert!(exact.len() == 512, "{}", exact.len());
    state(cases, "512 bytes", &[&exact], Some(&exact));
    let long = format!("long={}", "v".repeat(200));
    state(cases, "long members go first", &[&format!("{long},{exact}")], Some(&exact));
    state(cases, "then the last ones", &[&format!("{exact},last=1")], Some(&exact));
}
