//! The command line, against a cluster that builds.

use std::process::{Command, Output, Stdio};

use brokkr_tests::lab::{Scratch, built};
use serde_json::json;

use super::world::World;

async fn brokkr(world: &World, args: &[&str]) -> (i32, String) {
    let scratch = Scratch::new("typed-build").unwrap();
    let key = scratch.write("admin.key", world.broker.key()).unwrap();
    let mut command = Command::new(built("brokkr").unwrap());
    command.args(args).env_clear().env("BROKKR_URL", &world.broker.base).env("BROKKR_KEY_FILE", &key);
    command.stdin(Stdio::null());
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout) + &text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_waited_for_and_shown() {
    let world = World::new("typed").await;
    world.strategy(json!({})).await;
    let (agent, namespace) = (world.agent.name.as_str().to_owned(), world.namespace.clone());
    let of_repository = ["build", "https://git.example/shop/web.git", "--revision", "v1", "--strategy", "namespace/two-steps"];
    let where_to = ["--image", "images.example/shop/web:1", "--namespace", &namespace, "--agent", &agent];
    let waits = ["--param", "REGION=eu", "--strategy-param", "dockerfile=Containerfile", "--wait", "--logs"];
    let (code, told) = brokkr(&world, &[of_repository.as_slice(), &where_to, &waits].concat()).await;
    assert!(code == 0 && told.contains("web") && told.contains("succeeded"), "{told}");
    let (code, listed) = brokkr(&world, &["work-orders", "list", "--state", "succeeded"]).await;
    assert!(code == 0 && listed.contains("build"), "{listed}");

    let wrong = ["build", "https://user:word@git.example/web.git", "--strategy", "namespace/two-steps"];
    let (code, told) = brokkr(&world, &[wrong.as_slice(), &where_to].concat()).await;
    assert!(code == 1 && told.contains("without a password") && !told.contains("word@git"), "{told}");

    let missing = ["build", "--build", "nobody", "--namespace", &namespace, "--agent", &agent, "--wait"];
    let (code, told) = brokkr(&world, &missing).await;
    assert!(code == 4 && told.contains("not found"), "{told}");
}
