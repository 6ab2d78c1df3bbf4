//! The typed HTTP client.
//!
//! It knows no telemetry: a caller adds middleware ([`ClientBuilder::middleware`]). Each request carries its route template as an
//! extension of type `&'static str`, so that middleware can name a request without its ids.

mod agent;
mod error;
mod fleet;
mod key;
mod operate;
mod people;
mod tracing;
mod webhooks;
mod work;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{
    Certificate, Method, NoProxy, Proxy, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use reqwest_middleware::{ClientWithMiddleware, Middleware, RequestBuilder};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

pub use agent::{FreeHands, Polled, TimedPoll};
pub use error::ClientError;
pub use key::{KeySource, SharedKey};
pub use operate::{Conditions, Tagged};

use crate::{CLUSTER_HEADER, PROTOCOL_HEADER, PROTOCOL_VERSION, Problem, error::PROBLEM_CONTENT_TYPE, routes};

/// Time that any request may take beyond the wait that it asks for.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Builds a [`Client`].
pub struct ClientBuilder {
    base: Url,
    key: KeySource,
    user_agent: String,
    headers: HeaderMap,
    middleware: Vec<Arc<dyn Middleware>>,
    authorities: Vec<Certificate>,
    proxy: Option<Proxy>,
}

/// Speaks to one broker with one key. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: ClientWithMiddleware,
    base: Url,
    key: KeySource,
    cluster: Arc<OnceLock<HeaderValue>>,
}

impl ClientBuilder {
    /// A client for the broker at `base`, for example `http://localhost:3000`.
    ///
    /// # Errors
    /// When `base` is not an `http` or `https` URL with a host.
    pub fn new(base: &str, key: KeySource) -> Result<Self, ClientError> {
        let base_url = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base_url.ok_or_else(|| ClientError::InvalidUrl(base.to_owned()))?;
        let user_agent = format!("brokkr/{}", env!("CARGO_PKG_VERSION"));
        Ok(Self {
            base,
            key,
            user_agent,
            headers: HeaderMap::new(),
            middleware: Vec::new(),
            authorities: Vec::new(),
            proxy: None,
        })
    }

    /// Names the program in `User-Agent`.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// A header of every request.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Middleware around every request.
    #[must_use]
    pub fn middleware(mut self, middleware: Arc<dyn Middleware>) -> Self {
        self.middleware.push(middleware);
        self
    }

    /// Believes these authorities too, beside those of the machine; `pem` holds one certificate or more.
    ///
    /// # Errors
    /// When there is no certificate in it.
    pub fn authorities(mut self, pem: &[u8]) -> Result<Self, ClientError> {
        let found = Certificate::from_pem_bundle(pem).map_err(|source| ClientError::Setup(Box::new(source)))?;
        if found.is_empty() {
            return Err(ClientError::Setup("there is no certificate in PEM form".into()));
        }
        self.authorities.extend(found);
        Ok(self)
    }

    /// Reaches the broker through this proxy, except where `NO_PROXY` says otherwise. Without it `HTTPS_PROXY` and `HTTP_PROXY` count.
    ///
    /// # Errors
    /// When it is not the address of a proxy.
    pub fn proxy(mut self, url: &str) -> Result<Self, ClientError> {
        let proxy = Proxy::all(url).map_err(|source| ClientError::Setup(Box::new(source)))?;
        self.proxy = Some(proxy.no_proxy(NoProxy::from_env()));
        Ok(self)
    }

    /// Builds the client. Connects to nothing.
    ///
    /// # Errors
    /// When the platform's certificates cannot be loaded.
    pub fn build(self) -> Result<Client, ClientError> {
        // A second installation fails, and means that there is one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut http = reqwest::Client::builder()
            .user_agent(self.user_agent)
            .default_headers(self.headers)
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_merge(self.authorities);
        if let Some(proxy) = self.proxy {
            http = http.proxy(proxy);
        }
        let http = http.build().map_err(|source| ClientError::Setup(Box::new(source)))?;
        let mut builder = reqwest_middleware::ClientBuilder::new(http);
        for middleware in self.middleware {
            builder = builder.with_arc(middleware);
        }
        Ok(Client { http: builder.build(), base: self.base, key: self.key, cluster: Arc::default() })
    }
}

impl Client {
    /// The broker's address.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The same client with another key.
    #[must_use]
    pub fn with_key(&self, key: KeySource) -> Self {
        Self { key, ..self.clone() }
    }

    /// Names the cluster in every request from here on, of this client and its clones: the UID of its namespace `kube-system`.
    /// A client speaks for one cluster; the first name stays.
    ///
    /// # Errors
    /// When it cannot stand in a header.
    pub fn name_cluster(&self, uid: &str) -> Result<(), ClientError> {
        let value = HeaderValue::from_str(uid).map_err(|source| ClientError::Setup(Box::new(source)))?;
        self.cluster.get_or_init(|| value);
        Ok(())
    }

    fn request(&self, method: Method, template: &'static str, values: &[&str]) -> Result<RequestBuilder, ClientError> {
        let path = routes::fill(template, values);
        let url = self.base.join(&path).map_err(|_| ClientError::InvalidUrl(path))?;
        let mut request = self
            .http
            .request(method, url)
            .timeout(REQUEST_TIMEOUT)
            .header(PROTOCOL_HEADER, PROTOCOL_VERSION)
            .with_extension(template);
        if let Some(cluster) = self.cluster.get() {
            request = request.header(CLUSTER_HEADER, cluster);
        }
        if let Some(key) = self.key.read()? {
            request = request.bearer_auth(key);
        }
        Ok(request)
    }

    async fn get<T: DeserializeOwned>(&self, template: &'static str, values: &[&str]) -> Result<T, ClientError> {
        read(self.request(Method::GET, template, values)?).await
    }

    async fn send<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        template: &'static str,
        values: &[&str],
        body: &B,
    ) -> Result<T, ClientError> {
        read(self.request(method, template, values)?.json(body)).await
    }
}

/// Sends, and reads an answer of type `T` or a problem.
async fn read<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ClientError> {
    let response = accept(request.send().await?).await?;
    response.json().await.map_err(|source| ClientError::Answer(Box::new(source)))
}

/// The response when it is a success or a 304, else its problem.
async fn accept(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_CONTENT_TYPE);
    if !is_problem {
        return Err(ClientError::Status(status.as_u16()));
    }
    match response.json::<Problem>().await {
        Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
        Err(_) => Err(ClientError::Status(status.as_u16())),
    }
}
