//! The check of the settings, which is made once. A setting that cannot work therefore fails before the first
//! request.

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::builder::ClientBuilder;
use crate::config::proxy::Proxy;
use crate::config::url::{Setting, Url};
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
    pub(crate) api_key: Setting,
    /// The headers of every request, without the one that carries the key, because a view may have a key of its own.
    pub(crate) headers: HeaderMap,
    pub(crate) proxy: Option<Proxy>,
}

impl ClientBuilder {
    pub(crate) fn check(self) -> Result<Config> {
        let api_url = self.api_url.as_ref().map(|url| Url::of_service(url, &self)).transpose()?;
        let base_setting = match (&self.base_url, &api_url) {
            (Some(base_url), _) => base_url.clone(),
            (None, Some(api_url)) => Setting { name: "api_url", value: api_url.origin.clone() },
            (None, None) => Setting { name: "base_url", value: BASE_URL.to_owned() },
        };
        let base_url = Url::of_service(&base_setting, &self)?;
        let default = || Url { text: base_url.text.clone() + API_PATH, ..base_url.clone() };
        let api_url = api_url.unwrap_or_else(default);
        let missing = || Error::input("no API key: set ATOMIVERSE_API_KEY for from_env, or call api_key");
        let api_key = self.api_key.clone().ok_or_else(missing)?;
        let headers = self.check_headers(&api_key)?;
        if self.root_certificates.is_some() && self.platform_certificates {
            return Err(Error::input("set root_certificates or platform_certificates, not both"));
        }
        if api_url.is_https && !cfg!(any(feature = "rustls", feature = "native-tls")) {
            return Err(Error::input("https needs the feature rustls or native-tls, or an http:// gateway"));
        }
        let proxy = match &self.proxy {
            Some(proxy) => Some(Proxy::parse(proxy.clone())?),
            None if self.proxy_from_env && !api_url.is_loopback => Proxy::from_env(&api_url)?,
            None => None,
        };
        Ok(Config { base_url: base_url.text, api_url: api_url.text, api_key, headers, proxy, settings: self })
    }

    /// Returns the setting that the address of the API comes from, if the user set it.
    pub(crate) fn address(&self) -> Option<&'static str> {
        self.api_url.as_ref().or(self.base_url.as_ref()).map(|setting| setting.name)
    }

    /// Checks the key, and returns it as it is sent.
    pub(crate) fn key_header(&self, key: &Setting) -> Result<(HeaderName, HeaderValue)> {
        if let Some(problem) = problem_of_key(&key.value) {
            return Err(Error::input(format!("the API key ({}) {problem}", key.name)));
        }
        match &self.api_key_header {
            Some(name) => parse_header("api_key_header", name, &key.value),
            None => parse_header("api_key", "Authorization", &format!("Bearer {}", key.value)),
        }
    }

    fn check_headers(&self, api_key: &Setting) -> Result<HeaderMap> {
        let (key_header, _) = self.key_header(api_key)?;
        let mut headers = HeaderMap::from_iter([parse_header("user_agent", "User-Agent", &self.user_agent)?]);
        for (name, value) in &self.headers {
            let (header, value) = parse_header("header", name, value)?;
            if header == key_header {
                return Err(Error::input(format!("header {:?}: it carries the API key", sanitize(name, 80))));
            }
            headers.insert(header, value);
        }
        Ok(headers)
    }
}

/// Returns why a string cannot be a key, without showing it.
fn problem_of_key(key: &str) -> Option<String> {
    if key.is_empty() {
        return Some("is empty: create a key in the settings of the dashboard".to_owned());
    }
    if key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']) {
        return Some("is in quotation marks: set it without them".to_owned());
    }
    let odd = key.chars().find(|c| !c.is_ascii_graphic())?;
    Some(format!("contains '{}', which is not visible ASCII: copy it again", odd.escape_default()))
}
