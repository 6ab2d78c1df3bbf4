-- Webhooks: receivers outside, and what is on its way to them.
-- The twin of this file in the other engine's folder differs in type names only.

-- sealed holds URL, headers and secrets, encrypted with the key that sealed_key names. A deleted one gives its name back and keeps its
-- row until its deliveries are gone.
CREATE TABLE webhooks (
    id              TEXT   PRIMARY KEY,
    name            TEXT   NOT NULL,
    generator_id    TEXT   REFERENCES generators (id),
    settings        TEXT   NOT NULL,
    sealed          BYTEA  NOT NULL,
    sealed_key      TEXT   NOT NULL,
    state           TEXT   NOT NULL,
    disabled_reason TEXT,
    failing_since   BIGINT,
    row_version     BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    deleted_at      BIGINT
);
CREATE UNIQUE INDEX webhooks_owner_name ON webhooks (COALESCE(generator_id, ''), name) WHERE deleted_at IS NULL;

-- Counts changes of webhooks, so that brokers know when to read them again.
INSERT INTO counters (name, value) VALUES ('webhooks', 0);

-- An outbox row is one event for one webhook, written with the event's position: next_attempt_at of one that is on its way is the end
-- of its lease, so that a broker's death needs nobody to notice it. token counts claims. tries counts attempts since it was due first
-- or was replayed, attempts all of them. Of one ordering_key all but the first that is not finished are held.
ALTER TABLE outbox ADD COLUMN position BIGINT;
ALTER TABLE outbox ADD COLUMN fan_out BIGINT NOT NULL DEFAULT 1;
ALTER TABLE outbox ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN token BIGINT NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN last_traceparent TEXT;
ALTER TABLE outbox ADD COLUMN log TEXT;
ALTER TABLE outbox ADD COLUMN finished_at BIGINT;
DROP INDEX outbox_event;
CREATE INDEX outbox_claim ON outbox (destination, next_attempt_at, id) WHERE state = 'pending';
CREATE INDEX outbox_lane ON outbox (destination, ordering_key, position) WHERE ordering_key IS NOT NULL AND finished_at IS NULL;
CREATE INDEX outbox_list ON outbox (destination, id);
CREATE INDEX outbox_dead ON outbox (destination, id) WHERE state = 'dead';
CREATE INDEX outbox_finished ON outbox (finished_at) WHERE finished_at IS NOT NULL;
