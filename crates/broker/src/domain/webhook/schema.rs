//! The types of events, and the JSON Schema of what a message says of each.

use brokkr_api::{routes, webhooks::EventType};
use serde_json::{Map, Value, json};

/// A type: its name, version, when it happens, what it is about, and the fields of `details`.
struct Kind {
    name: &'static str,
    description: &'static str,
    about: &'static [About],
    details: &'static [(&'static str, Type)],
}

/// What an event of a type is about; each brings its fields into `data`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Stack,
    Agent,
    Generation,
}

/// What a field of `details` is.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Number,
    Truth,
    Object,
    List,
    Texts,
    Any,
}

use About::{Agent, Generation, Stack};
use Type::{Any, List, Number, Object, Text, Texts, Truth};

/// Of every schema: it grows with a change that a receiver could notice beyond new fields.
const VERSION: u32 = 1;

const DEPLOYMENT: &[(&str, Type)] = &[("stack", Text), ("from", Text), ("to", Text), ("error", Any), ("health", Any)];
const STACK: &[(&str, Type)] = &[("stack", Text), ("generation", Number), ("changed", Any), ("agents", Number)];
const WORK: &[(&str, Type)] = &[
    ("work_order", Text),
    ("name", Text),
    ("kind", Text),
    ("state", Text),
    ("attempt", Number),
    ("agent", Any),
    ("reason", Any),
];
const WEBHOOK: &[(&str, Type)] =
    &[("webhook", Text), ("reason", Any), ("failing_since", Any), ("deliveries", Number), ("state", Text)];
const SUSPENSION: &[(&str, Type)] = &[("reason", Any), ("stack", Text), ("agent", Text), ("generation", Number)];
const OF_AGENT: &[About] = &[Agent];
const OF_STACK: &[About] = &[Stack, Generation];
const OF_DEPLOYMENT: &[About] = &[Stack, Agent, Generation];
const NOTHING: &[About] = &[];

/// Makes the table readable: one type a line.
macro_rules! kinds {
    ($($name:literal $about:ident $details:expr, $description:literal;)*) => {
        &[$(Kind { name: $name, description: $description, about: $about, details: $details }),*]
    };
}

const KINDS: &[Kind] = kinds! {
    "agent.abandoned" OF_AGENT &[("orphaned", Number), ("agent", Text)], "Somebody said that an agent is gone for ever.";
    "agent.activated" OF_AGENT &[("agent", Text)], "A deactivated agent may work again.";
    "agent.created" OF_AGENT &[("cluster", Text), ("agent", Text)], "Somebody made an agent.";
    "agent.deactivated" OF_AGENT &[("agent", Text)], "An agent may not work any more.";
    "agent.enrolled" OF_AGENT &[("cluster", Text), ("registration_token", Text), ("labels", Object), ("repeated", Truth), ("agent", Text)], "An agent enrolled with a registration token.";
    "agent.key_rotation_requested" OF_AGENT &[("reason", Text), ("agent", Text)], "An agent was asked to take a new key.";
    "agent.offline" OF_AGENT &[("agent", Text), ("cluster", Text)], "An agent has let its polls lapse.";
    "agent.online" OF_AGENT &[("agent", Text), ("cluster", Text)], "An agent that was offline polls again.";
    "agent.resumed" OF_AGENT SUSPENSION, "The suspension of an agent ended.";
    "agent.suspended" OF_AGENT SUSPENSION, "An agent was suspended.";
    "agent.updated" OF_AGENT &[("labels", Object), ("agent", Text)], "The labels of an agent were changed.";
    "deployment.applied" OF_DEPLOYMENT DEPLOYMENT, "An agent applied a generation.";
    "deployment.approved" OF_DEPLOYMENT &[("stack", Text), ("agent", Text), ("revision", Number), ("plan", Text), ("objects", Number)], "Somebody approved the deletions that an agent held back.";
    "deployment.degraded" OF_DEPLOYMENT DEPLOYMENT, "What was applied is not well.";
    "deployment.deleted" OF_DEPLOYMENT DEPLOYMENT, "An agent removed everything of a stack.";
    "deployment.deleting" OF_DEPLOYMENT DEPLOYMENT, "An agent removes what it has of a stack.";
    "deployment.drifted" OF_DEPLOYMENT &[("stack", Text), ("objects", List)], "Others changed what an agent applied.";
    "deployment.failed" OF_DEPLOYMENT DEPLOYMENT, "An agent could not apply a generation.";
    "deployment.healthy" OF_DEPLOYMENT DEPLOYMENT, "What was applied is well.";
    "deployment.progressing" OF_DEPLOYMENT DEPLOYMENT, "An agent began to apply a generation, or what was applied is not settled.";
    "deployment_object.created" OF_STACK &[("stack", Text), ("generation", Number), ("digest", Text), ("agents", Number), ("rollback_to", Number)], "A stack has a new generation.";
    "fleet.resumed" NOTHING SUSPENSION, "The suspension of the fleet ended.";
    "fleet.suspended" NOTHING SUSPENSION, "The fleet was suspended.";
    "generator.created" NOTHING &[("quota", Object)], "Somebody made a generator.";
    "generator.updated" NOTHING &[("quota", Object)], "The quota of a generator was changed.";
    "key.activated" OF_AGENT &[("others_expire_at", Any)], "An agent used its new key for the first time.";
    "key.created" OF_AGENT &[("role", Text), ("scopes", Texts), ("expires_at", Any), ("pending", Truth)], "Somebody made a key, or an agent took a new one.";
    "key.revoked" NOTHING &[], "A key opens nothing any more.";
    "registration_token.created" NOTHING &[("labels", Object), ("max_uses", Number), ("expires_at", Any)], "Somebody made a registration token.";
    "registration_token.revoked" NOTHING &[], "A registration token enrols nobody any more.";
    "stack.created" OF_STACK STACK, "Somebody made a stack.";
    "stack.deleted" OF_STACK &[("stack", Text), ("generation", Number)], "A stack is gone everywhere.";
    "stack.deletion_requested" OF_STACK STACK, "Somebody deleted a stack; its agents remove what they have.";
    "stack.resumed" OF_STACK SUSPENSION, "The suspension of a stack ended.";
    "stack.suspended" OF_STACK SUSPENSION, "A stack was suspended.";
    "stack.updated" OF_STACK STACK, "Labels, targets or policy of a stack were changed.";
    "tracing.reset" NOTHING &[("revision", Number), ("broker", Any), ("agents", Any)], "Tracing is as the configuration says again.";
    "tracing.set" NOTHING &[("revision", Number), ("broker", Any), ("agents", Any)], "Somebody set how broker or agents trace.";
    "webhook.created" NOTHING WEBHOOK, "Somebody made a webhook.";
    "webhook.deleted" NOTHING WEBHOOK, "Somebody deleted a webhook.";
    "webhook.disabled" NOTHING WEBHOOK, "A webhook was disabled because its receiver is gone or failed for five days.";
    "webhook.replayed" NOTHING WEBHOOK, "Somebody had deliveries sent again.";
    "webhook.secret_rotated" NOTHING WEBHOOK, "The secret of a webhook was replaced.";
    "webhook.test" NOTHING WEBHOOK, "Somebody tests a webhook.";
    "webhook.updated" NOTHING WEBHOOK, "Somebody changed a webhook.";
    "work_order.cancel_requested" OF_AGENT WORK, "Somebody cancelled a work order that runs.";
    "work_order.cancelled" OF_AGENT WORK, "A work order was cancelled.";
    "work_order.failed" OF_AGENT WORK, "A work order failed.";
    "work_order.queued" OF_AGENT WORK, "A work order waits for an agent.";
    "work_order.started" OF_AGENT WORK, "A work order runs in its cluster.";
    "work_order.succeeded" OF_AGENT WORK, "A work order is done.";
    "work_order.unknown" OF_AGENT WORK, "The agent of a work order was lost after the start.";
};

/// Every type.
pub(crate) fn types() -> Vec<EventType> {
    KINDS
        .iter()
        .map(|kind| EventType {
            kind: kind.name.to_owned(),
            version: VERSION,
            description: kind.description.to_owned(),
            schema: routes::fill(routes::EVENT_TYPE, &[kind.name]),
        })
        .collect()
}

/// Names the schema of a type, as `$id` does.
fn id_of(kind: &str) -> String {
    format!("urn:brokkr:event:{kind}:{VERSION}")
}

/// Names the schema of what a message of this type carries as `data`: a part of the whole message's schema.
pub(crate) fn id_of_data(kind: &str) -> String {
    format!("{}#/properties/data", id_of(kind))
}

/// The JSON Schema of a message of this type, in draft 2020-12.
pub(crate) fn schema(name: &str) -> Option<Value> {
    let kind = KINDS.iter().find(|kind| kind.name == name)?;
    let id = |what: &str| json!({"type": "string", "format": "uuid", "description": what});
    let text = |what: &str| json!({"type": "string", "description": what});
    let mut data = Map::from_iter([
        ("event_id".to_owned(), id("Names the event: the same for every webhook.")),
        (
            "position".to_owned(),
            json!({"type": "integer", "minimum": 1, "description": "Counts up over all events: what is later has a higher one. Absent in a test."}),
        ),
        (
            "trace_id".to_owned(),
            json!({"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "The trace that it happened in."}),
        ),
    ]);
    if kind.about.contains(&Stack) {
        data.insert("stack_id".to_owned(), id("The stack."));
        data.insert("stack".to_owned(), text("Its name."));
    }
    if kind.about.contains(&Agent) {
        data.insert("agent_id".to_owned(), id("The agent."));
        data.insert("agent".to_owned(), text("Its name."));
    }
    if kind.about.contains(&Generation) {
        data.insert("generation".to_owned(), json!({"type": "integer", "minimum": 0}));
    }
    let details: Map<String, Value> = kind.details.iter().map(|(name, of)| ((*name).to_owned(), of.schema())).collect();
    data.insert("details".to_owned(), json!({"type": "object", "properties": details}));
    Some(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": id_of(kind.name),
        "title": kind.name,
        "description": kind.description,
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": kind.name},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
            "data": {"type": "object", "required": ["event_id", "details"], "properties": data},
        },
    }))
}

impl Type {
    fn schema(self) -> Value {
        match self {
            Text => json!({"type": ["string", "null"]}),
            Number => json!({"type": ["integer", "null"]}),
            Truth => json!({"type": ["boolean", "null"]}),
            Object => json!({"type": ["object", "null"]}),
            List => json!({"type": ["array", "null"]}),
            Texts => json!({"type": ["array", "null"], "items": {"type": "string"}}),
            Any => json!({}),
        }
    }
}

/// Where a value is not what its JSON Schema says, as far as our schemas use the language; of what they name no property may be missing in
/// them, so that the documentation is complete.
#[cfg(test)]
pub(crate) fn departs(schema: &Value, value: &Value, place: &str) -> Option<String> {
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if (!types.is_empty() && !types.contains(&kind)) || schema.get("const").is_some_and(|only| only != value) {
        return Some(format!("{place} is {value}, and should be {schema}"));
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| value.get(name).is_none()) {
        return Some(format!("{place}.{missing} is missing"));
    }
    let (Some(known), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else { return None };
    fields.iter().find_map(|(name, value)| match known.get(name) {
        Some(schema) => departs(schema, value, &format!("{place}.{name}")),
        None => Some(format!("{place}.{name} is in no schema")),
    })
}

/// Where the details of an event are not what the schema of its type says. Events of no type of ours are made by tests.
#[cfg(test)]
pub(crate) fn details_depart(kind: &str, details: &Value) -> Option<String> {
    departs(schema(kind)?.pointer("/properties/data/properties/details")?, details, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every type that the code writes: a text with a dot between `"` whose beginning is one of ours.
    #[test]
    fn every_type_in_the_code_has_a_schema_and_every_schema_a_type_in_the_code() {
        let mut found = std::collections::BTreeSet::new();
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("domain/webhook/schema.rs") && !path.ends_with("domain/webhook/filter.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                    let quoted = code.split('"').map(str::to_owned);
                    found.extend(quoted.filter(|text| is_type(text) && text != IN_THE_AUDIT_LOG_ALONE));
                }
            }
        }
        let known: std::collections::BTreeSet<_> = KINDS.iter().map(|kind| kind.name.to_owned()).collect();
        let missing: Vec<_> = found.iter().filter(|name| !known.contains(*name)).collect();
        let superfluous: Vec<_> = known.iter().filter(|name| !found.contains(*name)).collect();
        assert_eq!((missing, superfluous), (Vec::<&String>::new(), Vec::<&String>::new()));
    }

    /// Done with the database's own credentials, while no broker runs.
    const IN_THE_AUDIT_LOG_ALONE: &str = "installation.restored";

    fn is_type(text: &str) -> bool {
        const PREFIXES: [&str; 11] = [
            "agent",
            "deployment",
            "deployment_object",
            "fleet",
            "generator",
            "installation",
            "key",
            "registration_token",
            "stack",
            "tracing",
            "webhook",
        ];
        let Some((prefix, word)) = text.split_once('.') else { return false };
        // Fields of logs and spans look the same and name nothing in the past tense.
        let is_past = word.ends_with("ed")
            || ["offline", "online", "healthy", "progressing", "pending", "deleting", "set", "reset", "test"].contains(&word);
        let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        (PREFIXES.contains(&prefix) || (prefix == "work_order" && !word.is_empty()))
            && is_word
            && (is_past || prefix == "work_order")
            && !["id", "name", "kind"].contains(&word)
    }

    #[test]
    fn a_schema_names_its_type_and_its_fields() {
        for kind in types() {
            let schema = schema(&kind.kind).unwrap();
            assert_eq!(schema["properties"]["type"]["const"], kind.kind);
            assert!(schema["properties"]["data"]["properties"]["event_id"].is_object());
        }
        assert_eq!(schema("nothing.happened"), None);
    }
}
