use anstyle::{AnsiColor, Style};
use brokkr_tests::otlp::{Paint, Trace};
use std::{
    collections::BTreeSet,
    future::Future,
    io::{IsTerminal, Write, stdout},
    time::{Duration, Instant},
};
use tokio::time::interval;

const FRAMES: [&str; 8] = ["⣾", "⣽", "⣻", "⢿", "⡿", "⣟", "⣯", "⣷"];
const RULE: usize = 96;

/// What a person sees: on a terminal with colours and a moving line while something is waited for, elsewhere plain lines.
///
/// Nothing fails because nobody reads any more: what is shown may be lost, what was started is still ended in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    terminal: bool,
    paint: Paint,
}

impl Screen {
    pub(super) fn of_stdout() -> Self {
        Self { terminal: stdout().is_terminal(), paint: Paint::for_stream(&stdout()) }
    }

    /// For the drawings of the OTLP receiver.
    pub(super) fn paint(self) -> Paint {
        self.paint
    }

    /// A step begins.
    pub(super) fn heading(self, text: &str) {
        let rule = "━".repeat(RULE.saturating_sub(text.chars().count() + 4));
        let line = format!("━━ {text} {rule}");
        self.line("");
        self.line(&self.with(Style::new().bold(), &line));
    }

    /// A command, as a person types it.
    pub(super) fn command(self, typed: &str) {
        let prompt = self.with(AnsiColor::Green.on_default().bold(), "$");
        self.line(&format!("{prompt} {}", self.with(Style::new().bold(), typed)));
    }

    /// What a command printed: indented, without its empty lines.
    pub(super) fn output(self, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.line(&format!("  {}", line.trim_end()));
        }
    }

    /// A table of `kubectl`, whose headers stand back.
    pub(super) fn table(self, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let is_header = line
                .split_whitespace()
                .all(|word| word.chars().all(|letter| letter.is_ascii_uppercase() || "-()".contains(letter)));
            let line = line.trim_end();
            self.line(&format!("  {}", if is_header { self.faint(line) } else { line.to_owned() }));
        }
    }

    /// A drawing, as it is.
    pub(super) fn drawing(self, text: &str) {
        for line in text.lines() {
            self.line(line);
        }
    }

    /// Something that has been verified.
    pub(super) fn verified(self, text: &str) {
        self.line(&format!("{} {text}", self.with(AnsiColor::Green.on_default().bold(), "✓")));
    }

    /// Something aside.
    pub(super) fn note(self, text: &str) {
        self.line(&self.faint(text));
    }

    /// Says what is waited for until it is there: a moving line with the elapsed time, or one plain line. What remains on a terminal
    /// is what is said next.
    pub(super) async fn during<T>(self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = Box::pin(work);
        if !self.terminal {
            self.line(&format!("… {what}"));
            return work.await;
        }
        let began = Instant::now();
        let mut pulse = interval(Duration::from_millis(100));
        // However the wait ends, also by being given up, the line goes away.
        let _clear = Clear(self);
        for frame in FRAMES.into_iter().cycle() {
            tokio::select! {
                done = &mut work => return done,
                _ = pulse.tick() => {
                    let elapsed = self.faint(&format!("{:.1} s", began.elapsed().as_secs_f64()));
                    self.write(&format!("\r\x1b[2K{frame} {what} … {elapsed}"));
                }
            }
        }
        work.await
    }

    /// As [`Screen::during`], for a command that has been shown already.
    pub(super) async fn during_command<T>(self, work: impl Future<Output = T>) -> T {
        if self.terminal { self.during("running", work).await } else { work.await }
    }

    /// The heading of a trace's drawing.
    pub(super) fn trace(self, trace: &Trace) {
        let services: BTreeSet<&str> = trace.spans.iter().map(|span| span.service.as_str()).collect();
        let services = services.into_iter().collect::<Vec<_>>().join(", ");
        let id = self.with(Style::new().bold(), &format!("trace {}", trace.id));
        let millis = Duration::from_nanos(trace.nanos()).as_secs_f64() * 1_000.0;
        self.line("");
        self.line(&format!("{id}  {millis:.0} ms · {} spans of {services}", trace.spans.len()));
    }

    fn faint(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    fn with(self, style: Style, text: &str) -> String {
        match self.paint {
            Paint::Plain => text.to_owned(),
            Paint::Colour => format!("{style}{text}{style:#}"),
        }
    }

    fn line(self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    fn write(self, text: &str) {
        let mut out = stdout().lock();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }
}

struct Clear(Screen);

impl Drop for Clear {
    fn drop(&mut self) {
        self.0.write("\r\x1b[2K");
    }
}
