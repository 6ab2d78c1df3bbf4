use brokkr_api::AuditId;
use brokkr_runtime::Clock;
use serde_json::{Value, json};

use crate::{
    store::{Restore, Restored, new_epoch},
    testing::{Engine, TestAgent, World},
};

impl World {
    async fn restore_epoch(&self, suspend: bool) -> Restored {
        let now = self.clock.now();
        let mut tx = self.state.db.begin().await.unwrap();
        let restore = Restore { jump: 1_000, suspend, now };
        let id = AuditId(self.state.ids.uuid(now));
        let restored = tx.restore_epoch(restore, &new_epoch(now, &*self.state.ids), id).await.unwrap();
        tx.commit().await.unwrap();
        restored
    }

    /// An agent that has applied the first generation of the stack `shop`.
    async fn settled(&self) -> TestAgent {
        let edge = self.agent("edge", json!({"region": "eu"})).await;
        self.stack("shop", json!({"region": "eu"})).await.expect(201);
        self.apply("shop", "1").await.expect(201);
        self.report_all(&edge, "applied").await.expect(200);
        edge
    }

    async fn generation(&self) -> u64 {
        self.get(&self.admin, "/api/v1/stacks/shop").await.expect(200).json["generation"].as_u64().unwrap()
    }
}

fn only(desired: &Value) -> &Value {
    let deployments = desired["deployments"].as_array().unwrap();
    assert_eq!(deployments.len(), 1, "{desired}");
    &deployments[0]
}

#[tokio::test]
async fn after_a_restore_every_number_is_new_and_nothing_happens_until_somebody_resumes() {
    Engine::each(async |world: World| {
        let edge = world.settled().await;
        let before = world.desired(&edge).await;
        let restored = world.restore_epoch(true).await;
        assert_eq!((restored.deployments, restored.stacks), (1, 1));
        assert_ne!(restored.installation.epoch, restored.former_epoch);
        assert_eq!(before.json["epoch"], restored.former_epoch.as_str());

        // A broker that starts now, as one does after a restore.
        let world = world.replica().await;
        let after = world.poll(&edge, before.header("etag"), "30s").await.expect(200);
        assert_eq!(after.json["epoch"], restored.installation.epoch.as_str(), "what the agent knew counts for nothing");
        let (old, new) = (only(&before.json), only(&after.json));
        assert_eq!(new["revision"].as_u64().unwrap(), old["revision"].as_u64().unwrap() + 1_000);
        assert_eq!(
            (&new["generation"], &new["digest"]),
            (&old["generation"], &old["digest"]),
            "the content is that of the backup"
        );
        assert!(new["suspended"]["reason"].as_str().unwrap().starts_with("restored from a backup"), "{new}");
        let fleet = world.get(&world.admin, "/api/v1/fleet").await.expect(200).json;
        assert_eq!(fleet["suspended"]["reason"], "restored from a backup: review, then resume");

        world.delete(&world.admin, "/api/v1/fleet/suspension").await.expect(200);
        let resumed = world.desired(&edge).await.json;
        assert!(only(&resumed)["suspended"].is_null(), "{resumed}");
        world.report_all(&edge, "applied").await.expect(200);
        assert_eq!(world.generation().await, 1);
        world.apply("shop", "2").await.expect(201);
        assert_eq!(world.generation().await, 1_002, "generation 2 may have been another one");
    })
    .await;
}

#[tokio::test]
async fn a_rollout_is_not_done_until_agents_have_said_so_again() {
    Engine::each(async |world: World| {
        let edge = world.settled().await;
        let late = world.report_of(&edge, "applied").await;
        world.restore_epoch(false).await;
        let world = world.replica().await;
        let rollout = async || world.get(&world.admin, "/api/v1/stacks/shop/rollout").await.expect(200).json;
        assert_eq!(rollout().await["done"], false, "the backup may be older than what the agent has done");
        assert!(world.get(&world.admin, "/api/v1/fleet").await.expect(200).json["suspended"].is_null(), "as it was asked");
        world.post(&edge.key, "/api/v1/agent/reports", late).await;
        assert_eq!(rollout().await["done"], false, "a report from before does not count");
        world.report_all(&edge, "applied").await.expect(200);
        assert_eq!(rollout().await["done"], true);
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_tells_of_it_and_a_transaction_that_is_not_committed_leaves_nothing() {
    Engine::each(async |world: World| {
        let edge = world.settled().await;
        let before = world.desired(&edge).await.json;
        let now = world.clock.now();
        let mut tx = world.state.db.begin().await.unwrap();
        let restore = Restore { jump: 1_000, suspend: true, now };
        tx.restore_epoch(restore, "unseen", AuditId(world.state.ids.uuid(now))).await.unwrap();
        drop(tx);
        assert_eq!(world.state.db.standing().await.unwrap().installation.epoch, before["epoch"].as_str().unwrap());
        assert_eq!(only(&world.desired(&edge).await.json), only(&before));

        let restored = world.restore_epoch(true).await;
        let log = world.get(&world.admin, "/api/v1/audit").await.expect(200).json;
        let entry = log["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "installation.restored").unwrap();
        assert_eq!(entry["data"]["epoch"], restored.installation.epoch.as_str());
    })
    .await;
}
