//! How one call is made: with leave, as somebody, again when its failure passes.

use std::time::Instant;

use brokkr_telemetry::{
    metrics::KubeOperation,
    spans::{self, WaitReason},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use kube::client::Body;
use serde_json::Value;
use tracing::Instrument;

use super::{Class, Cluster, KubeCall, KubeFailure, repeat, throttle::Leave};

/// A failed exchange, and whether the same request may work a moment later.
struct Failed {
    failure: KubeFailure,
    passes: bool,
}

impl Cluster {
    /// The leave to make a call; the refusal when the agent must not make it. Whoever calls without [`Cluster::send`] asks here.
    pub(super) async fn begin(&self, call: &KubeCall) -> Result<Leave, KubeFailure> {
        self.confined.admit(call)?;
        self.still_in_charge()?;
        let leave = self.throttle.enter(call.is_watch()).await;
        // It may have waited for long.
        self.still_in_charge()?;
        Ok(leave)
    }

    fn still_in_charge(&self) -> Result<(), KubeFailure> {
        match &self.standing {
            Some(standing) if !standing.holds(Instant::now()) => {
                Err(KubeFailure::new(Class::Transient, "this agent leads no longer: another may be at work"))
            }
            _ => Ok(()),
        }
    }

    /// Makes a call within its time limit, which begins when the call has leave.
    pub(super) async fn send(
        &self,
        call: KubeCall,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<(StatusCode, Value), KubeFailure> {
        let is_secret = call.is_secret();
        let (mut parts, body) =
            request.map_err(|source| KubeFailure::of(kube::Error::BuildRequest(source), is_secret))?.into_parts();
        let body = Bytes::from(body);
        if let Some(identity) = &self.identity {
            identity.put_on(&mut parts.headers);
        }
        let mut leave = self.begin(&call).await?;
        let deadline = Instant::now() + self.timeout;
        let mut attempt = 1;
        loop {
            let mut request = Request::from_parts(parts.clone(), Body::from(body.clone()));
            request.extensions_mut().insert(call.until(deadline));
            let exchange = tokio::time::timeout_at(deadline.into(), self.exchange(request, is_secret));
            let Failed { failure, passes } = match exchange.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failed)) => failed,
                Err(_) => return Err(KubeFailure::timeout(self.timeout)),
            };
            // Others may use the slot meanwhile.
            drop(leave);
            let now = Instant::now();
            if let Some(wanted) = failure.retry_after {
                self.throttle.be_silent(now, wanted);
            }
            let left = deadline.saturating_duration_since(now);
            let silence = self.throttle.silence(now);
            let pause = repeat::pause(attempt, silence, left, self.ids.fraction());
            let Some(pause) = pause.filter(|_| passes) else { return Err(failure) };
            let reason = if silence.is_some() { WaitReason::Throttled } else { WaitReason::Retry };
            tokio::time::sleep(pause).instrument(spans::wait(reason)).await;
            leave = match tokio::time::timeout_at(deadline.into(), self.begin(&call)).await {
                Ok(leave) => leave?,
                Err(_) => return Err(failure),
            };
            attempt += 1;
        }
    }

    /// Sends once. Ends at once when the agent is no longer in charge.
    async fn exchange(&self, request: Request<Body>, is_secret: bool) -> Result<(StatusCode, Value), Failed> {
        match &self.standing {
            None => self.answer(request, is_secret).await,
            Some(standing) => {
                tokio::select! {
                    biased;
                    () = standing.lost() => {
                        let failure = self.still_in_charge().err();
                        let failure = failure.unwrap_or_else(|| KubeFailure::new(Class::Transient, "this agent leads no longer"));
                        Err(Failed { failure, passes: false })
                    }
                    answer = self.answer(request, is_secret) => answer,
                }
            }
        }
    }

    async fn answer(&self, request: Request<Body>, is_secret: bool) -> Result<(StatusCode, Value), Failed> {
        // A creation whose answer is lost may have happened.
        let may_be_twice = request.method() != Method::POST;
        let broken = |source: kube::Error| {
            let passes = may_be_twice && repeat::is_broken_off(&source);
            Failed { failure: KubeFailure::of(source, is_secret), passes }
        };
        let response = self.client.send(request).await.map_err(broken)?;
        let status = response.status();
        let retry_after = repeat::retry_after(status, response.headers());
        let is_text = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
        let bytes = response
            .into_body()
            .collect_bytes()
            .await
            .map_err(|source| Failed { failure: KubeFailure::of(source, is_secret), passes: may_be_twice })?;
        if status.is_success() && is_text {
            // A log, which may look like JSON by chance.
            return Ok((status, Value::String(String::from_utf8_lossy(&bytes).into_owned())));
        }
        if status.is_success() {
            return Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)));
        }
        let failure = KubeFailure { retry_after, ..KubeFailure::of_answer(status, &bytes, is_secret) };
        Err(Failed { failure, passes: repeat::is_passing(status) && (may_be_twice || status != StatusCode::GATEWAY_TIMEOUT) })
    }
}

impl KubeCall {
    fn is_watch(&self) -> bool {
        matches!(self.operation, KubeOperation::Watch)
    }
}
