//! Every span and every attribute, for the reference and for those who check what leaves the process.

use opentelemetry::trace::SpanKind;

/// A span of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanInfo {
    /// Its name, with what varies in braces.
    pub name: &'static str,
    /// `SERVER`, `CLIENT`, `PRODUCER`, `CONSUMER` or `INTERNAL`.
    pub kind: &'static str,
    /// What it stands for.
    pub help: &'static str,
    /// Where it stands in a trace: its parent, and what it links to.
    pub place: &'static str,
    /// The attributes that it may carry, beside `error.type`.
    pub attributes: &'static [&'static str],
}

impl SpanInfo {
    /// Whether an exported span of this name and kind, which carries these attributes, is one of these.
    #[must_use]
    pub fn describes<'a>(&self, name: &str, kind: &SpanKind, attributes: impl IntoIterator<Item = &'a str>) -> bool {
        format!("{kind:?}").eq_ignore_ascii_case(self.kind)
            && matches(self.name, name)
            && attributes.into_iter().all(|attribute| attribute == "error.type" || self.attributes.contains(&attribute))
    }
}

/// Whether a name fits a pattern, in which `{…}` stands for any text and `{A|B}` for one of these words.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else { return pattern == name };
    let (Some((inside, after)), Some(name)) = (rest.split_once('}'), name.strip_prefix(before)) else { return false };
    if inside.contains('|') {
        return inside.split('|').any(|word| name.strip_prefix(word).is_some_and(|rest| matches(after, rest)));
    }
    // Shortest first; some text at least.
    name.char_indices().skip(1).map(|(at, _)| at).chain([name.len()]).any(|at| at > 0 && matches(after, &name[at..]))
}

/// An attribute of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeInfo {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// What it may look like.
    pub example: &'static str,
}

/// Every span that the daemons make.
pub const SPANS: &[SpanInfo] = &[
    SpanInfo {
        name: "{method} {route}",
        kind: "SERVER",
        help: "A request that is served; the method alone where no route matches. 5xx is an error.",
        place: "child of the caller's span, root where the caller sent none",
        attributes: &[
            "http.request.method",
            "http.route",
            "http.response.status_code",
            "url.path",
            "url.scheme",
            "brokkr.reason",
        ],
    },
    SpanInfo {
        name: "{method} {url template}",
        kind: "CLIENT",
        help: "One attempt of a request to the broker. 4xx and 5xx are errors.",
        place: "child of `report`, `poll`, `prepare` or `job …`",
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
        place: "child of whatever needs the database",
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
        place: "child of whatever needs the database",
        attributes: &["db.system.name", "db.namespace", "db.operation.name", "db.response.status_code", "server.address"],
    },
    SpanInfo {
        name: "send deployment",
        kind: "PRODUCER",
        help: "A generation is handed off to its agents; once, however many they are. Its context is what the agents continue.",
        place: "child of the request; its context is stored with the work",
        attributes: &[
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.destination.name",
            "brokkr.stack.name",
            "brokkr.stack.id",
            "brokkr.generation",
            "brokkr.fan_out",
            "brokkr.reason",
        ],
    },
    SpanInfo {
        name: "receive deployment",
        kind: "CLIENT",
        help: "A deployment on its way from the broker's answer into the agent's hands; a difference of their clocks is included.",
        place: "child of `send deployment`, or of `process deployment` where that is a root",
        attributes: &["messaging.operation.name", "messaging.operation.type", "messaging.destination.name"],
    },
    SpanInfo {
        name: "process deployment",
        kind: "CONSUMER",
        help: "An agent carries out a deployment, until it is applied or failed; one for each attempt.",
        place: "child of `send deployment` and linked to it, or root of a trace of its own that links to it",
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
        place: "child of the request; its context is stored with the order",
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
        name: "receive work_order",
        kind: "CLIENT",
        help: "A work order on its way from the broker's answer into the agent's hands; a difference of their clocks is included.",
        place: "child of `send work_order`, or of `process work_order` where that is a root",
        attributes: &["messaging.operation.name", "messaging.operation.type", "messaging.destination.name"],
    },
    SpanInfo {
        name: "process work_order",
        kind: "CONSUMER",
        help: "An agent carries out one attempt at a work order, from the claim until it has ended.",
        place: "child of `send work_order`, and links to it; later attempts are roots that link to it",
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
        name: "send webhook",
        kind: "PRODUCER",
        help: "One attempt to tell a receiver of an event.",
        place: "child of what happened and linked to it; later attempts are roots that link to it and to the attempt before",
        attributes: &[
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.destination.name",
            "messaging.message.id",
            "brokkr.webhook.id",
            "brokkr.webhook.name",
            "brokkr.event.type",
            "brokkr.attempt",
            "brokkr.reason",
        ],
    },
    SpanInfo {
        name: "POST",
        kind: "CLIENT",
        help: "The request of an attempt to a webhook's receiver. What is no success is an error.",
        place: "child of `send webhook`; its context is what the receiver is sent",
        attributes: &[
            "http.request.method",
            "http.request.resend_count",
            "http.response.status_code",
            "server.address",
            "server.port",
        ],
    },
    SpanInfo {
        name: "apply object",
        kind: "INTERNAL",
        help: "Everything done to apply one object, retries included.",
        place: "child of `process deployment` or `job look`",
        attributes: OBJECT,
    },
    SpanInfo {
        name: "delete object",
        kind: "INTERNAL",
        help: "Everything done to delete one object, retries included.",
        place: "child of `process deployment` or `job look`",
        attributes: OBJECT,
    },
    SpanInfo {
        name: "{verb} {resource}",
        kind: "CLIENT",
        help: "One request to the Kubernetes API. 4xx and 5xx are errors.",
        place: "child of what the call is made for; the API server's own span is its child, or links to it",
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
        help: "Time in which nothing was called: queued, earlier wave, throttled, crd established, health, scheduling, image pull, retry, gone, reports, suspended, approval.",
        place: "child of what waits; `wait queued` of the broker is a child of `send deployment`; `wait health` links to its `process deployment`",
        attributes: &["brokkr.wait.reason"],
    },
    SpanInfo {
        name: "run {container}",
        kind: "INTERNAL",
        help: "One container of a work order, or one step of its build, with the times of its status.",
        place: "child of `process work_order`",
        attributes: &["cicd.pipeline.task.name", "cicd.pipeline.task.run.result", "brokkr.exit_code"],
    },
    SpanInfo {
        name: "validate",
        kind: "INTERNAL",
        help: "The manifests of a request are parsed and checked.",
        place: "child of the request",
        attributes: STEP,
    },
    SpanInfo {
        name: "target",
        kind: "INTERNAL",
        help: "A stack's selector meets the agents.",
        place: "child of the request",
        attributes: STEP,
    },
    SpanInfo {
        name: "encrypt",
        kind: "INTERNAL",
        help: "Content with Secrets is sealed.",
        place: "child of `send deployment`",
        attributes: STEP,
    },
    SpanInfo {
        name: "plan rollout",
        kind: "INTERNAL",
        help: "The deployments of a generation, or of other targets, get their new revision.",
        place: "child of `send deployment`, or of the request where nothing is sent",
        attributes: STEP,
    },
    SpanInfo {
        name: "prepare",
        kind: "INTERNAL",
        help: "The agent reads the content and finds out what its objects are.",
        place: "child of `process deployment` or `job look`",
        attributes: STEP,
    },
    SpanInfo {
        name: "observe",
        kind: "INTERNAL",
        help: "The agent looks at what the cluster holds of the stack.",
        place: "child of `process deployment` or `job look`",
        attributes: STEP,
    },
    SpanInfo {
        name: "plan",
        kind: "INTERNAL",
        help: "Desired state against observed state.",
        place: "child of `process deployment` or `job look`",
        attributes: STEP,
    },
    SpanInfo {
        name: "report",
        kind: "INTERNAL",
        help: "The outcome is told to the broker.",
        place: "child of `process deployment`, `job look` or `job health`",
        attributes: &["brokkr.reason"],
    },
    SpanInfo {
        name: "poll",
        kind: "CLIENT",
        help: "One long poll of an agent.",
        place: "root",
        attributes: &["brokkr.poll.result"],
    },
    SpanInfo {
        name: "job {name}",
        kind: "INTERNAL",
        help: "One run of background work.",
        place: "root; links to what caused the work, to 16 causes at most",
        attributes: &["brokkr.job.name"],
    },
    SpanInfo {
        name: "agent offline",
        kind: "INTERNAL",
        help: "An agent has let its polls lapse.",
        place: "root, always kept",
        attributes: &["brokkr.agent.name", "brokkr.cluster.name", "brokkr.reason"],
    },
    SpanInfo {
        name: "export spans",
        kind: "CLIENT",
        help: "For so long the collector took no spans, and those of that time are missing; told when it is over.",
        place: "root, always kept",
        attributes: &["brokkr.reason", "brokkr.spans.lost"],
    },
];

const OBJECT: &[&str] = &["brokkr.object.kind", "brokkr.object.namespace", "brokkr.object.name", "brokkr.wave", "brokkr.reason"];
const STEP: &[&str] = &["brokkr.objects", "brokkr.agents", "brokkr.reason"];

/// Every attribute of these spans.
pub const ATTRIBUTES: &[AttributeInfo] = &[
    attribute("error.type", "Why it failed: a status code or a word of a closed set, with status ERROR.", "conflict"),
    attribute("http.request.method", "The method; `_OTHER` for one that HTTP does not know.", "PUT"),
    attribute("http.request.resend_count", "How often the request was sent before.", "1"),
    attribute("http.response.status_code", "The status of the answer.", "201"),
    attribute("http.route", "The route that matched, as a template.", "/api/v1/stacks/{stack}"),
    attribute(
        "url.path",
        "The path with the names of its parameters in place of their values; `/REDACTED` where no route matches.",
        "/api/v1/stacks/{stack}",
    ),
    attribute("url.scheme", "`http` or `https`.", "http"),
    attribute("url.template", "The path as a template.", "/api/v1/agent/reports"),
    attribute("server.address", "Host of the server that was asked.", "db.internal"),
    attribute("server.port", "Its port.", "443"),
    attribute("db.system.name", "`postgresql` or `sqlite`.", "postgresql"),
    attribute("db.namespace", "The database and its schema; for SQLite the file's name without folder.", "brokkr|public"),
    attribute("db.collection.name", "The table.", "deployments"),
    attribute("db.operation.name", "What the statement does.", "UPDATE"),
    attribute(
        "db.query.summary",
        "The statement's name in the broker's code; never its text or its parameters.",
        "ROLL_GENERATION",
    ),
    attribute("db.response.status_code", "SQLSTATE, or SQLite's result code, of a failure.", "40001"),
    attribute("messaging.operation.name", "`send`, `receive` or `process`.", "send"),
    attribute("messaging.operation.type", "The same, by the conventions' closed set.", "send"),
    attribute("messaging.destination.name", "What is handed off.", "deployment"),
    attribute("brokkr.stack.name", "Name of the stack.", "shop"),
    attribute("brokkr.stack.id", "Its id.", "0198c4d2-7b1e-7c33-9a53-0f2f6c1d2e3f"),
    attribute("brokkr.generation", "The generation that is delivered.", "7"),
    attribute("brokkr.revision", "The revision of the deployment.", "9"),
    attribute("brokkr.action", "`apply`, `delete` or `withdraw`.", "apply"),
    attribute("brokkr.attempt", "1 for the first attempt at a revision.", "1"),
    attribute("brokkr.fan_out", "To how many agents a generation is handed off.", "3"),
    attribute("brokkr.agent.name", "Name of the agent.", "edge-1"),
    attribute("brokkr.cluster.name", "Name of its cluster.", "edge-1"),
    attribute("brokkr.phase", "The phase in which the attempt ended.", "applied"),
    attribute("brokkr.reason", "Why it failed or is refused: the code of a problem, the class of a failure.", "forbidden"),
    attribute("brokkr.object", "Which object it failed at.", "apps/v1 Deployment shop/web"),
    attribute("brokkr.rollout.lag_seconds", "Whole seconds from the acceptance of the change to the end of the attempt.", "4"),
    attribute("brokkr.object.kind", "Group and kind of the object.", "apps/Deployment"),
    attribute("brokkr.object.namespace", "Its namespace.", "shop"),
    attribute("brokkr.object.name", "Its name.", "web"),
    attribute("brokkr.wave", "The wave that it belongs to.", "0"),
    attribute("brokkr.objects", "How many objects a step is about.", "12"),
    attribute("brokkr.agents", "How many agents a step is about.", "3"),
    attribute("brokkr.kubernetes.verb", "What the call does.", "apply"),
    attribute("brokkr.kubernetes.resource", "Plural name of the resource, with its group.", "deployments.apps"),
    attribute("brokkr.kubernetes.audit_id", "The `Audit-ID` that was sent: trace id and span id.", "4bf92f35…-00f067aa…"),
    attribute("brokkr.wait.reason", "What is waited for.", "queued"),
    attribute("brokkr.poll.result", "`changed` or `unchanged`.", "unchanged"),
    attribute("brokkr.spans.lost", "How many spans the collector would have got.", "1200"),
    attribute("cicd.pipeline.name", "Name of the work order.", "import"),
    attribute("cicd.pipeline.run.id", "Its id, and the number of the attempt.", "0198c4d2-7b1e-7c33-9a53-0f2f6c1d2e3f-1"),
    attribute("cicd.pipeline.run.state", "By the conventions' closed set.", "executing"),
    attribute("cicd.pipeline.result", "How the attempt ended, by the conventions' closed set.", "success"),
    attribute("cicd.pipeline.task.name", "Name of the container, or of the step of a build.", "main"),
    attribute("cicd.pipeline.task.run.result", "`success` or `failure`.", "success"),
    attribute("brokkr.work_order.id", "Id of the work order.", "0198c4d2-7b1e-7c33-9a53-0f2f6c1d2e3f"),
    attribute("brokkr.work_order.kind", "`job`, `apply` or `build`.", "job"),
    attribute("messaging.message.id", "`webhook-id`: the same in every attempt.", "019b76da-a800-7000-8000-000000000000"),
    attribute("brokkr.webhook.id", "Id of the webhook.", "019b76da-a800-7000-8000-000000000000"),
    attribute("brokkr.webhook.name", "Name of the webhook.", "chat"),
    attribute("brokkr.event.type", "Type of the event.", "deployment.applied"),
    attribute("brokkr.exit_code", "With which code the container ended.", "0"),
    attribute("brokkr.job.name", "Name of the background work.", "event-sequencer"),
];

const fn attribute(name: &'static str, help: &'static str, example: &'static str) -> AttributeInfo {
    AttributeInfo { name, help, example }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_fits_its_pattern_and_no_other() {
        assert!(matches("wait {reason}", "wait earlier wave") && !matches("wait {reason}", "wait "));
        assert!(matches("{method} {route}", "GET /healthz") && !matches("{method} {route}", "GET"));
        assert!(matches("{BEGIN|COMMIT|NOTIFY}", "COMMIT") && !matches("{BEGIN|COMMIT|NOTIFY}", "ROLLBACK"));
        assert!(matches("plan", "plan") && !matches("plan", "plan rollout"));
    }

    #[test]
    fn every_attribute_of_a_span_is_explained_and_none_besides() {
        let carried: BTreeSet<_> = SPANS.iter().flat_map(|span| span.attributes).copied().chain(["error.type"]).collect();
        let explained: BTreeSet<_> = ATTRIBUTES.iter().map(|attribute| attribute.name).collect();
        assert_eq!(carried, explained);
        assert_eq!(explained.len(), ATTRIBUTES.len(), "each once");
    }

    /// A span or an attribute that the code makes and the catalogue does not know would be missing in the reference.
    #[test]
    fn every_name_in_the_code_is_in_the_catalogue() {
        let sources = [
            include_str!("database.rs"),
            include_str!("delivery.rs"),
            include_str!("http.rs"),
            include_str!("kubernetes.rs"),
            include_str!("past.rs"),
            include_str!("trouble.rs"),
            include_str!("webhook.rs"),
            include_str!("work.rs"),
            include_str!("work_order.rs"),
        ]
        .concat();
        let quoted = |after: &'static str| {
            sources.split(after).skip(1).filter_map(|rest| rest.split_once('"')).map(|(text, _)| text).collect::<BTreeSet<_>>()
        };
        let names: BTreeSet<_> =
            quoted("otel.name = \"").into_iter().chain(["receive deployment", "receive work_order"]).collect();
        assert!(names.len() >= 4, "{names:?}");
        for name in names {
            assert!(SPANS.iter().any(|span| span.name == name), "{name}");
        }
        let is_attribute = |text: &&str| {
            let (first, rest) = text.split_once('.').unwrap_or((text, ""));
            ["brokkr", "cicd", "messaging", "db", "http", "url", "server"].contains(&first) && !rest.is_empty()
        };
        let fields = sources.lines().filter_map(|line| line.trim().split_once(" = ")).map(|(field, _)| field);
        let recorded = quoted("record(\"").into_iter().chain(quoted("KeyValue::new(\"")).chain(quoted("set_attribute(\""));
        let attributes: BTreeSet<_> = fields.chain(recorded).filter(is_attribute).collect();
        assert!(attributes.len() >= 30, "{attributes:?}");
        for name in attributes {
            assert!(ATTRIBUTES.iter().any(|attribute| attribute.name == name), "{name}");
        }
        // The steps are made by a macro that takes their names.
        let steps = sources.split("steps! {").last().and_then(|rest| rest.split_once("\n}\n")).unwrap().0;
        let named: Vec<_> =
            steps.lines().filter(|line| line.ends_with("\";")).filter_map(|line| line.split('"').nth(1)).collect();
        assert!(named.len() >= 7 && named.iter().all(|name| SPANS.iter().any(|span| span.name == *name)), "{named:?}");
    }
}
