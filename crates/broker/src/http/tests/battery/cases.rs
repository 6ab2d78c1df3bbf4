//! Wrong requests of one operation, made from its entry in the document.

use brokkr_api::Name;
use http::Method;
use serde_json::{Map, Value, json};

/// An operation of the document.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) responses: Vec<String>,
    operation: Value,
}

/// One request.
pub(super) struct Case {
    pub(super) what: String,
    pub(super) target: String,
    pub(super) header: Option<(&'static str, Vec<u8>)>,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Vec<u8>,
    /// Whether no server may take it for right.
    pub(super) must_be_refused: bool,
    /// Whether callers who may not do this send it too.
    pub(super) for_everybody: bool,
}

/// Segments of paths, as they are written in a URL. None of them names anything, and few are names.
const SEGMENTS: &[&str] = &[
    "%00",
    "a%00b",
    "%ff%fe",
    "%",
    "%zz",
    "..",
    "%2e%2e",
    "%2F",
    "-1",
    "18446744073709551616",
    "9223372036854775808",
    "1e309",
    "%F0%9F%92%A9",
    "%27%20OR%201=1--",
    "00000000-0000-7000-8000-00000000000g",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Values of query parameters that are none for any of them.
const VALUES: &[&str] = &["%00", "%ff%fe", "%zz", "%0d%0a", "-1%00"];

/// Values of query parameters that are right for some.
const DOUBTFUL: &[&str] = &[
    "",
    "-1",
    "0",
    "501",
    "18446744073709551616",
    "9223372036854775807",
    "1e309",
    "null",
    "a=",
    "=a",
    "..",
    "%F0%9F%92%A9",
    "5ms",
];

/// Where a document says nothing about a body: what no JSON parser takes.
const MALFORMED: &[(&str, &[u8])] = &[
    ("nothing", b""),
    ("half an object", b"{\"name\": \"a\""),
    ("two documents", b"{} {}"),
    ("no UTF-8", b"{\"name\": \"\xff\xfe\"}"),
    ("half a surrogate pair", b"{\"name\": \"\\ud800\"}"),
    ("a number that is none", b"{\"name\": NaN}"),
    ("a NUL", b"\0"),
    ("a byte order mark", b"\xef\xbb\xbf{}"),
];

fn wrong_values() -> Vec<(&'static str, String)> {
    vec![
        ("null", "null".to_owned()),
        ("a NUL", "\"a\\u0000b\"".to_owned()),
        ("an empty text", "\"\"".to_owned()),
        ("65 characters", format!("\"{}\"", "a".repeat(65))),
        ("100 kB", format!("\"{}\"", "a".repeat(100_000))),
        ("a text of symbols", "\"\u{1f4a9}\u{202e}\\u001b[31m\"".to_owned()),
        ("a negative number", "-1".to_owned()),
        ("a huge number", "18446744073709551616".to_owned()),
        ("a number beyond floats", "1e400".to_owned()),
        ("a fraction", "0.5".to_owned()),
        ("a boolean", "true".to_owned()),
        ("an array", "[null]".to_owned()),
        ("an object", "{\"\": {\"\\u0000\": []}}".to_owned()),
        ("labels of 65 characters", format!("{{\"{0}\": \"{0}\"}}", "a".repeat(65))),
        ("deep arrays", format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))),
    ]
}

/// Every operation of the document.
pub(super) fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let responses = operation["responses"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
            let method = method.to_uppercase().parse().unwrap();
            all.push(Operation { method, path: path.clone(), responses, operation: operation.clone() });
        }
    }
    all
}

impl Operation {
    /// Whether the document promises an `ETag` with this status.
    pub(super) fn is_tagged(&self, status: u16) -> bool {
        self.operation["responses"][status.to_string()]["headers"]["etag"].is_object()
    }

    fn parameters(&self, place: &str) -> Vec<String> {
        let all = self.operation["parameters"].as_array().into_iter().flatten();
        all.filter(|one| one["in"] == place).map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The path with things that exist, or with `wrong` in place of one of them.
    fn target(&self, wrong: Option<(&str, &str)>) -> String {
        let existing = |name: &str| match name {
            "stack" if self.method == Method::DELETE => "spare",
            "stack" if self.path.starts_with("/api/v1/agent/") => "00000000-0000-7000-8000-000000000000",
            "stack" => "shop",
            "agent" if self.method == Method::GET => "edge",
            "agent" => "spare",
            "generation" => "1",
            _ => "00000000-0000-7000-8000-000000000000",
        };
        let segments = self.path.split('/').map(|segment| {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            name.map_or(segment, |name| match wrong {
                Some((of, value)) if of == name => value,
                _ => existing(name),
            })
        });
        segments.collect::<Vec<_>>().join("/")
    }

    fn body(&self, document: &Value) -> Option<Value> {
        let schema = self.operation.pointer("/requestBody/content/application~1json/schema")?;
        Some(sample(document, schema))
    }

    /// The right request, and wrong ones.
    pub(super) fn cases(&self, document: &Value) -> Vec<Case> {
        let right = self.body(document);
        let base = |what: String, must_be_refused: bool| Case {
            what,
            target: self.target(None),
            header: None,
            content_type: right.as_ref().map(|_| "application/json"),
            body: right.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default(),
            must_be_refused,
            for_everybody: false,
        };
        let mut cases = vec![Case { for_everybody: true, ..base("what fits the document".to_owned(), false) }];
        for name in self.parameters("path") {
            for segment in SEGMENTS {
                let target = self.target(Some((&name, segment)));
                cases.push(Case {
                    target,
                    for_everybody: true,
                    ..base(format!("{name} is {segment}"), segment.parse::<Name>().is_err())
                });
            }
            let target = self.target(Some((&name, &"a".repeat(16_000))));
            cases.push(Case { target, ..base(format!("{name} is 16 kB long"), true) });
        }
        self.queries(&base, &mut cases);
        self.headers(&base, &mut cases);
        if right.is_some() {
            self.bodies(document, &base, &mut cases);
        }
        cases
    }

    fn queries(&self, base: &dyn Fn(String, bool) -> Case, cases: &mut Vec<Case>) {
        let names = self.parameters("query");
        let mut push = |query: String, must_be_refused: bool| {
            let case = base(format!("?{}", query.chars().take(80).collect::<String>()), must_be_refused);
            cases.push(Case { target: format!("{}?{query}", case.target), ..case });
        };
        let is_read = !names.is_empty();
        for query in ["nonsense=1", "%00=1", "%ff=1", "__proto__[a]=1"] {
            push(query.to_owned(), is_read);
        }
        for name in &names {
            VALUES.iter().for_each(|value| push(format!("{name}={value}"), !value.contains("zz")));
            DOUBTFUL.iter().for_each(|value| push(format!("{name}={value}"), false));
            push(format!("{name}={}", "a".repeat(8_000)), true);
            push(format!("{name}=a&{name}=a"), true);
            push(format!("{name}[]=a"), true);
        }
    }

    fn headers(&self, base: &dyn Fn(String, bool) -> Case, cases: &mut Vec<Case>) {
        let documented = self.parameters("header");
        let is_read = |name: &str| documented.iter().any(|known| known == name);
        for (name, values) in [
            ("if-match", [&b"7"[..], b"\"\xff\"", b"\"-1\"", b"\"18446744073709551616\"", b"W/\"1\""]),
            ("idempotency-key", [&b""[..], b"\xff", b"\t", b"\xc3\xa9", &[b'k'; 256]]),
            ("brokkr-protocol", [&b""[..], b"-1", b"99999999999", b"\xff", b"one"]),
        ] {
            for value in values {
                let case = base(format!("{name}: {}", value.escape_ascii()), is_read(name));
                cases.push(Case { header: Some((name, value.to_vec())), ..case });
            }
        }
        for (name, value) in [
            ("if-none-match", &b"\xff\xfe"[..]),
            ("accept", b"\xff"),
            ("traceparent", b"00-\xff-1-zz"),
            ("tracestate", &[b'='; 4_000]),
            ("content-length", b"\xff"),
            ("x-forwarded-for", b"' OR 1=1 --"),
            ("range", b"bytes=9-1"),
            ("expect", b"nonsense"),
        ] {
            cases.push(Case { header: Some((name, value.to_vec())), ..base(format!("{name}: {}", value.escape_ascii()), false) });
        }
    }

    fn bodies(&self, document: &Value, base: &dyn Fn(String, bool) -> Case, cases: &mut Vec<Case>) {
        for (what, body) in MALFORMED {
            cases.push(Case { body: body.to_vec(), ..base((*what).to_owned(), true) });
        }
        for content_type in [None, Some("text/csv"), Some("application/xml"), Some("json"), Some("application/jsonx"), Some(";")]
        {
            // Without a content type manifests are read as YAML, which JSON is a part of.
            let must_be_refused = content_type.is_some() || !self.reads_yaml();
            cases.push(Case { content_type, ..base(format!("content type {content_type:?}"), must_be_refused) });
        }
        for (what, value) in wrong_values() {
            let must_be_refused = !(value.starts_with('{') || what == "an array");
            cases.push(Case { body: value.clone().into_bytes(), ..base(format!("the body is {what}"), must_be_refused) });
            for text in with_each_field_as(&self.body(document).unwrap_or_default(), &fields(document, &self.schema()), &value) {
                cases.push(Case { body: text.1.into_bytes(), ..base(format!("{} is {what}", text.0), false) });
            }
        }
        if let Some(Value::Object(body)) = self.body(document) {
            let text = json!(body).to_string();
            let unknown = text.replacen('{', "{\"nonsense\": 1, ", 1).replace(", }", "}");
            cases.push(Case { body: unknown.into_bytes(), ..base("an unknown field".to_owned(), true) });
            if let Some((name, value)) = body.iter().next() {
                let twice = text.replacen('{', &format!("{{{name:?}: {value}, "), 1);
                cases.push(Case { body: twice.into_bytes(), ..base(format!("{name} stands twice"), true) });
            }
            let array = Value::Array(body.values().cloned().collect()).to_string();
            cases.push(Case { body: array.into_bytes(), ..base("the fields without their names".to_owned(), true) });
        }
        if self.reads_yaml() {
            for (what, body) in yaml() {
                let case = base(format!("YAML: {what}"), true);
                cases.push(Case { content_type: Some("application/yaml"), body: body.into_bytes(), ..case });
            }
        }
    }

    fn schema(&self) -> Value {
        self.operation.pointer("/requestBody/content/application~1json/schema").cloned().unwrap_or_default()
    }

    fn reads_yaml(&self) -> bool {
        self.operation.pointer("/requestBody/content/application~1yaml").is_some()
    }
}

fn yaml() -> Vec<(&'static str, String)> {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
    }
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    vec![
        ("a bomb of aliases", bomb),
        ("an alias of itself", "a: &a [*a]\n".to_owned()),
        ("deep flow", "[".repeat(50_000)),
        ("deep blocks", "- ".repeat(5_000)),
        ("many documents", "---\n".repeat(20_000)),
        ("the same key twice", format!("{object}kind: Secret\n")),
        ("a NUL", format!("{object}data: {{a: \"\0\"}}\n")),
        ("a tab", format!("{object}\tdata: 1\n")),
        ("an unknown alias", format!("{object}data: *nobody\n")),
        ("a tag of a language", format!("!!python/object/apply:os.system [{object}]")),
    ]
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let path = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#'));
    let found = path.and_then(|path| document.pointer(path)).unwrap_or(schema);
    found["oneOf"].get(0).map_or(found, |first| resolve(document, first))
}

fn fields(document: &Value, schema: &Value) -> Vec<String> {
    resolve(document, schema)["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect()
}

/// The body as text, once for every field, with the value in its place.
fn with_each_field_as(body: &Value, fields: &[String], value: &str) -> Vec<(String, String)> {
    let mark = "\"THE-VALUE\"";
    let with = |field: &String| {
        let mut body = body.clone();
        body[field.as_str()] = json!("THE-VALUE");
        (field.clone(), body.to_string().replace(mark, value))
    };
    if body.is_object() { fields.iter().map(with).collect() } else { Vec::new() }
}

/// A value that fits the schema: required fields only.
fn sample(document: &Value, schema: &Value) -> Value {
    let schema = resolve(document, schema);
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match (kind, schema["format"].as_str()) {
        ("object", _) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let field = |name: &str| (name.to_owned(), sample(document, &schema["properties"][name]));
            Value::Object(required.map(field).collect())
        }
        ("array", _) if schema["minItems"].is_u64() => json!([sample(document, &schema["items"])]),
        ("array", _) => json!([]),
        ("integer", _) => schema.get("minimum").cloned().unwrap_or(json!(1)),
        ("boolean", _) => json!(true),
        (_, Some("uuid")) => json!("00000000-0000-7000-8000-000000000000"),
        (_, Some("date-time")) => json!("2100-01-01T00:00:00Z"),
        _ => json!("sample"),
    }
}
