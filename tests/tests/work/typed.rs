//! The command line, against a cluster that does the work.

use std::process::{Command, Output, Stdio};

use brokkr_tests::lab::{Scratch, built};
use serde_json::json;

use super::world::World;

struct Typed<'a> {
    world: &'a World,
    scratch: Scratch,
    key: std::path::PathBuf,
}

impl<'a> Typed<'a> {
    fn new(world: &'a World) -> Self {
        let scratch = Scratch::new("typed-work").unwrap();
        let key = scratch.write("admin.key", world.broker.key()).unwrap();
        Self { world, scratch, key }
    }

    async fn run(&self, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(built("brokkr").unwrap());
        command.args(args).env_clear().env("BROKKR_URL", &self.world.broker.base).env("BROKKR_KEY_FILE", &self.key);
        command.stdin(Stdio::null());
        let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout) + &text(stderr))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_run_waited_for_listed_and_shown() {
    let world = World::new("typed").await;
    let typed = Typed::new(&world);
    let manifest = world.job(&json!({}))["job"]["manifest"].to_string();
    let file = typed.scratch.write("job.yaml", manifest).unwrap();
    let file = file.display().to_string();
    let agent = world.agent.name.as_str();
    let (code, told) = typed.run(&["run", "job", "-f", &file, "--agent", agent, "--wait", "--logs"]).await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("succeeded") && told.contains("there is no log"), "{told}");
    let (code, listed) = typed.run(&["work-orders", "list", "--state", "succeeded"]).await;
    assert!(code == 0 && listed.contains("import") && listed.contains(agent), "{listed}");

    let (code, told) = typed.run(&["run", "job", "-f", &file, "--on", "region=nowhere", "-o", "json"]).await;
    assert_eq!(code, 0, "{told}");
    let made: serde_json::Value = serde_json::from_str(&told).unwrap();
    let id = made["id"].as_str().unwrap();
    let (code, told) = typed.run(&["work-orders", "cancel", id]).await;
    assert!(code == 0 && told.contains("import cancelled"), "{told}");
    let (code, told) = typed.run(&["work-orders", "cancel", id]).await;
    assert!(code == 1 && told.contains("it is finished"), "{told}");
    let (code, told) = typed.run(&["work-orders", "retry", id]).await;
    assert!(code == 0 && told.contains("import queued"), "{told}");
    let (code, told) = typed.run(&["work-orders", "show", id, "--wait", "--timeout", "1s"]).await;
    assert!(code == 3 && told.contains("waiting for an agent that matches"), "{told}");
}
