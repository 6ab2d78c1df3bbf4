//! Pages by keyset: a cursor names the last item of the page before, so that a page costs the same wherever it is.

use brokkr_api::{
    ErrorCode, Page,
    labels::{is_label_key, is_label_value},
    page::{DEFAULT_LIMIT, MAX_LIMIT},
};

use crate::http::error::Failure;

/// The page's limit.
pub(super) fn limit(limit: Option<u32>) -> Result<u32, Failure> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(Failure::new(ErrorCode::InvalidQuery, format!("limit is 1 to {MAX_LIMIT}")).at("query limit"))
    }
}

/// The cursor; what it looks like is the broker's business, so that only its length is checked.
pub(super) fn cursor(cursor: Option<&str>) -> Result<&str, Failure> {
    let cursor = cursor.unwrap_or_default();
    let sane = cursor.len() <= 200 && cursor.bytes().all(|b| b.is_ascii_graphic());
    sane.then_some(cursor)
        .ok_or_else(|| Failure::new(ErrorCode::InvalidQuery, "this is no cursor of this list").at("query cursor"))
}

/// A filter by one label, `key=value`.
pub(super) fn label(label: Option<&str>) -> Result<Option<(&str, &str)>, Failure> {
    let Some(label) = label else { return Ok(None) };
    let parts = label.split_once('=').filter(|(key, value)| is_label_key(key) && is_label_value(value));
    parts.map(Some).ok_or_else(|| Failure::new(ErrorCode::InvalidQuery, "a label is written as key=value").at("query label"))
}

/// A filter by a text: what no database keeps is found nowhere, and told as a mistake.
pub(super) fn text(name: &'static str, filter: Option<&str>) -> Result<(), Failure> {
    let sane = filter.is_none_or(|text| text.chars().count() <= 300 && !text.chars().any(char::is_control));
    let detail = "a filter has at most 300 printable characters";
    sane.then_some(()).ok_or_else(|| Failure::new(ErrorCode::InvalidQuery, detail).at(format!("query {name}")))
}

/// Makes a page of one item more than the limit, which tells that there is another page.
pub(super) fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Page<T> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = if more { items.last().map(cursor) } else { None };
    Page { items, next_cursor }
}
