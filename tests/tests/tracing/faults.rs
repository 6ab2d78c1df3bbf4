//! The fault table, brought about with real processes and read back from exported spans alone.

use std::time::Duration;

use brokkr_tests::{
    fault_table::{FaultTable, ROWS, Row},
    otlp::{Receiver, Where},
};
use futures::future::join_all;

use crate::allowed::assert_catalogued;

/// An agent is missed after two rounds of the broker's jobs; everything else is quicker.
const SEEN: Duration = Duration::from_secs(150);

async fn told(row: &Row, table: &FaultTable<'_>, receiver: &Receiver) -> Result<(), String> {
    let incident = table.bring_about(row.fault).await;
    let what = format!("spans that tell {:?}", row.fault);
    let seen = receiver.wait_for(&what, SEEN, |spans| row.judge(&incident, spans).is_ok()).await;
    seen.map(drop).map_err(|missing| {
        let why = row.judge(&incident, &receiver.spans()).err().unwrap_or_default();
        let first = missing.to_string().lines().next().unwrap_or_default().to_owned();
        format!("{:?}: {why} ({first})", row.fault)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_is_told_by_the_spans_of_whoever_met_it() {
    let receiver = Receiver::start(Where::default()).unwrap();
    let table = FaultTable::new(&receiver);
    let ended = join_all(ROWS.iter().map(|row| Box::pin(told(row, &table, &receiver)))).await;
    let untold: Vec<_> = ended.into_iter().filter_map(Result::err).collect();
    assert!(untold.is_empty(), "{}", untold.join("\n"));
    assert_catalogued(&receiver.spans());
}

#[test]
fn every_fault_has_one_row() {
    for (number, row) in ROWS.iter().enumerate() {
        assert!(ROWS[..number].iter().all(|before| before.fault != row.fault), "{row:?}");
    }
}
