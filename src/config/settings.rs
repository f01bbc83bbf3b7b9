//! The check of the settings, which is made once. A setting that cannot work therefore fails before the first
//! request.

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::builder::ClientBuilder;
use crate::config::proxy::Proxy;
use crate::config::url::{Setting, Url, bad_url, code_point};
use crate::error::{Error, Result, sanitize};
use crate::http::request::parse_header;

/// The address of the service, unless the user sets another one.
const BASE_URL: &str = "https://atomiverse.com";

/// The path of the API below the base URL, unless the user sets another address.
const API_PATH: &str = "/api/v1";

/// Settings that were checked, and the values that are derived from them.
pub(crate) struct Config {
    pub(crate) settings: ClientBuilder,
    /// The base URL, without a trailing slash.
    pub(crate) base_url: String,
    /// The root of the API, without a trailing slash.
    pub(crate) api_url: String,
    pub(crate) api_key: ApiKey,
    /// The headers of every request. A view may have another key.
    pub(crate) headers: HeaderMap,
    pub(crate) proxy: Option<Proxy>,
}

impl ClientBuilder {
    pub(crate) fn check(self) -> Result<Config> {
        let api_url =
            self.api_url.as_ref().map(|url| Url::of_service(url, self.allow_insecure_http)).transpose()?;
        let base_setting = match (&self.base_url, &api_url) {
            (Some(base_url), _) => base_url.clone(),
            (None, Some(api_url)) => Setting { name: "api_url", value: api_url.origin.clone() },
            (None, None) => Setting { name: "base_url", value: BASE_URL.to_owned() },
        };
        let base_url = Url::of_service(&base_setting, self.allow_insecure_http)?;
        if base_url.text.ends_with(API_PATH) {
            return Err(bad_url(
                &base_setting,
                "leave out /api/v1, which the client adds; to set the whole address of the API, use api_url \
                 (ATOMIVERSE_API_URL)",
            ));
        }
        let default = || Url { text: base_url.text.clone() + API_PATH, ..base_url.clone() };
        let api_url = api_url.unwrap_or_else(default);
        let Some(api_key) = &self.api_key else {
            return Err(Error::input(
                "no API key: call api_key(..), or set ATOMIVERSE_API_KEY and use from_env()",
            ));
        };
        let api_key = self.check_key(api_key)?;
        let headers = self.check_headers(&api_key)?;
        for (name, is_zero) in [
            ("timeout", self.timeout.is_zero()),
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("max_response_bytes", self.max_response_bytes == 0),
        ] {
            if is_zero {
                return Err(Error::input(format!("{name} is zero: no call could succeed")));
            }
        }
        if self.root_certificates.is_some() && self.platform_certificates {
            return Err(Error::input(
                "root_certificates and platform_certificates exclude each other: set one",
            ));
        }
        if api_url.is_https && !cfg!(any(feature = "rustls", feature = "native-tls")) {
            let setting = self.api_url.as_ref().unwrap_or(&base_setting);
            return Err(bad_url(
                setting,
                "https needs the feature rustls or native-tls, which this build leaves out",
            ));
        }
        let proxy = match &self.proxy {
            Some(proxy) => Some(Proxy::parse(proxy.clone())?),
            None if self.proxy_from_env && !api_url.is_loopback => Proxy::from_env(&api_url)?,
            None => None,
        };
        if let (Some(proxy), false, false) = (&proxy, api_url.is_https, self.allow_insecure_http) {
            if !proxy.is_loopback {
                return Err(Error::input(format!(
                    "the proxy {} would see the API key, because the API URL {} is plain http: use https, or \
                     call allow_insecure_http(true)",
                    proxy.shown,
                    sanitize(&api_url.text, 200)
                )));
            }
        }
        Ok(Config { base_url: base_url.text, api_url: api_url.text, api_key, headers, proxy, settings: self })
    }

    /// Returns the setting that the address of the API comes from, if the user set it.
    pub(crate) fn address(&self) -> Option<&'static str> {
        self.api_url.as_ref().or(self.base_url.as_ref()).map(|setting| setting.name)
    }

    /// Returns the key as it is sent.
    pub(crate) fn check_key(&self, key: &Setting) -> Result<ApiKey> {
        if let Some(problem) = problem_of_key(&key.value) {
            return Err(Error::input(format!("the API key ({}) {problem}", key.name)));
        }
        let header = match &self.api_key_header {
            Some(name) => parse_header("api_key_header", name, &key.value)?,
            None => parse_header("api_key", "Authorization", &format!("Bearer {}", key.value))?,
        };
        Ok(ApiKey { name: key.name, header, secrets: vec![key.value.clone()] })
    }

    fn check_headers(&self, api_key: &ApiKey) -> Result<HeaderMap> {
        let user_agent = parse_header("user_agent", "User-Agent", &self.user_agent)?;
        let mut headers = HeaderMap::from_iter([user_agent, api_key.header.clone()]);
        for (name, value) in &self.headers {
            let (header, value) = parse_header("header", name, value)?;
            if headers.contains_key(&header) {
                let problem = "it is set already, by `header`, `user_agent` or `api_key`";
                return Err(Error::input(format!("header {:?}: {problem}", sanitize(name, 80))));
            }
            headers.insert(header, value);
        }
        Ok(headers)
    }
}

/// A key that was checked.
#[derive(Clone)]
pub(crate) struct ApiKey {
    /// The name under which the user set it.
    pub(crate) name: &'static str,
    pub(crate) header: (HeaderName, HeaderValue),
    /// The key, and the one that it has replaced, if any. No error may show them.
    pub(crate) secrets: Vec<String>,
}

/// Returns why a string cannot be a key, without showing it.
fn problem_of_key(key: &str) -> Option<String> {
    if key.is_empty() {
        return Some("is empty: create a key in the settings of the dashboard".to_owned());
    }
    if key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']) {
        return Some("is in quotation marks: set it without them".to_owned());
    }
    let odd = code_point(key.chars().find(|c| !c.is_ascii_graphic())?);
    Some(format!("contains the character {odd}, which is not visible ASCII: copy it again"))
}
