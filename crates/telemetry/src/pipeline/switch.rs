//! The place where one way of spans is changed for another while the process runs.

use std::{sync::Arc, time::Duration};

use opentelemetry::Context;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use parking_lot::RwLock;

use super::{Cause, Counts, Sender};

/// Where spans go that have ended.
#[derive(Debug, Clone, Default)]
pub(crate) enum Way {
    /// Tracing is off: those that were under way are lost.
    #[default]
    Off,
    /// Nowhere, as it was asked for, or because no exporter could be made.
    Nowhere,
    /// Through a queue to an exporter.
    Out(Arc<Sender>),
}

/// The present way.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    way: RwLock<Way>,
}

impl Switch {
    /// From now on spans go this way. Gives the former one back, for its end.
    pub(crate) fn turn(&self, way: Way) -> Way {
        std::mem::replace(&mut self.way.write(), way)
    }

    fn way(&self) -> Way {
        self.way.read().clone()
    }
}

impl Way {
    /// Sends what waits, and ends. Blocks.
    pub(crate) fn end(&self, limit: Duration) -> OTelSdkResult {
        match self {
            Self::Out(sender) => sender.shutdown_with_timeout(limit),
            Self::Off | Self::Nowhere => Ok(()),
        }
    }
}

/// The processor of the one provider that a process has.
#[derive(Debug)]
pub(crate) struct Switched {
    pub(crate) switch: Arc<Switch>,
    pub(crate) counts: Arc<Counts>,
}

impl Switched {
    /// Sends what waits, and ends. Blocks.
    pub(crate) fn end(&self, limit: Duration) -> OTelSdkResult {
        self.switch.way().end(limit)
    }
}

impl SpanProcessor for Switched {
    /// No queue has anything to do at the beginning of a span.
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        match self.switch.way() {
            Way::Out(sender) => sender.on_end(span),
            Way::Off if span.span_context.is_sampled() => self.counts.dropped(Cause::SwitchedOff, 1),
            Way::Off | Way::Nowhere => {}
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        match self.switch.way() {
            Way::Out(sender) => sender.force_flush(),
            Way::Off | Way::Nowhere => Ok(()),
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.end(timeout)
    }
}
