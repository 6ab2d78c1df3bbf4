//! What time does to work orders: whose turn comes, whose agent is lost, whose deadline is over.

use std::{sync::Arc, time::Duration};

use brokkr_api::EventId;
use brokkr_runtime::{Clock, Ids};

use super::{Due, Job, Round};
use crate::{
    board::Board,
    domain::work_order::{Event, transition},
    store::{Db, Error, Saved},
    work_events,
};

/// Orders of each kind that one transaction looks at.
const BATCH: u32 = 200;

/// Lets time pass.
pub(crate) struct WorkOrders {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) board: Arc<Board>,
}

impl Job for WorkOrders {
    const NAME: &'static str = "work-orders";
    const PERIOD: Duration = Duration::from_secs(1);

    async fn due(&self) -> Result<Due, Error> {
        Ok(self.db.due_work_order_causes(self.clock.now()).await?.map_or(Due::No, Due::Caused))
    }

    async fn round(&mut self, _: Round) -> Result<(), Error> {
        while self.batch().await? {}
        self.board.nudge();
        Ok(())
    }
}

impl WorkOrders {
    /// Lets time pass for some orders; tells whether there may be more. Correct without the lease too: an order that somebody else
    /// has changed meanwhile rolls the batch back.
    pub(crate) async fn batch(&self) -> Result<bool, Error> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let mut orders = tx.due_work_orders(now, BATCH).await?;
        let mut changed = Vec::with_capacity(orders.len());
        for (index, order) in orders.iter_mut().enumerate() {
            let Ok(next) = transition(&order.standing, &order.terms, Event::Time, now) else { continue };
            if next.standing != order.standing {
                order.standing = next.standing;
                changed.push((index, next.told));
            }
        }
        if changed.is_empty() {
            return Ok(false);
        }
        let of = |index: usize| orders.get(index);
        let saved: Vec<_> = changed
            .iter()
            .filter_map(|(index, _)| of(*index))
            .map(|order| Saved { id: order.id, version: order.version, standing: &order.standing, object: None })
            .collect();
        if tx.save_work_orders(&saved).await? < saved.len() as u64 {
            return Ok(true);
        }
        let told = || changed.iter().filter_map(|(index, told)| of(*index).zip(*told));
        let events: Vec<_> =
            told().map(|(order, told)| work_events::event(EventId(self.ids.uuid(now)), order, told, None, now)).collect();
        tx.insert_events(&events).await?;
        tx.commit().await?;
        for (order, told) in told() {
            work_events::count(self.db.metrics(), order, told, now);
            tracing::info!(work_order.id = %order.id, state = %order.standing.state, "time has passed for a work order");
        }
        Ok(true)
    }
}
