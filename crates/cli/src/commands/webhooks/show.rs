//! Webhooks and deliveries for people.

use std::time::{Duration, Instant};

use brokkr_api::{
    Name, Timestamp,
    webhooks::{Delivery, DeliveryState, Webhook, WebhookWithSecret},
};

use crate::{
    commands::Outcome,
    connection::ConnectionArgs,
    output::{self, Format},
};

/// How often is looked what became of a test.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn list(format: Format, webhooks: &[Webhook]) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&webhooks);
    }
    let rows = webhooks.iter().map(row).collect();
    output::table(&["name", "state", "events", "url", "age"], rows, "no webhooks");
    Ok(())
}

fn row(webhook: &Webhook) -> Vec<String> {
    vec![
        webhook.name.to_string(),
        state(webhook),
        webhook.settings.events.join(","),
        webhook.url.clone(),
        output::ago(Some(webhook.created_at), output::now()),
    ]
}

fn state(webhook: &Webhook) -> String {
    let failing = webhook.failing_since.map(|since| format!("failing for {}", output::ago(Some(since), output::now())));
    let no_sender = webhook.no_sender.map(|why| why.in_words().to_owned());
    match webhook.disabled_reason.clone().or(no_sender).or(failing) {
        Some(why) => format!("{} ({why})", webhook.state),
        None => webhook.state.to_string(),
    }
}

pub(super) fn webhook(format: Format, webhook: &Webhook) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(webhook);
    }
    let settings = &webhook.settings;
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let selector = |selector: &Option<_>| selector.as_ref().map(output::targets).unwrap_or_default();
    output::page(&[
        ("id", webhook.id.to_string()),
        ("name", webhook.name.to_string()),
        ("state", state(webhook)),
        ("url", webhook.url.clone()),
        ("headers", webhook.headers.join(",")),
        ("signature", webhook.signature.to_string()),
        ("public key", webhook.public_key.clone().unwrap_or_default()),
        ("former secret until", time(webhook.former_secret_until)),
        ("events", settings.events.join(",")),
        ("stacks", selector(&settings.stacks)),
        ("agents", selector(&settings.agents)),
        ("generators", settings.generators.iter().map(Name::as_str).collect::<Vec<_>>().join(",")),
        ("sent by", settings.deliver_by.as_ref().map_or_else(|| "the broker".to_owned(), output::targets)),
        ("format", settings.format.to_string()),
        ("ordered", settings.ordered.to_string()),
        ("created", webhook.created_at.to_string()),
        ("changed", webhook.updated_at.to_string()),
    ]);
    Ok(())
}

/// The secret goes to the standard output, and what is said about it beside it.
pub(super) fn secret(format: Format, made: &WebhookWithSecret) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(made);
    }
    output::note(&format!("the secret of the webhook {} is shown this once:", made.webhook.name));
    anstream::println!("{}", made.secret);
    Ok(())
}

pub(super) fn deliveries(format: Format, deliveries: &[Delivery]) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&deliveries);
    }
    let row = |delivery: &Delivery| {
        vec![
            delivery.id.to_string(),
            delivery.kind.clone(),
            delivery.state.to_string(),
            delivery.attempts.to_string(),
            delivery.next_attempt_at.map(|at| at.to_string()).unwrap_or_default(),
            output::ago(Some(delivery.created_at), output::now()),
        ]
    };
    output::table(&["id", "type", "state", "attempts", "next", "age"], deliveries.iter().map(row).collect(), "no deliveries");
    Ok(())
}

pub(super) fn delivery(format: Format, delivery: &Delivery) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(delivery);
    }
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    output::page(&[
        ("id", delivery.id.to_string()),
        ("type", delivery.kind.clone()),
        ("event", delivery.event.to_string()),
        ("state", delivery.state.to_string()),
        ("next attempt", time(delivery.next_attempt_at)),
        ("created", delivery.created_at.to_string()),
        ("finished", time(delivery.finished_at)),
        ("trace", delivery.trace_id.clone().unwrap_or_default()),
    ]);
    let rows = delivery.log.iter().map(|attempt| {
        vec![
            attempt.number.to_string(),
            attempt.at.to_string(),
            attempt.result.clone(),
            attempt.status.map(|status| status.to_string()).unwrap_or_default(),
            format!("{} ms", attempt.latency_ms),
            attempt.trace_id.clone().unwrap_or_default(),
            attempt.answer.clone(),
        ]
    });
    anstream::println!();
    output::table(&["attempt", "at", "result", "status", "took", "trace", "answer"], rows.collect(), "no attempts yet");
    Ok(())
}

/// Sends a test and waits for its first attempt.
pub(super) async fn test(connection: &ConnectionArgs, format: Format, name: &Name, timeout: Duration) -> anyhow::Result<Outcome> {
    let client = connection.changing_client()?;
    let id = client.test_webhook(name).await?.id;
    let deadline = Instant::now() + timeout;
    loop {
        let sent = client.delivery(name, id).await?;
        let is_late = Instant::now() >= deadline;
        if sent.state == DeliveryState::Delivered || !sent.log.is_empty() || is_late {
            delivery(format, &sent)?;
            return Ok(match sent.state {
                DeliveryState::Delivered => Outcome::Done,
                _ if sent.log.is_empty() => Outcome::NotInTime,
                _ => Outcome::RolloutFailed,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) async fn types(connection: &ConnectionArgs, format: Format, kind: Option<String>) -> anyhow::Result<()> {
    let client = connection.client()?;
    if let Some(kind) = kind {
        return output::json(&client.event_schema(&kind).await?);
    }
    let types = client.event_types().await?.items;
    if format == Format::Json {
        return output::json(&types);
    }
    let rows = types.into_iter().map(|kind| vec![kind.kind, kind.version.to_string(), kind.description]).collect();
    output::table(&["type", "version", "when"], rows, "no types");
    Ok(())
}
