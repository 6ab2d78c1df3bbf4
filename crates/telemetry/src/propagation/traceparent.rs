//! The grammar of `traceparent`.

use std::fmt;

/// A valid `traceparent`, with the flags that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traceparent<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    flags: u8,
}

impl fmt::Display for Traceparent<'_> {
    /// As version 00, whatever version it came in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// Parses a header value without surrounding space.
pub(super) fn parse(value: &str) -> Option<Traceparent<'_>> {
    let (head, rest) = value.split_at_checked(55)?;
    let [version, trace_id, span_id, flags] = fields(head)?;
    // A later version may say more, but only after another dash.
    let tail_allowed = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
    let valid = version != "ff" && tail_allowed && !all_zero(trace_id) && !all_zero(span_id);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    valid.then_some(Traceparent { trace_id, span_id, flags: flags & (super::SAMPLED | super::RANDOM) })
}

fn fields(head: &str) -> Option<[&str; 4]> {
    let mut parts = head.split('-');
    let fields = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let exact = parts.next().is_none() && fields.map(str::len) == [2, 32, 16, 2];
    (exact && fields.iter().all(|field| field.bytes().all(is_lower_hex))).then_some(fields)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn all_zero(hex: &str) -> bool {
    hex.bytes().all(|byte| byte == b'0')
}
