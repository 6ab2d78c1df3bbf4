//! Values of labels: closed sets.

use std::fmt;

use super::Label;

/// A label whose values are these words.
const fn words(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values, of: "" }
}

/// A label whose values the code bounds otherwise.
const fn bounded(name: &'static str, of: &'static str) -> Label {
    Label { name, values: &[], of }
}

pub(super) const METHOD: Label = words("method", HttpMethod::WORDS);
pub(super) const ENDPOINT: Label = bounded("endpoint", "route templates, and `unmatched` for what is no route");
pub(super) const STATUS: Label = bounded("status", "status codes that the broker answers with, and 499");
pub(super) const DB_OPERATION: Label = words("operation", DbOperation::WORDS);
pub(super) const POLL_RESULT: Label = words("result", PollResult::WORDS);
pub(super) const KUBE_OPERATION: Label = words("operation", KubeOperation::WORDS);
pub(super) const OP_RESULT: Label = words("result", OpResult::WORDS);
pub(super) const AGENT_STATE: Label = words("state", &["online", "offline"]);
pub(super) const STATISTIC: Label = words("stat", &["median", "max"]);
pub(super) const CONNECTION_STATE: Label = words("state", &["idle", "used"]);
pub(super) const PHASE: Label = words("phase", PHASES);
pub(super) const QUEUE: Label = words("queue", QUEUES);
pub(super) const JOB: Label = words("name", JOBS);
pub(super) const HEALTH: Label = words("health", HEALTH_WORDS);
pub(super) const ACTION: Label = words("action", ReconcileAction::WORDS);
pub(super) const CLASS: Label = words("class", FailureClass::WORDS);
pub(super) const WORK_STATE: Label = words("state", &["waiting", "queued", "claimed", "running"]);
pub(super) const WORK_KIND: Label = words("kind", WORK_KINDS);
pub(super) const CLAIMED_KIND: Label = words("kind", &["job", "apply", "build", "none"]);
pub(super) const CLAIM_RESULT: Label = words("result", ClaimResult::WORDS);
pub(super) const WORK_CLASS: Label = words("class", WorkClass::WORDS);
pub(super) const WEBHOOK_RESULT: Label = words("result", WebhookResult::WORDS);
pub(super) const SPAN_RESULT: Label = words("result", &["exported", "failed", "dropped"]);
pub(super) const CAUSE: Label = words("cause", &["queue_full", "export_failed", "shutdown", "switched_off"]);
pub(super) const VERSION: Label = bounded("version", "the version of the program");
pub(super) const COMMIT: Label = bounded("commit", "the commit that it was built from, or `unknown`");

/// Phases of a deployment, as the API names them.
pub const PHASES: &[&str] =
    &["pending", "progressing", "applied", "healthy", "degraded", "failed", "suspended", "deleting", "deleted", "orphaned"];
/// What waits to be done for something outside of the broker.
pub const QUEUES: &[&str] = &["deliveries", "work_orders"];
/// Kinds of work orders, as the API names them.
pub const WORK_KINDS: &[&str] = &["job", "apply", "build"];
/// Background work of the broker, by the names of its leases.
pub const JOBS: &[&str] = &["event-sequencer", "retention", "offline-agents", "key-age", "work-orders"];
/// How an object is, as the API names it.
pub const HEALTH_WORDS: &[&str] = &["healthy", "progressing", "degraded", "unknown"];

/// A closed set of words, each with what it stands for.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            /// Every word.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word in labels.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The methods of HTTP. What is none of them is `_OTHER`, so that a caller cannot invent label values.
    HttpMethod {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// CONNECT.
        Connect = "CONNECT",
        /// TRACE.
        Trace = "TRACE",
        /// Any other.
        Other = "_OTHER",
    }
}

words! {
    /// What a statement does.
    DbOperation {
        /// Reads rows.
        Select = "select",
        /// Writes new rows.
        Insert = "insert",
        /// Changes rows.
        Update = "update",
        /// Removes rows.
        Delete = "delete",
    }
}

words! {
    /// How a poll ended.
    PollResult {
        /// It brought something.
        Success = "success",
        /// It failed.
        Error = "error",
        /// Nothing new.
        Empty = "empty",
    }
}

words! {
    /// What is asked of the Kubernetes API.
    KubeOperation {
        /// Server-side apply.
        Apply = "apply",
        /// Deletion.
        Delete = "delete",
        /// One object.
        Get = "get",
        /// Many objects.
        List = "list",
        /// Changes as they come.
        Watch = "watch",
        /// Creation.
        Create = "create",
        /// Anything else, discovery among it.
        Other = "other",
    }
}

words! {
    /// How an operation ended.
    OpResult {
        /// As it should.
        Success = "success",
        /// Not so.
        Error = "error",
    }
}

words! {
    /// What a reconciliation is to bring about.
    ReconcileAction {
        /// The objects of a generation.
        Apply = "apply",
        /// That none of them is left.
        Delete = "delete",
    }
}

words! {
    /// What kind of failure it is that keeps the agent from its work, and with it what to do next.
    FailureClass {
        /// The API server does not answer.
        Unreachable = "unreachable",
        /// It did not answer in time.
        Timeout = "timeout",
        /// It is overloaded or in trouble.
        Transient = "transient",
        /// Another manager owns a field, or the object changed in between.
        Conflict = "conflict",
        /// The agent has no right to do this.
        Forbidden = "forbidden",
        /// The namespace's quota is used up, or asks for limits that the object does not name.
        OverQuota = "quota_exceeded",
        /// The object is wrong.
        Invalid = "invalid",
        /// The cluster has no such kind.
        MissingKind = "missing_kind",
        /// There is no such object, or its namespace is missing.
        NotFound = "not_found",
        /// What was asked for is too long ago.
        Expired = "expired",
        /// The object is larger than the API server takes.
        TooLarge = "too_large",
        /// The object belongs to somebody else.
        Exists = "exists",
        /// Somebody else keeps changing it back.
        Contested = "contested",
        /// It is being deleted and does not go.
        Terminating = "terminating",
        /// It is applied and does not become healthy, and something waits for it.
        Unhealthy = "unhealthy",
        /// The broker does not answer, and what is needed of it is missing.
        BrokerUnreachable = "broker_unreachable",
    }
}

impl FailureClass {
    /// The class of this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.as_str() == word)
    }
}

words! {
    /// How a claim of a work order ended.
    ClaimResult {
        /// The agent has an order.
        Claimed = "claimed",
        /// There was none for it.
        Empty = "empty",
    }
}

words! {
    /// How a work order ended.
    WorkClass {
        /// It is done.
        Succeeded = "succeeded",
        /// Somebody cancelled it.
        Cancelled = "cancelled",
        /// Its agent was lost after the start.
        Unknown = "unknown",
        /// Its agents were lost before the start.
        AgentLost = "agent_lost",
        /// It took too long.
        Deadline = "deadline",
        /// An image cannot be had.
        Image = "image",
        /// A program ended with an error.
        ExitCode = "exit_code",
        /// A program had more memory than it may.
        OutOfMemory = "out_of_memory",
        /// A quota of the cluster does not allow it.
        Quota = "quota",
        /// The cluster refuses the objects.
        Refused = "refused",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// How an attempt to deliver a webhook ended.
    WebhookResult {
        /// The receiver has it: a status of 2xx.
        Success = "success",
        /// The receiver sends elsewhere, where nobody goes: 3xx.
        Redirect = "redirect",
        /// The receiver does not want it: 4xx.
        ClientError = "client_error",
        /// The receiver is in trouble: 5xx.
        ServerError = "server_error",
        /// The receiver asks for patience: 429.
        Throttled = "throttled",
        /// The receiver is gone for ever: 410.
        Gone = "gone",
        /// It took too long.
        Timeout = "timeout",
        /// The name has no address.
        Dns = "dns",
        /// Nobody takes the connection.
        Connect = "connect",
        /// The certificate is not to be believed.
        Tls = "tls",
        /// The address, port or scheme must not be reached.
        Blocked = "blocked",
        /// The connection broke, or the answer is not HTTP.
        Broken = "broken",
    }
}

impl WebhookResult {
    /// The result of this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|result| result.as_str() == word)
    }
}

impl WorkClass {
    /// The class of a failure's reason.
    #[must_use]
    pub fn of_reason(reason: &str) -> Self {
        match reason {
            "agent_lost" => Self::AgentLost,
            "deadline_exceeded" | "build_timeout" => Self::Deadline,
            "image_pull_failed" => Self::Image,
            "container_failed" | "job_failed" | "crash_loop" => Self::ExitCode,
            "out_of_memory" => Self::OutOfMemory,
            "quota_exceeded" => Self::Quota,
            "invalid"
            | "forbidden"
            | "missing_kind"
            | "not_found"
            | "admission_denied"
            | "webhook_denied"
            | "shipwright_missing"
            | "strategy_missing"
            | "build_missing"
            | "service_account_missing"
            | "build_invalid" => Self::Refused,
            _ => Self::Other,
        }
    }
}

impl From<&http::Method> for HttpMethod {
    fn from(method: &http::Method) -> Self {
        Self::ALL.iter().copied().find(|known| known.as_str() == method.as_str()).unwrap_or(Self::Other)
    }
}

impl DbOperation {
    /// The word in SQL and in span attributes.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}
