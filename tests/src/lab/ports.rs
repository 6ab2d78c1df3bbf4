use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    net::TcpListener,
};

const LOWEST: u16 = 12_000;
const ATTEMPTS: u64 = 200;

/// A free TCP port on 127.0.0.1 for a program that cannot be told to choose one itself.
///
/// Taken from below the range of outgoing connections: such a port cannot be lost to an outgoing connection while the
/// program is stopped, and a client that keeps dialling it cannot connect to itself.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> io::Result<u16> {
    let ceiling = ephemeral_floor().unwrap_or(32_768);
    if ceiling > LOWEST + 1_000 {
        let hasher = RandomState::new();
        for attempt in 0..ATTEMPTS {
            let span = u64::from(ceiling - LOWEST);
            let offset = u16::try_from(hasher.hash_one(attempt) % span).unwrap_or(0);
            if TcpListener::bind(("127.0.0.1", LOWEST + offset)).is_ok() {
                return Ok(LOWEST + offset);
            }
        }
    }
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn ephemeral_floor() -> Option<u16> {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?.split_whitespace().next()?.parse().ok()
}
