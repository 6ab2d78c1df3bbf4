//! How many requests a caller may send: one quota for each key, one for each address of those who come without a valid key.
//!
//! State is kept for keys that memory knows to be valid and for a bounded number of addresses, so that strangers cannot make it grow.

mod bucket;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU64,
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use brokkr_api::{ErrorCode, GeneratorId, KeyId, Timestamp, keys::Role, routes};
use http::{Extensions, request::Parts};

use super::{
    AppState,
    auth::{KnownKey, known_key},
    error::Failure,
};
use crate::{config::LimitsConfig, store::KeyRow};
use bucket::{Buckets, Quota};

/// Most addresses with a quota of their own; all further ones share one.
const MAX_ADDRESSES: usize = 10_000;

/// The quotas, and what is used of them.
pub(crate) struct Limits {
    config: LimitsConfig,
    keys: Buckets<KeyId>,
    generators: Buckets<GeneratorId>,
    addresses: Buckets<IpAddr>,
}

impl Limits {
    pub(crate) fn new(config: LimitsConfig) -> Self {
        Self {
            config,
            keys: Buckets::new(usize::MAX),
            generators: Buckets::new(usize::MAX),
            addresses: Buckets::new(MAX_ADDRESSES),
        }
    }

    /// What one key may send; nothing stands for "as much as it likes". A generator's own quota is for all its keys together, and comes on top.
    fn limit_for(&self, key: &KeyRow) -> Option<Quota> {
        let LimitsConfig { requests_per_second, burst, agent_requests_per_second, agent_burst, .. } = self.config;
        match key.role {
            Role::Agent => Quota::new(agent_requests_per_second, agent_burst),
            Role::Admin | Role::Operator | Role::Viewer | Role::Generator => Quota::new(requests_per_second, burst),
        }
    }

    /// Takes one request from the caller's quota, or says after how many seconds there is one again.
    fn take(&self, caller: Caller<'_>, now: Timestamp) -> Result<(), NonZeroU64> {
        match caller {
            Caller::Key(key) => {
                self.limit_for(key).map_or(Ok(()), |quota| self.keys.take(key.id, quota, now))?;
                let shared = key.generator.zip(key.quota.requests_per_minute);
                shared.map_or(Ok(()), |(generator, most)| self.generators.take(generator, Quota::per_minute(most), now))
            }
            Caller::Stranger(address) => {
                let quota = Quota::new(self.config.anonymous_requests_per_second, self.config.anonymous_burst);
                quota.map_or(Ok(()), |quota| self.addresses.take(network(address), quota, now))
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Caller<'a> {
    /// Comes with a key that memory knows to be valid.
    Key(&'a KeyRow),
    /// Comes with none, or with one that has yet to be looked up.
    Stranger(IpAddr),
}

/// Who shares a quota: an IPv4 address, or the /64 that a host with IPv6 chooses its addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The address at the other end of the connection; headers that claim another are anybody's to write.
fn peer(extensions: &Extensions) -> IpAddr {
    let info = extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

/// What watches over the broker is answered however much is asked.
fn is_probe(parts: &Parts, metrics: &str) -> bool {
    [routes::HEALTHZ, routes::READYZ, metrics].contains(&parts.uri.path())
}

/// Refuses what is above the caller's quota, before anything is done for it.
pub(super) async fn limit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if !is_probe(&parts, &state.settings.metrics_path) {
        let now = state.clock.now();
        let key = known_key(&state, &parts);
        let caller = key.as_deref().map_or_else(|| Caller::Stranger(peer(&parts.extensions)), Caller::Key);
        let whose = if key.is_some() { "with this key" } else { "without a valid key from this address" };
        if let Err(seconds) = state.limits.take(caller, now) {
            let detail = format!("there are too many requests {whose}: go on in {seconds} s");
            return Failure::new(ErrorCode::RateLimited, detail).retry_after(seconds.get()).into_response();
        }
        if let Some(key) = key {
            parts.extensions.insert(KnownKey(key));
        }
    }
    next.run(Request::from_parts(parts, body)).await
}

/// Shared by everything that takes requests.
pub(crate) type SharedLimits = Arc<Limits>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_network_share_a_quota_and_a_mapped_address_is_the_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::7"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
