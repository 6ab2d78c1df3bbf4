//! How metrics are declared: a row each, whose doc comment is the help text and the row of the reference, with a query to begin with.

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets, in seconds.
    Histogram,
}

/// A label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values, where they are words; none where [`Label::of`] says what they are.
    pub values: &'static [&'static str],
    /// What the values are, in words. Bounded by the code and never by a caller.
    pub of: &'static str,
}

/// A metric of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricInfo {
    /// The name in both formats, suffixes included.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its help text.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// Upper bounds of the buckets of a histogram.
    pub buckets: &'static [f64],
    /// A query that answers a question with it, in `PromQL`.
    pub query: &'static str,
}

impl MetricInfo {
    /// The names of its labels.
    pub fn label_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.labels.iter().map(|label| label.name)
    }
}

impl MetricKind {
    /// The word in the exposition formats.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Every metric of both daemons, for the reference.
pub fn catalogue() -> impl Iterator<Item = &'static MetricInfo> {
    [super::BROKER, super::AGENT, super::PROCESS].into_iter().flatten()
}

/// Declares a struct of instruments and the static list of what is in it.
macro_rules! metrics {
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident, $list:ident;
        $($(#[doc = $help:literal])+ $field_vis:vis $field:ident: $kind:ident $metric:literal [$($label:ident),*] $(in $buckets:ident)? => $query:literal;)+
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[doc = $help])+ $field_vis $field: $crate::metrics::instruments::$kind,)+
        }

        #[doc = concat!("The metrics of [`", stringify!($name), "`].")]
        $vis const $list: &[$crate::metrics::MetricInfo] = &[
            $(metrics!(@info $kind $metric [$($help),+] [$($label),*] [$($buckets)?] $query),)+
        ];

        impl $name {
            pub(crate) fn declare(instruments: &$crate::metrics::Instruments) -> Self {
                Self {
                    $($field: $crate::metrics::instruments::$kind::declare(instruments, &metrics!(@info $kind $metric [$($help),+] [$($label),*] [$($buckets)?] $query)),)+
                }
            }
        }
    };
    (@info $kind:ident $metric:literal [$($help:literal),+] [$($label:ident),*] [$($buckets:ident)?] $query:literal) => {
        $crate::metrics::MetricInfo {
            name: $metric,
            kind: $crate::metrics::instruments::$kind::KIND,
            help: concat!($($help),+).trim_ascii(),
            labels: &[$($crate::metrics::labels::$label),*],
            buckets: metrics!(@buckets $($buckets)?),
            query: $query,
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

pub(super) use metrics;
