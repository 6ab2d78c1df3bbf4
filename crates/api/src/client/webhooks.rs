//! Webhooks.

use reqwest::Method;
use serde_json::Value;

use super::{Client, ClientError, accept, read};
use crate::{
    DeliveryId, Name, Page,
    page::PageQuery,
    routes,
    webhooks::{
        CreateWebhook, DeliveriesQuery, Delivery, EventType, Replay, Replayed, RotateWebhook, UpdateWebhook, Webhook,
        WebhookWithSecret,
    },
};

impl Client {
    /// Makes a webhook; its secret is shown this once.
    ///
    /// # Errors
    /// `name_taken`, `webhook_url`.
    pub async fn create_webhook(&self, webhook: &CreateWebhook) -> Result<WebhookWithSecret, ClientError> {
        self.send(Method::POST, routes::WEBHOOKS, &[], webhook).await
    }

    /// A page of webhooks.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn webhooks(&self, query: &PageQuery) -> Result<Page<Webhook>, ClientError> {
        read(self.request(Method::GET, routes::WEBHOOKS, &[])?.query(query)).await
    }

    /// One webhook, by name or id.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn webhook(&self, name: &Name) -> Result<Webhook, ClientError> {
        self.get(routes::WEBHOOK, &[name.as_str()]).await
    }

    /// Changes a webhook.
    ///
    /// # Errors
    /// `not_found`, `webhook_url`.
    pub async fn update_webhook(&self, name: &Name, update: &UpdateWebhook) -> Result<Webhook, ClientError> {
        self.send(Method::PATCH, routes::WEBHOOK, &[name.as_str()], update).await
    }

    /// Deletes a webhook and everything that waits for it.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn delete_webhook(&self, name: &Name) -> Result<(), ClientError> {
        accept(self.request(Method::DELETE, routes::WEBHOOK, &[name.as_str()])?.send().await?).await.map(drop)
    }

    /// Sends a test event, whatever the filters.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn test_webhook(&self, name: &Name) -> Result<Delivery, ClientError> {
        read(self.request(Method::POST, routes::TEST_WEBHOOK, &[name.as_str()])?).await
    }

    /// Replaces the secret.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn rotate_webhook(&self, name: &Name, rotate: &RotateWebhook) -> Result<WebhookWithSecret, ClientError> {
        self.send(Method::POST, routes::ROTATE_WEBHOOK, &[name.as_str()], rotate).await
    }

    /// A page of deliveries, the newest first, without their attempts.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn deliveries(&self, name: &Name, query: &DeliveriesQuery) -> Result<Page<Delivery>, ClientError> {
        read(self.request(Method::GET, routes::DELIVERIES, &[name.as_str()])?.query(query)).await
    }

    /// One delivery with its attempts.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn delivery(&self, name: &Name, id: DeliveryId) -> Result<Delivery, ClientError> {
        self.get(routes::DELIVERY, &[name.as_str(), &id.to_string()]).await
    }

    /// Sends again.
    ///
    /// # Errors
    /// `not_found`, `invalid_field` when it is not said in one way what.
    pub async fn replay(&self, name: &Name, replay: &Replay) -> Result<Replayed, ClientError> {
        self.send(Method::POST, routes::REPLAY_WEBHOOK, &[name.as_str()], replay).await
    }

    /// The types of events.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn event_types(&self) -> Result<Page<EventType>, ClientError> {
        self.get(routes::EVENT_TYPES, &[]).await
    }

    /// The JSON Schema of a type.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn event_schema(&self, kind: &str) -> Result<Value, ClientError> {
        self.get(routes::EVENT_TYPE, &[kind]).await
    }
}
