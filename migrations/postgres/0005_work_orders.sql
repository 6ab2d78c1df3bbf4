-- Work orders: one-off work that exactly one agent carries out.
-- The twin of this file in the other engine's folder differs in type names only.

-- Orders of one kind for the same targets wait in one queue, so that an agent looks at the heads of the few queues that it matches.
CREATE TABLE work_order_queues (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    targets    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX work_order_queues_created_at ON work_order_queues (created_at);

-- token counts holders, so that a late one can be told from the present one. attempts counts claims for ever, attempts_left begins
-- again when a person retries.
CREATE TABLE work_orders (
    id               TEXT PRIMARY KEY,
    name             TEXT NOT NULL,
    generator_id     TEXT REFERENCES generators (id),
    kind             TEXT NOT NULL,
    queue_id         TEXT NOT NULL REFERENCES work_order_queues (id),
    terms            TEXT NOT NULL,
    work             TEXT NOT NULL,
    digest           TEXT NOT NULL,
    idempotency_key  TEXT,
    priority         BIGINT NOT NULL,
    state            TEXT NOT NULL,
    row_version      BIGINT NOT NULL,
    attempts         BIGINT NOT NULL,
    attempts_left    BIGINT NOT NULL,
    ready_at         BIGINT NOT NULL,
    deadline_at      BIGINT,
    agent_id         TEXT REFERENCES agents (id),
    token            BIGINT NOT NULL,
    lease_until      BIGINT,
    cancel_wanted_at BIGINT,
    claimed_at       BIGINT,
    started_at       BIGINT,
    finished_at      BIGINT,
    outcome          TEXT,
    progress         TEXT,
    object           TEXT,
    log              BYTEA,
    traceparent      TEXT,
    tracestate       TEXT,
    created_by       TEXT NOT NULL,
    created_at       BIGINT NOT NULL
);
CREATE UNIQUE INDEX work_orders_idempotency ON work_orders (COALESCE(generator_id, ''), idempotency_key);
CREATE INDEX work_orders_next ON work_orders (queue_id, priority DESC, id) WHERE state = 'queued';
CREATE INDEX work_orders_ready ON work_orders (state, ready_at);
CREATE INDEX work_orders_leases ON work_orders (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX work_orders_held ON work_orders (agent_id) WHERE lease_until IS NOT NULL;
CREATE INDEX work_orders_deadlines ON work_orders (deadline_at) WHERE deadline_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX work_orders_finished ON work_orders (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX work_orders_state ON work_orders (state, id);
