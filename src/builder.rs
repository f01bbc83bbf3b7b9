//! The constructors of a client, and the builder with its settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::config::{API_KEY_VARIABLE, API_URL_VARIABLE, BASE_URL_VARIABLE, Setting, Settings, shown};
use crate::error::{Error, Result};
use crate::hooks::Attempt;
use crate::http::Http;
use crate::raw::{RawRequest, RawResponse};

/// Constructors.
impl Client {
    /// Creates a client from environment variables.
    ///
    /// The API key is read from `ATOMIVERSE_API_KEY`. The address of the service is read from `ATOMIVERSE_BASE_URL`,
    /// and that of the HTTP API from `ATOMIVERSE_API_URL`, if they are set.
    ///
    /// A build without the features `rustls` and `native-tls` cannot use the default address, which is `https://`. In
    /// such a build, set `ATOMIVERSE_BASE_URL` to an `http://` address on the same machine.
    ///
    /// # Errors
    ///
    /// Returns an error if `ATOMIVERSE_API_KEY` is not set, or if [`ClientBuilder::build`] refuses a value.
    pub fn from_env() -> Result<Self> {
        ClientBuilder::from_env()?.build()
    }

    /// Creates a client with this API key and default settings.
    ///
    /// Prefer [`from_env`](Client::from_env), which keeps the key out of source code.
    ///
    /// # Errors
    ///
    /// Returns an error under the same conditions as [`ClientBuilder::build`], for example if the key is empty or the
    /// proxy in the environment cannot be used.
    pub fn new(api_key: impl Into<String>) -> Result<Self> {
        Client::builder().api_key(api_key).build()
    }

    /// Returns a builder for a client with custom settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

/// A builder for a [`Client`] with custom settings.
///
/// [`Client::builder`] and [`ClientBuilder::from_env`] return one. The API key is the only required setting.
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
#[derive(Clone, Default)]
#[must_use = "a builder does nothing before `build`"]
pub struct ClientBuilder {
    settings: Settings,
}

impl ClientBuilder {
    /// Returns a builder with the settings of [`Client::from_env`], to which others can be added.
    ///
    /// Reads `ATOMIVERSE_API_KEY`, and also `ATOMIVERSE_BASE_URL` and `ATOMIVERSE_API_URL` if they are set. An empty
    /// variable counts as not set.
    ///
    /// # Errors
    ///
    /// Returns an error if `ATOMIVERSE_API_KEY` is not set or a variable is not valid Unicode.
    /// [`build`](ClientBuilder::build) checks the values.
    pub fn from_env() -> Result<Self> {
        let Some(api_key) = Setting::from_env(API_KEY_VARIABLE)? else {
            return Err(Error::input(format!(
                "the environment variable {API_KEY_VARIABLE} is not set or empty: create a key in the settings of the \
                 dashboard and set the variable to it"
            )));
        };
        let mut settings = Settings { api_key: Some(api_key), ..Settings::default() };
        if let Some(base_url) = Setting::from_env(BASE_URL_VARIABLE)? {
            settings.base_url = base_url;
        }
        settings.api_url = Setting::from_env(API_URL_VARIABLE)?;
        Ok(ClientBuilder { settings })
    }

    /// Sets the API key.
    ///
    /// Atomiverse issues workspace keys and runner keys. Use a workspace key: a runner key only registers hardware of
    /// your own. The prefix of the key is not checked.
    pub fn api_key(mut self, api_key: impl Into<String>) -> Self {
        self.settings.api_key = Some(Setting { name: "api_key", value: api_key.into() });
        self
    }

    /// Sets the address of the service. Dashboard links begin with it. Defaults to `https://atomiverse.com`.
    ///
    /// Plain `http://` is accepted only for a server on this machine; see
    /// [`allow_insecure_http`](ClientBuilder::allow_insecure_http).
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.settings.base_url = Setting { name: "base_url", value: base_url.into() };
        self
    }

    /// Sets the address of the HTTP API. Defaults to `{base_url}/api/v1`.
    ///
    /// The service does not document this address, so the default is an assumption. If it is wrong, correct it here.
    pub fn api_url(mut self, api_url: impl Into<String>) -> Self {
        self.settings.api_url = Some(Setting { name: "api_url", value: api_url.into() });
        self
    }

    /// Sets the maximum duration of a call, including connecting, retries, pauses and receiving the response. Defaults
    /// to 60 seconds.
    ///
    /// An iterator applies it to each `next`. [`Client`](Client#time-limits) lists how other methods apply it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Sets the maximum duration of connecting, including a proxy and TLS. Defaults to 10 seconds.
    ///
    /// Looking up the server's host name is not included. The [`timeout`](ClientBuilder::timeout) bounds it.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets how many times a request is retried after a transient failure. Defaults to 2. With 0 there is only one
    /// attempt. The pauses between the attempts are 0.5 and 1 second, or what the server asks for (`Retry-After`).
    ///
    /// - Calls that only read are retried if the connection fails or breaks, if an attempt times out, or if the server
    ///   responds with 408, 425, 429, 500, 502, 503 or 504.
    /// - Rename, cancel and delete are retried if the connection fails or breaks, or if the server responds with 425,
    ///   429, 500, 502 or 503. They are not retried if a request that was sent timed out, nor after 408 and 504.
    /// - Submissions are retried only if no connection was made or the server responded with 429.
    ///
    /// A TLS failure and a proxy that refuses the connection with a 4xx status are not transient.
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.retry_policy.max_retries = max_retries;
        self
    }

    /// Sets the maximum size of a response that is read, in bytes after decompression. Defaults to 64 MiB.
    pub fn max_response_bytes(mut self, bytes: u64) -> Self {
        self.settings.max_response_bytes = bytes;
        self
    }

    /// Sets whether to accept plain `http://` for any host. Disabled by default, because the API key then crosses the
    /// network unencrypted. A server on this machine is accepted in any case.
    pub fn allow_insecure_http(mut self, allow: bool) -> Self {
        self.settings.allow_insecure_http = allow;
        self
    }

    /// Sets the `User-Agent` header. Defaults to `atomiverse-rust/<version>`.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.settings.user_agent = user_agent.into();
        self
    }

    /// Sets the proxy, such as `http://user:password@proxy.example:3128`, in place of the one configured in the
    /// environment. It is also used for a server on this machine and for hosts in `NO_PROXY`.
    ///
    /// The client asks the proxy for a tunnel (`CONNECT`). With an `https://` address, the proxy therefore does not see
    /// the API key. With plain `http://` it can read everything.
    ///
    /// SOCKS proxies are not supported.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.settings.proxy = Some(Setting { name: "proxy", value: url.into() });
        self
    }

    /// Adds a header to every request, for example for a gateway. Can be called more than once.
    ///
    /// The value does not appear in `Debug`, logs or errors, with one exception: if it has fewer than six characters
    /// and the server sends it back, an error may show it.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the header that carries the API key alone, such as `X-API-Key`. By default the key is sent in
    /// `Authorization: Bearer <key>`, which this header replaces.
    pub fn api_key_header(mut self, name: impl Into<String>) -> Self {
        self.settings.api_key_header = Some(name.into());
        self
    }

    /// Sets whether to use the proxy configured in the environment. Enabled by default.
    ///
    /// The first of the variables `ALL_PROXY`, `all_proxy`, `HTTPS_PROXY`, `https_proxy`, `HTTP_PROXY` and `http_proxy`
    /// that is set and not empty names the proxy. It is used for `http://` and for `https://` addresses, also if
    /// `HTTP_PROXY` names it. No proxy is used if `NO_PROXY` or `no_proxy` names the host of the API, or if the API is
    /// on this machine. SOCKS proxies are not supported.
    pub fn proxy_from_env(mut self, proxy_from_env: bool) -> Self {
        self.settings.proxy_from_env = proxy_from_env;
        self
    }

    /// Sets the certificates of the trusted authorities, in PEM format. They replace the built-in ones, because a client
    /// talks to one host. Can be called more than once.
    ///
    /// Use this for a gateway with a private certificate authority or a proxy that inspects TLS. Defaults to Mozilla's
    /// authorities, with `rustls` and with `native-tls`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let client = atomiverse::ClientBuilder::from_env()?
    ///     .root_certificates(std::fs::read("our-authority.pem")?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.settings.root_certificates.push(pem.into());
        self
    }

    /// Sets whether to trust the authorities that the operating system trusts, in place of Mozilla's. Disabled by
    /// default. Requires the feature `platform-verifier`, and cannot be combined with
    /// [`root_certificates`](ClientBuilder::root_certificates).
    #[cfg(feature = "platform-verifier")]
    #[cfg_attr(docsrs, doc(cfg(feature = "platform-verifier")))]
    pub fn platform_certificates(mut self, platform_certificates: bool) -> Self {
        self.settings.platform_certificates = platform_certificates;
        self
    }

    /// Adds a function that is called after each HTTP attempt, for metrics. Can be called more than once.
    ///
    /// The function is also called for attempts that failed to connect, timed out or were stopped. It runs on the
    /// thread that sends the request, which waits for it. It is not called for a call that ended before its first
    /// attempt.
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
        self.settings.hooks.on_attempt.push(Arc::new(observe));
        self
    }

    /// Adds a function that adapts each request, for a service that differs from what this crate assumes. Can be called
    /// more than once; the functions run in the order in which they were added.
    ///
    /// The function runs before each attempt of each call, including [`Client::send`].
    ///
    /// - The path that it sets is relative to the API URL, so the key cannot be sent to another address.
    /// - A header that it adds replaces one that the client sets. Its value does not appear in `Debug`, logs or errors.
    /// - If it changes the request to one that cannot be sent, the call returns an error.
    /// - If it panics, the panic reaches the caller.
    ///
    /// The crate page has [recipes](crate#adapting-to-a-service-that-differs).
    ///
    /// # Examples
    ///
    /// This hook is for a service that renames by `POST /jobs/{job_id}/rename`:
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # let simulator = atomiverse::simulator::Simulator::start()?;
    /// let client = simulator.client_builder().on_request(|request| {
    ///     if request.action == "rename job" {
    ///         request.method = "POST".to_owned();
    ///         request.path += "/rename";
    ///     }
    /// });
    /// let _ = client.build()?.rename_job("9f2c", "water");
    /// assert_eq!(simulator.requests()[0].to_string(), "POST /api/v1/jobs/9f2c/rename");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_request(mut self, adapt: impl Fn(&mut RawRequest) + Send + Sync + 'static) -> Self {
        self.settings.hooks.on_request.push(Arc::new(adapt));
        self
    }

    /// Adds a function that adapts each response, for a service that differs from what this crate assumes. Can be
    /// called more than once; the functions run in the order in which they were added.
    ///
    /// The function receives the request as it was sent, and the response with any status, before the client evaluates
    /// the status and decodes the body. If it panics, the panic reaches the caller.
    ///
    /// The crate page has [recipes](crate#adapting-to-a-service-that-differs).
    ///
    /// # Examples
    ///
    /// This hook is for a service that responds with 400 if a job does not exist:
    ///
    /// ```
    /// # #[cfg(feature = "simulator")] {
    /// # use atomiverse::simulator::{Fault, Simulator};
    /// # let simulator = Simulator::start()?;
    /// let client = simulator.client_builder().on_response(|request, response| {
    ///     if response.status == 400 && request.job_id.is_some() && request.method == "GET" {
    ///         response.status = 404;
    ///     }
    /// });
    /// simulator.fail_next(Fault::status(400));
    /// assert!(client.build()?.get_job("9f2c").unwrap_err().is_not_found());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_response(
        mut self,
        adapt: impl Fn(&RawRequest, &mut RawResponse) + Send + Sync + 'static,
    ) -> Self {
        self.settings.hooks.on_response.push(Arc::new(adapt));
        self
    }

    #[cfg(feature = "simulator")]
    pub(crate) fn clock(mut self, clock: Arc<dyn crate::clock::Clock>) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Builds the client. Sends nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if
    ///
    /// - there is no key, or it is empty, in quotation marks, or contains a character other than visible ASCII (the
    ///   error does not show the key);
    /// - a URL is not valid, contains a user name or a query, or is plain `http://` to another machine;
    /// - the URL of the API is `https://` and the crate was built without TLS;
    /// - the proxy cannot be used, or a header cannot be sent;
    /// - the certificates are not valid PEM, or the platform's certificates are to be used in addition;
    /// - a timeout or the maximum size of a response is zero, or the user agent is not printable ASCII.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = atomiverse::Client::builder().api_key("key\n").build().unwrap_err();
    /// assert!(error.to_string().contains("line break"));
    /// ```
    pub fn build(self) -> Result<Client> {
        Ok(Client::new_with(Http::new(self.settings)?))
    }
}

/// Shows settings, but neither the API key nor the values of headers.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { api_key, base_url, api_url, timeout, retry_policy, hooks, .. } = &self.settings;
        f.debug_struct("ClientBuilder")
            .field("api_key", &api_key.as_ref().map(|_| "(hidden)"))
            .field("base_url", &shown(&base_url.value))
            .field("api_url", &api_url.as_ref().map(|api_url| shown(&api_url.value)))
            .field("timeout", timeout)
            .field("retry_policy", retry_policy)
            .field("hooks", hooks)
            .finish_non_exhaustive()
    }
}
