//! Claims and their volumes.

use super::world::{World, assert_tells};
use k8s_openapi::api::core::v1::ConfigMap;

fn claim(class: &str, wave: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data, namespace: NS, annotations: {{brokkr.io/wave: \"{wave}\"}}}}\n\
         spec: {{storageClassName: {class}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_never_binds_is_told_with_the_reason() {
    let world = World::new("claim").await;
    world.send(&claim("nowhere", "0")).await;
    let health = world.becomes_degraded("volume_unbound").await;
    assert_tells(&health, &format!("PersistentVolumeClaim {}/data", world.namespace), "\"nowhere\" not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_waits_for_its_pod_does_not_hold_up_the_wave_that_brings_the_pod() {
    let world = World::new("late").await;
    let class = world.cluster.unique("late");
    let class_manifest = format!(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {class}}}\nprovisioner: example.com/none\n\
         volumeBindingMode: WaitForFirstConsumer\n"
    );
    let next =
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: next, namespace: NS, annotations: {brokkr.io/wave: \"2\"}}\n";
    world.send(&(class_manifest + &claim(&class, "1") + next)).await;
    world.becomes_healthy().await;
    assert!(world.cluster.get::<ConfigMap>(&world.namespace, "next").await.unwrap().is_some());
}
