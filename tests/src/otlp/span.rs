use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A span as it came over OTLP. Ids are lower-case hexadecimal, times Unix nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// `service.name` of the resource.
    pub service: String,
    /// 32 digits.
    pub trace_id: String,
    /// 16 digits.
    pub span_id: String,
    /// The parent's span id; none for a root.
    pub parent: Option<String>,
    /// Vendor part of the context.
    pub trace_state: String,
    /// The name.
    pub name: String,
    /// Its role in a conversation.
    pub kind: Kind,
    /// When it began.
    pub start_nanos: u64,
    /// When it ended.
    pub end_nanos: u64,
    /// What it says about itself.
    pub attributes: BTreeMap<String, Value>,
    /// What the process says about itself.
    pub resource: BTreeMap<String, Value>,
    /// Causes other than the parent.
    pub links: Vec<Link>,
    /// What happened meanwhile.
    pub events: Vec<Event>,
    /// How it went.
    pub status: Status,
    /// Its size on the wire, without what it shares with the other spans of its process.
    #[serde(default)]
    pub bytes: u64,
}

impl Span {
    /// An attribute that is a string.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).and_then(Value::as_str)
    }

    /// Time between start and end, in nanoseconds; 0 where a clock went backwards.
    pub fn nanos(&self) -> u64 {
        self.end_nanos.saturating_sub(self.start_nanos)
    }

    /// Whether it is a link's target.
    pub fn is_linked_from(&self, link: &Link) -> bool {
        link.trace_id == self.trace_id && link.span_id == self.span_id
    }

    /// The component that the span's time belongs to, for [`super::Share`].
    pub fn component(&self) -> String {
        let has = |prefix: &str| self.attributes.keys().any(|key| key.starts_with(prefix));
        let service = self.service.strip_prefix("brokkr-").unwrap_or(&self.service);
        if matches!(self.service.as_str(), "apiserver" | "kube-apiserver" | "etcd") {
            return "Kubernetes API".to_owned();
        }
        if self.is_wait() {
            return "waiting".to_owned();
        }
        match self.kind {
            Kind::Client if has("db.") => "SQL".to_owned(),
            Kind::Client if has("k8s.") || has("brokkr.kubernetes.") => "Kubernetes API".to_owned(),
            Kind::Client => format!("{service}: network"),
            Kind::Internal | Kind::Server | Kind::Producer | Kind::Consumer => service.to_owned(),
        }
    }

    /// Whether the span says that nothing but waiting happened.
    pub fn is_wait(&self) -> bool {
        self.name.starts_with("wait") || self.attributes.keys().any(|key| key.starts_with("brokkr.wait"))
    }
}

/// A span's role in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Inside a process.
    Internal,
    /// Answers a request.
    Server,
    /// Sends a request and waits.
    Client,
    /// Hands work over and does not wait.
    Producer,
    /// Takes handed-over work.
    Consumer,
}

impl Kind {
    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// A cause of a span other than its parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The other span's trace.
    pub trace_id: String,
    /// The other span.
    pub span_id: String,
    /// What the link says about itself.
    pub attributes: BTreeMap<String, Value>,
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// When, in Unix nanoseconds.
    pub nanos: u64,
    /// What it says about itself.
    pub attributes: BTreeMap<String, Value>,
}

/// How a span went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody said.
    Unset,
    /// Said to be well.
    Ok,
    /// Failed, with a description that may be empty.
    Error(String),
}
