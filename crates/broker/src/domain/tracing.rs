//! Tracing at run time: which settings are taken, and what each agent is told.

use brokkr_api::{
    Labels, Name, TargetSelector,
    tracing::{MAX_ENDPOINT, MAX_RULES, MAX_SERVICE_NAME, TraceProtocol, TraceRule, TraceSettings},
};
use brokkr_telemetry::config::{Protocol, endpoint};

/// Settings as they are kept, and what was understood otherwise than it was written.
#[derive(Debug, PartialEq)]
pub(crate) struct Understood {
    pub(crate) settings: TraceSettings,
    pub(crate) warnings: Vec<String>,
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Endpoint(#[from] endpoint::EndpointError),
    #[error("an endpoint has at most {MAX_ENDPOINT} characters")]
    LongEndpoint,
    #[error("the name of a service has 1 to {MAX_SERVICE_NAME} printable characters")]
    ServiceName,
    #[error("at most {MAX_RULES} rules for some agents: set something for all agents, or reset")]
    TooManyRules,
}

impl Refusal {
    /// The field of the request that is wrong.
    pub(crate) fn place(&self) -> &'static str {
        match self {
            Self::Endpoint(_) | Self::LongEndpoint => "settings.endpoint",
            Self::ServiceName => "settings.service_name",
            Self::TooManyRules => "agents",
        }
    }
}

/// Checks settings, and brings them into the form in which every daemon understands them.
pub(crate) fn understand(mut settings: TraceSettings) -> Result<Understood, Refusal> {
    let mut warnings = Vec::new();
    if let Some(text) = &settings.endpoint {
        if text.len() > MAX_ENDPOINT {
            return Err(Refusal::LongEndpoint);
        }
        let found = endpoint::parse(text)?;
        warnings.extend(found.warning);
        let by_port = found.protocol.map(|protocol| match protocol {
            Protocol::Grpc => TraceProtocol::Grpc,
            Protocol::HttpProtobuf => TraceProtocol::HttpProtobuf,
        });
        settings.protocol = settings.protocol.or(by_port);
        settings.endpoint = Some(found.url);
    }
    if let Some(name) = &settings.service_name
        && (!(1..=MAX_SERVICE_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control))
    {
        return Err(Refusal::ServiceName);
    }
    if let Some(rate) = settings.sampling_rate.filter(|rate| !(0.0..=1.0).contains(rate)) {
        let used = rate.clamp(0.0, 1.0);
        warnings.push(format!("a sampling rate of {rate} is not within 0 to 1: {used} is used"));
        settings.sampling_rate = Some(used);
    }
    Ok(Understood { settings, warnings })
}

/// The rules with another one, which takes the place of what was said of the same agents; what is said of all takes the place of everything.
pub(crate) fn with_rule(
    mut rules: Vec<TraceRule>,
    agents: Option<TargetSelector>,
    settings: TraceSettings,
) -> Result<Vec<TraceRule>, Refusal> {
    if agents.is_none() {
        rules.clear();
    }
    rules.retain(|rule| rule.agents != agents);
    rules.push(TraceRule { agents, settings });
    if rules.len() > MAX_RULES { Err(Refusal::TooManyRules) } else { Ok(rules) }
}

/// What is set for this agent: the last rule that concerns it.
pub(crate) fn of_agent<'a>(rules: &'a [TraceRule], name: &Name, labels: &Labels) -> Option<&'a TraceSettings> {
    let concerns = |rule: &&TraceRule| rule.agents.as_ref().is_none_or(|agents| agents.matches(name, labels));
    rules.iter().rev().find(concerns).map(|rule| &rule.settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use brokkr_api::LabelSelector;

    fn endpoint(text: &str) -> TraceSettings {
        TraceSettings { endpoint: Some(text.to_owned()), ..TraceSettings::default() }
    }

    fn rate(rate: f64) -> TraceSettings {
        TraceSettings { sampling_rate: Some(rate), ..TraceSettings::default() }
    }

    #[test]
    fn a_malformed_endpoint_is_refused_and_the_old_collector_of_jaeger_is_mapped_with_a_warning() {
        assert_eq!(understand(endpoint("collector:4317")).unwrap_err().place(), "settings.endpoint");
        assert_eq!(understand(endpoint(&format!("http://{}", "a".repeat(600)))), Err(Refusal::LongEndpoint));
        let mapped = understand(endpoint("http://jaeger:14268/api/traces")).unwrap();
        assert_eq!(mapped.settings.endpoint.as_deref(), Some("http://jaeger:4317"));
        assert_eq!((mapped.settings.protocol, mapped.warnings.len()), (Some(TraceProtocol::Grpc), 1));
    }

    #[test]
    fn the_usual_port_says_the_protocol_unless_it_is_said() {
        let of_port = understand(endpoint("http://c:4318")).unwrap().settings;
        assert_eq!(of_port.protocol, Some(TraceProtocol::HttpProtobuf));
        let said = TraceSettings { protocol: Some(TraceProtocol::Grpc), ..endpoint("http://c:4318") };
        assert_eq!(understand(said).unwrap().settings.protocol, Some(TraceProtocol::Grpc));
    }

    #[test]
    fn a_rate_outside_of_its_range_is_clamped_with_a_warning() {
        let clamped = understand(rate(7.0)).unwrap();
        assert_eq!((clamped.settings.sampling_rate, clamped.warnings.len()), (Some(1.0), 1));
        assert!(understand(rate(0.5)).unwrap().warnings.is_empty());
    }

    #[test]
    fn the_last_rule_that_concerns_an_agent_counts_and_one_for_all_ends_the_others() {
        let (name, labels): (Name, Labels) =
            ("edge".parse().unwrap(), serde_json::from_value(serde_json::json!({"site": "a"})).unwrap());
        let site = |site: &str| {
            let labels: LabelSelector = serde_json::from_value(serde_json::json!({"matchLabels": {"site": site}})).unwrap();
            Some(TargetSelector { labels: Some(labels), names: Vec::new() })
        };
        let rules = with_rule(Vec::new(), None, rate(0.1)).unwrap();
        let rules = with_rule(rules, site("a"), rate(0.2)).unwrap();
        let rules = with_rule(rules, site("b"), rate(0.3)).unwrap();
        assert_eq!(of_agent(&rules, &name, &labels), Some(&rate(0.2)));
        let rules = with_rule(rules, site("a"), rate(0.4)).unwrap();
        assert_eq!((rules.len(), of_agent(&rules, &name, &labels)), (3, Some(&rate(0.4))));
        let rules = with_rule(rules, None, rate(0.5)).unwrap();
        assert_eq!((rules.len(), of_agent(&rules, &name, &labels)), (1, Some(&rate(0.5))));
        assert_eq!(of_agent(&[], &name, &labels), None);
        let full = (0..MAX_RULES).try_fold(Vec::new(), |rules, number| with_rule(rules, site(&number.to_string()), rate(0.1)));
        assert_eq!(with_rule(full.unwrap(), site("more"), rate(0.1)), Err(Refusal::TooManyRules));
    }
}
