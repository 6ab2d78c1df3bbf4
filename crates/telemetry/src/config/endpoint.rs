//! Addresses of collectors, as people write them.

use super::Protocol;

/// The port of Jaeger's old collector, which spoke Jaeger's own protocol.
const OLD_JAEGER: u16 = 14268;

/// An address that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme, host and port, and perhaps a path.
    pub url: String,
    /// The protocol that its port stands for, where it is one of the usual ones.
    pub protocol: Option<Protocol>,
    /// What a person should know about it.
    pub warning: Option<String>,
}

/// An address that is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an http:// or https:// URL with a host")]
pub struct EndpointError(String);

/// Understands an address, or says that it is none. The address of an old collector of Jaeger becomes that of its OTLP port.
///
/// # Errors
/// When it has no scheme or host, carries credentials or a query, or its port is no port.
pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
    let refuse = || EndpointError(text.to_owned());
    let uri: http::Uri = text.parse().map_err(|_| refuse())?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or_else(refuse)?;
    let authority = uri.authority().ok_or_else(refuse)?.as_str();
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(refuse)?;
    let port = authority.strip_prefix(host).ok_or_else(refuse)?;
    let is_path = uri.path().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte));
    if !is_host(host) || !is_path || text.contains('#') {
        return Err(refuse());
    }
    if !port.is_empty() && uri.port_u16().is_none_or(|port| port == 0) || uri.query().is_some() {
        return Err(refuse());
    }
    if uri.port_u16() == Some(OLD_JAEGER) {
        let url = format!("{scheme}://{host}:4317");
        let warning = format!("{text} is the old collector of Jaeger, which takes no OTLP: spans go to {url}");
        return Ok(Endpoint { url, protocol: Some(Protocol::Grpc), warning: Some(warning) });
    }
    let protocol = match uri.port_u16() {
        Some(4317) => Some(Protocol::Grpc),
        Some(4318) => Some(Protocol::HttpProtobuf),
        _ => None,
    };
    Ok(Endpoint { url: text.to_owned(), protocol, warning: None })
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return (2..=39).contains(&address.len()) && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    }
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    ends(host.bytes().next()) && ends(host.bytes().last()) && host.bytes().all(is_inner)
}

/// Whether two addresses are the same server: what is secret for the one is no secret for the other.
pub(crate) fn same_server(one: &str, other: &str) -> bool {
    let place = |text: &str| {
        let uri = text.parse::<http::Uri>().ok()?;
        Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_ascii_lowercase()))
    };
    place(one).is_some_and(|one| place(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_scheme_and_host_and_carries_nothing_secret() {
        for text in ["http://collector:4317", "https://c.example/otlp", "http://[::1]:4318", "http://10.0.0.1"] {
            assert_eq!(parse(text).unwrap().url, text);
        }
        let malformed = [
            "",
            "collector:4317",
            "ftp://collector",
            "http://",
            "http://:4317",
            "http://host:99999",
            "http://host:",
            "http://a b",
        ];
        for text in
            malformed.into_iter().chain(["http://user:hush@host", "http://host/?key=1", "http://host:0", "grpc://host:4317"])
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_old_collector_of_jaeger_is_taken_for_its_otlp_port_with_a_warning() {
        let endpoint = parse("http://jaeger.example:14268/api/traces").unwrap();
        assert_eq!((endpoint.url.as_str(), endpoint.protocol), ("http://jaeger.example:4317", Some(Protocol::Grpc)));
        assert!(endpoint.warning.unwrap().contains("http://jaeger.example:4317"));
    }

    #[test]
    fn the_usual_ports_say_their_protocol() {
        let protocol = |text| parse(text).unwrap().protocol;
        assert_eq!(protocol("http://a:4317"), Some(Protocol::Grpc));
        assert_eq!(protocol("http://a:4318"), Some(Protocol::HttpProtobuf));
        assert_eq!(protocol("http://a:9"), None);
    }

    #[test]
    fn another_port_is_another_server() {
        assert!(same_server("http://a:1/x", "http://A:1"));
        assert!(!same_server("http://a:1", "http://a:2"));
        assert!(!same_server("http://a:1", "https://a:1"));
        assert!(!same_server("", ""));
    }
}
