//! The end of a pod's log, without the values of the Secrets that the pod sees.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use brokkr_api::work_orders::MAX_LOG;
use serde_json::Value;

use super::pods;
use crate::{
    attempt::Workshop,
    cluster::{Resource, Select},
};

/// How long the log is asked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shortest value that is masked: shorter ones stand in every text.
const SHORTEST: usize = 3;
/// What stands for a masked value.
const MASK: &str = "***";
/// Pods whose logs are looked at: the newest.
const PODS: u32 = 20;

/// Bytes of one container's log that are read at most.
const MOST: usize = 1024 * 1024;
/// Lines that are asked for, fewer and fewer until they are not too long.
const LINES: [u32; 5] = [5_000, 1_000, 200, 20, 1];

/// Nothing where it takes too long: a node that does not answer must not hold the outcome back.
pub(super) async fn in_time(log: impl Future<Output = Option<String>>) -> Option<String> {
    tokio::time::timeout(PATIENCE, log).await.ok().flatten()
}

/// The end of the log of the newest pod of a Job. A log that cannot be masked, because the agent may not read the Secrets, is not
/// taken; it says so instead.
pub(super) async fn last(workshop: &Workshop, namespace: &str, job: &str, secrets: &[String]) -> Option<String> {
    let selector = pods::selector_of_job(job);
    let found = workshop.cluster.list_some(&pods::resource(), namespace, Select::Labels(&selector), PODS).await.ok()?;
    of_newest(workshop, namespace, &found, secrets).await
}

/// The same of the newest of these pods.
pub(super) async fn of_newest(workshop: &Workshop, namespace: &str, found: &[Value], secrets: &[String]) -> Option<String> {
    let pods = pods::resource();
    let pod = found.iter().max_by_key(|pod| text(pod, "/metadata/creationTimestamp"))?;
    let mut log = String::new();
    for container in containers(pod) {
        let path = format!("{}/{}/log?container={container}", pods.path(Some(namespace)), text(pod, "/metadata/name"));
        log.push_str(&last_of(workshop, &path).await);
    }
    if log.is_empty() {
        return None;
    }
    match values(workshop, namespace, secrets).await {
        Ok(values) => Some(tail(&masked(&log, &values))),
        Err(secret) => {
            Some(format!("(the log is not kept: the agent may not read Secret {secret}, and so cannot mask its values)"))
        }
    }
}

/// The last lines that together are not too long. A limit in bytes alone would keep the beginning and lose the end.
async fn last_of(workshop: &Workshop, path: &str) -> String {
    for lines in LINES {
        let path = format!("{path}&tailLines={lines}&limitBytes={MOST}");
        match workshop.cluster.read("log", &path).await {
            Ok(Value::String(text)) if text.len() < MOST || lines == 1 => return text,
            Ok(Value::String(_)) => {}
            _ => break,
        }
    }
    String::new()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn containers(pod: &Value) -> Vec<String> {
    let lists = ["/spec/initContainers", "/spec/containers"].into_iter().filter_map(|list| pod.pointer(list)?.as_array());
    lists.flatten().map(|container| text(container, "/name").to_owned()).collect()
}

/// Every value of these Secrets, or the first one that cannot be read. One that does not exist has no values.
async fn values(workshop: &Workshop, namespace: &str, secrets: &[String]) -> Result<Vec<String>, String> {
    let resource = Resource::core("Secret", "secrets", true);
    let mut values = Vec::new();
    for name in secrets {
        let secret = workshop.cluster.get(&resource, Some(namespace), name).await.map_err(|_| name.clone())?;
        let data =
            secret.as_ref().and_then(|secret| secret.pointer("/data")).and_then(Value::as_object).cloned().unwrap_or_default();
        let decoded = data.values().filter_map(Value::as_str).filter_map(|value| BASE64_STANDARD.decode(value).ok());
        values.extend(decoded.filter_map(|value| String::from_utf8(value).ok()));
    }
    Ok(values)
}

fn masked(log: &str, values: &[String]) -> String {
    // A value of several lines stands in a log line by line, perhaps with something before each.
    let mut parts: Vec<String> = values
        .iter()
        .flat_map(|value| value.lines().chain(std::iter::once(value.as_str())))
        .map(|part| part.trim().to_owned())
        .filter(|part| part.len() >= SHORTEST)
        .collect();
    // A longer one may hold a shorter one.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.iter().fold(log.to_owned(), |log, part| log.replace(part.as_str(), MASK))
}

fn tail(log: &str) -> String {
    let length = log.chars().count();
    log.chars().skip(length.saturating_sub(MAX_LOG)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_masked_the_longer_ones_first_and_line_by_line() {
        let values = vec!["hunter2".to_owned(), "hunter2-and-more".to_owned(), "a".to_owned(), "BEGIN\nmiddle\nEND".to_owned()];
        let log = "token hunter2-and-more\nx hunter2\n> middle\na b";
        assert_eq!(masked(log, &values), "token ***\nx ***\n> ***\na b");
    }

    #[test]
    fn the_end_is_kept_and_not_the_beginning() {
        let long = format!("first{}last", "ü".repeat(MAX_LOG));
        let kept = tail(&long);
        assert_eq!(kept.chars().count(), MAX_LOG);
        assert!(kept.ends_with("last") && !kept.contains("first"));
    }
}
