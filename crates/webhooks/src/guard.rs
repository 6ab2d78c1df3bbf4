//! What may be reached: https, ports of a list, and addresses of the public internet, unless the configuration says otherwise.
//!
//! A name is looked up for each connection and every address that it has is checked then; the connection goes to one of those that were checked.
//! A name that means something else a moment later, or for somebody else, gains nothing.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

pub use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// What is no place for a webhook: everything that the registries of special addresses name, and metadata services outside of them.
const FORBIDDEN_V4: &[([u8; 4], u8)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // The virtual server of a cloud, which answers like a metadata service.
    ([168, 63, 129, 16], 32),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Of the global addresses of IPv6 those that are special: protocol assignments with Teredo, documentation, 6to4.
const FORBIDDEN_V6: &[([u16; 2], u8)] = &[([0x2001, 0], 23), ([0x2001, 0xdb8], 32), ([0x2002, 0], 16), ([0x3fff, 0], 20)];

/// Why something is not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither `https` nor an allowed `http`.
    #[error("the URL has to begin with https://")]
    Scheme,
    /// Not a URL with a host, or one with a user in it.
    #[error("the URL needs a host, and may hold neither a user nor a password")]
    Url,
    /// A port that is not in the list.
    #[error("port {0} is not among the allowed ones")]
    Port(u16),
    /// An address that must not be reached.
    #[error("{0} is not an address of the public internet, and not allowed by the configuration")]
    Address(IpAddr),
    /// A name that has no address.
    #[error("the name has no address")]
    Unknown,
}

/// The rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Networks that may be reached though they are not public.
    pub networks: Vec<IpNet>,
    /// Ports that may be reached.
    pub ports: Vec<u16>,
    /// Whether plain HTTP is allowed.
    pub http: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self { networks: Vec::new(), ports: vec![443], http: false }
    }
}

impl Guard {
    /// Checks everything that the URL itself says. What its name means is checked when it is connected to.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let is_allowed = url.scheme() == "https" || (self.http && url.scheme() == "http");
        if !is_allowed {
            return Err(Refused::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Url);
        }
        // The parser has read every way of writing a number that a resolver would take for an address.
        match url.host().ok_or(Refused::Url)? {
            Host::Ipv4(address) => self.check_address(address.into())?,
            Host::Ipv6(address) => self.check_address(address.into())?,
            Host::Domain(_) => {}
        }
        let port = url.port_or_known_default().ok_or(Refused::Url)?;
        if self.ports.contains(&port) { Ok(()) } else { Err(Refused::Port(port)) }
    }

    /// Checks an address.
    ///
    /// # Errors
    /// When it must not be reached.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refused> {
        let canonical = address.to_canonical();
        let is_allowed = |address: &IpAddr| self.networks.iter().any(|network| network.contains(address));
        if is_public(canonical) || is_allowed(&address) || is_allowed(&canonical) {
            Ok(())
        } else {
            Err(Refused::Address(address))
        }
    }
}

/// Whether an address belongs to the public internet. An address of IPv4 in one of IPv6 is to be unpacked before.
fn is_public(address: IpAddr) -> bool {
    let within = |network: IpAddr, bits: u8| IpNet::new(network, bits).is_ok_and(|network| network.contains(&address));
    match address {
        IpAddr::V4(_) => !FORBIDDEN_V4.iter().any(|(network, bits)| within((*network).into(), *bits)),
        // Only 2000::/3 is global at all: loopback, link-local, unique local, multicast, NAT64 and everything unassigned are outside.
        IpAddr::V6(v6) => {
            v6.segments()[0] & 0xe000 == 0x2000
                && !FORBIDDEN_V6.iter().any(|([a, b], bits)| within(Ipv6Addr::new(*a, *b, 0, 0, 0, 0, 0, 0).into(), *bits))
        }
    }
}

/// Looks names up.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses that this name has now; the ports mean nothing.
    fn lookup(&self, name: String) -> Lookups;
}

/// What a name means.
pub type Lookups = std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send>>;

/// The machine's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Lookup for System {
    fn lookup(&self, name: String) -> Lookups {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// Resolves names to addresses that may be reached, and to no others.
pub(crate) struct Guarded {
    pub(crate) guard: Arc<Guard>,
    pub(crate) lookup: Arc<dyn Lookup>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, found) = (Arc::clone(&self.guard), self.lookup.lookup(name.as_str().to_owned()));
        Box::pin(async move {
            let addresses = found.await?;
            // One bad address condemns the name: whoever mixes them wants to be connected to the bad one.
            for address in &addresses {
                guard.check_address(address.ip())?;
            }
            if addresses.is_empty() {
                return Err(Refused::Unknown.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, url: &str) -> Result<(), Refused> {
        guard.check(&Url::parse(url).unwrap())
    }

    #[test]
    fn special_addresses_are_refused_however_they_are_written() {
        let guard = Guard { http: true, ports: vec![80, 443], ..Guard::default() };
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "0xa9fea9fe",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::127.0.0.1]",
            "[fe80::1]",
            "[fec0::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::1]",
            "[100::1]",
            "[2001:db8::1]",
            "[2001::1]",
            "[2002:7f00:1::]",
            "[3fff::1]",
            "[5f00::1]",
        ] {
            let refused = check(&guard, &format!("http://{host}/"));
            assert!(matches!(refused, Err(Refused::Address(_))), "{host}: {refused:?}");
        }
        for host in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "[2606:4700::1111]",
            "[2a00::1]",
            "example.com",
        ] {
            assert_eq!(check(&guard, &format!("http://{host}/")), Ok(()), "{host}");
        }
    }

    #[test]
    fn https_and_the_listed_ports_alone_are_allowed() {
        let guard = Guard::default();
        assert_eq!(check(&guard, "https://example.com/hook?a=b"), Ok(()));
        assert_eq!(check(&guard, "http://example.com/"), Err(Refused::Scheme));
        assert_eq!(check(&guard, "ftp://example.com/"), Err(Refused::Scheme));
        assert_eq!(check(&guard, "file:///etc/passwd"), Err(Refused::Scheme));
        assert_eq!(check(&guard, "https://example.com:8443/"), Err(Refused::Port(8443)));
        assert_eq!(check(&guard, "https://user@example.com/"), Err(Refused::Url));
        assert_eq!(check(&guard, "https://:secret@example.com/"), Err(Refused::Url));
    }

    #[test]
    fn an_allowed_network_is_reached_in_both_writings_and_its_neighbours_are_not() {
        let guard = Guard { networks: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()], ..Guard::default() };
        for (address, allowed) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("10.2.0.1", false), ("fd00::1", true), ("fd01::1", false)]
        {
            assert_eq!(guard.check_address(address.parse().unwrap()).is_ok(), allowed, "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn an_address_of_ipv4_is_as_reachable_inside_of_one_of_ipv6(bits: u32) {
            let (v4, guard) = (std::net::Ipv4Addr::from_bits(bits), Guard::default());
            let mapped = IpAddr::from(v4.to_ipv6_mapped());
            proptest::prop_assert_eq!(guard.check_address(v4.into()).is_ok(), guard.check_address(mapped).is_ok());
            let translated = Ipv6Addr::from_bits(0x0064_ff9b_u128 << 96 | u128::from(bits));
            proptest::prop_assert!(guard.check_address(translated.into()).is_err());
        }
    }
}
