use anstyle::{AnsiColor, Style};
use std::{env, io::IsTerminal};

/// Whether text gets colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Letters only.
    Plain,
    /// With the escape sequences of terminals.
    Colour,
}

impl Paint {
    /// Colours where `stream` is a terminal and `NO_COLOR` is not set.
    pub fn for_stream(stream: &impl IsTerminal) -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !unwanted { Self::Colour } else { Self::Plain }
    }

    /// `text` in a style, if there are any.
    pub(super) fn with(self, style: Style, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("{style}{text}{style:#}"),
        }
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(super) fn error(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    /// The same colour for the same name, in every tree.
    pub(super) fn named(self, name: &str, text: &str) -> String {
        const COLOURS: [AnsiColor; 6] =
            [AnsiColor::Cyan, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::Yellow, AnsiColor::BrightCyan];
        let colour = match name {
            "brokkr-broker" | "broker" => AnsiColor::Cyan,
            "brokkr-agent" | "agent" => AnsiColor::Green,
            "apiserver" | "kube-apiserver" | "Kubernetes API" => AnsiColor::Blue,
            "SQL" => AnsiColor::Yellow,
            "waiting" | "no span" => return self.dim(text),
            other => {
                let sum: usize = other.bytes().map(usize::from).sum();
                COLOURS[sum % COLOURS.len()]
            }
        };
        self.with(colour.on_default(), text)
    }
}

/// Nanoseconds for people: three significant digits or so, with the unit.
pub(super) fn duration(nanos: u64) -> String {
    let micros = nanos / 1_000;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}
