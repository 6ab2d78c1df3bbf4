//! An OTLP receiver in the process of the test, or of `brokkr-lab otlp`: real protobuf over gRPC and HTTP.

mod collection;
mod convert;
mod coverage;
mod paint;
mod receiver;
mod service;
mod shares;
mod span;
mod tree;

pub use collection::{Missing, Trace};
pub use coverage::{Coverage, Gap};
pub use paint::Paint;
pub use receiver::{Receiver, Where};
pub use shares::{Share, share_table};
pub use span::{Event, Kind, Link, Span, Status};

use crate::watch::SECRET;

/// Settings of a daemon that sends every trace there, at once.
pub fn traced(endpoint: &str) -> [(&str, &str); 5] {
    [
        ("BROKKR__TELEMETRY__ENABLED", "true"),
        ("BROKKR__TELEMETRY__ENDPOINT", endpoint),
        ("BROKKR__TELEMETRY__SAMPLING_RATE", "1.0"),
        ("BROKKR__TELEMETRY__BATCH__DELAY", "100ms"),
        ("BROKKR__TELEMETRY__HEADERS__COLLECTOR_KEY", SECRET),
    ]
}
