use std::time::Duration;

use brokkr_api::{
    Labels, Name, StackId,
    agents::CreateAgent,
    client::{Client, Polled},
    desired_state::{DesiredDeployment, DesiredState},
    policy::HeldPlan,
    reports::{ObjectOutcome, ObjectRef, ObjectReport, Report, Reports},
    rollouts::Phase,
};
use brokkr_tests::fleet::{Broker, Engine, config_map};

use super::command_line::Typed;

/// An agent that says what a test lets it say.
struct Played {
    client: Client,
}

impl Played {
    async fn new(broker: &Broker, name: &str) -> Self {
        let name: Name = name.parse().unwrap();
        let request = CreateAgent { name: name.clone(), cluster: name, labels: Labels::default() };
        let created = broker.admin().create_agent(&request).await.unwrap();
        Self { client: broker.client(&created.secret) }
    }

    async fn desired(&self) -> DesiredState {
        let state = match self.client.desired_state(None, Duration::ZERO).await.unwrap() {
            Polled::Changed { state, .. } => Some(state),
            Polled::Unchanged => None,
        };
        state.unwrap()
    }

    async fn deployment(&self) -> DesiredDeployment {
        self.desired().await.deployments.remove(0)
    }

    /// Reports its one deployment as applied but for the deletion of two namespaces.
    async fn hold(&self, letter: &str) {
        let object = |name: &str| ObjectReport {
            object: ObjectRef { api_version: "v1".into(), kind: "Namespace".into(), namespace: None, name: name.into() },
            outcome: ObjectOutcome::Held,
            reason: Some("ProtectedKind".into()),
            message: None,
        };
        let state = self.desired().await;
        let report = Report {
            stack_id: state.deployments[0].stack_id,
            revision: state.deployments[0].revision,
            phase: Phase::Applied,
            attempt: 1,
            objects: vec![object("old-shop"), object("older-shop")],
            error: None,
            health: None,
            scope: None,
            held: Some(HeldPlan { plan: plan(letter), objects: 2 }),
            drift: Vec::new(),
        };
        self.client.report(&Reports { epoch: state.epoch, reports: vec![report] }).await.unwrap();
    }
}

fn plan(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

#[tokio::test(flavor = "multi_thread")]
async fn held_deletions_are_shown_with_their_objects_and_approved_by_hand() {
    for engine in Engine::ALL {
        let broker = Broker::start(engine, &[]).await.unwrap();
        let typed = Typed::new(&broker);
        let (one, two) = (Played::new(&broker, "one").await, Played::new(&broker, "two").await);
        let file = typed.scratch.write("a.yaml", config_map("shop", "a", "1")).unwrap();
        let file = file.to_str().unwrap();
        typed.ok(&["apply", "-f", file, "--stack", "shop", "--all-agents"]);
        assert!(typed.ok(&["approve", "shop"]).contains("nothing of stack shop waits for an approval"));
        assert_eq!(typed.json(&["approve", "shop"]), serde_json::json!([]));
        one.hold("a").await;
        two.hold("b").await;

        let command = "brokkr approve shop --agent one";
        for command_line in
            [["rollout", "status", "shop"].as_slice(), &["describe", "stack", "shop"], &["describe", "deployment", "shop", "one"]]
        {
            let said = typed.ok(command_line);
            assert!(said.contains(command) && said.contains("the deletion of 2 objects"), "{command_line:?}: {said}");
        }
        let (code, said) = typed.fails(&["approve", "shop"]);
        assert!(code == 1 && said.contains("Delete 4 objects of stack shop on 2 agents?") && said.contains("--yes"), "{said}");
        let (_, said) = typed.fails(&["approve", "shop", "--plan", &plan("c")]);
        assert!(said.contains("nobody holds plan"), "{said}");
        assert_eq!((one.deployment().await.approved, two.deployment().await.approved), (None, None));

        let said = typed.ok(&["approve", "shop", "--plan", &plan("b")]);
        assert!(said.contains("Namespace old-shop") && said.contains("ProtectedKind"), "{said}");
        assert_eq!((one.deployment().await.approved, two.deployment().await.approved), (None, Some(plan("b"))));
        let approved = typed.json(&["approve", "shop", "--agent", "one", "--yes"]);
        assert_eq!((&approved[0]["agent"], &approved[0]["approved"]), (&"one".into(), &true.into()));
        assert_eq!(one.deployment().await.approved, Some(plan("a")));
        assert!(typed.ok(&["approve", "shop", "--yes"]).contains("nothing of stack shop"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_set_by_hand_and_what_is_not_named_stays() {
    let broker = Broker::start(Engine::Sqlite, &[]).await.unwrap();
    let typed = Typed::new(&broker);
    let agent = Played::new(&broker, "one").await;
    let manifests = typed.scratch.write("a.yaml", config_map("shop", "a", "1")).unwrap();
    let rules = "ignore_fields:\n- paths: [/spec/replicas]\nservice_account: shop/deployer\n";
    let rules = typed.scratch.write("policy.yaml", rules).unwrap();
    let apply = |more: &[&str]| typed.ok(&[&["apply", "-f", manifests.to_str().unwrap(), "--stack", "shop"], more].concat());
    apply(&["--conflicts", "force"]);
    let first = agent.deployment().await;
    apply(&["--conflicts", "force"]);
    let stack: StackId = first.stack_id;
    assert_eq!(
        (agent.deployment().await.revision, agent.deployment().await.stack_id),
        (first.revision, stack),
        "it has it already"
    );
    apply(&["--policy", rules.to_str().unwrap(), "--adopt"]);
    apply(&["--delete-policy", "orphan"]);
    let said = typed.ok(&["describe", "stack", "shop"]);
    let words = "takes existing objects over; keeps what is no longer wanted; leaves 1 fields to others; acts as shop/deployer";
    assert!(said.contains(words), "{said}");
    let last = agent.deployment().await;
    assert_eq!((last.revision, last.generation), (first.revision + 2, 1));
    assert_eq!(last.policy.service_account.as_deref(), Some("shop/deployer"));
}
