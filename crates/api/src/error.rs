//! Errors of the API: problems of RFC 9457 with a stable code.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a [`Problem`].
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong, as a stable word that programs may compare. Codes are added, never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum ErrorCode {
            $($(#[doc = $doc])* #[serde(rename = $code)] $variant,)*
            /// A code that this program does not know, because the broker is newer.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl ErrorCode {
            /// Every code with its explanation, for the reference page.
            pub const ALL: &[(Self, &'static str)] = &[$((Self::$variant, concat!($($doc),*)),)*];

            /// The code as it is written in a problem.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* Self::Unknown => "unknown" }
            }

            /// The HTTP status that it goes with.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* Self::Unknown => 500 }
            }

            /// The problem's title: the same for every problem of this code.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* Self::Unknown => "Unknown error" }
            }
        }
    };
}

error_codes! {
    /// The body is not JSON or YAML; the detail names line and column.
    MalformedBody = "malformed_body", 400, "The body cannot be parsed";
    /// The body parses and a field has a wrong type, a missing or unknown key or a value out of range; the detail names its path.
    InvalidField = "invalid_field", 400, "A field of the request is invalid";
    /// The query string has an unknown key or a malformed value.
    InvalidQuery = "invalid_query", 400, "The query is invalid";
    /// A header is missing or malformed.
    InvalidHeader = "invalid_header", 400, "A header is invalid";
    /// A manifest is not a Kubernetes object: apiVersion, kind or metadata.name is missing or malformed.
    InvalidManifest = "invalid_manifest", 422, "A manifest is not a Kubernetes object";
    /// The same object stands twice in one deployment object.
    DuplicateObject = "duplicate_object", 422, "The same object stands twice";
    /// The body has no Kubernetes object in it.
    NoObjects = "no_objects", 422, "There is no object in the body";
    /// There are more Kubernetes objects in the body than one deployment object may hold.
    TooManyObjects = "too_many_objects", 422, "There are too many objects in the body";
    /// The body is larger than the broker reads.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body is of a kind that this route does not read.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type is not supported";
    /// The request has no key, or one that is unknown or revoked.
    Unauthenticated = "unauthenticated", 401, "A valid key is needed";
    /// The key's role does not allow this.
    Forbidden = "forbidden", 403, "The key does not allow this";
    /// There is no such thing, or it is not the caller's.
    NotFound = "not_found", 404, "There is no such thing";
    /// The path exists, and not for this method.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed here";
    /// The name is taken.
    NameTaken = "name_taken", 409, "The name is taken";
    /// The stack is being deleted; it can be created again when every agent has acknowledged.
    StackDeleting = "stack_deleting", 409, "The stack is being deleted";
    /// The broker was restored from a backup since the agent read its desired state; it must read again.
    EpochChanged = "epoch_changed", 409, "The broker's epoch is another";
    /// What the request was conditional on (`If-Match`) is no longer so; read again and decide again.
    PreconditionFailed = "precondition_failed", 412, "The resource has changed";
    /// The change would take the stack from many agents: look at `targets:preview` and send its token.
    PreviewRequired = "preview_required", 409, "The change needs the token of a preview";
    /// The deletions that should be approved are not the ones that are held now: look at the deployment and decide again.
    ApprovalOutdated = "approval_outdated", 409, "The approval is not for what is held now";
    /// The idempotency key was used for other content.
    IdempotencyMismatch = "idempotency_mismatch", 422, "The idempotency key belongs to another request";
    /// The generator's quota does not allow it.
    QuotaExceeded = "quota_exceeded", 403, "The quota does not allow this";
    /// The key, or an address without one, sends more requests than it may; the header Retry-After says when to go on.
    RateLimited = "rate_limited", 429, "There are too many requests";
    /// There are Secrets in the content, or there is a webhook's secret, and the broker has no key to encrypt them with.
    EncryptionKeyMissing = "encryption_key_missing", 422, "There is no key to encrypt Secrets with";
    /// The URL of the webhook is none that may be reached: it needs https, an allowed port and an address of the public internet.
    WebhookUrl = "webhook_url", 422, "The URL must not be reached";
    /// The agent is deactivated; its keys open nothing until somebody activates it.
    AgentDeactivated = "agent_deactivated", 403, "The agent is deactivated";
    /// The agent knows a newer state than the database: the database was restored from a backup.
    DatabaseRestored = "database_restored", 503, "The database is older than what agents know";
    /// The agent's key is bound to another cluster.
    ClusterMismatch = "cluster_mismatch", 409, "The key belongs to another cluster";
    /// The agent does not have this work order: its lease is over and somebody else may have it, or it never had it.
    LeaseLost = "lease_lost", 409, "The work order is not this agent's";
    /// Where the work order stands does not allow this: what is finished cannot be cancelled, and only what is finished can be retried.
    WorkOrderState = "work_order_state", 409, "The work order's state does not allow this";
    /// The agent speaks a protocol version that this broker does not serve.
    ProtocolUnsupported = "protocol_unsupported", 400, "The protocol version is not supported";
    /// The request took longer than the broker allows.
    Timeout = "timeout", 503, "The request took too long";
    /// The database does not answer; the same request may work later.
    DatabaseUnavailable = "database_unavailable", 503, "The database does not answer";
    /// A defect of the broker; its log names the cause under the trace id or request id.
    Internal = "internal", 500, "Internal error";
}

/// A problem by RFC 9457: what the API answers instead of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:brokkr:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable word for programs.
    pub code: ErrorCode,
    /// What is wrong here and what to do about it; never the cause of a 5xx, never content of the body.
    pub detail: String,
    /// Where in the request it is wrong: a path in the body, a header or a query key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Id of the request, also in the header `x-request-id` and in the broker's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Id of the trace, if the request was traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl Problem {
    /// A problem of this code.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:brokkr:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            place: None,
            request_id: None,
            trace_id: None,
        }
    }

    /// Says where in the request it is wrong.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_survive_the_wire() {
        let mut seen = HashSet::new();
        for (code, doc) in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            assert!(!doc.is_empty());
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("{:?}", code.as_str()));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), *code);
        }
    }

    #[test]
    fn a_code_of_a_newer_broker_is_unknown_and_not_an_error() {
        assert_eq!(serde_json::from_str::<ErrorCode>("\"quantum_flux\"").unwrap(), ErrorCode::Unknown);
    }
}
