//! Totals for the gauges: counted in the database, so that every replica tells the same.

use brokkr_api::Timestamp;

use super::{
    Db, Error,
    sql::{statements, values},
};

statements! {
    COUNT_TOTALS = Select stacks
        "SELECT (SELECT count(*) FROM stacks WHERE deleted_at IS NULL) AS stacks,
                (SELECT count(*) FROM deployment_objects) AS deployment_objects,
                (SELECT count(*) FROM presence WHERE last_seen_at >= $1) AS active_agents";
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) stacks: i64,
    pub(crate) deployment_objects: i64,
    pub(crate) active_agents: i64,
}

impl Db {
    /// Counts; an agent is active when it was seen at `active_since` or later.
    pub(crate) async fn totals(&self, active_since: Timestamp) -> Result<Totals, Error> {
        let row = self.optional(&COUNT_TOTALS, values![active_since]).await?.ok_or_else(|| Error::absent("stacks"))?;
        Ok(Totals {
            stacks: row.int("stacks")?,
            deployment_objects: row.int("deployment_objects")?,
            active_agents: row.int("active_agents")?,
        })
    }
}

#[cfg(test)]
pub(super) fn all_statements() -> &'static [&'static super::sql::Statement] {
    ALL
}
