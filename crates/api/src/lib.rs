//! The contract between broker, agent and command line: ids, names, requests and answers, error codes, routes.
//!
//! Nothing here does I/O; the feature `client` adds the typed HTTP client that the agent and the command line share.

pub mod agents;
pub mod audit;
pub mod builds;
pub mod deliveries;
pub mod deployment_objects;
pub mod desired_state;
pub mod enrolment;
pub mod error;
pub mod events;
pub mod generators;
pub mod ids;
pub mod keys;
pub mod labels;
pub mod name;
pub mod page;
pub mod policy;
pub mod readiness;
pub mod reports;
pub mod rollouts;
pub mod routes;
pub mod selector;
pub mod stacks;
pub mod suspension;
pub mod time;
pub mod trace;
pub mod tracing;
pub mod wait;
pub mod webhooks;
mod words;
pub mod work_orders;

#[cfg(feature = "client")]
pub mod client;

pub use error::{ErrorCode, Problem};
pub use ids::{
    AgentId, AuditId, DeliveryId, DeploymentObjectId, EventId, GeneratorId, KeyId, RegistrationTokenId, StackId, WebhookId,
    WorkOrderId,
};
pub use labels::Labels;
pub use name::Name;
pub use page::Page;
pub use selector::{LabelSelector, TargetSelector};
pub use time::Timestamp;
pub use trace::{Relation, WorkTrace};

/// Version of the protocol between broker and agent, sent by both sides in [`PROTOCOL_HEADER`].
///
/// A broker serves agents of this version and of the two before it. Version 2 knows suspension: an agent of version 1 is not told
/// of what is suspended. Version 3 knows policies, approvals and drift.
pub const PROTOCOL_VERSION: u32 = 3;

/// Request header in which an agent names its [`PROTOCOL_VERSION`].
pub const PROTOCOL_HEADER: &str = "brokkr-protocol";

/// Request header in which an agent names the UID of the namespace `kube-system` of its cluster, which its key is bound to.
pub const CLUSTER_HEADER: &str = "brokkr-cluster";

/// Request header that makes sending manifests and rolling back idempotent: 1 to 255 printable ASCII characters.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// Answer header of a poll that found nothing new: there is a work order that this agent may claim.
pub const WORK_HEADER: &str = "brokkr-work-orders";

/// Answer header of a poll that found nothing new: there are deliveries of webhooks that this agent may claim.
pub const DELIVERIES_HEADER: &str = "brokkr-webhook-deliveries";

/// Answer header with the id of the request, also in every problem.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Largest request body that the broker reads, in bytes (10 MiB).
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;
