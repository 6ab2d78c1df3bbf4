//! The commands of backup and restore of both databases, as the guide has them.

use std::path::Path;

use brokkr_api::{Labels, Name, TargetSelector, agents::CreateAgent, stacks::PutStack};
use brokkr_tests::{
    fleet::{Broker, Engine, LIMIT},
    http::client,
    lab::built,
};
use serde_json::Value;

use crate::{
    page::{Block, Page},
    shell::Shell,
    text::replace,
};

/// What a stack delivers: it is encrypted in the database, and in every backup.
fn secret(value: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: shop, namespace: shop}}\nstringData: {{value: {value}}}\n")
}

/// The one block that names what this engine's commands name.
fn of(engine: Engine, blocks: &[Block]) -> Block {
    let word = match engine {
        Engine::Sqlite => "brokkr.db",
        Engine::Postgres => "$DATABASE_URL",
    };
    let found: Vec<_> = blocks.iter().filter(|block| block.text.contains(word)).collect();
    assert_eq!(found.len(), 1, "{engine:?}: {found:?}");
    found[0].clone()
}

fn type_in(shell: &mut Shell, broker: &str, block: &Block) {
    let here = [("http://localhost:3000".to_owned(), broker.to_owned())];
    for command in block.commands() {
        shell.run(&replace(&command, &here));
    }
}

/// What an agent is told.
async fn told(broker: &Broker, key: &str) -> Value {
    let request = client().unwrap().get(format!("{}/api/v1/agent/desired-state", broker.base)).bearer_auth(key);
    let request = request.header(brokkr_api::PROTOCOL_HEADER, brokkr_api::PROTOCOL_VERSION.to_string());
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_as_the_guide_makes_it_is_restored_as_the_guide_says() {
    let page = Page::read("how-to/operate-the-broker.md");
    let (backup, restore) = (page.blocks("Back up", "sh"), page.blocks("Restore", "sh"));
    assert_eq!((backup.len(), restore.len()), (2, 4), "for each database; and epoch and resumption");
    for engine in Engine::ALL {
        let programs = ["brokkr", "brokkr-broker"].map(|name| built(name).unwrap());
        let mut shell = Shell::start(&programs, &[], &[]);
        let folder = shell.folder.clone();
        let mut broker = match engine {
            Engine::Sqlite => Broker::in_folder(&folder, &[]).await.unwrap(),
            Engine::Postgres => {
                // SQLite makes a key beside its file; with PostgreSQL the operator has one.
                shell.run("printf 'k1:%s\\n' \"$(head -c 32 /dev/urandom | base64)\" > encryption.keys\n");
                let keys = folder.join("encryption.keys");
                Broker::start(engine, &[("BROKKR__ENCRYPTION__KEYS_FILE", keys.to_str().unwrap())]).await.unwrap()
            }
        };
        if engine == Engine::Postgres {
            std::fs::copy(broker.key_file(), folder.join("admin.key")).unwrap();
            shell.run(&format!("export DATABASE_URL='{}'\n", broker.database));
        }
        shell.run(&format!("export BROKKR__DATABASE__URL='{}'\n", broker.database));

        let (stack, edge): (Name, Name) = ("shop".parse().unwrap(), "edge".parse().unwrap());
        let agent = CreateAgent { name: edge.clone(), cluster: edge.clone(), labels: Labels::default() };
        let key = broker.admin().create_agent(&agent).await.unwrap().secret;
        let targets = TargetSelector { labels: None, names: vec![edge] };
        broker.admin().put_stack(&stack, &PutStack { targets, ..PutStack::default() }).await.unwrap();
        broker.send(&stack, &secret("was-kept")).await;

        // The broker works while it is backed up.
        type_in(&mut shell, &broker.base, &of(engine, &backup));
        broker.send(&stack, &secret("was-lost")).await;
        let before = told(&broker, &key).await;
        assert!(before.to_string().contains("was-lost"), "{engine:?}: {before}");
        assert!(broker.process.terminate(LIMIT).await.unwrap().success());

        type_in(&mut shell, &broker.base, &of(engine, &restore));
        let epoch = restore.iter().find(|block| block.text.contains("restore-epoch")).unwrap();
        type_in(&mut shell, &broker.base, epoch);
        broker.again().await.unwrap();
        let after = told(&broker, &key).await;
        assert_ne!(after["epoch"], before["epoch"], "{engine:?}");
        assert_eq!(after["deployments"][0]["suspended"]["scope"], "fleet", "{engine:?}: {after}");
        assert!(after["deployments"][0]["revision"].as_u64() > before["deployments"][0]["revision"].as_u64(), "{after}");

        let resume = restore.iter().find(|block| block.text.contains("brokkr resume fleet")).unwrap();
        type_in(&mut shell, &broker.base, resume);
        let after = told(&broker, &key).await;
        assert!(after["deployments"][0]["suspended"].is_null(), "{engine:?}: {after}");
        assert!(after.to_string().contains("was-kept") && !after.to_string().contains("was-lost"), "{engine:?}: {after}");
        left_nothing_in_the_clear(&folder);
    }
}

/// Manifests that hold Secrets are encrypted in a backup.
fn left_nothing_in_the_clear(folder: &Path) {
    let backup = ["backup.db", "brokkr.dump"].map(|name| folder.join(name)).into_iter().find(|file| file.exists()).unwrap();
    let bytes = std::fs::read(backup).unwrap();
    assert!(bytes.len() > 1000);
    assert!(!bytes.windows(8).any(|window| window == b"was-kept"), "the Secret is in the backup");
}
