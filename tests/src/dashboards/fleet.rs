use super::{Dashboard, Panel, Row, of, with_exemplars};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "fleet",
    title: "Brokkr / Fleet",
    about: "Is everything there, and does it get what it should? Start here.",
    rows: &[
        Row {
            title: "Now",
            panels: &[
                Panel::numbers(
                    "Brokers that answer",
                    "none",
                    "Of those that are scraped.",
                    &[of(r#"sum(up{%, job="brokkr-broker"})"#, "brokers")],
                ),
                Panel::numbers(
                    "Agents",
                    "none",
                    "Offline: no poll for agents.active_seconds. Abandoned and deactivated agents do not count.",
                    &[of("max by (state) (brokkr_agents{%})", "{{state}}")],
                ),
                Panel::numbers(
                    "Stacks and deployment objects",
                    "none",
                    "What is stored.",
                    &[
                        of("max(brokkr_stacks_total{%})", "stacks"),
                        of("max(brokkr_deployment_objects_total{%})", "deployment objects"),
                    ],
                ),
                Panel::numbers(
                    "Oldest unsettled change",
                    "s",
                    "Age of the oldest change that is neither applied nor failed, of agents that are online.",
                    &[of("max(brokkr_rollout_oldest_unsettled_seconds{%})", "age")],
                ),
            ],
        },
        Row {
            title: "Alerts",
            panels: &[Panel::table(
                "Firing",
                "none",
                "Each alert has a section in the runbooks.",
                &[of(
                    r#"sum by (alertname, severity, cluster, namespace) (ALERTS{%, alertname=~"Brokkr.+", alertstate="firing"})"#,
                    "{{alertname}}",
                )],
            )
            .wide(24)],
        },
        Row {
            title: "Agents",
            panels: &[
                Panel::stack(
                    "Agents by state",
                    "none",
                    "As the brokers see them.",
                    &[of("max by (state) (brokkr_agents{%})", "{{state}}")],
                ),
                Panel::lines(
                    "Age of the last sign of life",
                    "s",
                    "The median is the fleet, the maximum is who is missed most.",
                    &[of("max by (stat) (brokkr_agent_heartbeat_age_seconds{%})", "{{stat}}")],
                ),
                Panel::stack(
                    "Deployments by phase",
                    "none",
                    "One deployment is one stack on one agent.",
                    &[of("max by (phase) (brokkr_deployments{%}) > 0", "{{phase}}")],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-agent" && name = "process deployment" && status = error }"#),
            ],
        },
        Row {
            title: "The broker",
            panels: &[
                Panel::lines(
                    "Requests",
                    "reqps",
                    "By status. Parked polls count when they are answered.",
                    &[of("sum by (status) (rate(brokkr_http_requests_total{%}[$__rate_interval]))", "{{status}}")],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-broker" && kind = server && status = error }"#),
                Panel::lines(
                    "Requests that fail",
                    "percentunit",
                    "Share of 5xx.",
                    &[of(
                        r#"sum(rate(brokkr_http_requests_total{%, status=~"5.."}[$__rate_interval]) or 0 * rate(brokkr_http_requests_total{%}[$__rate_interval])) / sum(rate(brokkr_http_requests_total{%}[$__rate_interval]))"#,
                        "failed",
                    )],
                ),
                Panel::lines(
                    "Duration of requests",
                    "s",
                    "Without parked time.",
                    &[
                        with_exemplars(
                            "histogram_quantile(0.5, sum by (le) (rate(brokkr_http_request_duration_seconds_bucket{%}[$__rate_interval])))",
                            "p50",
                        ),
                        with_exemplars(
                            "histogram_quantile(0.99, sum by (le) (rate(brokkr_http_request_duration_seconds_bucket{%}[$__rate_interval])))",
                            "p99",
                        ),
                    ],
                ),
            ],
        },
        Row {
            title: "The clusters",
            panels: &[
                Panel::lines(
                    "Calls to Kubernetes that fail",
                    "percentunit",
                    "By cluster.",
                    &[of(
                        r#"sum by (cluster) (rate(brokkr_agent_kubernetes_operations_total{%, result="error"}[$__rate_interval])) / sum by (cluster) (rate(brokkr_agent_kubernetes_operations_total{%}[$__rate_interval]))"#,
                        "{{cluster}}",
                    )],
                ),
                Panel::stack(
                    "Objects by health",
                    "none",
                    "Of what is applied.",
                    &[of("sum by (health) (brokkr_agent_objects{%})", "{{health}}")],
                ),
                Panel::table(
                    "Builds",
                    "none",
                    "Which versions run.",
                    &[of("count by (job, version, commit) (brokkr_build_info{%})", "{{job}} {{version}}")],
                ),
            ],
        },
    ],
};
