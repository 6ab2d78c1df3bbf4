//! How requests reach the API server.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper_util::{
    client::legacy::{
        Client as Pool,
        connect::{HttpConnector, proxy::Tunnel},
    },
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
};
use tower::{BoxError, ServiceBuilder, util::Either};

use super::{CallLayer, SetupError};

/// A client with this layer around each call.
///
/// The stack is the library's own, except that its connections do not hold back small packets, directly or through a proxy: with the
/// default of the operating system the first request of each new connection waits 40 ms, until the server has acknowledged the end of
/// the TLS handshake.
pub(super) fn client(config: Config, layer: &CallLayer) -> Result<Client, SetupError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let pool = Pool::builder(TokioExecutor::new());
    let pool = match &config.proxy_url {
        None => {
            let connector = config.rustls_https_connector_with_connector(connector).map_err(SetupError::Client)?;
            Either::Left(pool.build::<_, Body>(connector))
        }
        Some(proxy) => {
            let tunnel = tunnel(proxy, connector)?;
            let connector = config.rustls_https_connector_with_connector(tunnel).map_err(SetupError::Client)?;
            Either::Right(pool.build::<_, Body>(connector))
        }
    };
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(SetupError::Client)?)
        .layer(config.extra_headers_layer().map_err(SetupError::Client)?)
        .map_err(BoxError::from)
        .service(pool);
    Ok(ClientBuilder::new(service, config.default_namespace).with_layer(layer).build())
}

/// Connections through a proxy that is asked with `CONNECT`, with the name and password of its address.
fn tunnel(proxy: &Uri, connector: HttpConnector) -> Result<Tunnel<HttpConnector>, SetupError> {
    if proxy.scheme_str() != Some("http") {
        return Err(SetupError::Proxy);
    }
    let tunnel = Tunnel::new(proxy.clone(), connector);
    let Some((credentials, _)) = proxy.authority().and_then(|authority| authority.as_str().rsplit_once('@')) else {
        return Ok(tunnel);
    };
    let value =
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(decoded(credentials)))).map_err(|_| SetupError::Proxy)?;
    Ok(tunnel.with_auth(value))
}

/// Text of an address without its percent signs.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some((byte, rest)) = bytes.split_first() {
        let digits = rest.first_chunk::<2>().filter(|_| *byte == b'%');
        let escaped = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes = if escaped.is_some() { &rest[2..] } else { rest };
        decoded.push(escaped.unwrap_or(*byte));
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_with_signs_of_an_address_reaches_the_proxy_as_it_is() {
        assert_eq!(decoded("ann:p%40ss%3aword"), b"ann:p@ss:word");
        assert_eq!(decoded("100%:%zz%4"), b"100%:%zz%4", "what is no escape stays");
    }

    #[test]
    fn a_proxy_that_is_not_spoken_to_in_the_clear_is_refused() {
        let connector = HttpConnector::new();
        assert!(tunnel(&Uri::from_static("http://ann:secret@proxy:3128"), connector.clone()).is_ok());
        for proxy in ["https://proxy:3128", "socks5://proxy:1080"] {
            assert!(matches!(tunnel(&Uri::from_static(proxy), connector.clone()), Err(SetupError::Proxy)), "{proxy}");
        }
    }
}
