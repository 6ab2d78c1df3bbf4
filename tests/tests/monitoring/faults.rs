//! The table of faults, with a Prometheus beside it: every fault of it pages somebody.

use brokkr_api::{Name, stacks::PutStack};
use brokkr_tests::{
    fault_table::{Fault, FaultTable, Incident, ROWS},
    fleet::LIMIT,
    otlp::{Receiver, Where},
    prometheus::Target,
};
use futures::{StreamExt, stream};

use crate::world::{watch, while_asking};

/// Faults side by side.
const SIDE_BY_SIDE: usize = 3;

/// Which alert tells a fault.
enum Told {
    /// This one, while the fault lasts, and of this class where it tells one.
    By { alert: &'static str, class: Option<&'static str> },
    /// This one, in a test of its own: here the fault is over too soon for it.
    Elsewhere(&'static str),
    /// None: whoever asked for it has the answer, or sees what became of the work order.
    WhoeverAsked,
}

fn told(fault: Fault) -> Told {
    let by = |alert| Told::By { alert, class: None };
    // Failures that trying again does not mend.
    let for_good = |class| Told::By { alert: "BrokkrAgentFailures", class: Some(class) };
    match fault {
        Fault::ApiServerFails | Fault::ApiServerConflicts | Fault::ApiServerSilent | Fault::QuotaExceeded => {
            by("BrokkrDeploymentsFailed")
        }
        Fault::ApiServerForbids => for_good("forbidden"),
        Fault::UnknownKind => for_good("missing_kind"),
        Fault::InvalidManifest => for_good("invalid"),
        Fault::AgentOffline => by("BrokkrAgentsOffline"),
        Fault::DatabaseSlow(_) | Fault::DatabaseDown => by("BrokkrHttpErrors"),
        Fault::BrokerRestarted => Told::Elsewhere("BrokkrNoBroker"),
        // After five days of it, or at once when the receiver says that it is gone.
        Fault::WebhookRefused | Fault::WebhookSilent | Fault::WebhookBlocked => Told::Elsewhere("BrokkrWebhookDisabled"),
        Fault::CollectorDead | Fault::CollectorSlow => Told::Elsewhere("BrokkrTelemetryFailing"),
        Fault::BrokenManifest
        | Fault::WorkContainerFails
        | Fault::WorkRefused
        | Fault::WorkOverQuota
        | Fault::WorkWithoutImage
        | Fault::WorkTooLong
        | Fault::BuildFails => Told::WhoeverAsked,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_table_that_lasts_fires_its_alert() {
    let receiver = Receiver::start(Where::default()).unwrap();
    stream::iter(ROWS).for_each_concurrent(SIDE_BY_SIDE, |row| lasts(&receiver, row.fault)).await;
}

async fn lasts(receiver: &Receiver, fault: Fault) {
    let Told::By { alert, class } = told(fault) else { return };
    // Each with daemons of its own, so that no other fault can be what is told.
    let table = FaultTable::new(receiver);
    let incident = table.bring_about(fault).await;
    let targets: Vec<_> = incident.daemons.iter().map(|(service, base)| Target::new(service, base)).collect();
    let prometheus = watch(&targets).await;
    let fires = prometheus.fires(alert, LIMIT);
    let fired = while_asking(fires, || ask_again(&incident)).await;
    let fired = fired.map_err(|error| format!("{fault:?}: {error}")).unwrap();
    if let Some(class) = class {
        assert_eq!(fired.labels["class"], class, "{fault:?}: {}", fired.say());
    }
}

/// A request that meets the fault again, where one can.
async fn ask_again(incident: &Incident) {
    if let Some(admin) = &incident.admin {
        let name: Name = "early".parse().unwrap();
        let answer = admin.put_stack(&name, &PutStack::default()).await;
        assert!(answer.is_err(), "the fault is over");
    }
}

#[test]
fn every_other_fault_has_a_test_of_its_own() {
    let tests = [include_str!("outages.rs"), include_str!("collectors.rs")].concat();
    let elsewhere = ROWS.iter().filter_map(|row| match told(row.fault) {
        Told::Elsewhere(alert) => Some(alert),
        _ => None,
    });
    for alert in elsewhere {
        assert!(tests.contains(&format!("fires(\"{alert}\"")), "{alert}");
    }
}
