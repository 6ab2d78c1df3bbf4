//! An HTTP client for tests.
#![expect(clippy::expect_used, reason = "a fixture that is missing fails the test, with the reason")]

use crate::{
    certificate::Certificate,
    fleet::LIMIT,
    lab::{LabError, until},
};
use std::time::Duration;

/// Makes ring the TLS implementation of this process; further calls do nothing.
pub fn install_tls() {
    // The only error is that there is one already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A client that gives up after 30 seconds and follows no redirect.
///
/// # Errors
/// When no TLS configuration can be made.
pub fn client() -> Result<reqwest::Client, LabError> {
    install_tls();
    let refused = |error: reqwest::Error| LabError::Refused(format!("HTTP client: {error}"));
    let mut builder = reqwest::Client::builder().timeout(Duration::from_secs(30)).redirect(reqwest::redirect::Policy::none());
    if let Some(certificate) = Certificate::known() {
        let ours = reqwest::Certificate::from_pem(certificate.pem.as_bytes()).map_err(refused)?;
        builder = builder.tls_certs_merge([ours]);
    }
    builder.build().map_err(refused)
}

/// Waits until a GET of `url` answers with a 2xx status, and returns its body.
///
/// # Errors
/// [`LabError::Late`] with the last answer.
pub async fn wait_until_ok(url: &str, limit: Duration) -> Result<String, LabError> {
    let client = client()?;
    until(&format!("{url} to answer 2xx"), limit, || async {
        let response = client.get(url).send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.text().await.map_err(|error| error.to_string())?;
        if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}")) }
    })
    .await
}

/// A series of `/metrics`: the value of the line that begins with `series`, 0 when there is none.
///
/// # Panics
/// When the daemon does not answer.
pub async fn metric(base: &str, series: &str) -> f64 {
    let text =
        client().expect("a client").get(format!("{base}/metrics")).send().await.expect("an answer").text().await.expect("text");
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

/// Waits until a series of `/metrics` has a value that `wanted` accepts.
///
/// # Panics
/// When it does not in time.
pub async fn wait_for_metric(base: &str, series: &str, wanted: impl Fn(f64) -> bool) {
    let look = || async {
        let value = metric(base, series).await;
        if wanted(value) { Ok(()) } else { Err(value.to_string()) }
    };
    until(series, LIMIT, look).await.expect("the metric");
}
