use std::process::{Command, Output, Stdio};

use brokkr_api::{Labels, Name, TargetSelector, agents::CreateAgent, stacks::PutStack};
use brokkr_tests::{
    fleet::{Broker, Engine, config_map},
    lab::{Scratch, built},
};

/// The command line, with the admin's key and no terminal.
pub(super) struct Typed<'a> {
    broker: &'a Broker,
    key: std::path::PathBuf,
    pub(super) scratch: Scratch,
}

impl<'a> Typed<'a> {
    pub(super) fn new(broker: &'a Broker) -> Self {
        let scratch = Scratch::new("typed").unwrap();
        let key = scratch.write("admin.key", broker.key()).unwrap();
        Self { broker, key, scratch }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(built("brokkr").unwrap());
        command.args(args).env_clear().env("BROKKR_URL", &self.broker.base).env("BROKKR_KEY_FILE", &self.key);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What it writes when it succeeds.
    pub(super) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{args:?}: {out}{err}");
        out + &err
    }

    /// What it says when it fails, with its exit code.
    pub(super) fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}: {}", text(&output.stdout));
        (output.status.code().unwrap(), text(&output.stderr))
    }

    pub(super) fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(&[args, &["-o", "json"]].concat())).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Agents that nobody runs: who is concerned is the broker's business alone.
async fn agents(broker: &Broker, count: usize) -> Vec<Name> {
    let mut names = Vec::new();
    for index in 0..count {
        let name: Name = format!("edge-{index}").parse().unwrap();
        let labels =
            Labels::try_from(std::collections::BTreeMap::from([("zone".to_owned(), format!("z{}", index % 2))])).unwrap();
        let request = CreateAgent { name: name.clone(), cluster: name.clone(), labels };
        broker.admin().create_agent(&request).await.unwrap();
        names.push(name);
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_is_suspended_resumed_looked_at_and_rolled_back_by_hand() {
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[]).await.unwrap();
        let typed = Typed::new(&broker);
        agents(&broker, 2).await;
        let file = typed.scratch.write("a.yaml", config_map("shop", "a", "1")).unwrap();
        let file = file.to_str().unwrap();
        let said = typed.ok(&["apply", "-f", file, "--stack", "shop", "--all-agents"]);
        assert!(said.contains("generation 1, 1 objects, for 2 agents"), "{said}");

        let said = typed.ok(&["suspend", "stack", "shop", "--reason", "audit"]);
        assert!(said.contains("stack shop is suspended: the stack by") && said.contains("audit"), "{said}");
        let said = typed.ok(&["get", "deployments", "--stack", "shop", "--phase", "suspended"]);
        assert!(said.contains("edge-0") && said.contains("edge-1") && said.contains("audit"), "{said}");
        let said = typed.ok(&["describe", "stack", "shop"]);
        assert!(said.contains("2 suspended") && said.contains("audit") && said.contains("(all)"), "{said}");
        assert!(typed.ok(&["get", "stacks"]).contains("suspended"));
        let said = typed.ok(&["resume", "stack", "shop"]);
        assert!(said.contains("stack shop is not suspended"), "{said}");

        let said = typed.ok(&["describe", "deployment", "shop", "edge-0"]);
        assert!(said.contains("waiting for") && said.contains("edge-0 to connect for the first time"), "{said}");
        let said = typed.ok(&["describe", "agent", "edge-0"]);
        assert!(said.contains("never connected") && said.contains("zone=z0"), "{said}");

        typed.scratch.write("a.yaml", config_map("shop", "a", "2")).unwrap();
        typed.ok(&["apply", "-f", file, "--stack", "shop"]);
        let said = typed.ok(&["rollback", "shop"]);
        assert!(said.contains("stack shop is generation 3 with the content of generation 1, for 2 agents"), "{said}");
        let said = typed.ok(&["rollback", "shop", "--to", "2"]);
        assert!(said.contains("generation 4 with the content of generation 2"), "{said}");
        let history = typed.json(&["history", "shop"]);
        let generations: Vec<_> = history.as_array().unwrap().iter().map(|item| item["generation"].as_u64().unwrap()).collect();
        assert_eq!(generations, [4, 3, 2, 1]);
        assert_eq!(history[1]["rollback_to"], 1);
        let (code, said) = typed.fails(&["rollback", "shop", "--to", "9"]);
        assert!(code == 1 && said.contains("generation 9"), "{said}");
        let (code, said) = typed.fails(&["rollout", "status", "shop", "--wait", "--timeout", "1ms"]);
        assert!(code == 3, "not done in time: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_would_notice_is_asked_first_and_without_a_terminal_needs_yes() {
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let typed = Typed::new(&broker);
    agents(&broker, 4).await;
    let file = typed.scratch.write("a.yaml", config_map("shop", "a", "1")).unwrap();
    let apply = ["apply", "-f", file.to_str().unwrap(), "--stack", "shop"];
    typed.ok(&[&apply[..], &["--all-agents"]].concat());

    let narrower = [&apply[..], &["--agent", "edge-0"]].concat();
    let (code, said) = typed.fails(&narrower);
    assert!(code == 1 && said.contains("3 lose it (edge-1, edge-2, edge-3), 1 keep it") && said.contains("--yes"), "{said}");
    assert_eq!(broker.admin().stack(&"shop".parse().unwrap()).await.unwrap().targets, TargetSelector::everyone());
    let said = typed.ok(&[&narrower[..], &["--yes"]].concat());
    assert!(said.contains("3 lose it"), "{said}");

    let (_, said) = typed.fails(&["suspend", "fleet"]);
    assert!(said.contains("Suspend all 1 stacks on all 4 agents?") && said.contains("--yes"), "{said}");
    assert_eq!(broker.admin().fleet().await.unwrap().suspended, None);
    typed.ok(&["suspend", "fleet", "--yes", "--reason", "fire"]);
    let said = typed.ok(&["get", "fleet"]);
    assert!(said.contains("4 (0 online)") && said.contains("fire"), "{said}");
    let said = typed.ok(&["resume", "stack", "shop"]);
    assert!(said.contains("suspended: the fleet by"), "resuming a stack does not resume the fleet: {said}");
    assert!(typed.ok(&["resume", "fleet"]).contains("the fleet is not suspended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_conditional_or_named_is_made_once() {
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let typed = Typed::new(&broker);
    agents(&broker, 1).await;
    let stack: Name = "shop".parse().unwrap();
    let put = PutStack { targets: TargetSelector::everyone(), ..PutStack::default() };
    broker.admin().put_stack(&stack, &put).await.unwrap();
    let tag = broker.admin().tagged_stack(&stack).await.unwrap().tag.unwrap();
    let said = typed.ok(&["describe", "stack", "shop"]);
    assert!(said.contains(&tag), "{said}");
    let file = typed.scratch.write("a.yaml", config_map("shop", "a", "1")).unwrap();
    let apply = ["apply", "-f", file.to_str().unwrap(), "--stack", "shop"];

    typed.ok(&[&apply[..], &["--if-match", &tag, "--idempotency-key", "build-7"]].concat());
    typed.scratch.write("a.yaml", config_map("shop", "a", "2")).unwrap();
    let (_, said) = typed.fails(&[&apply[..], &["--if-match", tag.trim_matches('"')]].concat());
    assert!(said.contains("precondition_failed"), "{said}");
    let (_, said) = typed.fails(&[&apply[..], &["--idempotency-key", "build-7"]].concat());
    assert!(said.contains("idempotency_mismatch"), "{said}");
    assert_eq!(broker.admin().stack(&stack).await.unwrap().generation, 1);

    let selector = [&apply[..], &["--agent", "edge-0", "--if-match"]].concat();
    let tag = broker.admin().tagged_stack(&stack).await.unwrap().tag.unwrap();
    let said = typed.ok(&[&selector[..], &[&tag]].concat());
    assert!(said.contains("generation 2"), "the tag of the caller is that before the change of targets: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_the_audit_log_tell_what_was_done_and_by_which_key() {
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let typed = Typed::new(&broker);
    agents(&broker, 1).await;
    let file = typed.scratch.write("a.yaml", config_map("shop", "a", "1")).unwrap();
    typed.ok(&["apply", "-f", file.to_str().unwrap(), "--stack", "shop", "--all-agents"]);
    typed.ok(&["suspend", "agent", "edge-0", "--reason", "moved"]);

    let audit = typed.json(&["get", "audit", "--kind", "agent", "--name", "edge-0"]);
    assert_eq!(audit[0]["action"], "agent.suspended");
    assert!(typed.ok(&["get", "audit"]).contains("stack.created"));
    // An event gets its position some moments after it happened.
    let told = || async {
        let said = typed.ok(&["get", "events", "--type", "agent."]);
        if said.contains("agent.suspended") && said.contains("moved") { Ok(()) } else { Err(said) }
    };
    brokkr_tests::lab::until("the event", brokkr_tests::fleet::LIMIT, told).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_are_made_listed_and_revoked_and_a_secret_is_shown_once() {
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let typed = Typed::new(&broker);
    let output = typed.run(&["create", "agent", "edge", "--cluster", "cellar", "--label", "zone=a"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(out.starts_with("brokkr_agent_") && out.lines().count() == 1, "the secret alone, for a file: {err}");
    assert!(err.contains("agent edge") && !err.contains("brokkr_agent_"), "{err}");
    assert!(typed.ok(&["create", "generator", "team", "--max-stacks", "2"]).contains("--role generator --generator team"));
    let created =
        typed.json(&["create", "key", "pipeline", "--role", "generator", "--generator", "team", "--scope", "stacks:read"]);
    assert_eq!(created["scopes"], serde_json::json!(["stacks:read"]));
    let (code, said) = typed.fails(&["create", "key", "pipeline", "--role", "root"]);
    assert!(code == 2 && said.contains("operator"), "{said}");

    let keys = typed.ok(&["get", "keys"]);
    assert!(keys.contains("pipeline") && keys.contains("edge") && !keys.contains(created["secret"].as_str().unwrap()), "{keys}");
    assert!(typed.ok(&["get", "generators"]).contains("team"));
    let id = created["id"].as_str().unwrap();
    typed.ok(&["revoke", "key", id]);
    let keys = typed.json(&["get", "keys"]);
    let key = keys.as_array().unwrap().iter().find(|key| key["id"] == id).unwrap();
    assert!(key["revoked_at"].is_string(), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_labelled_and_abandoned_by_hand() {
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let typed = Typed::new(&broker);
    agents(&broker, 2).await;
    let file = typed.scratch.write("a.yaml", config_map("shop", "a", "1")).unwrap();
    typed.ok(&["apply", "-f", file.to_str().unwrap(), "--stack", "shop", "--selector", "zone=z1"]);
    assert_eq!(typed.json(&["get", "deployments", "--stack", "shop"]).as_array().unwrap().len(), 1);

    let said = typed.ok(&["agent", "label", "edge-0", "zone=z1", "tier=web"]);
    assert!(said.contains("tier=web,zone=z1"), "{said}");
    assert_eq!(typed.json(&["get", "deployments", "--stack", "shop"]).as_array().unwrap().len(), 2);
    assert!(typed.ok(&["agent", "label", "edge-0", "tier-"]).contains("has the labels zone=z1"));

    let (_, said) = typed.fails(&["agent", "abandon", "edge-0"]);
    assert!(said.contains("--yes"), "{said}");
    assert!(typed.ok(&["agent", "abandon", "edge-0", "--yes"]).contains("1 deployments are orphaned"));
    let (_, said) = typed.fails(&["describe", "agent", "edge-0"]);
    assert!(said.contains("not_found"), "its name is free: {said}");
}
