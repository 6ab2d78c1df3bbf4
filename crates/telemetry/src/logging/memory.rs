//! Log lines in memory, for tests.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Lines kept in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    pub(crate) fn writer(&self) -> BoxMakeWriter {
        let memory = self.clone();
        BoxMakeWriter::new(move || memory.clone())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl std::io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
