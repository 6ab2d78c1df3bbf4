-- What the gauges are counted by: deployments by phase, without reading the deployments themselves.
-- The twin of this file in the other engine's folder is the same.

CREATE INDEX deployments_phase ON deployments (phase);
