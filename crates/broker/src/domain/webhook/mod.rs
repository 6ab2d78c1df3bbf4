//! The rules of webhooks.

pub(crate) mod breaker;
pub(crate) mod filter;
pub(crate) mod request;
pub(crate) mod schedule;
pub(crate) mod schema;
pub(crate) mod sealed;
pub(crate) mod senders;

use brokkr_api::{DeliveryId, EventId, WebhookId};
use sha2::{Digest, Sha256};

/// The type of a test event, which is sent to the webhook that it tests alone.
pub(crate) const TEST: &str = "webhook.test";

/// The delivery of an event to a webhook: however often it is worked out, it is the same one. It sorts by the time of the event.
pub(crate) fn delivery_id(event: EventId, webhook: WebhookId) -> DeliveryId {
    let digest = Sha256::new().chain_update(event.0.as_bytes()).chain_update(webhook.0.as_bytes()).finalize();
    let mut millis = [0; 8];
    millis[2..].copy_from_slice(&event.0.as_bytes()[..6]);
    let mut rest = [0; 10];
    rest.copy_from_slice(&digest[..10]);
    DeliveryId(uuid::Builder::from_unix_timestamp_millis(u64::from_be_bytes(millis), &rest).into_uuid())
}

#[cfg(test)]
mod tests {
    use brokkr_api::Timestamp;
    use brokkr_runtime::{Ids, SeededIds};

    use super::*;

    #[test]
    fn a_delivery_has_one_id_and_sorts_with_its_event() {
        let ids = SeededIds::new(1);
        let at = |seconds: i64| ids.uuid(Timestamp::from_micros(seconds * 1_000_000));
        let (early, late, one, two) = (EventId(at(1)), EventId(at(2)), WebhookId(at(3)), WebhookId(at(4)));
        assert_eq!(delivery_id(early, one), delivery_id(early, one));
        assert_ne!(delivery_id(early, one), delivery_id(early, two));
        assert!(delivery_id(early, one) < delivery_id(late, one));
        assert_eq!(delivery_id(early, one).0.get_version_num(), 7);
    }
}
