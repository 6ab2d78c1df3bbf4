use super::{Dashboard, Panel, Row, of, with_exemplars};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "rollout",
    title: "Brokkr / Rollouts",
    about: "How long changes take from acceptance to applied, where they wait, and what stops them.",
    rows: &[
        Row {
            title: "From accepted to applied",
            panels: &[
                Panel::lines(
                    "Duration",
                    "s",
                    "Per deployment: one stack on one agent. A point is a trace.",
                    &[
                        with_exemplars(
                            "histogram_quantile(0.5, sum by (le) (rate(brokkr_rollout_duration_seconds_bucket{%}[$__rate_interval])))",
                            "p50",
                        ),
                        with_exemplars(
                            "histogram_quantile(0.95, sum by (le) (rate(brokkr_rollout_duration_seconds_bucket{%}[$__rate_interval])))",
                            "p95",
                        ),
                        with_exemplars(
                            "histogram_quantile(0.99, sum by (le) (rate(brokkr_rollout_duration_seconds_bucket{%}[$__rate_interval])))",
                            "p99",
                        ),
                    ],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-agent" && name = "process deployment" && duration > 10s }"#),
                Panel::lines(
                    "Applied",
                    "ops",
                    "Deployments applied a second.",
                    &[of("sum(rate(brokkr_rollout_duration_seconds_count{%}[$__rate_interval]))", "applied")],
                ),
                Panel::stack(
                    "Deployments by phase",
                    "none",
                    "What is not applied, healthy or deleted is on its way or in trouble.",
                    &[of("max by (phase) (brokkr_deployments{%}) > 0", "{{phase}}")],
                ),
            ],
        },
        Row {
            title: "Waiting",
            panels: &[
                Panel::lines(
                    "Oldest unsettled change",
                    "s",
                    "Of agents that are online and of what is not suspended.",
                    &[of("max by (cluster, namespace) (brokkr_rollout_oldest_unsettled_seconds{%})", "{{cluster}} {{namespace}}")],
                )
                .leading_to(r#"{ name =~ "wait .+" && duration > 10s }"#),
                Panel::lines(
                    "From the change until the agent knows",
                    "s",
                    "Wake-up lag of parked polls.",
                    &[
                        with_exemplars(
                            "histogram_quantile(0.5, sum by (le) (rate(brokkr_wakeup_lag_seconds_bucket{%}[$__rate_interval])))",
                            "p50",
                        ),
                        with_exemplars(
                            "histogram_quantile(0.99, sum by (le) (rate(brokkr_wakeup_lag_seconds_bucket{%}[$__rate_interval])))",
                            "p99",
                        ),
                    ],
                ),
                Panel::lines(
                    "Queues",
                    "s",
                    "Age of the oldest entry.",
                    &[of("max by (queue) (brokkr_queue_oldest_age_seconds{%})", "{{queue}}")],
                ),
            ],
        },
        Row {
            title: "Carrying out",
            panels: &[
                Panel::lines(
                    "Attempts",
                    "s",
                    "Time of an attempt to carry out or to check a deployment, waits included.",
                    &[with_exemplars(
                        "histogram_quantile(0.95, sum by (action, le) (rate(brokkr_agent_reconcile_duration_seconds_bucket{%}[$__rate_interval])))",
                        "{{action}} p95",
                    )],
                ),
                Panel::lines(
                    "Failures",
                    "ops",
                    "By class. forbidden, invalid, missing_kind, too_large and exists need a person.",
                    &[of("sum by (class) (rate(brokkr_agent_failures_total{%}[$__rate_interval])) > 0", "{{class}}")],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-agent" && name = "apply object" && status = error }"#),
                Panel::lines(
                    "Drift and approvals",
                    "none",
                    "Repairs in the last hour, objects that somebody keeps changing back, deletions held back in the last hour.",
                    &[
                        of("sum(increase(brokkr_agent_drift_repairs_total{%}[1h]))", "repaired"),
                        of("sum(brokkr_agent_drift_contested{%})", "contested"),
                        of("sum(increase(brokkr_agent_prunes_refused_total{%}[1h]))", "held back"),
                    ],
                ),
            ],
        },
        Row {
            title: "Traces",
            panels: &[
                Panel::traces(
                    "Failed rollouts",
                    "The latest deployments that failed.",
                    r#"{ resource.service.name = "brokkr-agent" && name = "process deployment" && status = error }"#,
                ),
                Panel::traces(
                    "Slow rollouts",
                    "Deployments that took longer than ten seconds.",
                    r#"{ resource.service.name = "brokkr-agent" && name = "process deployment" && duration > 10s }"#,
                ),
            ],
        },
    ],
};
