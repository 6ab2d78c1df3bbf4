//! Ids are `UUIDv7`: they sort by creation time and reveal nothing else.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

ids! {
    /// An API key (never the key itself).
    KeyId;
    /// An agent.
    AgentId;
    /// A generator.
    GeneratorId;
    /// A stack; a stack that is created again under the same name has a new one.
    StackId;
    /// A deployment object.
    DeploymentObjectId;
    /// An event.
    EventId;
    /// A registration token (never the token itself).
    RegistrationTokenId;
    /// An entry of the audit log.
    AuditId;
    /// A work order.
    WorkOrderId;
    /// A webhook.
    WebhookId;
    /// A delivery: one event on its way to one receiver.
    DeliveryId;
}
