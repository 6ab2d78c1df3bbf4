-- The delivery core. Times are microseconds since the Unix epoch, JSON is opaque text, ids are UUIDv7 as text.
-- The twin of this file in the other engine's folder differs in type names only.

-- One row. The epoch is new after a restore from backup; it stands in ETags, reports and ApplySet parents.
CREATE TABLE installation (
    singleton       BIGINT PRIMARY KEY CHECK (singleton = 1),
    installation_id TEXT   NOT NULL,
    epoch           TEXT   NOT NULL,
    created_at      BIGINT NOT NULL
);

-- A counter's row stays locked until the transaction that took a number commits, so that number order is commit order.
CREATE TABLE counters (
    name  TEXT   PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('change_seq', 0), ('event_position', 0);

-- Background work that one broker at a time does. The token counts holders, so that a late one can be told from the present one.
CREATE TABLE leases (
    name       TEXT   PRIMARY KEY,
    holder     TEXT   NOT NULL,
    token      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE generators (
    id         TEXT   PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE agents (
    id                 TEXT   PRIMARY KEY,
    name               TEXT   NOT NULL UNIQUE,
    cluster_name       TEXT   NOT NULL,
    labels             TEXT   NOT NULL,
    cluster_uid        TEXT,
    version            TEXT,
    kubernetes_version TEXT,
    protocol           BIGINT,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL
);

-- Narrow, and written by one set-based statement every few seconds: presence must not churn the wide rows.
CREATE TABLE presence (
    agent_id     TEXT   PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    last_seen_at BIGINT NOT NULL
);
CREATE INDEX presence_last_seen_at ON presence (last_seen_at);

-- Only the SHA-256 of a key is kept. change_seq lets every broker follow creation and revocation by the change feed.
CREATE TABLE api_keys (
    id           TEXT   PRIMARY KEY,
    name         TEXT   NOT NULL,
    role         TEXT   NOT NULL,
    generator_id TEXT   REFERENCES generators (id),
    agent_id     TEXT   REFERENCES agents (id),
    digest       TEXT   NOT NULL UNIQUE,
    change_seq   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT
);
CREATE INDEX api_keys_change_seq ON api_keys (change_seq);

CREATE TABLE key_use (
    key_id       TEXT   PRIMARY KEY REFERENCES api_keys (id) ON DELETE CASCADE,
    last_used_at BIGINT NOT NULL
);

-- A stack whose deletion every agent has acknowledged keeps its row, and gives its name back.
CREATE TABLE stacks (
    id             TEXT   PRIMARY KEY,
    name           TEXT   NOT NULL,
    generator_id   TEXT   REFERENCES generators (id),
    labels         TEXT   NOT NULL,
    targets        TEXT   NOT NULL,
    generation     BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    deleting_since BIGINT,
    deleted_at     BIGINT
);
CREATE UNIQUE INDEX stacks_owner_name ON stacks (COALESCE(generator_id, ''), name) WHERE deleted_at IS NULL;

-- Content belongs to its stack, so that equal content of two owners reveals nothing.
CREATE TABLE contents (
    stack_id TEXT   NOT NULL REFERENCES stacks (id),
    digest   TEXT   NOT NULL,
    body     BYTEA  NOT NULL,
    bytes    BIGINT NOT NULL,
    objects  BIGINT NOT NULL,
    PRIMARY KEY (stack_id, digest)
);

CREATE TABLE deployment_objects (
    id          TEXT   PRIMARY KEY,
    stack_id    TEXT   NOT NULL REFERENCES stacks (id),
    generation  BIGINT NOT NULL,
    digest      TEXT   NOT NULL,
    traceparent TEXT,
    tracestate  TEXT,
    created_by  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    UNIQUE (stack_id, generation),
    FOREIGN KEY (stack_id, digest) REFERENCES contents (stack_id, digest)
);

-- What one agent has to do with one stack (desired), and how far it is (observed). A row outlives its tombstone, so that its
-- revision never starts again. fan_out and traceparent belong to the change that wrote the revision.
CREATE TABLE deployments (
    agent_id            TEXT   NOT NULL REFERENCES agents (id),
    stack_id            TEXT   NOT NULL REFERENCES stacks (id),
    revision            BIGINT NOT NULL,
    action              TEXT   NOT NULL,
    generation          BIGINT NOT NULL,
    digest              TEXT,
    fan_out             BIGINT NOT NULL,
    traceparent         TEXT,
    tracestate          TEXT,
    change_seq          BIGINT NOT NULL,
    desired_at          BIGINT NOT NULL,
    phase               TEXT   NOT NULL,
    observed_revision   BIGINT NOT NULL,
    observed_generation BIGINT NOT NULL,
    attempts            BIGINT NOT NULL,
    results             TEXT,
    error               TEXT,
    scope               TEXT,
    reported_at         BIGINT,
    finished_at         BIGINT,
    PRIMARY KEY (agent_id, stack_id)
);
CREATE INDEX deployments_stack ON deployments (stack_id, phase);
CREATE INDEX deployments_change_seq ON deployments (change_seq);

-- Each agent's highest change: what a broker keeps in memory, so that an unchanged poll runs no SQL.
CREATE TABLE change_feed (
    agent_id TEXT   PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    seq      BIGINT NOT NULL
);
CREATE INDEX change_feed_seq ON change_feed (seq);

-- Written in the transaction of the change; the position is given after commit by one sequencer, so that a reader who resumes
-- after N never misses an event that committed late.
CREATE TABLE events (
    id          TEXT   PRIMARY KEY,
    position    BIGINT UNIQUE,
    type        TEXT   NOT NULL,
    stack_id    TEXT,
    agent_id    TEXT,
    generation  BIGINT,
    data        TEXT   NOT NULL,
    traceparent TEXT,
    tracestate  TEXT,
    created_at  BIGINT NOT NULL
);
CREATE INDEX events_unsequenced ON events (created_at, id) WHERE position IS NULL;

-- What an event causes outside: one row per event and destination, claimed under a lease.
CREATE TABLE outbox (
    id              TEXT   PRIMARY KEY,
    event_id        TEXT   NOT NULL REFERENCES events (id),
    destination     TEXT   NOT NULL,
    ordering_key    TEXT,
    state           TEXT   NOT NULL,
    attempts        BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    lease_owner     TEXT,
    lease_until     BIGINT,
    traceparent     TEXT,
    tracestate      TEXT,
    created_at      BIGINT NOT NULL,
    UNIQUE (event_id, destination)
);
CREATE INDEX outbox_due ON outbox (next_attempt_at) WHERE state = 'pending';
