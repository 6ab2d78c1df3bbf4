//! Webhooks as <https://www.standardwebhooks.com> has them: secrets and signatures for whoever sends or verifies, and with the feature
//! `send` the one attempt that broker and agents share: the guard against addresses that must not be reached, and the request itself.

pub mod body;
pub mod secret;
pub mod signature;

#[cfg(feature = "send")]
pub mod guard;
#[cfg(feature = "send")]
pub mod mask;
#[cfg(feature = "send")]
pub mod send;

pub use secret::{InvalidSecret, PublicKey, Secret};
pub use signature::{Unverified, Verifier, signatures};

#[cfg(feature = "send")]
pub use guard::{Guard, Refused};
#[cfg(feature = "send")]
pub use send::{Attempt, AttemptClass, Message, Sender, Signing};

use http::HeaderName;

/// Header with the id of the message: the same in every attempt.
pub const ID: HeaderName = HeaderName::from_static("webhook-id");
/// Header with the time of the attempt, in Unix seconds.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// Header with the signatures, parted by spaces.
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
