//! JSON and YAML.

use brokkr_api::{ErrorCode, Problem};
use serde_json::Value;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
}

impl Format {
    /// The format of a content type; YAML, which JSON is a part of, when there is none.
    ///
    /// # Errors
    /// When the content type is another.
    pub(crate) fn of_content_type(content_type: Option<&str>) -> Result<Self, Problem> {
        let essence = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        match essence.as_deref() {
            Some("application/json") => Ok(Self::Json),
            None | Some("application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml") => Ok(Self::Yaml),
            Some(_) => {
                let problem =
                    Problem::new(ErrorCode::UnsupportedMediaType, "send manifests as application/yaml or application/json");
                Err(problem.at("header Content-Type"))
            }
        }
    }
}

/// The documents of a body: those of a YAML stream, the items of a JSON array, or the one JSON object.
///
/// # Errors
/// When the body is malformed; the detail names line and column, and nothing of the body.
pub(crate) fn parse(format: Format, body: &[u8]) -> Result<Vec<Value>, Problem> {
    match format {
        Format::Json => parse_json(body),
        Format::Yaml => parse_yaml(body),
    }
}

fn parse_json(body: &[u8]) -> Result<Vec<Value>, Problem> {
    match serde_json::from_slice(body) {
        Ok(Value::Array(items)) => Ok(items),
        Ok(document) => Ok(vec![document]),
        Err(error) => {
            let place = format!("line {}, column {}", error.line(), error.column());
            Err(Problem::new(ErrorCode::MalformedBody, format!("the body is not JSON: {place}")).at(place))
        }
    }
}

/// Deepest nesting of YAML. The deepest objects in use, definitions of custom resources, have about half of it.
const MAX_YAML_DEPTH: usize = 64;

fn parse_yaml(body: &[u8]) -> Result<Vec<Value>, Problem> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(Problem::new(ErrorCode::MalformedBody, "the body is not UTF-8"));
    };
    let options = serde_saphyr::options! {
        // Of YAML 1.1's many booleans only true and false: `country: no` stays a text.
        strict_booleans: true,
        // `defaultMode: 0444` is a file mode to every tool that reads manifests.
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        with_snippet: false,
        // The parser calls itself for every level: in a debug build 64 of them need three quarters of a thread's stack.
        budget: serde_saphyr::budget! { max_depth: MAX_YAML_DEPTH, max_nodes: 1_000_000, max_events: 2_000_000, max_documents: 10_000 },
    };
    serde_saphyr::from_multiple_with_options::<Value>(text, options).map_err(|error| {
        let place = error.location().map(|location| format!("line {}, column {}", location.line(), location.column()));
        let place = place.unwrap_or_else(|| "an unknown line".to_owned());
        Problem::new(ErrorCode::MalformedBody, format!("the body is not YAML, or is nested too deeply: {place}")).at(place)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_documents_are_read_and_only_true_and_false_are_booleans() {
        let documents = parse(Format::Yaml, b"a: no\n---\nb: true\n---\n").unwrap();
        let documents: Vec<_> = documents.into_iter().filter(|document| !document.is_null()).collect();
        assert_eq!(documents, [json!({"a": "no"}), json!({"b": true})]);
    }

    #[test]
    fn a_number_with_a_leading_zero_is_a_file_mode() {
        let documents = parse(Format::Yaml, b"old: 0444\nnew: 0o444\nnone: 0\ntext: \"0444\"\nplain: 444\nhalf: 0.5\n").unwrap();
        let expected = json!({"old": 292, "new": 292, "none": 0, "text": "0444", "plain": 444, "half": 0.5});
        assert_eq!(documents, [expected]);
    }

    #[test]
    fn malformed_bodies_are_refused_with_line_and_column_and_nothing_of_the_body() {
        for (format, body) in [
            (Format::Yaml, "a: [hunter2\nb: }"),
            (Format::Yaml, "a: 1\na: hunter2\n"),
            (Format::Json, "{\"a\": \"hunter2\""),
            (Format::Yaml, "a: b: hunter2"),
        ] {
            let problem = parse(format, body.as_bytes()).expect_err(body);
            assert_eq!(problem.code, ErrorCode::MalformedBody, "{body}");
            assert!(problem.detail.contains("line "), "{}", problem.detail);
            assert!(!problem.detail.contains("hunter2"), "{}", problem.detail);
        }
    }

    #[test]
    fn a_bomb_of_aliases_and_deep_nesting_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
        }
        assert_eq!(parse(Format::Yaml, bomb.as_bytes()).unwrap_err().code, ErrorCode::MalformedBody);
        for level in ["[", "- ", "? ", "{a: ", "a: {b: [", "- ? "] {
            for levels in [MAX_YAML_DEPTH + 1, 99, 150, 5_000] {
                let deep = level.repeat(levels);
                assert_eq!(
                    parse(Format::Yaml, deep.as_bytes()).unwrap_err().code,
                    ErrorCode::MalformedBody,
                    "{level:?} {levels} times"
                );
            }
        }
        let deepest = format!("{}x", "- ".repeat(MAX_YAML_DEPTH - 1));
        parse(Format::Yaml, deepest.as_bytes()).unwrap();
        let deep = "[".repeat(5_000);
        assert_eq!(parse(Format::Json, deep.as_bytes()).unwrap_err().code, ErrorCode::MalformedBody);
    }
}
