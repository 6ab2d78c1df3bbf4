use std::{cell::Cell, collections::HashSet, time::Duration};

use brokkr_api::{EventId, Timestamp};
use brokkr_telemetry::metrics::DbOperation;
use futures::future::join_all;

use crate::{
    store::{
        NewEvent, Tx,
        sql::{Statement, values},
    },
    testing::{Engine, World},
};

const LEASE: &str = "test-lease";

#[tokio::test]
async fn a_lease_has_one_holder_who_may_renew_it_until_it_expires() {
    Engine::each(async |world: World| {
        let db = &world.state.db;
        let at = Timestamp::from_micros;
        assert!(db.take_lease(LEASE, "one", at(0), at(10)).await.unwrap());
        assert!(!db.take_lease(LEASE, "two", at(5), at(15)).await.unwrap());
        assert!(db.take_lease(LEASE, "one", at(8), at(18)).await.unwrap());
        assert!(!db.take_lease(LEASE, "two", at(18), at(28)).await.unwrap(), "it was renewed");
        assert!(db.take_lease(LEASE, "two", at(19), at(29)).await.unwrap(), "it expired");
        assert!(!db.take_lease(LEASE, "one", at(20), at(30)).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn of_many_who_want_a_lease_at_once_one_gets_it() {
    Engine::each(async |world: World| {
        let (now, until) = (Timestamp::from_micros(1), Timestamp::from_micros(9));
        let holders: Vec<_> = (0..8).map(|number| format!("holder-{number}")).collect();
        let taken = join_all(holders.iter().map(|holder| world.state.db.take_lease(LEASE, holder, now, until))).await;
        assert_eq!(taken.into_iter().filter(|taken| *taken.as_ref().unwrap()).count(), 1);
    })
    .await;
}

static EVENTS_AFTER: Statement = Statement::new(
    "EVENTS_AFTER",
    DbOperation::Select,
    "events",
    "SELECT id, position FROM events WHERE position > $1 ORDER BY position",
);

/// Reads the stream from where it stopped, as a consumer does.
struct Reader {
    position: i64,
    seen: Vec<String>,
}

impl Reader {
    async fn read_on(&mut self, world: &World) {
        for row in world.state.db.all(&EVENTS_AFTER, values![self.position]).await.unwrap() {
            self.position = row.int("position").unwrap();
            self.seen.push(row.text("id").unwrap());
        }
    }
}

async fn insert(tx: &mut Tx, world: &World, now: Timestamp) -> String {
    let id = EventId(world.state.ids.uuid(now));
    let event = NewEvent {
        id,
        kind: "test.happened",
        stack: None,
        agent: None,
        generation: None,
        data: serde_json::json!({}),
        trace: None,
        now,
    };
    tx.insert_events(&[event]).await.unwrap();
    id.to_string()
}

#[tokio::test]
async fn a_reader_who_resumes_never_misses_an_event_that_committed_late() {
    // One writer at a time is all that SQLite allows, so that nothing commits late there.
    let world = World::start(Engine::Postgres).await;
    let mut reader = Reader { position: 0, seen: vec![] };
    let mut slow = world.state.db.begin().await.unwrap();
    let late = insert(&mut slow, &world, Timestamp::from_micros(1)).await;
    let mut quick = world.state.db.begin().await.unwrap();
    let early = insert(&mut quick, &world, Timestamp::from_micros(2)).await;
    quick.commit().await.unwrap();

    assert_eq!(world.state.db.sequence_events().await.unwrap(), 1);
    reader.read_on(&world).await;
    assert_eq!(reader.seen, std::slice::from_ref(&early));
    slow.commit().await.unwrap();
    assert_eq!(world.state.db.sequence_events().await.unwrap(), 1);
    reader.read_on(&world).await;

    assert_eq!(reader.seen, [early, late]);
}

#[tokio::test]
async fn many_writers_and_even_two_sequencers_give_every_event_one_position() {
    Engine::each(async |world: World| {
        let open = Cell::new(20);
        let writer = async |number: i64| {
            let mut tx = world.state.db.begin().await.unwrap();
            let id = insert(&mut tx, &world, Timestamp::from_micros(number)).await;
            tx.commit().await.unwrap();
            open.set(open.get() - 1);
            id
        };
        let sequencer = async || {
            while open.get() > 0 {
                world.state.db.sequence_events().await.unwrap();
            }
        };
        let follow = async {
            let mut reader = Reader { position: 0, seen: vec![] };
            while open.get() > 0 {
                reader.read_on(&world).await;
            }
            reader
        };

        let writers = join_all((0..20).map(writer));
        let (written, (), (), mut reader) =
            futures::join!(writers, Box::pin(sequencer()), Box::pin(sequencer()), Box::pin(follow));
        world.state.db.sequence_events().await.unwrap();
        reader.read_on(&world).await;

        assert_eq!(reader.seen.len(), 20, "no event twice");
        assert_eq!(reader.seen.into_iter().collect::<HashSet<_>>(), written.into_iter().collect());
        assert!(world.state.db.unsequenced_events().await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn an_event_carries_the_trace_of_its_change() {
    Engine::each(async |world: World| {
        static TRACES: Statement = Statement::new(
            "TRACES",
            DbOperation::Select,
            "events",
            "SELECT traceparent, created_at FROM events WHERE type = 'stack.created'",
        );
        world.clock.advance(Duration::from_micros(17));
        let answer = world.stack("shop", serde_json::json!({})).await.expect(201);
        let row = world.state.db.optional(&TRACES, vec![]).await.unwrap().unwrap();
        assert_eq!(&row.text("traceparent").unwrap()[3..35], answer.header("x-trace-id"));
        assert_eq!(row.time("created_at").unwrap(), world.state.clock.now());
    })
    .await;
}
