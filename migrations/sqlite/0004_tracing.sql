-- Tracing at run time.
-- The twin of this file in the other engine's folder differs in type names only.

-- JSON; none before the first change.
ALTER TABLE installation ADD COLUMN tracing TEXT;

-- What each agent told last: rarely written, and apart from the wide rows. status is JSON.
CREATE TABLE agent_tracing (
    agent_id    TEXT   PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    revision    INTEGER NOT NULL,
    status      TEXT   NOT NULL,
    reported_at INTEGER NOT NULL
) STRICT;
