-- Policies of delivery, approvals of held deletions, and drift.
-- The twin of this file in the other engine's folder differs in type names only.

-- JSON; none where it is the default.
ALTER TABLE stacks ADD COLUMN policy TEXT;

-- held_plan and approved_plan are digests, and both end with their revision: what was approved was this plan at this revision.
ALTER TABLE deployments ADD COLUMN held_plan TEXT;
ALTER TABLE deployments ADD COLUMN held_objects BIGINT;
ALTER TABLE deployments ADD COLUMN approved_plan TEXT;
-- How many changes of others were reported since the deployment began, and when the last one was.
ALTER TABLE deployments ADD COLUMN drifts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN last_drift_at BIGINT;
