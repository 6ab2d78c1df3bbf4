//! `process_*`: what the process uses of its machine, by the names that everybody's dashboards know.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use prometheus::{
    core::Collector,
    process_collector::ProcessCollector,
    proto::{MetricFamily, MetricType},
};

/// What was read is good for so long: one look at the metrics asks for each number by itself, and whoever has thousands of
/// connections has as many descriptors to count.
const GOOD_FOR: Duration = Duration::from_millis(500);

/// Declares them all. They go the way of every other metric, to whoever asks and to a collector.
pub(super) fn register(meter: &Meter) {
    let usage = Arc::new(Usage { collector: ProcessCollector::for_self(), last: Mutex::default() });
    for family in usage.now().iter() {
        let (name, help) = (family.name().to_owned(), family.help().to_owned());
        let usage = Arc::clone(&usage);
        let read = move |name: &str| usage.now().iter().find(|family| family.name() == name).and_then(value);
        if family.get_field_type() == MetricType::COUNTER {
            // The exporter appends the suffix.
            let counter = meter.f64_observable_counter(name.trim_end_matches("_total").to_owned()).with_description(help);
            counter.with_callback(move |observer| read(&name).into_iter().for_each(|value| observer.observe(value, &[]))).build();
        } else {
            let gauge = meter.f64_observable_gauge(name.clone()).with_description(help);
            gauge.with_callback(move |observer| read(&name).into_iter().for_each(|value| observer.observe(value, &[]))).build();
        }
    }
}

struct Usage {
    collector: ProcessCollector,
    last: Mutex<Option<(Instant, Arc<Vec<MetricFamily>>)>>,
}

impl Usage {
    fn now(&self) -> Arc<Vec<MetricFamily>> {
        let mut last = self.last.lock();
        let good = last.as_ref().filter(|(at, _)| at.elapsed() < GOOD_FOR).map(|(_, families)| Arc::clone(families));
        good.unwrap_or_else(|| {
            let families = Arc::new(self.collector.collect());
            *last = Some((Instant::now(), Arc::clone(&families)));
            families
        })
    }
}

fn value(family: &MetricFamily) -> Option<f64> {
    let metric = family.get_metric().first()?;
    Some(match family.get_field_type() {
        MetricType::COUNTER => metric.get_counter().get_value(),
        _ => metric.get_gauge().get_value(),
    })
}
