//! The check of the settings, which is made once. A setting that cannot work therefore fails before the first
//! request.

use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::builder::ClientBuilder;
use crate::config::proxy::Proxy;
use crate::config::url::{Setting, Url, shown};
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
        let api_url = self.api_url.as_ref().map(|url| self.check_url(url)).transpose()?;
        let base_setting = match (&self.base_url, &api_url) {
            (Some(base_url), _) => base_url.clone(),
            (None, Some(api_url)) => Setting { name: "api_url", value: api_url.origin.clone() },
            (None, None) => Setting { name: "base_url", value: BASE_URL.to_owned() },
        };
        let base_url = self.check_url(&base_setting)?;
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

    /// Checks and parses the address of the service or of its API.
    fn check_url(&self, setting: &Setting) -> Result<Url> {
        let (name, shown) = (setting.name, shown(&setting.value));
        let bad = |why: &str| Error::input(format!("{name} `{shown}`: {why}"));
        let url = Url::parse(&setting.value)
            .map_err(|why| bad(&format!("{why}; expected a URL such as https://atomiverse.com")))?;
        // A password may contain a slash, and the rest of it then looks like a path.
        if setting.value.contains('@') {
            return Err(bad("leave out the user name and password: the API key is the only credential"));
        }
        if setting.value.contains(['?', '#']) {
            return Err(bad("leave out the query and the fragment"));
        }
        let stays_here = url.is_loopback && self.proxy.is_none();
        if !url.is_https && !stays_here && !self.allow_insecure_http {
            return Err(bad(
                "plain http would show the API key on the way; use https, or call allow_insecure_http(true)",
            ));
        }
        Ok(url)
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
    Some(format!("contains '{}', which is not visible ASCII: set it without that", odd.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_to_another_machine_is_refused_unless_it_is_allowed() {
        for (url, is_safe) in [
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
            ("http://localhost:8080", true),
            ("https://example.com", true),
        ] {
            let setting = Setting { name: "base_url", value: url.to_owned() };
            assert_eq!(ClientBuilder::default().check_url(&setting).is_ok(), is_safe, "{url}");
        }
        let setting = Setting { name: "base_url", value: "http://10.0.0.1".to_owned() };
        assert!(ClientBuilder::default().allow_insecure_http(true).check_url(&setting).is_ok());
    }
}
