//! What arrives.

use std::{io::Write, process::Stdio};

use brokkr_api::webhooks::{Replay, RotateWebhook, WebhookSettings};
use brokkr_tests::{fleet::LIMIT, lab::until, receiver::Received};
use serde_json::json;

use crate::world::{World, name, of_stacks};

/// What the library of the standard for Python says of a message: its type, or why it is not verified.
pub(crate) fn python(secret: &str, received: &Received) -> Result<String, String> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let install = format!("{folder}/python/install.sh");
    let installed = std::process::Command::new(install).arg("standardwebhooks").output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let programs = String::from_utf8(installed.stdout).unwrap();
    let headers: serde_json::Map<_, _> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .iter()
        .map(|name| ((*name).to_owned(), json!(received.header(name))))
        .collect();
    let body = base64(&received.body);
    let mut child = std::process::Command::new(format!("{}/python", programs.trim()))
        .arg(format!("{folder}/standardwebhooks/verify.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let given = json!({"secret": secret, "headers": headers, "body": body}).to_string();
    child.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_arrives_signed_and_the_library_of_the_standard_verifies_it() {
    World::each(async |world: World| {
        let made = world.webhook("chat", "/ok", of_stacks()).await;
        world.stack("shop").await;
        let received = world.receiver.wait_for("/ok", 1, LIMIT).await.unwrap();
        assert_eq!(python(&made.secret, &received[0]), Ok("stack.created".to_owned()));
        assert_eq!(received[0].header("authorization"), "Bearer hunter2");
        assert_eq!(received[0].json()["data"]["stack"], "shop");
        assert_eq!(world.attempted("chat", 1).await.id.to_string(), received[0].header("webhook-id"));
        let dump = world.broker.query("SELECT * FROM webhooks").unwrap().join("\n");
        for secret in ["hunter2", &made.secret[6..], "127.0.0.1"] {
            // PostgreSQL writes bytes as hexadecimal digits.
            let digits: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!dump.contains(secret) && !dump.contains(&digits), "{secret} is in {dump}");
        }
        assert!(received[0].headers.get("baggage").is_none() && received[0].headers.get("tracestate").is_none());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_is_replaced_receivers_with_the_old_and_with_the_new_one_verify() {
    World::each(async |world: World| {
        let old = world.webhook("chat", "/ok", of_stacks()).await.secret;
        let admin = world.broker.admin();
        let new = admin.rotate_webhook(&name("chat"), &RotateWebhook { overlap_seconds: 600 }).await.unwrap().secret;
        // A broker learns of the change within a moment; until then the old secret signs alone.
        let both = || async {
            let before = world.receiver.received("/ok").len();
            admin.test_webhook(&name("chat")).await.map_err(|error| error.to_string())?;
            let received = world.receiver.wait_for("/ok", before + 1, LIMIT).await.unwrap().pop().unwrap();
            python(&old, &received).unwrap();
            let signatures = received.header("webhook-signature").to_owned();
            if signatures.contains(' ') { Ok(received) } else { Err(signatures) }
        };
        let received = until("two signatures", LIMIT, both).await.unwrap();
        assert_eq!(python(&new, &received), Ok("webhook.test".to_owned()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempt_is_part_of_the_trace_of_the_change() {
    World::each(async |world: World| {
        world.webhook("chat", "/ok", of_stacks()).await;
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let put = brokkr_api::stacks::PutStack::default();
        world.broker.traced(&format!("00-{trace}-00f067aa0ba902b7-01")).put_stack(&name("shop"), &put).await.unwrap();
        let received = world.receiver.wait_for("/ok", 1, LIMIT).await.unwrap();
        assert_eq!(received[0].json()["data"]["trace_id"], trace);
        assert!(received[0].header("baggage").is_empty() && received[0].header("tracestate").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_recovers_gets_everything_in_order_and_again_on_request() {
    World::each(async |world: World| {
        world.webhook("chat", "/ok", WebhookSettings { ordered: true, ..of_stacks() }).await;
        world.receiver.answer("/ok", &[503]);
        world.stack("shop").await;
        world.broker.admin().delete_stack(&name("shop")).await.unwrap();
        // The first, the first again five seconds later, and only then what came after it.
        let received = world.receiver.wait_for("/ok", 3, LIMIT).await.unwrap();
        let types: Vec<_> = received.iter().map(|received| received.json()["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!(types, ["stack.created", "stack.created", "stack.deleted"]);
        assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
        let delivery = Replay { delivery: Some(received[0].header("webhook-id").parse().unwrap()), ..Replay::default() };
        assert_eq!(world.broker.admin().replay(&name("chat"), &delivery).await.unwrap().deliveries, 1);
        let again = world.receiver.wait_for("/ok", types.len() + 1, LIMIT).await.unwrap();
        assert_eq!(again.last().unwrap().header("webhook-id"), received[0].header("webhook-id"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_disables_its_webhook_and_others_hear_of_it() {
    World::each(async |world: World| {
        world.webhook("chat", "/gone", of_stacks()).await;
        let watch = WebhookSettings { events: vec!["webhook.disabled".to_owned()], ..WebhookSettings::default() };
        world.webhook("watch", "/watch", watch).await;
        world.receiver.answer("/gone", &[410]);
        world.stack("shop").await;
        let told = world.receiver.wait_for("/watch", 1, LIMIT).await.unwrap();
        assert_eq!(told[0].json()["data"]["details"]["reason"], "receiver_gone");
        assert_eq!(told[0].json()["data"]["details"]["webhook"], "chat");
    })
    .await;
}
