//! Every span, for the reference.

/// A span of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanInfo {
    /// Its name, with what varies in braces.
    pub name: &'static str,
    /// `SERVER`, `CLIENT`, `PRODUCER`, `CONSUMER` or `INTERNAL`.
    pub kind: &'static str,
    /// What it stands for.
    pub help: &'static str,
    /// The attributes that it may carry, beside `error.type`.
    pub attributes: &'static [&'static str],
}

/// Every span that the daemons make.
pub const SPANS: &[SpanInfo] = &[
    SpanInfo {
        name: "{method} {route}",
        kind: "SERVER",
        help: "A request that is served. Continues the caller's trace. 5xx is an error.",
        attributes: &["http.request.method", "http.route", "http.response.status_code", "url.scheme"],
    },
    SpanInfo {
        name: "{method} {url template}",
        kind: "CLIENT",
        help: "One attempt of a request to the broker. 4xx and 5xx are errors.",
        attributes: &[
            "http.request.method",
            "http.request.resend_count",
            "http.response.status_code",
            "server.address",
            "server.port",
            "url.template",
        ],
    },
    SpanInfo {
        name: "{operation} {collection}",
        kind: "CLIENT",
        help: "One SQL statement.",
        attributes: &[
            "db.system.name",
            "db.namespace",
            "db.collection.name",
            "db.operation.name",
            "db.query.summary",
            "db.response.status_code",
            "server.address",
        ],
    },
    SpanInfo {
        name: "{BEGIN|COMMIT|NOTIFY}",
        kind: "CLIENT",
        help: "One step of a transaction, which is no query; BEGIN includes the wait for a connection.",
        attributes: &["db.system.name", "db.namespace", "db.operation.name", "server.address"],
    },
    SpanInfo {
        name: "send deployment",
        kind: "PRODUCER",
        help: "A generation is handed off to its agents; once, however many they are. Its context is what the agents continue.",
        attributes: &[
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.destination.name",
            "brokkr.stack.name",
            "brokkr.stack.id",
            "brokkr.generation",
            "brokkr.fan_out",
        ],
    },
    SpanInfo {
        name: "process deployment",
        kind: "CONSUMER",
        help: "An agent carries out a deployment, until it is applied or failed. Child of `send deployment`, or root of a trace that links to it.",
        attributes: &[
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.destination.name",
            "brokkr.stack.name",
            "brokkr.stack.id",
            "brokkr.generation",
            "brokkr.revision",
            "brokkr.action",
            "brokkr.attempt",
            "brokkr.agent.name",
            "brokkr.cluster.name",
            "brokkr.phase",
            "brokkr.reason",
            "brokkr.object",
            "brokkr.rollout.lag_seconds",
        ],
    },
    SpanInfo {
        name: "send work_order",
        kind: "PRODUCER",
        help: "A work order was accepted. Its context is what its agent continues.",
        attributes: &[
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.destination.name",
            "cicd.pipeline.name",
            "brokkr.work_order.id",
            "brokkr.work_order.kind",
        ],
    },
    SpanInfo {
        name: "process work_order",
        kind: "CONSUMER",
        help: "An agent carries out one attempt at a work order. Child of `send work_order`; later attempts are roots that link to it.",
        attributes: &[
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.destination.name",
            "cicd.pipeline.name",
            "cicd.pipeline.run.id",
            "cicd.pipeline.run.state",
            "cicd.pipeline.result",
            "brokkr.work_order.id",
            "brokkr.work_order.kind",
            "brokkr.attempt",
            "brokkr.agent.name",
            "brokkr.cluster.name",
            "brokkr.reason",
            "brokkr.object",
        ],
    },
    SpanInfo {
        name: "apply object",
        kind: "INTERNAL",
        help: "Everything done to apply one object, retries included.",
        attributes: OBJECT,
    },
    SpanInfo {
        name: "delete object",
        kind: "INTERNAL",
        help: "Everything done to delete one object, retries included.",
        attributes: OBJECT,
    },
    SpanInfo {
        name: "{verb} {resource}",
        kind: "CLIENT",
        help: "One request to the Kubernetes API. 4xx and 5xx are errors.",
        attributes: &[
            "brokkr.kubernetes.verb",
            "brokkr.kubernetes.resource",
            "brokkr.kubernetes.audit_id",
            "brokkr.object.namespace",
            "brokkr.object.name",
            "http.request.method",
            "http.response.status_code",
            "server.address",
            "server.port",
        ],
    },
    SpanInfo {
        name: "wait {reason}",
        kind: "INTERNAL",
        help: "Time in which nothing was called: queued, earlier wave, throttled, crd established, health, retry.",
        attributes: &["brokkr.wait.reason"],
    },
    SpanInfo {
        name: "run {container}",
        kind: "INTERNAL",
        help: "One container of a work order, with the times of its status.",
        attributes: &["cicd.pipeline.task.name", "cicd.pipeline.task.run.result", "brokkr.exit_code"],
    },
    SpanInfo {
        name: "validate",
        kind: "INTERNAL",
        help: "The manifests of a request are parsed and checked.",
        attributes: &["brokkr.objects"],
    },
    SpanInfo { name: "plan", kind: "INTERNAL", help: "Desired state against observed state.", attributes: &["brokkr.objects"] },
    SpanInfo { name: "report", kind: "INTERNAL", help: "The outcome is told to the broker.", attributes: &[] },
    SpanInfo {
        name: "poll",
        kind: "CLIENT",
        help: "One long poll of an agent; a trace of its own.",
        attributes: &["brokkr.poll.result"],
    },
    SpanInfo {
        name: "job {name}",
        kind: "INTERNAL",
        help: "One run of background work; a trace of its own.",
        attributes: &["brokkr.job.name"],
    },
];

const OBJECT: &[&str] = &["brokkr.object.kind", "brokkr.object.namespace", "brokkr.object.name", "brokkr.wave", "brokkr.reason"];
