//! Plans for the proxy, from a seed.

use std::sync::Arc;

use brokkr_tests::kube_proxy::{Call, Fault, KubeProxy};
use rand::{Rng, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Notify;

/// Most calls that one burst spoils: more would only make the agent wait longer between its attempts.
const BURST: usize = 4;

/// Spoils about half of the next calls; tells how.
pub(crate) fn burst(proxy: &KubeProxy, random: &mut StdRng) -> String {
    let mut left: Vec<Option<Fault>> = (0..random.random_range(1..=BURST)).map(|_| any(random)).collect();
    let said = format!("spoil calls: {left:?}");
    left.reverse();
    proxy.plan(move |call| {
        if call.is_watch() {
            return None;
        }
        // Reads cannot conflict.
        left.pop().flatten().filter(|fault| *fault != Fault::Conflict || call.is_write())
    });
    said
}

fn any(random: &mut StdRng) -> Option<Fault> {
    match random.random_range(0..14) {
        0 => Some(Fault::TooMany(1)),
        1 => Some(Fault::TooMany(0)),
        2 => Some(Fault::Conflict),
        3 => Some(Fault::Internal),
        4 => Some(Fault::Unavailable(0)),
        5 => Some(Fault::Silence),
        6 | 7 => Some(Fault::CloseBefore),
        8 | 9 => Some(Fault::CloseAfter),
        _ => None,
    }
}

/// Kills a process exactly at one of the next calls, which then reaches the API server or does not. The answer tells that it
/// happened.
pub(crate) fn kill_at(proxy: &KubeProxy, pid: u32, calls: usize, reaches: bool) -> Arc<Notify> {
    let killed = Arc::new(Notify::new());
    let (told, mut left) = (Arc::clone(&killed), calls);
    proxy.plan(move |_: &Call| {
        if left > 0 {
            left -= 1;
            return None;
        }
        if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
            // It fails only for a process that has ended.
            let _ = kill_process(pid, Signal::KILL);
        }
        told.notify_one();
        Some(if reaches { Fault::CloseAfter } else { Fault::CloseBefore })
    });
    killed
}
