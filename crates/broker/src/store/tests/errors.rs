use brokkr_api::generators::{Generator, Quota};

use crate::{
    store::{Error, tests::close},
    testing::{Engine, World},
};

#[tokio::test]
async fn what_is_there_already_is_a_duplicate() {
    Engine::each(async |world: World| {
        let now = world.state.clock.now();
        let generator = || Generator {
            id: world.state.ids.uuid(now).into(),
            name: super::name("team"),
            quota: Quota::default(),
            created_at: now,
        };
        let mut tx = world.state.db.begin().await.unwrap();
        tx.insert_generator(&generator()).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = world.state.db.begin().await.unwrap();
        let again = tx.insert_generator(&generator()).await;
        assert!(matches!(again, Err(Error::Duplicate { .. })), "{again:?}");
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_gone_is_unavailable_for_reads_and_for_writes() {
    Engine::each(async |world: World| {
        close(&world.state.db).await;
        let read = world.state.db.last_change().await;
        assert!(matches!(read, Err(Error::Unavailable { .. })), "{read:?}");
        let write = world.state.db.begin().await.map(drop);
        assert!(matches!(write, Err(Error::Unavailable { .. })), "{write:?}");
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    Engine::each(async |world: World| {
        let before = world.state.db.last_change().await.unwrap();
        let mut tx = world.state.db.begin().await.unwrap();
        assert_eq!(tx.next_change().await.unwrap(), before + 1);
        drop(tx);
        let mut tx = world.state.db.begin().await.unwrap();
        assert_eq!(tx.next_change().await.unwrap(), before + 1, "the number is given again");
        tx.commit().await.unwrap();
    })
    .await;
}
