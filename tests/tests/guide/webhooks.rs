//! The guide of webhooks: tried on one machine, as it says.

use std::path::Path;

use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT},
    lab::{Scratch, built, free_port, until},
};

use crate::{page::Page, shell::Shell};

/// Where the guide listens; here another port, that nobody else has.
const PORT: &str = "8787";

/// The settings of the guide, as variables of the environment.
fn settings(page: &Page, port: &str) -> Vec<(String, String)> {
    let [block] = &page.blocks("Try it on your machine", "toml")[..] else { panic!("one block of settings") };
    let mut lines = block.text.lines();
    assert_eq!(lines.next(), Some("[webhooks]"));
    let setting = |line: &str| {
        let (key, value) = line.split_once(" = ").unwrap();
        (format!("BROKKR__WEBHOOKS__{}", key.to_uppercase()), value.replace(PORT, port))
    };
    lines.map(setting).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_of_webhooks_is_typed_as_it_stands() {
    let page = Page::read("how-to/receive-webhooks.md");
    let port = free_port().unwrap().to_string();
    let settings = settings(&page, &port);
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let broker = Broker::start(Engine::Sqlite, &settings).await.unwrap();
    let scratch = Scratch::new("guide-webhooks").unwrap();
    let key = scratch.write("admin.key", broker.key()).unwrap();
    let variables = [("BROKKR_URL", Path::new(&broker.base)), ("BROKKR_KEY_FILE", &key)];
    let mut shell = Shell::start(&[built("brokkr").unwrap()], &[], &variables);

    // A listener that outlives a test that fails would keep its port.
    let listen = format!("timeout 300 brokkr webhooks listen --listen 127.0.0.1:{port} ");
    let mut type_all = |heading: &str, delivery: &str| {
        let blocks = page.blocks(heading, "sh");
        let commands = blocks.iter().flat_map(crate::page::Block::commands);
        let adapted = commands.map(|command| {
            let command = command.replace("brokkr webhooks listen ", &listen).replace(PORT, &port).replace('…', "token");
            if delivery.is_empty() { command } else { command.replace(" chat", " local").replace(" ID", &format!(" {delivery}")) }
        });
        adapted.map(|command| shell.run(&command)).collect::<String>()
    };
    let mut said = type_all("Try it on your machine", "");
    let delivered = || async {
        let found = broker.admin().deliveries(&"local".parse().unwrap(), &brokkr_api::webhooks::DeliveriesQuery::default()).await;
        let found = found.unwrap().items;
        let arrived = found.iter().find(|one| one.kind == "webhook.test" && one.state.as_str() == "delivered");
        arrived.map(|one| one.id.to_string()).ok_or_else(|| format!("{found:?}"))
    };
    let delivery = until("the test to arrive", LIMIT, delivered).await.unwrap();
    said += &type_all("Choose what you hear", "");
    assert!(said.contains(&delivery), "the listener prints what it has verified: {said}");
    assert!(said.contains("json-schema.org"), "{said}");
    type_all("Replace the secret", "");
    let said = type_all("See what became of it, and send again", &delivery);
    assert!(said.contains("success"), "{said}");
    let said = type_all("Receivers inside a cluster", "");
    assert!(said.contains("no agent is selected to send"), "{said}");
    shell.run("kill %1\n");

    let typed = [
        "Try it on your machine",
        "Choose what you hear",
        "Replace the secret",
        "See what became of it, and send again",
        "Receivers inside a cluster",
    ];
    assert_eq!(page.headings_with_commands(), typed, "nothing of the page is left out");
}
