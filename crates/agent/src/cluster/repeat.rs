//! When a failed call is made again within its time limit. Everything the agent asks may be asked twice: an apply says the same again, a
//! deletion and a JSON patch name what they expect. Pure: time and jitter are parameters.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

/// How often one call is made at most: once, and three times more.
const MOST_ATTEMPTS: u32 = 4;
/// First pause, before jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The silence after an answer whose `Retry-After` cannot be understood.
const SOME_TIME: Duration = Duration::from_secs(1);

/// Whether the API server may give another answer a moment later.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// For how long the API server asks not to be called. A date counts from the answer's own `Date`: the clock of this machine says nothing
/// about the other's.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !is_passing(status) {
        return None;
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wanted = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = wanted.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| chrono::DateTime::parse_from_rfc2822(text).ok();
    let (Some(until), Some(now)) = (date(wanted), text(header::DATE).and_then(date)) else { return Some(SOME_TIME) };
    Some((until - now).to_std().unwrap_or_default())
}

/// Whether the connection broke under a request that had reached the API server. A server that cannot be reached at all is left to the
/// next attempt at the whole work.
pub(super) fn is_broken_off(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return !error.is_connect();
        }
        cause = error.source();
    }
    matches!(error, kube::Error::HyperError(_))
}

/// How long to wait before a call is made again after it failed `attempt` times; nothing when it is not to be. `silence` is what the API
/// server asked for, `left` what is left of the call's time.
pub(super) fn pause(attempt: u32, silence: Option<Duration>, left: Duration, jitter: f64) -> Option<Duration> {
    if attempt >= MOST_ATTEMPTS {
        return None;
    }
    let backoff = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).mul_f64(0.5 + jitter / 2.0);
    let pause = silence.unwrap_or_default().max(backoff);
    (pause < left).then_some(pause)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    fn asked(status: u16, headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
        retry_after(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn the_time_to_wait_is_seconds_or_a_date_and_no_clock_but_the_servers_counts() {
        assert_eq!(asked(429, &[("retry-after", "7")]), Some(Duration::from_secs(7)));
        let date = [("date", "Wed, 21 Oct 2015 07:28:00 GMT"), ("retry-after", "Wed, 21 Oct 2015 07:28:09 GMT")];
        assert_eq!(asked(503, &date), Some(Duration::from_secs(9)));
        let past = [("date", "Wed, 21 Oct 2015 07:28:00 GMT"), ("retry-after", "Wed, 21 Oct 2015 07:27:00 GMT")];
        assert_eq!(asked(503, &past), Some(Duration::ZERO));
    }

    #[test]
    fn an_answer_that_asks_for_nothing_gets_no_silence_and_one_that_cannot_be_understood_a_short_one() {
        assert_eq!(asked(429, &[]), None);
        assert_eq!(asked(409, &[("retry-after", "7")]), None, "only what passes");
        assert_eq!(asked(503, &[("retry-after", "soon")]), Some(SOME_TIME));
        assert_eq!(
            asked(503, &[("retry-after", "Wed, 21 Oct 2015 07:28:09 GMT")]),
            Some(SOME_TIME),
            "without a date to count from"
        );
    }

    #[test]
    fn a_call_is_made_again_three_times_with_growing_pauses() {
        let pauses: Vec<_> = (1..=4).map(|attempt| pause(attempt, None, LIMIT, 0.999_999)).collect();
        assert!(pauses[..3].iter().all(Option::is_some) && pauses[3].is_none(), "{pauses:?}");
        assert!(pauses[0] < pauses[1] && pauses[1] < pauses[2]);
        assert_eq!(pause(1, None, LIMIT, 0.0), Some(FIRST_PAUSE / 2));
    }

    #[test]
    fn a_call_is_not_made_again_when_its_time_would_be_over() {
        assert_eq!(pause(1, Some(Duration::from_secs(20)), LIMIT, 0.5), None);
        assert_eq!(pause(1, Some(Duration::from_secs(2)), LIMIT, 0.5), Some(Duration::from_secs(2)));
        assert_eq!(pause(1, None, Duration::ZERO, 0.5), None);
    }
}
