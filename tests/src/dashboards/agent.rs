use super::{Dashboard, Panel, Row, of, with_exemplars};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "agent",
    title: "Brokkr / Agent",
    about: "Rate, errors and duration per Kubernetes verb, the way to the broker, and what is in the cluster.",
    rows: &[
        Row {
            title: "Kubernetes",
            panels: &[
                Panel::lines(
                    "Calls",
                    "reqps",
                    "By verb.",
                    &[of("sum by (operation) (rate(brokkr_agent_kubernetes_operations_total{%}[$__rate_interval]))", "{{operation}}")],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-agent" && span.brokkr.kubernetes.verb != nil }"#),
                Panel::lines(
                    "Errors",
                    "percentunit",
                    "Share of calls that fail, by verb. That a get finds nothing is no failure.",
                    &[of(
                        r#"sum by (operation) (rate(brokkr_agent_kubernetes_operations_total{%, result="error"}[$__rate_interval])) / (sum by (operation) (rate(brokkr_agent_kubernetes_operations_total{%}[$__rate_interval])) > 0)"#,
                        "{{operation}}",
                    )],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-agent" && span.brokkr.kubernetes.verb != nil && status = error }"#),
                Panel::lines(
                    "Duration, p99",
                    "s",
                    "By verb. A point is a trace.",
                    &[with_exemplars(
                        "histogram_quantile(0.99, sum by (operation, le) (rate(brokkr_agent_kubernetes_operation_duration_seconds_bucket{%}[$__rate_interval])))",
                        "{{operation}}",
                    )],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-agent" && span.brokkr.kubernetes.verb != nil && duration > 1s }"#),
            ],
        },
        Row {
            title: "The broker",
            panels: &[
                Panel::lines(
                    "Polls",
                    "reqps",
                    "An idle agent has one answer in each wait.",
                    &[of("sum by (result) (rate(brokkr_agent_poll_requests_total{%}[$__rate_interval]))", "{{result}}")],
                ),
                Panel::lines(
                    "Duration of polls, p99",
                    "s",
                    "Without the time that the broker parks them: the way there and back.",
                    &[with_exemplars(
                        "histogram_quantile(0.99, sum by (le) (rate(brokkr_agent_poll_duration_seconds_bucket{%}[$__rate_interval])))",
                        "p99",
                    )],
                ),
                Panel::lines(
                    "Since the last answer",
                    "s",
                    "Grows while the broker is out of reach.",
                    &[of("time() - (brokkr_agent_last_successful_poll_timestamp{%} > 0)", "{{cluster}} {{instance}}")],
                ),
                Panel::lines(
                    "Signs of life",
                    "reqps",
                    "That the broker has answered.",
                    &[of("sum by (cluster) (rate(brokkr_agent_heartbeat_sent_total{%}[$__rate_interval]))", "{{cluster}}")],
                ),
                Panel::lines("Leaders", "none", "One in each cluster.", &[of("sum by (cluster, namespace) (brokkr_agent_leader{%})", "{{cluster}}")]),
                Panel::lines("Stacks", "none", "To have in the cluster, or to remove from it.", &[of("sum by (cluster) (brokkr_agent_stacks{%})", "{{cluster}}")]),
            ],
        },
        Row {
            title: "What is in the cluster",
            panels: &[
                Panel::stack("Objects by health", "none", "Of what is applied.", &[of("sum by (health) (brokkr_agent_objects{%})", "{{health}}")]),
                Panel::lines(
                    "Drift",
                    "ops",
                    "Objects that others changed and that were set right.",
                    &[of("sum by (cluster) (rate(brokkr_agent_drift_repairs_total{%}[$__rate_interval]))", "{{cluster}}")],
                ),
                Panel::lines(
                    "Failures",
                    "ops",
                    "By class.",
                    &[of("sum by (class) (rate(brokkr_agent_failures_total{%}[$__rate_interval])) > 0", "{{class}}")],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-agent" && name = "apply object" && status = error }"#),
                Panel::lines(
                    "Attempts, p95",
                    "s",
                    "Time to carry out or to check a deployment.",
                    &[with_exemplars(
                        "histogram_quantile(0.95, sum by (action, le) (rate(brokkr_agent_reconcile_duration_seconds_bucket{%}[$__rate_interval])))",
                        "{{action}}",
                    )],
                ),
                Panel::lines("Contested", "none", "Objects that somebody keeps changing back.", &[of("sum by (cluster) (brokkr_agent_drift_contested{%})", "{{cluster}}")]),
                Panel::lines(
                    "Deletions held back",
                    "none",
                    "In the last hour; somebody must approve them.",
                    &[of("sum by (cluster) (increase(brokkr_agent_prunes_refused_total{%}[1h]))", "{{cluster}}")],
                ),
            ],
        },
        Row {
            title: "Process",
            panels: &[
                Panel::lines(
                    "CPU",
                    "percentunit",
                    "1 is one core.",
                    &[of(r#"rate(process_cpu_seconds_total{%, job="brokkr-agent"}[$__rate_interval])"#, "{{instance}}")],
                ),
                Panel::lines("Memory", "bytes", "Resident.", &[of(r#"process_resident_memory_bytes{%, job="brokkr-agent"}"#, "{{instance}}")]),
                Panel::stack(
                    "Spans",
                    "ops",
                    "What became of them. failed and dropped are lost.",
                    &[of(r#"sum by (result) (rate(brokkr_telemetry_spans_total{%, job="brokkr-agent"}[$__rate_interval]))"#, "{{result}}")],
                ),
            ],
        },
    ],
};
