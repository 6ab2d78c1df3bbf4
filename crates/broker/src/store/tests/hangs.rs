//! A database that does not answer and does not say so: frozen, or cut off. A lock that nobody releases looks just like it.

use sqlx::{Executor, PgConnection, Postgres, Transaction};

use crate::{
    store::{Error, sql::Engine as Driver},
    testing::{Engine, World},
};

/// Locks the counters of PostgreSQL, also for readers, until it is dropped.
async fn lock_counters(world: &World) -> Transaction<'static, Postgres> {
    let Driver::Postgres(pool) = &world.state.db.engine else { panic!("only PostgreSQL can be made to hang") };
    let mut lock = pool.begin().await.unwrap();
    let locking: &mut PgConnection = &mut lock;
    locking.execute("LOCK TABLE counters IN ACCESS EXCLUSIVE MODE").await.unwrap();
    lock
}

#[tokio::test]
async fn a_statement_that_is_never_answered_is_given_up_by_us() {
    let world = World::start(Engine::Postgres).await;
    let mut tx = world.state.db.begin().await.unwrap();
    let _lock = lock_counters(&world).await;
    // From here on time passes whenever everybody waits, long before the server's own limits are reached.
    tokio::time::pause();
    let error = tx.next_change().await.unwrap_err();
    let Error::Unavailable { source: sqlx::Error::Io(source), .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_feed_that_hangs_says_so_and_goes_on_when_it_is_answered() {
    let world = World::start(Engine::Postgres).await;
    let lock = lock_counters(&world).await;
    tokio::time::pause();
    world.state.feed.nudge();
    while world.state.feed.trouble().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(world.state.feed.trouble(), Some("database_unavailable"));
    tokio::time::resume();
    lock.rollback().await.unwrap();
    while world.state.feed.trouble().is_some() {
        tokio::task::yield_now().await;
    }
}
