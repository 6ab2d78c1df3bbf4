use super::{Dashboard, Panel, Row, of, with_exemplars};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    name: "broker",
    title: "Brokkr / Broker",
    about: "Rate, errors and duration per route and per statement, and what the process is made of.",
    rows: &[
        Row {
            title: "Routes",
            panels: &[
                Panel::lines(
                    "Requests",
                    "reqps",
                    "By route.",
                    &[of("sum by (method, endpoint) (rate(brokkr_http_requests_total{%}[$__rate_interval])) > 0", "{{method}} {{endpoint}}")],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-broker" && kind = server }"#),
                Panel::lines(
                    "Errors",
                    "percentunit",
                    "Share of 5xx by route.",
                    &[of(
                        r#"(sum by (method, endpoint) (rate(brokkr_http_requests_total{%, status=~"5.."}[$__rate_interval])) or 0 * sum by (method, endpoint) (rate(brokkr_http_requests_total{%}[$__rate_interval]))) / (sum by (method, endpoint) (rate(brokkr_http_requests_total{%}[$__rate_interval])) > 0)"#,
                        "{{method}} {{endpoint}}",
                    )],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-broker" && kind = server && status = error }"#),
                Panel::lines(
                    "Duration, p99",
                    "s",
                    "By route, without parked time. A point is a trace.",
                    &[with_exemplars(
                        "histogram_quantile(0.99, sum by (method, endpoint, le) (rate(brokkr_http_request_duration_seconds_bucket{%}[$__rate_interval])))",
                        "{{method}} {{endpoint}}",
                    )],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-broker" && kind = server && duration > 1s }"#),
                Panel::lines(
                    "Answers by status",
                    "reqps",
                    "429 is a limit, 499 a caller that left.",
                    &[of("sum by (status) (rate(brokkr_http_requests_total{%}[$__rate_interval]))", "{{status}}")],
                ),
                Panel::lines(
                    "Parked polls",
                    "none",
                    "One for each agent that waits.",
                    &[of("sum by (instance) (brokkr_poll_waiters{%})", "{{instance}}")],
                ),
                Panel::lines(
                    "Parked time",
                    "s",
                    "An idle fleet waits as long as it asks to.",
                    &[of(
                        "sum(rate(brokkr_poll_wait_seconds_sum{%}[$__rate_interval])) / sum(rate(brokkr_poll_wait_seconds_count{%}[$__rate_interval]))",
                        "mean",
                    )],
                ),
            ],
        },
        Row {
            title: "Database",
            panels: &[
                Panel::lines(
                    "Statements",
                    "ops",
                    "BEGIN, COMMIT and NOTIFY are none.",
                    &[of("sum by (operation) (rate(brokkr_database_queries_total{%}[$__rate_interval]))", "{{operation}}")],
                ),
                Panel::lines(
                    "Duration, p99",
                    "s",
                    "A point is a trace.",
                    &[with_exemplars(
                        "histogram_quantile(0.99, sum by (operation, le) (rate(brokkr_database_query_duration_seconds_bucket{%}[$__rate_interval])))",
                        "{{operation}}",
                    )],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-broker" && span.db.query.summary != nil && duration > 100ms }"#),
                Panel::lines(
                    "Connections",
                    "none",
                    "Used all the time means that requests wait for one.",
                    &[
                        of("sum by (state) (brokkr_database_connections{%})", "{{state}}"),
                        of("sum(brokkr_database_connections_max{%})", "limit"),
                    ],
                ),
            ],
        },
        Row {
            title: "Background work",
            panels: &[
                Panel::lines(
                    "Rounds",
                    "ops",
                    "Only the broker that holds the lease of a job has rounds.",
                    &[of("sum by (name, result) (rate(brokkr_job_runs_total{%}[$__rate_interval]))", "{{name}} {{result}}")],
                ),
                Panel::lines(
                    "Duration of a round",
                    "s",
                    "Mean.",
                    &[of(
                        "sum by (name) (rate(brokkr_job_duration_seconds_sum{%}[$__rate_interval])) / sum by (name) (rate(brokkr_job_duration_seconds_count{%}[$__rate_interval]))",
                        "{{name}}",
                    )],
                ),
                Panel::lines("Queues", "none", "Entries that wait.", &[of("max by (queue) (brokkr_queue_depth{%})", "{{queue}}")]),
            ],
        },
        Row {
            title: "Work orders",
            panels: &[
                Panel::stack(
                    "Open work orders",
                    "none",
                    "What is queued waits for an agent.",
                    &[of("max by (state) (brokkr_work_orders{%})", "{{state}}")],
                ),
                Panel::lines(
                    "Claims",
                    "ops",
                    "A claim that finds nothing belongs to kind none.",
                    &[of("sum by (kind, result) (rate(brokkr_work_order_claims_total{%}[$__rate_interval]))", "{{kind}} {{result}}")],
                ),
                Panel::lines(
                    "Outcomes",
                    "ops",
                    "By kind and class.",
                    &[of("sum by (kind, class) (rate(brokkr_work_order_outcomes_total{%}[$__rate_interval])) > 0", "{{kind}} {{class}}")],
                )
                .leading_to(r#"{ resource.service.name = "brokkr-agent" && name = "process work_order" && status = error }"#),
                Panel::lines(
                    "Time in the cluster",
                    "s",
                    "95th percentile, from the start to the end.",
                    &[of(
                        "histogram_quantile(0.95, sum by (kind, le) (rate(brokkr_work_order_duration_seconds_bucket{%}[$__rate_interval])))",
                        "{{kind}}",
                    )],
                ),
            ],
        },
        Row {
            title: "Webhooks",
            panels: &[
                Panel::stack(
                    "Attempts",
                    "ops",
                    "By result. What is no success is tried again, for more than three days.",
                    &[of("sum by (result) (rate(brokkr_webhook_attempts_total{%}[$__rate_interval]))", "{{result}}")],
                ),
                Panel::lines(
                    "Event to receiver, p99",
                    "s",
                    "Failed attempts included.",
                    &[of(
                        "histogram_quantile(0.99, sum by (le) (rate(brokkr_webhook_delivery_lag_seconds_bucket{%}[$__rate_interval])))",
                        "p99",
                    )],
                ),
                Panel::lines(
                    "Duration of an attempt, p99",
                    "s",
                    "How long receivers take to answer.",
                    &[of(
                        "histogram_quantile(0.99, sum by (le) (rate(brokkr_webhook_attempt_duration_seconds_bucket{%}[$__rate_interval])))",
                        "p99",
                    )],
                ),
                Panel::lines(
                    "Disabled",
                    "none",
                    "Webhooks whose receivers are gone or failed for five days.",
                    &[of("sum(increase(brokkr_webhooks_disabled_total{%}[$__rate_interval]))", "disabled")],
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
                    &[of(r#"rate(process_cpu_seconds_total{%, job="brokkr-broker"}[$__rate_interval])"#, "{{instance}}")],
                ),
                Panel::lines("Memory", "bytes", "Resident.", &[of(r#"process_resident_memory_bytes{%, job="brokkr-broker"}"#, "{{instance}}")]),
                Panel::lines(
                    "File descriptors",
                    "none",
                    "One for each agent at least.",
                    &[
                        of(r#"process_open_fds{%, job="brokkr-broker"}"#, "{{instance}}"),
                        of(r#"min(process_max_fds{%, job="brokkr-broker"})"#, "limit"),
                    ],
                ),
                Panel::stack(
                    "Spans",
                    "ops",
                    "What became of them. failed and dropped are lost.",
                    &[of(r#"sum by (result) (rate(brokkr_telemetry_spans_total{%, job="brokkr-broker"}[$__rate_interval]))"#, "{{result}}")],
                ),
                Panel::numbers(
                    "Certificate",
                    "s",
                    "Time until the served certificate expires; nothing without TLS.",
                    &[of("min(brokkr_certificate_expiry_timestamp_seconds{%}) - time()", "left")],
                )
                .wide(8),
                Panel::numbers(
                    "Next API key to expire",
                    "s",
                    "Nothing when no key expires.",
                    &[of("min(brokkr_key_next_expiry_timestamp_seconds{%} > 0) - time()", "left")],
                )
                .wide(8),
            ],
        },
    ],
};
