//! What parsers and handlers check, where a derived schema cannot say it. The fuzzer in `tests/schemathesis` compares both with the running broker.

use brokkr_api::{
    ErrorCode,
    deliveries::{MAX_ANSWER, MAX_DELIVERIES, MAX_LATENCY_MS, MAX_RETRY_AFTER_SECONDS},
    deployment_objects::MAX_OBJECTS,
    labels::MAX_LABELS,
    policy::{MAX_DRIFT_FIELD, MAX_HELD, MAX_MANAGER, MAX_PATH},
    reports::{MAX_MESSAGE, MAX_REASON, MAX_REPORTS},
    selector::MAX_SELECTOR_ITEMS,
    tracing::{MAX_ENDPOINT, MAX_SERVICE_NAME, MAX_TEXT},
    webhooks::{MAX_HEADER, MAX_HEADERS, MAX_URL},
    work_orders::{
        MAX_CONDITION, MAX_LOG, MAX_PARAMETER, MAX_PARAMETERS, MAX_PROGRESS, MAX_RENEWALS, MAX_WORK_OBJECTS, WorkKind,
        parameter_pattern,
    },
};
use brokkr_telemetry::metrics::WebhookResult;
use serde_json::{Value, json};

use super::{builds, entries};

const LABEL_NAME: &str = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";
pub(super) const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
pub(super) const SECRET_KEY: &str = "^[-_.A-Za-z0-9]{1,253}$";
const DIGEST: &str = "^sha256:[0-9a-f]{64}$";
/// A JSON pointer to what may be left to others.
const POINTER: &str = "^/(metadata/(labels|annotations)(/([^~\\x00-\\x1f\\x7f-\\x9f]|~[01])*)?|(?!(metadata|apiVersion|kind)(/|$))([^~\\x00-\\x1f\\x7f-\\x9f]|~[01])*)$";
/// What the broker takes for the address of a collector.
const ENDPOINT: &str = "^https?://([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:]{2,39}\\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[-A-Za-z0-9._~/]*)?$";
/// What is written as the URL of a webhook.
const URL: &str = "^https?://([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:.]*\\])(:[0-9]{1,5})?(/[-A-Za-z0-9!$%&'()*+,./:;=?@_~]*)?$";
const PRINTABLE: &str = "^[^\\x00-\\x1f\\x7f-\\x9f]*$";

fn label_key() -> Value {
    json!({"type": "string", "maxLength": 317, "pattern": format!("^({DNS_LABEL}(\\.{DNS_LABEL})*/)?{LABEL_NAME}$")})
}

fn label_value() -> Value {
    json!({"type": "string", "maxLength": 63, "pattern": format!("^({LABEL_NAME})?$")})
}

/// Schemas as a whole.
fn whole(name: &str) -> Option<Value> {
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|(code, _)| code.as_str()).collect();
    Some(match name {
        "Content" => {
            json!({"type": "array", "minItems": 1, "maxItems": MAX_OBJECTS, "items": {"$ref": "#/components/schemas/KubernetesObject"}})
        }
        "ErrorCode" => json!({"type": "string", "enum": codes}),
        "KubernetesObject" => kubernetes_object(),
        "JobWork" => {
            json!({"type": "object", "required": ["manifest"], "additionalProperties": false, "properties": {"manifest": job()}})
        }
        "Work" => json!({"oneOf": [one_of("job", "JobWork"), one_of("apply", "ApplyWork"), one_of("build", "BuildWork")]}),
        "Labels" => {
            json!({"type": "object", "maxProperties": MAX_LABELS, "propertyNames": label_key(), "additionalProperties": label_value()})
        }
        "Requirement" => json!({"oneOf": [
            requirement(&["In", "NotIn"], &json!({"minItems": 1, "maxItems": MAX_SELECTOR_ITEMS}), &["key", "operator", "values"]),
            requirement(&["Exists", "DoesNotExist"], &json!({"maxItems": 0}), &["key", "operator"]),
        ]}),
        _ => return builds::whole(name),
    })
}

/// A requirement with these operators.
fn requirement(operators: &[&str], limits: &Value, required: &[&str]) -> Value {
    let mut values = json!({"type": "array", "items": label_value()});
    merge(&mut values, limits.clone());
    json!({"type": "object", "required": required, "additionalProperties": false,
        "properties": {"key": label_key(), "operator": {"type": "string", "enum": operators}, "values": values}})
}

/// What the broker looks at of a manifest; the cluster checks the rest.
fn kubernetes_object() -> Value {
    json!({
        "type": "object",
        "description": "An object of Kubernetes; identities (group, kind, namespace and name) are unique in one request.",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": {"type": "string", "pattern": "^([-a-z0-9.]{1,253}/)?[-A-Za-z0-9]{1,63}$"},
            "kind": {"type": "string", "pattern": "^[-A-Za-z0-9]{1,63}$", "not": {"const": "List"}},
            "metadata": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[A-Za-z0-9]([-A-Za-z0-9.:]{0,251}[A-Za-z0-9])?$"},
                    "namespace": {"type": ["string", "null"], "pattern": format!("^{DNS_LABEL}$")},
                    "labels": {"type": ["object", "null"], "additionalProperties": label_value()},
                    "annotations": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
                },
            },
        },
        "example": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"}, "data": {"color": "blue"}},
    })
}

/// One alternative of several, under its name and alone.
pub(super) fn one_of(name: &str, schema: &str) -> Value {
    json!({"type": "object", "required": [name], "additionalProperties": false,
        "properties": {name: {"$ref": format!("#/components/schemas/{schema}")}}})
}

/// A Job of a work order.
fn job() -> Value {
    let mut job = kubernetes_object();
    job["properties"]["apiVersion"] = json!({"const": "batch/v1"});
    job["properties"]["kind"] = json!({"const": "Job"});
    job["properties"]["metadata"]["properties"]["name"] =
        json!({"type": "string", "pattern": "^[A-Za-z0-9]([-A-Za-z0-9.]{0,38}[A-Za-z0-9])?$"});
    job["example"] = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "import", "namespace": "shop"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "import", "image": "import:1"}]}}}});
    job
}

/// Limits of single fields.
fn fields() -> Vec<(&'static str, &'static str, Value)> {
    let identity = || json!({"maxLength": 320});
    let reason = || json!({"maxLength": MAX_REASON});
    let message = || json!({"maxLength": MAX_MESSAGE});
    let word = || json!({"minLength": 1, "maxLength": 64, "pattern": PRINTABLE});
    let printable = |longest: usize| json!({"items": {"type": "string", "maxLength": longest, "pattern": PRINTABLE}});
    let kind = || json!({"pattern": format!("^[-A-Za-z0-9]{{1,63}}(\\.{DNS_LABEL}){{0,3}}$")});
    let expression = || json!({"minLength": 1, "pattern": "^[^\\x00]*$"});
    let text = || json!({"maxLength": MAX_TEXT, "pattern": PRINTABLE});
    let described = || json!({"maxItems": 2 * MAX_OBJECTS});
    let mut scope = described();
    scope["items"] = json!({"type": "string", "maxLength": 320});
    vec![
        ("Hello", "cluster_uid", word()),
        ("Hello", "version", word()),
        ("Hello", "kubernetes_version", word()),
        ("Hello", "capabilities", json!({"items": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[!-~]+$"}})),
        ("Suspend", "reason", json!({"pattern": PRINTABLE})),
        ("LabelSelector", "matchExpressions", json!({"maxItems": MAX_SELECTOR_ITEMS})),
        ("TargetSelector", "names", json!({"maxItems": MAX_SELECTOR_ITEMS})),
        ("Reports", "reports", json!({"maxItems": MAX_REPORTS})),
        ("Report", "objects", described()),
        ("Scope", "group_kinds", scope.clone()),
        ("Scope", "namespaces", scope),
        ("Failure", "reason", reason()),
        ("Failure", "message", message()),
        ("Health", "reason", reason()),
        ("Health", "message", message()),
        ("ObjectReport", "reason", reason()),
        ("ObjectReport", "message", message()),
        ("ObjectReport", "apiVersion", identity()),
        ("ObjectReport", "kind", identity()),
        ("ObjectReport", "namespace", identity()),
        ("ObjectReport", "name", identity()),
        ("ObjectRef", "apiVersion", identity()),
        ("ObjectRef", "kind", identity()),
        ("ObjectRef", "namespace", identity()),
        ("ObjectRef", "name", identity()),
        ("TraceSettings", "endpoint", json!({"maxLength": MAX_ENDPOINT, "pattern": ENDPOINT})),
        ("TraceSettings", "service_name", json!({"minLength": 1, "maxLength": MAX_SERVICE_NAME, "pattern": PRINTABLE})),
        ("TraceValue", "key", text()),
        ("TraceValue", "value", text()),
        ("TraceValue", "source", text()),
        ("TracePipeline", "last_error", text()),
        ("TracePipeline", "exported", json!({"maximum": i64::MAX})),
        ("TracePipeline", "failed", json!({"maximum": i64::MAX})),
        ("TracePipeline", "dropped", json!({"maximum": i64::MAX})),
        ("ReportTracing", "revision", json!({"maximum": i64::MAX})),
        ("Approve", "plan", json!({"pattern": DIGEST})),
        ("Drift", "apiVersion", identity()),
        ("Drift", "kind", identity()),
        ("Drift", "namespace", identity()),
        ("Drift", "name", identity()),
        ("Drift", "fields", printable(MAX_DRIFT_FIELD)),
        ("Drift", "managers", printable(MAX_MANAGER)),
        ("HeldPlan", "plan", json!({"pattern": DIGEST})),
        ("HeldPlan", "objects", json!({"maximum": MAX_HELD})),
        ("HealthRule", "kind", kind()),
        ("HealthRule", "healthy", expression()),
        ("HealthRule", "degraded", expression()),
        ("HealthRule", "message", expression()),
        ("IgnoreFields", "kind", kind()),
        ("IgnoreFields", "namespace", json!({"pattern": format!("^{DNS_LABEL}$")})),
        ("IgnoreFields", "name", json!({"pattern": "^[A-Za-z0-9]([-A-Za-z0-9.:]{0,251}[A-Za-z0-9])?$"})),
        ("IgnoreFields", "paths", json!({"items": {"type": "string", "maxLength": MAX_PATH, "pattern": POINTER}})),
        ("CreateWorkOrder", "parameters", parameters()),
        ("CreateWorkOrder", "secrets", json!({"maxItems": MAX_PARAMETERS})),
        ("SecretReference", "name", json!({"pattern": parameter_pattern()})),
        ("SecretReference", "secret", json!({"maxLength": 253, "pattern": format!("^{DNS_LABEL}(\\.{DNS_LABEL})*$")})),
        ("SecretReference", "key", json!({"pattern": SECRET_KEY})),
        ("ApplyWork", "objects", json!({"maxItems": MAX_WORK_OBJECTS})),
        ("ApplyWork", "success", condition()),
        ("ApplyWork", "failure", condition()),
        ("ClaimWork", "kinds", json!({"maxItems": WorkKind::ALL.len()})),
        ("RenewWork", "orders", json!({"maxItems": MAX_RENEWALS})),
        ("Renewal", "token", json!({"maximum": i64::MAX})),
        ("Renewal", "progress", json!({"maxLength": MAX_PROGRESS, "pattern": PRINTABLE})),
        ("ReportWork", "token", json!({"maximum": i64::MAX})),
        ("ReportWork", "reason", reason()),
        ("ReportWork", "message", message()),
        ("ReportWork", "log", json!({"maxLength": MAX_LOG})),
        ("DeliveryReport", "token", json!({"maximum": i64::MAX})),
        ("DeliveryReport", "result", json!({"enum": results()})),
        ("DeliveryReport", "latency_ms", json!({"maximum": MAX_LATENCY_MS})),
        ("DeliveryReport", "answer", json!({"maxLength": MAX_ANSWER})),
        ("DeliveryReport", "retry_after_seconds", json!({"maximum": MAX_RETRY_AFTER_SECONDS})),
        ("ReportDeliveries", "deliveries", json!({"maxItems": MAX_DELIVERIES})),
        ("CreateWebhook", "url", url()),
        ("CreateWebhook", "headers", headers()),
        ("UpdateWebhook", "url", url()),
        ("UpdateWebhook", "headers", headers()),
        ("WebhookSettings", "events", events()),
        ("StackPolicy", "service_account", json!({"pattern": format!("^{DNS_LABEL}/{DNS_LABEL}(\\.{DNS_LABEL}){{0,2}}$")})),
    ]
}

/// How an attempt may have ended.
fn results() -> Vec<&'static str> {
    WebhookResult::ALL.iter().map(|result| result.as_str()).collect()
}

fn url() -> Value {
    json!({"maxLength": MAX_URL, "pattern": URL, "example": "https://hooks.example.com/brokkr"})
}

fn headers() -> Value {
    json!({"maxProperties": MAX_HEADERS, "propertyNames": {"type": "string", "pattern": "^[-A-Za-z0-9]{1,64}$"},
        "additionalProperties": {"type": "string", "maxLength": MAX_HEADER, "pattern": "^[!-~]([ -~]*[!-~])?$"}})
}

fn events() -> Value {
    json!({"items": {"type": "string", "maxLength": 64, "pattern": "^(\\*|[a-z_]+(\\.[a-z_]+)*(\\.\\*)?)$"}})
}

fn condition() -> Value {
    json!({"minLength": 1, "maxLength": MAX_CONDITION, "pattern": "^[^\\x00]*$"})
}

fn parameters() -> Value {
    json!({"maxProperties": MAX_PARAMETERS, "propertyNames": {"type": "string", "pattern": parameter_pattern()},
        "additionalProperties": {"type": "string", "maxLength": MAX_PARAMETER, "pattern": "^[^\\x00]*$"}})
}

/// Parameters by operation and name.
fn parameter(operation: &str, name: &str) -> Option<Value> {
    Some(match name {
        "cursor" if operation == "listDeploymentObjects" => json!({"type": "string", "pattern": "^[0-9]{0,18}$"}),
        "cursor" => json!({"type": "string", "maxLength": 200, "pattern": "^[!-~]*$"}),
        "action" | "resource_kind" | "resource_name" => json!({"type": "string", "maxLength": 300, "pattern": PRINTABLE}),
        "after" => json!({"type": "integer", "minimum": 0, "maximum": i64::MAX}),
        "digest" => json!({"type": "string", "pattern": DIGEST}),
        "idempotency-key" => json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"}),
        "if-match" => json!({"anyOf": [{"type": "string", "pattern": "^\"[0-9]{1,19}\"$"}, {"const": "*"}]}),
        "label" => {
            json!({"type": "string", "pattern": format!("^({DNS_LABEL}(\\.{DNS_LABEL})*/)?{LABEL_NAME}=({LABEL_NAME})?$")})
        }
        "type" => json!({"type": "string", "maxLength": 64, "pattern": "^[a-z._]*$"}),
        "wait" => json!({"type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h)$", "example": "30s"}),
        _ => return None,
    })
}

/// Puts the rules where they belong.
pub(super) fn apply(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    schemas["KubernetesObject"] = json!({});
    for (name, schema) in entries(schemas) {
        if let Some(rule) = whole(name) {
            let description = schema.get("description").cloned();
            *schema = rule;
            if let Some(description) = description {
                schema["description"] = description;
            }
        }
    }
    for (schema, field, rule) in fields().into_iter().chain(builds::fields()) {
        if let Some(property) = schemas.pointer_mut(&format!("/{schema}/properties/{field}")) {
            merge(property, rule);
        }
    }
    // Flattened fields make the derive forget that it refuses unknown ones.
    for flattened in ["ObjectReport", "Drift"] {
        schemas[flattened]["additionalProperties"] = json!(false);
    }
    visit(document);
    for (_, operations) in entries(&mut document["paths"]) {
        for (_, operation) in entries(operations) {
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            for one in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
                // An absent parameter is absent: there is no way to write a null.
                if one["schema"]["type"].is_array() {
                    one["schema"]["type"] = json!("string");
                }
                if let Some(rule) = one["name"].as_str().and_then(|name| parameter(&id, name)) {
                    one["schema"] = rule;
                }
            }
        }
    }
}

fn merge(schema: &mut Value, rule: Value) {
    if let (Some(schema), Value::Object(rule)) = (schema.as_object_mut(), rule) {
        // A field that may be absent stays one that may be null.
        schema.extend(rule.into_iter().filter(|(key, _)| key != "type"));
    }
}

/// What holds everywhere: numbers without sign have a highest one, and texts for readers of the code lose their brackets.
fn visit(value: &mut Value) {
    if let Value::Object(schema) = value {
        let most = match schema.get("format").and_then(Value::as_str) {
            Some("int32") => json!(u32::MAX),
            Some("int64") => json!(u64::MAX),
            _ => Value::Null,
        };
        if !most.is_null() && schema.get("minimum").is_some_and(|least| least.as_i64().is_some_and(|least| least >= 0)) {
            // The formats are those of numbers with a sign, which end earlier.
            schema.remove("format");
            schema.entry("maximum").or_insert(most);
        }
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace("[`", "`").replace("`]", "`");
        }
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(visit),
        Value::Array(items) => items.iter_mut().for_each(visit),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_something_to_rule() {
        let document: Value = serde_json::from_str(&crate::http::openapi()).unwrap();
        for (schema, field, _) in fields() {
            assert!(document["components"]["schemas"][schema]["properties"][field].is_object(), "{schema}.{field}");
        }
        let text = document.to_string();
        for name in [
            "action",
            "resource_kind",
            "resource_name",
            "after",
            "cursor",
            "digest",
            "idempotency-key",
            "if-match",
            "label",
            "type",
            "wait",
        ] {
            assert!(text.contains(&format!("\"name\":\"{name}\"")), "{name}");
        }
    }
}
