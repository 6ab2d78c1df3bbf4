//! `brokkr webhooks`, against a real broker, with its own receiver.

use brokkr_api::webhooks::{CreateWebhook, SignatureKind};
use brokkr_tests::{
    fleet::{Engine, LIMIT},
    lab::{built, free_port},
    process::Daemon,
    receiver::Receiver,
};
use serde_json::Value;

use crate::world::{World, broker, name, of_stacks};

/// Runs `brokkr` and tells what it wrote on its standard output.
async fn brokkr(world: &World, args: &[&str]) -> String {
    let output = tokio::process::Command::new(built("brokkr").unwrap())
        .args(["--broker", &world.broker.base, "--key-file", &world.broker.key_file().display().to_string()])
        .args(args)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_makes_tests_looks_at_and_replays_a_webhook() {
    World::each(async |world: World| {
        let secret = brokkr(&world, &["webhooks", "create", "chat", &world.receiver.url("/ok"), "--event", "stack.*"]).await;
        assert!(secret.starts_with("whsec_"), "{secret}");
        assert!(brokkr(&world, &["webhooks", "list"]).await.contains("chat"));
        assert!(brokkr(&world, &["webhooks", "test", "chat"]).await.contains("delivered"));
        let rotated = brokkr(&world, &["webhooks", "rotate", "chat"]).await;
        assert_ne!(rotated, secret);
        world.stack("shop").await;
        world.receiver.wait_for("/ok", 2, LIMIT).await.unwrap();
        let listed: Value =
            serde_json::from_str(&brokkr(&world, &["-o", "json", "webhooks", "deliveries", "chat"]).await).unwrap();
        let id = listed[0]["id"].as_str().unwrap();
        world.attempted("chat", 1).await;
        assert!(brokkr(&world, &["webhooks", "deliveries", "chat", id]).await.contains("success"));
        brokkr(&world, &["webhooks", "replay", "chat", id]).await;
        world.receiver.wait_for("/ok", 3, LIMIT).await.unwrap();
        assert!(brokkr(&world, &["webhooks", "types", "stack.created"]).await.contains("json-schema.org"));
        let inside = ["webhooks", "create", "inside", "http://receiver.tools.svc:8080/", "--by", "region=eu"];
        assert!(brokkr(&world, &inside).await.starts_with("whsec_"));
        let shown = brokkr(&world, &["webhooks", "show", "inside"]).await;
        assert!(shown.contains("region=eu") && shown.contains("no agent is selected to send"), "{shown}");
        brokkr(&world, &["webhooks", "delete", "chat", "--yes"]).await;
        assert!(!brokkr(&world, &["webhooks", "list"]).await.contains("chat"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_listens_verifies_and_prints() {
    let port = free_port().unwrap();
    // Only its settings are needed: the command line takes the port.
    let receiver = Receiver::at(([127, 0, 0, 1], port).into()).await.unwrap();
    let broker = broker(Engine::Sqlite, &receiver).await;
    let hook = receiver.webhook(name("local"), "/hook", of_stacks());
    drop(receiver);
    let create = CreateWebhook { signature: SignatureKind::Ed25519, ..hook };
    let made = broker.admin().create_webhook(&create).await.unwrap();
    let listener = Daemon::new("brokkr")
        .unwrap()
        .args(["webhooks", "listen", "--listen", &format!("127.0.0.1:{port}"), "--count", "1"])
        .env("BROKKR_WEBHOOK_SECRET", &made.secret);
    let mut listener = listener.start().unwrap();
    listener.wait_for_line("the receiver", LIMIT, |line| line.contains("listening")).await.unwrap();
    crate::world::stack(&broker, "shop").await;
    listener.wait_for_line("the message", LIMIT, |line| line.contains("stack.created")).await.unwrap();
    assert!(listener.wait(LIMIT).await.unwrap().success());
}
