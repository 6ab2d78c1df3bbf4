//! `brokkr trace`: how broker and agents trace, while they run.

use brokkr_api::{
    LabelSelector, Labels, TargetSelector,
    client::Client,
    page::PageQuery,
    tracing::{AgentTracing, SetTracing, TraceExporter, TracePipeline, TraceProtocol, TraceSettings, Tracing},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Outcome, get::all};
use crate::{
    connection::ConnectionArgs,
    output::{self, Format},
};

/// See and set how broker and agents trace, while they run.
#[derive(Debug, Subcommand)]
pub(crate) enum Trace {
    /// What is in effect, where each value comes from, and whether spans reach the collector
    Status,
    /// Switch tracing on. What was set before for the same daemons is replaced as a whole
    Enable(EnableArgs),
    /// Switch tracing off
    Disable(ScopeArgs),
    /// Let files and environments decide again
    Reset(ScopeArgs),
}

/// How to trace.
#[derive(Debug, Args)]
pub(crate) struct EnableArgs {
    /// How spans leave the processes [default: as an endpoint below says, else as configured]
    #[arg(long, value_enum)]
    exporter: Option<ExporterName>,
    /// The collector, http://HOST:PORT or https://HOST:PORT
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// The Jaeger, which takes OTLP on the same ports
    #[arg(long, value_name = "URL", conflicts_with = "otlp_endpoint")]
    jaeger_endpoint: Option<String>,
    /// The OTLP transport [default: as the port 4317 or 4318 says, else as configured]
    #[arg(long, value_enum)]
    protocol: Option<ProtocolName>,
    /// Name of the service
    #[arg(long, value_name = "NAME")]
    service_name: Option<String>,
    /// Share of the traces that are kept, 0 to 1
    #[arg(long, value_name = "RATE")]
    sample_rate: Option<f64>,
    #[command(flatten)]
    scope: ScopeArgs,
}

/// Who is concerned.
#[derive(Debug, Args)]
pub(crate) struct ScopeArgs {
    /// Of the agents only those with these labels [default: all agents]
    #[arg(long, value_name = "KEY=VALUE,…", value_parser = selector)]
    agents: Option<TargetSelector>,
    /// Agents alone: the broker stays as it is
    #[arg(long)]
    agents_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExporterName {
    Otlp,
    Jaeger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    Grpc,
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

fn selector(text: &str) -> Result<TargetSelector, String> {
    let pairs: Result<serde_json::Map<_, _>, String> =
        text.split(',').map(|pair| super::pair(pair).map(|(key, value)| (key, json!(value)))).collect();
    let labels: Labels = serde_json::from_value(pairs?.into()).map_err(|error| error.to_string())?;
    let labels = LabelSelector { match_labels: labels, match_expressions: Vec::new() };
    Ok(TargetSelector { labels: Some(labels), names: Vec::new() })
}

impl EnableArgs {
    fn settings(&self) -> anyhow::Result<TraceSettings> {
        let by_endpoint = match (&self.otlp_endpoint, &self.jaeger_endpoint) {
            (Some(_), _) => Some(ExporterName::Otlp),
            (_, Some(_)) => Some(ExporterName::Jaeger),
            (None, None) => None,
        };
        if let (Some(named), Some(of_endpoint)) = (self.exporter, by_endpoint)
            && named != of_endpoint
        {
            anyhow::bail!("the endpoint is for the other exporter: use --otlp-endpoint with otlp, --jaeger-endpoint with jaeger");
        }
        Ok(TraceSettings {
            enabled: Some(true),
            exporter: self.exporter.or(by_endpoint).map(|name| match name {
                ExporterName::Otlp => TraceExporter::Otlp,
                ExporterName::Jaeger => TraceExporter::Jaeger,
            }),
            endpoint: self.otlp_endpoint.clone().or_else(|| self.jaeger_endpoint.clone()),
            protocol: self.protocol.map(|name| match name {
                ProtocolName::Grpc => TraceProtocol::Grpc,
                ProtocolName::HttpProtobuf => TraceProtocol::HttpProtobuf,
            }),
            service_name: self.service_name.clone(),
            sampling_rate: self.sample_rate,
        })
    }
}

pub(crate) async fn run(connection: &ConnectionArgs, format: Format, trace: Trace) -> anyhow::Result<Outcome> {
    let (settings, scope) = match trace {
        Trace::Status => return status(&connection.client()?, format).await,
        Trace::Enable(enable) => (enable.settings()?, enable.scope),
        Trace::Disable(scope) => (TraceSettings { enabled: Some(false), ..TraceSettings::default() }, scope),
        Trace::Reset(scope) => (TraceSettings::default(), scope),
    };
    let client = connection.changing_client()?;
    let is_for_all = scope.agents.is_none() && !scope.agents_only;
    let tracing = if settings == TraceSettings::default() && is_for_all {
        client.reset_tracing().await?
    } else {
        client.set_tracing(&SetTracing { settings, broker: !scope.agents_only, agents: scope.agents }).await?
    };
    for warning in &tracing.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if format == Format::Json {
        output::json(&tracing)?;
        return Ok(Outcome::Done);
    }
    show(&tracing);
    output::note("agents follow with their next poll; see brokkr trace status");
    Ok(Outcome::Done)
}

async fn status(client: &Client, format: Format) -> anyhow::Result<Outcome> {
    let tracing = client.tracing().await?;
    let agents = all(async |page: PageQuery| client.tracing_of_agents(&page).await).await?;
    if format == Format::Json {
        output::json(&json!({"broker": tracing, "agents": agents}))?;
        return Ok(Outcome::Done);
    }
    show(&tracing);
    anstream::println!();
    let now = output::now();
    let row = |agent: &AgentTracing| {
        let pipeline = agent.pipeline.as_ref();
        let of = |key: &str| pipeline.map_or_else(String::new, |pipeline| value(pipeline, key));
        let count = |count: fn(&TracePipeline) -> u64| pipeline.map_or_else(String::new, |pipeline| count(pipeline).to_string());
        vec![
            agent.agent.to_string(),
            pipeline.map_or("not told yet", |pipeline| if pipeline.enabled { "on" } else { "off" }).to_owned(),
            of("endpoint"),
            of("sampling_rate"),
            count(|pipeline| pipeline.exported),
            count(|pipeline| pipeline.failed),
            count(|pipeline| pipeline.dropped),
            output::ago(pipeline.and_then(|pipeline| pipeline.last_success_at), now),
            output::ago(agent.reported_at, now),
            pipeline.and_then(|pipeline| pipeline.last_error.clone()).unwrap_or_default(),
        ]
    };
    let head = ["agent", "tracing", "endpoint", "rate", "exported", "failed", "dropped", "last success", "told", "last error"];
    output::table(&head, agents.iter().map(row).collect(), "no agents yet");
    Ok(Outcome::Done)
}

/// The value with its source, where that is not the default.
fn value(pipeline: &TracePipeline, key: &str) -> String {
    let found = pipeline.values.iter().find(|value| value.key == key);
    found.map_or_else(String::new, |found| match found.source.as_str() {
        "default" => found.value.clone(),
        source => format!("{} ({source})", found.value),
    })
}

fn show(tracing: &Tracing) {
    let pipeline = &tracing.pipeline;
    anstream::println!("broker: tracing is {}", if pipeline.enabled { "on" } else { "off" });
    let rows = pipeline.values.iter().map(|value| vec![value.key.clone(), value.value.clone(), value.source.clone()]);
    output::table(&["key", "value", "from"], rows.collect(), "nothing is known");
    let (exported, failed, dropped) = (pipeline.exported, pipeline.failed, pipeline.dropped);
    let success = output::ago(pipeline.last_success_at, output::now());
    anstream::println!("spans: {exported} exported, {failed} failed, {dropped} dropped; last success: {success}");
    if let Some(error) = &pipeline.last_error {
        anstream::println!("last error: {error}");
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        enable: EnableArgs,
    }

    fn settings(line: &[&str]) -> anyhow::Result<TraceSettings> {
        Line::try_parse_from(["enable"].iter().chain(line))?.enable.settings()
    }

    #[test]
    fn an_endpoint_says_which_exporter_it_is_for() {
        let jaeger = settings(&["--jaeger-endpoint", "http://j:4317", "--sample-rate", "0.5"]).unwrap();
        assert_eq!((jaeger.exporter, jaeger.sampling_rate), (Some(TraceExporter::Jaeger), Some(0.5)));
        assert_eq!(settings(&["--otlp-endpoint", "http://c:4317"]).unwrap().exporter, Some(TraceExporter::Otlp));
        assert_eq!(settings(&[]).unwrap(), TraceSettings { enabled: Some(true), ..TraceSettings::default() });
        assert!(settings(&["--exporter", "otlp", "--jaeger-endpoint", "http://j:4317"]).is_err());
        assert!(settings(&["--exporter", "relay"]).is_err());
        assert!(settings(&["--sample-rate", "lots"]).is_err());
    }

    #[test]
    fn agents_are_selected_by_labels() {
        let both = selector("site=a,env=prod").unwrap();
        assert_eq!(serde_json::to_value(&both).unwrap()["labels"]["matchLabels"], json!({"site": "a", "env": "prod"}));
        assert!(selector("site").is_err());
    }
}
