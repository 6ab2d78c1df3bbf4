-- How far a rollout is, and which hundred of its deployments need attention first, without reading a row.
-- The twin of this file in the other engine's folder is the same.

DROP INDEX deployments_stack;
CREATE INDEX deployments_rollout ON deployments (stack_id, phase, finished_at, desired_at, agent_id);
CREATE INDEX agents_suspended ON agents (id) WHERE suspension IS NOT NULL;
