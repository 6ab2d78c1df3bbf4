//! A stack of its own for the interpreter, whose frames are large: a task's stack is enough for a few levels of nesting only.

use std::thread;

/// Twice what the deepest expression needs, as a test shows.
pub(super) const STACK: usize = 8 << 20;

/// Does some work on such a stack while the caller waits. Nothing when it panics, or when there are no more threads to be had.
pub(super) fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("health-rule".to_owned()).stack_size(STACK).spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}
