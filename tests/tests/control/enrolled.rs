use std::collections::BTreeMap;

use brokkr_api::{Labels, enrolment::CreateRegistrationToken};
use brokkr_tests::{
    cluster::Cluster,
    fleet::{Broker, Engine, LIMIT, config_map},
    lab::{Scratch, free_port, until},
    process::Daemon,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_enrols_changes_its_key_and_is_deactivated_and_activated_without_a_hand_in_its_cluster() {
    let cluster = Cluster::shared().await.unwrap();
    for engine in Engine::ALL {
        let namespace = cluster.create_namespace("enrolled").await.unwrap();
        let broker = Broker::start(engine, &[]).await.unwrap();
        let scratch = Scratch::new("enrolled").unwrap();
        let labels = Labels::try_from(BTreeMap::from([("zone".to_owned(), "a".to_owned())])).unwrap();
        let request =
            CreateRegistrationToken { name: "edge".parse().unwrap(), labels, max_uses: Some(1), expires_in_seconds: None };
        let token = broker.admin().create_registration_token(&request).await.unwrap();
        let (token, key) = (scratch.write("token", token.secret).unwrap(), scratch.path().join("agent.key"));
        let name = cluster.unique("enrolled");
        let mut agent = Daemon::new("brokkr-agent")
            .unwrap()
            .args(["run"])
            .env("BROKKR__SERVER__LISTEN", format!("127.0.0.1:{}", free_port().unwrap()))
            .env("BROKKR__BROKER__URL", &broker.base)
            .env("BROKKR__BROKER__KEY_FILE", &key)
            .env("BROKKR__ENROLMENT__TOKEN_FILE", token)
            .env("BROKKR__AGENT__NAME", &name)
            .env("BROKKR__KUBERNETES__KUBECONFIG", cluster.kubeconfig())
            .env("BROKKR__KUBERNETES__NAMESPACE", format!("brokkr-{name}"))
            .start()
            .unwrap();
        agent.wait_for_line("the connection", LIMIT, |line| line.contains("the agent is connected")).await.unwrap();
        let name = name.parse().unwrap();
        let known = broker.admin().agent(&name).await.unwrap();
        assert_eq!(known.labels.iter().count(), 1, "the token's labels");
        assert!(known.cluster_uid.is_some() && known.capabilities.iter().any(|word| word == "suspension"), "{known:?}");
        let first = std::fs::read_to_string(&key).unwrap();

        broker.admin().rotate_agent_key(&name).await.unwrap();
        let look = || async {
            let agent = broker.admin().agent(&name).await.unwrap();
            if agent.key_rotation_wanted { Err(format!("{agent:?}")) } else { Ok(()) }
        };
        until("the use of the new key", LIMIT, look).await.unwrap();
        assert_ne!(std::fs::read_to_string(&key).unwrap(), first, "{engine:?}");

        let stack = "shop".parse().unwrap();
        let put = brokkr_api::stacks::PutStack {
            targets: brokkr_api::TargetSelector { labels: None, names: vec![name.clone()] },
            ..brokkr_api::stacks::PutStack::default()
        };
        broker.admin().put_stack(&stack, &put).await.unwrap();
        broker.apply(&stack, &config_map(&namespace, "a", "1")).await;
        broker.admin().deactivate_agent(&name).await.unwrap();
        let refused = |line: &str| line.contains("the broker refuses this agent") && line.contains("agent_deactivated");
        agent.wait_for_line("the refusal", LIMIT, refused).await.unwrap();
        broker.send(&stack, &config_map(&namespace, "a", "2")).await;
        assert!(!broker.admin().rollout(&stack, None).await.unwrap().done);
        broker.admin().activate_agent(&name).await.unwrap();
        assert!(broker.settle(&stack).await.done, "{engine:?}: it goes on by itself");
    }
}
