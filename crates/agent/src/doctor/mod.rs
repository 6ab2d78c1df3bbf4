//! `brokkr-agent doctor`: whether the agent reaches what it must, and may do what a bundle needs. Changes nothing.

mod needs;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use brokkr_runtime::{SystemIds, daemon};
use brokkr_telemetry::{InitOptions, Service, Telemetry, config::TelemetryConfig};
use clap::{Args, ValueEnum};
use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;

use crate::{
    cluster::{Cluster, KubeFailure, Resource, Resources},
    config::Config,
    link,
    object::GroupKind,
    trouble::Trouble,
};
use needs::Need;

/// Reviews in flight at once.
const REVIEWS: usize = 8;

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A bundle of manifests whose rights are looked at; may be given several times
    #[arg(long, short, value_name = "BUNDLE.yaml")]
    file: Vec<PathBuf>,
    /// Namespace of objects that name none [default: the setting `kubernetes.default_namespace`]
    #[arg(long, short)]
    namespace: Option<String>,
    /// The service account that the stack's policy names, as namespace/name
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    ok: bool,
    /// What was seen, or what to do about it.
    detail: String,
}

impl Finding {
    fn good(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), ok: true, detail: detail.into() }
    }

    fn bad(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), ok: false, detail: detail.into() }
    }

    fn of(what: impl Into<String>, result: Result<String, String>) -> Self {
        match result {
            Ok(detail) => Self::good(what, detail),
            Err(detail) => Self::bad(what, detail),
        }
    }
}

/// Looks, prints, and tells by the exit code whether all is well.
pub(crate) fn main(config: &Config, options: &Options) -> ExitCode {
    let init = InitOptions {
        service: Service::Agent,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance_id: daemon::new_instance_id(),
        // A look is no work of the agent's, and sends no spans.
        telemetry: TelemetryConfig::default(),
        metrics: config.metrics.clone(),
    };
    daemon::once(init, async |telemetry| examine(config, options, telemetry).await)
}

async fn examine(config: &Config, options: &Options, telemetry: &Telemetry) -> anyhow::Result<ExitCode> {
    let mut findings = vec![Finding::good("configuration", "valid")];
    match Cluster::new(&config.kubernetes, Arc::new(SystemIds), telemetry.agent_metrics()).await {
        Err(error) => findings.push(Finding::bad("cluster", daemon::chain(&error))),
        Ok(cluster) => {
            let (uid, reached) = look_at_cluster(&cluster, config).await;
            let is_reached = reached.iter().all(|finding| finding.what != "cluster" || finding.ok);
            findings.extend(reached);
            findings.push(Finding::of("broker", look_at_broker(config, &cluster, uid.as_deref()).await));
            if is_reached {
                findings.extend(look_at_rights(&cluster, config, options).await?);
            }
        }
    }
    print(&findings, options.output)?;
    Ok(if findings.iter().all(|finding| finding.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cluster's id, its version, and the agent's namespace.
async fn look_at_cluster(cluster: &Cluster, config: &Config) -> (Option<String>, Vec<Finding>) {
    let version = cluster.read("version", "/version").await;
    let version = version.map(|version| version.get("gitVersion").and_then(Value::as_str).unwrap_or("unknown").to_owned());
    let mut findings = vec![Finding::of("cluster", version.map_err(|failure| failure.message))];
    if !findings[0].ok {
        return (None, findings);
    }
    let namespaces = Resource::core("Namespace", "namespaces", false);
    let uid = match cluster.get(&namespaces, None, "kube-system").await {
        Ok(found) => found.and_then(|namespace| Some(namespace.pointer("/metadata/uid")?.as_str()?.to_owned())),
        Err(failure) => {
            findings.push(Finding::bad("identity of the cluster", failure.message));
            None
        }
    };
    let own = &config.kubernetes.namespace;
    let present = match cluster.get(&namespaces, None, own).await {
        Ok(Some(_)) => Ok("present".to_owned()),
        Ok(None) => Err(format!("missing: kubectl create namespace {own}, or let the agent make it")),
        Err(failure) => Err(failure.message),
    };
    findings.push(Finding::of(format!("namespace {own}"), present));
    (uid, findings)
}

/// Whether the broker knows the key. A poll without a wait is the one request of an agent that changes nothing.
async fn look_at_broker(config: &Config, cluster: &Cluster, uid: Option<&str>) -> Result<String, String> {
    let text = |error: anyhow::Error| format!("{error:#}");
    let (store, key) = link::key(config, cluster).map_err(text)?;
    let client = link::client(config, key).map_err(text)?;
    if let Some(uid) = uid {
        client.name_cluster(uid).map_err(|error| daemon::chain(&error))?;
    }
    if !store.load().await.map_err(|error| daemon::chain(&error))? {
        return Err(format!("there is no key yet in {}: the agent gets one when it enrols", store.place()));
    }
    match client.desired_state(None, Duration::ZERO).await {
        Ok(_) => Ok(format!("{} takes the key", client.base())),
        Err(error) => Err(Trouble::of(&error).text),
    }
}

async fn look_at_rights(cluster: &Cluster, config: &Config, options: &Options) -> anyhow::Result<Vec<Finding>> {
    let mut findings = ask(cluster, own_needs(config, options)).await;
    if options.file.is_empty() {
        return Ok(findings);
    }
    let mut objects = Vec::new();
    for path in &options.file {
        objects.extend(read(path)?);
    }
    let resources = Resources::default();
    objects.iter().filter(|object| text(object, "/kind") == Some("CustomResourceDefinition")).for_each(|definition| {
        resources.learn_definition(definition);
    });
    let actor = match cluster.acting_as(options.service_account.as_deref()) {
        Ok(actor) => actor,
        Err(failure) => return Ok(vec![Finding::bad("service account", failure.message)]),
    };
    let default_namespace = options.namespace.as_deref().unwrap_or(&config.kubernetes.default_namespace);
    let mut placed = Vec::new();
    for object in &objects {
        let (Some(api_version), Some(kind)) = (text(object, "/apiVersion"), text(object, "/kind")) else { continue };
        match resources.of_manifest(cluster, &GroupKind::of(api_version, kind), api_version).await {
            Ok(Some(resource)) => placed.push((resource, text(object, "/metadata/namespace").unwrap_or(default_namespace))),
            Ok(None) => findings.push(Finding::bad(format!("{kind} of {api_version}"), "the cluster does not serve this kind")),
            Err(failure) => findings.push(Finding::bad(format!("{kind} of {api_version}"), failure.message)),
        }
    }
    let outside: BTreeSet<&str> =
        placed.iter().filter(|(resource, _)| resource.namespaced).map(|(_, namespace)| *namespace).collect();
    for namespace in outside.into_iter().filter(|namespace| !cluster.reaches(namespace)) {
        findings.push(Finding::bad(format!("namespace {namespace}"), "add it to kubernetes.namespaces"));
    }
    let places = placed.iter().map(|(resource, namespace)| (resource, Some(*namespace)));
    let needs = needs::of_objects(places, |resource| cluster.places(resource));
    // What is watched is watched as the agent itself; what is written is written as the service account.
    let (collections, written): (BTreeSet<Need>, BTreeSet<Need>) =
        needs.into_iter().partition(|need| matches!(need.verb, "list" | "watch"));
    findings.extend(ask(cluster, collections).await);
    findings.extend(ask(&actor, written).await);
    Ok(findings)
}

/// What the agent does for itself, whatever it delivers.
fn own_needs(config: &Config, options: &Options) -> BTreeSet<Need> {
    let own = config.kubernetes.namespace.as_str();
    let mut needs: BTreeSet<Need> =
        ["get", "list", "watch", "patch", "create", "delete"].map(|verb| Need::new(Some(own), "", "configmaps", verb)).into();
    if config.leader_election.enabled {
        needs.extend(["get", "create", "update"].map(|verb| Need::new(Some(own), "coordination.k8s.io", "leases", verb)));
    }
    if let Some((namespace, name)) = config.broker.key_secret.as_deref().and_then(|place| place.split_once('/')) {
        needs.extend(["get", "patch"].map(|verb| Need::new(Some(namespace), "", "secrets", verb).named(name)));
    }
    if let Some((namespace, name)) = options.service_account.as_deref().and_then(|account| account.split_once('/')) {
        needs.insert(Need::new(Some(namespace), "", "serviceaccounts", "impersonate").named(name));
        let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
        let groups = groups.into_iter().chain([format!("system:serviceaccounts:{namespace}")]);
        needs.extend(groups.map(|group| Need::new(None, "", "groups", "impersonate").named(&group)));
    }
    needs
}

async fn ask(cluster: &Cluster, needs: BTreeSet<Need>) -> Vec<Finding> {
    stream::iter(needs).map(|need| review(cluster, need)).buffered(REVIEWS).collect().await
}

async fn review(cluster: &Cluster, need: Need) -> Finding {
    let reviews = Resource {
        group: "authorization.k8s.io".to_owned(),
        version: "v1".to_owned(),
        kind: "SelfSubjectAccessReview".to_owned(),
        plural: "selfsubjectaccessreviews".to_owned(),
        namespaced: false,
    };
    let group = if need.group.is_empty() { String::new() } else { format!(".{}", need.group) };
    let place = need.namespace.as_ref().map_or_else(|| "in the cluster".to_owned(), |namespace| format!("in {namespace}"));
    let name = need.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let what = format!("{} {}{group}{name} {place}", need.verb, need.resource);
    let answer: Result<Value, KubeFailure> = cluster.create(&reviews, None, &need.review()).await;
    match answer {
        Err(failure) => Finding::bad(what, failure.message),
        Ok(answer) if answer.pointer("/status/allowed").and_then(Value::as_bool) == Some(true) => Finding::good(what, ""),
        Ok(_) => Finding::bad(what, format!("grant in {}", need.rule())),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Value>> {
    let yaml = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut objects = Vec::new();
    for document in serde_saphyr::from_multiple::<Value>(&yaml).with_context(|| path.display().to_string())? {
        match document.get("items").and_then(Value::as_array) {
            Some(items) if text(&document, "/kind") == Some("List") => objects.extend(items.iter().cloned()),
            _ => objects.push(document),
        }
    }
    Ok(objects)
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

#[expect(clippy::print_stdout, reason = "what was found is the output of this command")]
fn print(findings: &[Finding], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(findings)?);
        return Ok(());
    }
    let width = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
    for Finding { what, ok, detail } in findings {
        println!("{}", format!("{} {what:width$}  {detail}", if *ok { '✓' } else { '✗' }).trim_end());
    }
    Ok(())
}
