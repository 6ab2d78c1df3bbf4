//! The guide of production: a backup of the volume, and what brings it back.

use std::{fs, path::Path};

use brokkr_tests::{fleet::LIMIT, lab::until};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::{deploy::Walk, page::Page};

/// What delivers a text to the namespace `shop`.
fn deliver(text: &str, options: &str) -> String {
    format!(
        "kubectl create configmap greeting --namespace shop --from-literal=text='{text}' --dry-run=client -o yaml \
         | brokkr apply -f - --stack greeting --all-agents {options}\n"
    )
}

/// The snapshot of the guide is a copy of the folder that stands for the volume.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Follows backup and restore; the cluster keeps what it had until somebody says that the agents may work.
pub(crate) async fn a_backup_is_restored(walk: &mut Walk, page: &Page) {
    let volume = walk.machine.claim("brokkr-system", "brokkr-broker");
    let snapshot = volume.with_file_name("snapshot");
    let forward = "kubectl port-forward --namespace brokkr-system service/brokkr-broker 3000:3000 &\n";
    let greeting = async |walk: &Walk| {
        let map = walk.cluster.get::<ConfigMap>("shop", "greeting").await.unwrap().unwrap();
        map.data.unwrap()["text"].clone()
    };

    let [end, start] = &page.blocks("Back up", "sh")[..] else { panic!("a block before the snapshot and one after it") };
    for command in end.commands() {
        walk.type_in(&command).await;
    }
    assert!(!volume.join("brokkr.db-wal").exists(), "a broker that ended by itself leaves one whole file");
    copy(&volume, &snapshot);
    for command in start.commands() {
        walk.type_in(&command).await;
    }
    walk.type_in(forward).await;
    walk.type_in(&deliver("lost", "--wait")).await;
    assert_eq!(greeting(walk).await, "lost");

    let [end, begin, resume] = &page.blocks("Restore", "sh")[..] else { panic!("end, epoch, resume") };
    for command in end.commands() {
        walk.type_in(&command).await;
    }
    fs::remove_dir_all(&volume).unwrap();
    copy(&snapshot, &volume);
    for command in begin.commands() {
        walk.type_in(&command).await;
    }
    // A change is accepted, and waits: the whole fleet is suspended.
    walk.type_in(&deliver("after the restore", "")).await;
    let status = walk.type_in("brokkr rollout status greeting || [ $? = 3 ]\n").await;
    assert!(status.contains("suspended"), "{status}");
    assert_eq!(greeting(walk).await, "lost", "nothing is undone by a backup");
    for command in resume.commands() {
        walk.type_in(&command).await;
    }
    let look = || async {
        let text = greeting(walk).await;
        if text == "after the restore" { Ok(()) } else { Err(text) }
    };
    until("the change after the restore", LIMIT, look).await.unwrap();
}
