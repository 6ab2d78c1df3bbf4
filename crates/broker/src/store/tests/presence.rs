use std::time::Duration;

use brokkr_api::{AgentId, Timestamp};
use brokkr_telemetry::metrics::DbOperation;

use crate::{
    jobs::{Job, Round, offline::Offline},
    store::sql::Statement,
    testing::{Engine, World},
};

#[tokio::test]
async fn presence_of_a_thousand_agents_is_one_statement_and_never_goes_backwards() {
    Engine::each(async |world: World| {
        let agents = world.many_agents(1_000).await;
        let (early, late) = (Timestamp::from_micros(1_000), Timestamp::from_micros(2_000));
        let flushes = || {
            let spans = world.capture.spans();
            spans.iter().filter(|span| span.attribute("db.query.summary").as_deref() == Some("FLUSH_PRESENCE")).count()
        };
        let seen = |at| agents.iter().map(|id| (*id, at)).collect::<Vec<_>>();

        world.state.db.flush_presence(&seen(late), &[], &[]).await.unwrap();
        assert_eq!(flushes(), 1);
        world.state.db.flush_presence(&seen(early), &[], &[]).await.unwrap();

        assert_eq!(world.state.db.fleet_totals(late).await.unwrap().online, 1_000);
        let one = world.state.db.find_agent(&super::name("agent-7")).await.unwrap().unwrap();
        assert_eq!(one.last_seen_at, Some(late));
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_gone_does_not_stop_the_presence_of_the_others() {
    Engine::each(async |world: World| {
        let agents = world.many_agents(1).await;
        let gone = AgentId(world.state.ids.uuid(world.state.clock.now()));
        let now = Timestamp::from_micros(5);
        world.state.db.flush_presence(&[(gone, now), (agents[0], now)], &[], &[]).await.unwrap();
        assert_eq!(world.state.db.fleet_totals(now).await.unwrap().online, 1);
    })
    .await;
}

#[tokio::test]
async fn what_could_not_be_written_is_kept_and_an_agent_is_online_as_long_as_it_was_seen() {
    let world = World::start(Engine::Sqlite).await;
    let agents = world.many_agents(1).await;
    let broken = World::start(Engine::Sqlite).await;
    super::close(&broken.state.db).await;

    world.state.presence.agent_seen(agents[0], world.state.clock.now());
    world.state.presence.flush(&broken.state.db).await.unwrap_err();
    world.state.presence.flush(&world.state.db).await.unwrap();

    let online = async || world.get(&world.admin, "/api/v1/agents/agent-0").await.expect(200).json["online"].clone();
    assert_eq!(online().await, true);
    world.clock.advance(Duration::from_secs(75));
    assert_eq!(online().await, false);
}

#[tokio::test]
async fn a_fleet_that_is_cut_off_is_missed_in_parts_and_nobody_is_forgotten() {
    static OFFLINE: Statement = Statement::new(
        "OFFLINE",
        DbOperation::Select,
        "events",
        "SELECT count(*) AS told, count(DISTINCT agent_id) AS agents FROM events WHERE type = 'agent.offline'",
    );
    Engine::each(async |world: World| {
        let (state, now) = (&world.state, world.state.clock.now());
        for agent in world.many_agents(1_100).await {
            state.presence.agent_seen(agent, now);
        }
        state.presence.flush(&state.db).await.unwrap();
        world.clock.advance(2 * state.settings.active);
        let (db, clock, ids) = (state.db.clone(), state.clock.clone(), state.ids.clone());
        let mut job = Offline { db, clock, ids, active: state.settings.active };
        for _ in 0..2 {
            job.round(Round { undisturbed: Duration::from_secs(1_000) }).await.unwrap();
        }
        let row = state.db.optional(&OFFLINE, vec![]).await.unwrap().unwrap();
        assert_eq!((row.int("told").unwrap(), row.int("agents").unwrap()), (1_100, 1_100));
    })
    .await;
}
