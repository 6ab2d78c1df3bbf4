use crate::watch::{Emitted, search};
use parking_lot::Mutex;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};
use tokio::sync::watch;

/// What a process prints, line by line, kept and written to a file.
#[derive(Debug, Clone)]
pub struct Output {
    file: PathBuf,
    /// The daemon whose lines are searched for secrets.
    searched: Option<String>,
    lines: Arc<Mutex<Vec<String>>>,
    arrivals: watch::Sender<usize>,
    /// Pipes that are not closed.
    open: watch::Sender<usize>,
}

impl Output {
    pub(super) fn to_file(file: PathBuf, searched: Option<String>) -> Self {
        Self { file, searched, lines: Arc::default(), arrivals: watch::Sender::new(0), open: watch::Sender::new(0) }
    }

    /// Takes lines from a pipe until it closes.
    pub(super) fn follow(&self, pipe: impl Read + Send + 'static) {
        let output = self.clone();
        output.open.send_modify(|open| *open += 1);
        thread::spawn(move || {
            let mut file = File::options().create(true).append(true).open(&output.file).ok();
            let mut pipe = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while pipe.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                if let Some(file) = &mut file {
                    // The copy in the file is for people; the test reads the one in memory.
                    drop(file.write_all(&bytes));
                }
                if let Some(daemon) = &output.searched {
                    search(Emitted::Line, daemon, &bytes);
                }
                output.add(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned());
                bytes.clear();
            }
            output.open.send_modify(|open| *open -= 1);
        });
    }

    /// Waits until everything has been read that was printed. Whoever inherited a pipe keeps it open: have a limit.
    pub(super) async fn complete(&self) {
        // Cannot fail: `self` holds the sender.
        drop(self.open.subscribe().wait_for(|open| *open == 0).await);
    }

    fn add(&self, line: String) {
        let count = {
            let mut lines = self.lines.lock();
            lines.push(line);
            lines.len()
        };
        self.arrivals.send_replace(count);
    }

    /// Waits, for ever if need be, for a line seen or to come.
    pub async fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut arrivals = self.arrivals.subscribe();
        let mut next = 0;
        loop {
            arrivals.borrow_and_update();
            {
                let lines = self.lines.lock();
                if let Some(line) = lines.iter().skip(next).find(|line| wanted(line)) {
                    return line.clone();
                }
                next = lines.len();
            }
            // Cannot fail: `self` holds the sender.
            drop(arrivals.changed().await);
        }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// The last lines, as one text.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines.lock();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Where the lines are written as well; the file goes away with the process's value.
    pub fn file(&self) -> &Path {
        &self.file
    }
}
