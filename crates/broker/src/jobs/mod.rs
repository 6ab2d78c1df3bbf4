//! Background work, under leases where only one broker may do it.

pub(crate) mod sequencer;
