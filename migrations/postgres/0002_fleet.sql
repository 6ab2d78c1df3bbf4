-- What a fleet relies on: suspension, conditional requests, identities and enrolment, encryption, health, audit.
-- The twin of this file in the other engine's folder differs in type names only.

-- A suspension is JSON: who, why and since when. It stands where it was ordered: installation (the fleet), agent or stack.
ALTER TABLE installation ADD COLUMN suspension TEXT;

ALTER TABLE agents ADD COLUMN suspension TEXT;
ALTER TABLE agents ADD COLUMN row_version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE agents ADD COLUMN capabilities TEXT;
ALTER TABLE agents ADD COLUMN offline_since BIGINT;
ALTER TABLE agents ADD COLUMN deactivated_at BIGINT;
ALTER TABLE agents ADD COLUMN rotation_wanted_at BIGINT;
ALTER TABLE agents ADD COLUMN registration_token_id TEXT;
-- An abandoned agent gives its name back and keeps its row, because deployments and events refer to it.
ALTER TABLE agents ADD COLUMN abandoned_at BIGINT;
ALTER TABLE agents ADD COLUMN former_name TEXT;
CREATE INDEX agents_offline ON agents (offline_since) WHERE offline_since IS NOT NULL;

-- digest is that of the newest generation, so that one guarded update tells new content from old. next_generation jumps after a
-- restore from backup, so that no generation that agents have seen comes again with other content.
ALTER TABLE stacks ADD COLUMN suspension TEXT;
ALTER TABLE stacks ADD COLUMN row_version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE stacks ADD COLUMN digest TEXT;
ALTER TABLE stacks ADD COLUMN next_generation BIGINT NOT NULL DEFAULT 1;
UPDATE stacks SET next_generation = generation + 1,
    digest = (SELECT o.digest FROM deployment_objects o WHERE o.stack_id = stacks.id AND o.generation = stacks.generation);

ALTER TABLE generators ADD COLUMN max_stacks BIGINT;
ALTER TABLE generators ADD COLUMN max_bytes BIGINT;
ALTER TABLE generators ADD COLUMN requests_per_minute BIGINT;

-- A pending key opens what an active one opens, and its first use makes it active and lets the keys before it expire.
ALTER TABLE api_keys ADD COLUMN scopes TEXT;
ALTER TABLE api_keys ADD COLUMN pending BIGINT NOT NULL DEFAULT 0;
CREATE INDEX api_keys_agent ON api_keys (agent_id);

CREATE TABLE registration_tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL UNIQUE,
    labels     TEXT NOT NULL,
    max_uses   BIGINT NOT NULL,
    uses       BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- Which key of the configuration encrypted the body; none for plain content.
ALTER TABLE contents ADD COLUMN encryption_key TEXT;

ALTER TABLE deployment_objects ADD COLUMN idempotency_key TEXT;
ALTER TABLE deployment_objects ADD COLUMN rollback_to BIGINT;
CREATE UNIQUE INDEX deployment_objects_idempotency ON deployment_objects (stack_id, idempotency_key);

-- picked_up_at: when the revision was first handed to its agent. report_traceparent: the trace of the last report.
ALTER TABLE deployments ADD COLUMN health TEXT;
ALTER TABLE deployments ADD COLUMN picked_up_at BIGINT;
ALTER TABLE deployments ADD COLUMN healthy_at BIGINT;
ALTER TABLE deployments ADD COLUMN report_traceparent TEXT;
CREATE INDEX deployments_stack_agent ON deployments (stack_id, agent_id);

CREATE INDEX events_stack ON events (stack_id, position);
CREATE INDEX events_created_at ON events (created_at);
CREATE INDEX outbox_event ON outbox (event_id);

-- Who did what: written in the transaction of the change; ids sort by time.
CREATE TABLE audit (
    id            TEXT PRIMARY KEY,
    actor_key     TEXT NOT NULL,
    actor_name    TEXT NOT NULL,
    actor_role    TEXT NOT NULL,
    generator_id  TEXT,
    action        TEXT NOT NULL,
    resource_kind TEXT NOT NULL,
    resource_id   TEXT,
    resource_name TEXT,
    outcome       TEXT NOT NULL,
    data          TEXT NOT NULL,
    trace_id      TEXT,
    request_id    TEXT,
    created_at    BIGINT NOT NULL
);
CREATE INDEX audit_resource ON audit (resource_kind, resource_name, id);
CREATE INDEX audit_actor ON audit (actor_key, id);
CREATE INDEX audit_created_at ON audit (created_at);
