use brokkr_tests::{
    fleet::{Broker, LIMIT, metric},
    http::client,
    lab::until,
};

/// Waits until a series has the value that the database answers; both may still change meanwhile.
pub(crate) async fn agrees(broker: &Broker, series: &str, sql: &str) -> f64 {
    agrees_at(&broker.base, broker, series, sql).await
}

/// The same for the series of another replica.
pub(crate) async fn agrees_at(base: &str, broker: &Broker, series: &str, sql: &str) -> f64 {
    let look = || async {
        let wanted: f64 = broker.query(sql).unwrap().first().and_then(|line| line.parse().ok()).unwrap_or(0.0);
        let found = metric(base, series).await;
        if found == wanted { Ok(found) } else { Err(format!("{found}, and the database says {wanted}")) }
    };
    until(series, LIMIT, look).await.unwrap()
}

/// The whole text, in the format that is asked for.
pub(crate) async fn scrape(base: &str, accept: &str) -> String {
    let answer = client().unwrap().get(format!("{base}/metrics")).header("accept", accept).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{base}");
    answer.text().await.unwrap()
}

/// How many series there are.
pub(crate) fn count_series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count()
}
