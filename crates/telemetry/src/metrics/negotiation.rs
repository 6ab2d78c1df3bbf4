//! Which exposition format an `Accept` header asks for.

/// An exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// OpenMetrics where it is named and at least as welcome as text; text for everybody else, those included who accept neither.
pub(super) fn negotiate(accept: Option<&str>) -> Format {
    let ranges: Vec<Range<'_>> = accept.unwrap_or_default().split(',').filter_map(Range::parse).collect();
    let named = |media: &str, versions: &[&str]| {
        let matches = |range: &&Range<'_>| {
            range.media.eq_ignore_ascii_case(media) && range.version.is_none_or(|version| versions.contains(&version))
        };
        ranges.iter().filter(matches).map(|range| range.quality).max()
    };
    let openmetrics = named("application/openmetrics-text", &["1.0.0"]).unwrap_or(0);
    let text = named("text/plain", &["0.0.4"]).or_else(|| named("text/*", &[])).or_else(|| named("*/*", &[])).unwrap_or(0);
    if openmetrics > 0 && openmetrics >= text { Format::OpenMetrics } else { Format::Text }
}

/// A media range: `text/plain;version=0.0.4;q=0.2`.
struct Range<'a> {
    media: &'a str,
    version: Option<&'a str>,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(range: &'a str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().filter(|media| media.contains('/'))?;
        let mut range = Self { media, version: None, quality: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => range.version = Some(value),
                "q" => range.quality = quality(value)?,
                _ => {}
            }
        }
        Some(range)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 1000")]
fn quality(value: &str) -> Option<u16> {
    let quality: f32 = value.parse().ok()?;
    (0.0..=1.0).contains(&quality).then(|| (quality * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrapers_in_use_get_what_they_prefer() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let cases = [
            (Some(prometheus), Format::OpenMetrics),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), Format::OpenMetrics),
            (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), Format::Text),
            (Some("application/openmetrics-text;q=0.2,text/plain;q=0.8"), Format::Text),
            (Some("application/openmetrics-text;q=0.8, text/plain;q=0.2"), Format::OpenMetrics),
            (Some("application/openmetrics-text;q=0, */*"), Format::Text),
            (Some("application/openmetrics-text;version=0.0.1"), Format::Text),
            (Some("application/openmetrics-text;q=high"), Format::Text),
            (Some("application/vnd.google.protobuf"), Format::Text),
            (Some("*/*"), Format::Text),
            (Some(""), Format::Text),
            (None, Format::Text),
        ];
        for (accept, expected) in cases {
            assert_eq!(negotiate(accept), expected, "{accept:?}");
        }
    }
}
