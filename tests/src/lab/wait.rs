use super::LabError;
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep};

/// Asks again and again until the answer is `Ok`; `Err` carries what was seen instead. For programs that offer nothing to wait on.
///
/// # Errors
/// [`LabError::Late`] after `limit`, with the last thing seen.
pub async fn until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T, LabError>
where
    F: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + limit;
    let mut seen = "no answer".to_owned();
    loop {
        match tokio::time::timeout_at(end, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(other)) => seen = other,
            // What was seen before says more than that time ran out during the last look.
            Err(_elapsed) => {}
        }
        if Instant::now() >= end {
            return Err(LabError::Late { what: what.to_owned(), limit, seen });
        }
        sleep(Duration::from_millis(20)).await;
    }
}
