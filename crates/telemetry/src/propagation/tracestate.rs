//! The grammar of `tracestate`.

use std::collections::HashSet;

/// What is kept and passed on of a `tracestate`, in bytes.
pub const MAX_TRACESTATE_BYTES: usize = 512;

const MAX_MEMBERS: usize = 32;
const MAX_KEY: usize = 256;
const MAX_VALUE: usize = 256;
const LONG_MEMBER: usize = 128;

/// The members in one canonical line. None when there are none, or when one of them breaks the grammar: then the whole is worth nothing.
pub(super) fn parse(value: &str) -> Option<String> {
    let mut seen = HashSet::new();
    let mut members = Vec::new();
    for member in value.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || !seen.insert(key) {
            return None;
        }
        members.push(member);
    }
    if members.is_empty() || members.len() > MAX_MEMBERS {
        return None;
    }
    shorten(&mut members);
    (!members.is_empty()).then(|| members.join(","))
}

/// Drops whole members until the rest fits: first the long ones, as the recommendation asks, then from the right.
fn shorten(members: &mut Vec<&str>) {
    while length(members) > MAX_TRACESTATE_BYTES {
        match members.iter().rposition(|member| member.len() > LONG_MEMBER) {
            Some(long) => drop(members.remove(long)),
            None => drop(members.pop()),
        }
    }
}

fn length(members: &[&str]) -> usize {
    members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
}

fn is_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    first && key.len() <= MAX_KEY && bytes.all(rest)
}

fn is_value(value: &str) -> bool {
    let printable = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b',' && byte != b'=';
    !value.is_empty() && value.len() <= MAX_VALUE && !value.ends_with(' ') && value.bytes().all(printable)
}
