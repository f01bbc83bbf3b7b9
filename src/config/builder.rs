//! The builder of a client, and the defaults of its settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::url::{Setting, shown};
use crate::contract::{Assumed, Contract, Operation};
use crate::error::Result;
use crate::http::clock::{Clock, SystemClock};

/// The default number of jobs on a page, which the service documents.
pub(crate) const PAGE_SIZE: u32 = 50;

/// The number of payloads that the service documents for one request.
pub(crate) const LARGEST_BATCH: usize = 1000;

const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RETRIES: u32 = 2;
const MAX_RESPONSE_BYTES: u64 = 64 * 1024 * 1024;

/// One attempt of a request, for [`ClientBuilder::on_attempt`](crate::ClientBuilder::on_attempt).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// What the request is for.
    pub operation: Operation<'a>,
    /// The HTTP method.
    pub method: &'a str,
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// The HTTP status. `None` if the attempt failed before the response was complete.
    pub status: Option<u16>,
    /// Why the attempt failed. `None` if the status is 2xx.
    pub error: Option<&'a str>,
    /// The duration of the attempt, without the pause after it.
    pub elapsed: Duration,
    /// The pause before the next attempt. `None` if there will be none.
    pub retry_in: Option<Duration>,
}

type OnAttempt = Arc<dyn Fn(&Attempt<'_>) + Send + Sync>;

/// A builder for a [`Client`](crate::Client) with custom settings.
///
/// [`Client::builder`](crate::Client::builder) and [`ClientBuilder::from_env`] return one. The API key is the only
/// required setting.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let client = atomiverse::Client::builder()
///     .api_key("av_0123456789")
///     .base_url("http://127.0.0.1:8080")
///     .timeout(Duration::from_secs(20))
///     .max_retries(0)
///     .build()?;
/// # Ok::<(), atomiverse::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct ClientBuilder {
    pub(crate) api_key: Option<Setting>,
    /// Defaults to the origin of `api_url`, or to the address of the service.
    pub(crate) base_url: Option<Setting>,
    pub(crate) api_url: Option<Setting>,
    pub(crate) allow_insecure_http: bool,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_response_bytes: u64,
    pub(crate) user_agent: String,
    /// Replaces the proxy of the environment.
    pub(crate) proxy: Option<Setting>,
    pub(crate) proxy_from_env: bool,
    /// The names and values of headers that are added to every request.
    pub(crate) headers: Vec<(String, String)>,
    /// The header whose value is the key alone, in place of `Authorization: Bearer`.
    pub(crate) api_key_header: Option<String>,
    /// Certificates as PEM, which replace the built-in ones.
    pub(crate) root_certificates: Option<Vec<u8>>,
    pub(crate) platform_certificates: bool,
    pub(crate) ipv4_only: bool,
    pub(crate) max_retries: u32,
    pub(crate) contract: Arc<dyn Contract>,
    pub(crate) on_attempt: Vec<OnAttempt>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ClientBuilder {
    /// Returns a builder with the settings of [`Client::from_env`](crate::Client::from_env), to which others can be
    /// added.
    ///
    /// Reads `ATOMIVERSE_API_KEY`, and also `ATOMIVERSE_BASE_URL` and `ATOMIVERSE_API_URL` if they are set. An empty
    /// variable counts as not set.
    ///
    /// # Errors
    ///
    /// Returns an error if a variable is not valid Unicode. [`build`](ClientBuilder::build) checks the values, and fails if
    /// there is no key.
    pub fn from_env() -> Result<Self> {
        Ok(ClientBuilder {
            api_key: Setting::from_env("ATOMIVERSE_API_KEY")?,
            base_url: Setting::from_env("ATOMIVERSE_BASE_URL")?,
            api_url: Setting::from_env("ATOMIVERSE_API_URL")?,
            ..ClientBuilder::default()
        })
    }

    /// Sets the API key.
    ///
    /// Atomiverse issues workspace keys and runner keys. Use a workspace key: a runner key only registers hardware of
    /// your own. The prefix of the key is not checked.
    pub fn api_key(self, api_key: impl Into<String>) -> Self {
        ClientBuilder { api_key: Some(Setting { name: "api_key", value: api_key.into() }), ..self }
    }

    /// Sets the address of the service. Dashboard links begin with it. Defaults to the origin of
    /// [`api_url`](ClientBuilder::api_url) if only that is set, and otherwise to `https://atomiverse.com`.
    ///
    /// Plain `http://` is accepted only for a server on this machine; see
    /// [`allow_insecure_http`](ClientBuilder::allow_insecure_http).
    pub fn base_url(self, base_url: impl Into<String>) -> Self {
        ClientBuilder { base_url: Some(Setting { name: "base_url", value: base_url.into() }), ..self }
    }

    /// Sets the address of the HTTP API. Defaults to `{base_url}/api/v1`.
    ///
    /// The service does not document this address, so the default is an assumption. If it is wrong, correct it here.
    pub fn api_url(self, api_url: impl Into<String>) -> Self {
        ClientBuilder { api_url: Some(Setting { name: "api_url", value: api_url.into() }), ..self }
    }

    /// Sets the maximum duration of a call, including connecting, retries, pauses and receiving the response. Defaults
    /// to 60 seconds.
    ///
    /// [`Client`](crate::Client#time-limits) lists which methods apply it more than once. Unless retries are disabled,
    /// the first attempt of a call that reads gets at most two thirds of it, which leaves time for a second one.
    pub fn timeout(self, timeout: Duration) -> Self {
        ClientBuilder { timeout, ..self }
    }

    /// Sets the maximum duration of connecting, including a proxy and TLS. Defaults to 10 seconds.
    ///
    /// Looking up the server's host name is not included; the [`timeout`](ClientBuilder::timeout) bounds it. Of a host
    /// with many addresses, at most 16 are tried.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        ClientBuilder { connect_timeout: timeout, ..self }
    }

    /// Sets how many times a request is retried after a transient failure. Defaults to 2. With 0 there is only one
    /// attempt.
    ///
    /// | request | is retried |
    /// |---|---|
    /// | list, get | if the connection fails or breaks, if there is no response in time, or after 408, 425, 429, or 5xx other than 501 and 505 |
    /// | rename, cancel, delete | likewise, but not after 408 or 504, and after a timeout only if nothing was sent |
    /// | submissions | only if nothing was sent, or after 429 |
    ///
    /// The pauses between the attempts begin at 0.5 seconds and double, shortened by up to a quarter at random. If the
    /// server asks for a pause (`Retry-After`), the client waits as long, plus up to half of it at random; if the server
    /// asks for more than the time left, the error is returned at once. After a broken connection that had been idle,
    /// the first retry follows without a pause.
    pub fn max_retries(self, max_retries: u32) -> Self {
        ClientBuilder { max_retries, ..self }
    }

    /// Sets the maximum size of a response that is read, in bytes after decompression. Defaults to 64 MiB.
    pub fn max_response_bytes(self, bytes: u64) -> Self {
        ClientBuilder { max_response_bytes: bytes, ..self }
    }

    /// Sets whether to accept plain `http://` for any host. Disabled by default, because the API key then crosses the
    /// network unencrypted. A server on this machine is accepted in any case, unless there is a
    /// [`proxy`](ClientBuilder::proxy).
    pub fn allow_insecure_http(self, allow: bool) -> Self {
        ClientBuilder { allow_insecure_http: allow, ..self }
    }

    /// Sets the `User-Agent` header. Defaults to `atomiverse-rust/<version>`.
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        ClientBuilder { user_agent: user_agent.into(), ..self }
    }

    /// Sets the proxy, such as `http://user:password@proxy.example:3128`, in place of the one configured in the
    /// environment. It is also used for a server on this machine and for hosts in `NO_PROXY`.
    ///
    /// The client asks the proxy for a tunnel (`CONNECT`). With an `https://` address, the proxy therefore does not see
    /// the API key. With plain `http://` it can read everything.
    ///
    /// SOCKS proxies are not supported.
    pub fn proxy(self, url: impl Into<String>) -> Self {
        ClientBuilder { proxy: Some(Setting { name: "proxy", value: url.into() }), ..self }
    }

    /// Adds a header to every request, for example for a gateway. Can be called more than once.
    ///
    /// The value does not appear in `Debug`, logs or errors, with this exception: if it has fewer than six characters
    /// and the server sends it back, an error may show it.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the header that carries the API key alone, such as `X-API-Key`. By default the key is sent in
    /// `Authorization: Bearer <key>`, which this header replaces.
    pub fn api_key_header(self, name: impl Into<String>) -> Self {
        ClientBuilder { api_key_header: Some(name.into()), ..self }
    }

    /// Sets whether to use the proxy configured in the environment. Enabled by default.
    ///
    /// `HTTPS_PROXY` names the proxy for an `https://` address, and `HTTP_PROXY` the one for an `http://` address. If
    /// that variable is not set or cannot be used, `ALL_PROXY` is used. Each name may also be in lower case. No proxy is
    /// used if `NO_PROXY`, which is read as curl reads it, names the host of the API, or if the API is on this machine.
    /// SOCKS proxies are not supported.
    pub fn proxy_from_env(self, proxy_from_env: bool) -> Self {
        ClientBuilder { proxy_from_env, ..self }
    }

    /// Sets the certificates of the trusted authorities, in PEM format, in place of Mozilla's.
    ///
    /// Use this for a gateway with a private certificate authority or a proxy that inspects TLS. A client talks to one
    /// host, so it needs no other authority.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let client = atomiverse::ClientBuilder::from_env()?
    ///     .root_certificates(std::fs::read("our-authority.pem")?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root_certificates(self, pem: impl Into<Vec<u8>>) -> Self {
        ClientBuilder { root_certificates: Some(pem.into()), ..self }
    }

    /// Sets whether to trust the certificate authorities that the operating system trusts, in place of Mozilla's.
    /// Disabled by default.
    #[cfg(feature = "platform-verifier")]
    #[cfg_attr(docsrs, doc(cfg(feature = "platform-verifier")))]
    pub fn platform_certificates(self, platform_certificates: bool) -> Self {
        ClientBuilder { platform_certificates, ..self }
    }

    /// Sets whether to connect by IPv4 only. Disabled by default.
    ///
    /// Use this in a network whose IPv6 is broken: otherwise each new connection first waits for the IPv6 addresses of
    /// the host.
    pub fn ipv4_only(self, ipv4_only: bool) -> Self {
        ClientBuilder { ipv4_only, ..self }
    }

    /// Adds a function that is called after each HTTP attempt, for metrics. Can be called more than once.
    ///
    /// The function is also called for attempts that failed to connect, timed out or were stopped. The call waits for
    /// it. It is not called for a call that ended before its first attempt, for example because its client was stopped.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    /// use atomiverse::simulator::{Fault, Simulator};
    ///
    /// let simulator = Simulator::start()?;
    /// let failed = Arc::new(AtomicU32::new(0));
    /// let counter = failed.clone();
    /// let client = simulator.client_builder().on_attempt(move |attempt| {
    ///     if attempt.error.is_some() {
    ///         counter.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// });
    /// let client = client.build()?;
    /// simulator.fail_next(Fault::status(503));
    /// client.list_jobs().send()?;
    /// assert_eq!(failed.load(Ordering::Relaxed), 1);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_attempt(mut self, observe: impl Fn(&Attempt<'_>) + Send + Sync + 'static) -> Self {
        self.on_attempt.push(Arc::new(observe));
        self
    }

    /// Sets the HTTP API of the service, if it differs from what this crate assumes. [The HTTP
    /// API](crate::_guide::http) has an example of each kind of difference.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// use atomiverse::{Contract, Operation, Request};
    ///
    /// struct WithoutRenaming;
    ///
    /// impl Contract for WithoutRenaming {
    ///     fn request(&self, operation: Operation<'_>) -> Request {
    ///         match operation {
    ///             Operation::Rename { .. } => Request::unsupported("this service cannot rename jobs"),
    ///             other => Request::assumed(other),
    ///         }
    ///     }
    /// }
    ///
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = simulator.client_builder().contract(WithoutRenaming).build()?;
    /// let error = client.rename_job("9f2c", "water").unwrap_err();
    /// assert_eq!(error.to_string(), "rename job 9f2c: this service cannot rename jobs");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contract(self, contract: impl Contract) -> Self {
        ClientBuilder { contract: Arc::new(contract), ..self }
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        ClientBuilder {
            api_key: None,
            base_url: None,
            api_url: None,
            allow_insecure_http: false,
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            max_retries: MAX_RETRIES,
            max_response_bytes: MAX_RESPONSE_BYTES,
            user_agent: concat!("atomiverse-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: None,
            proxy_from_env: true,
            headers: Vec::new(),
            api_key_header: None,
            root_certificates: None,
            platform_certificates: false,
            ipv4_only: false,
            contract: Arc::new(Assumed),
            on_attempt: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Shows the base URL only, without a user name, password or query.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &Option<Setting>| url.as_ref().map(|url| shown(&url.value));
        f.debug_struct("ClientBuilder").field("base_url", &shown(&self.base_url)).finish_non_exhaustive()
    }
}
