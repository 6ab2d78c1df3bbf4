//! Death on demand, in test builds only: the process kills itself between two statements of a write.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Steps until death; 0 is never.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Lets this process die by SIGKILL at the n-th step of its write transactions: before each statement, before COMMIT, and after it.
pub(crate) fn die_at(step: u64) {
    LEFT.store(step, Ordering::SeqCst);
}

/// One step further; does not return from the last one.
pub(super) fn step() {
    if LEFT.load(Ordering::SeqCst) == 0 || LEFT.fetch_sub(1, Ordering::SeqCst) > 1 {
        return;
    }
    kill_process(getpid(), Signal::KILL).unwrap();
    // The signal ends every thread; this one must not go on meanwhile.
    loop {
        std::thread::park();
    }
}
