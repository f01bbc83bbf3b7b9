//! The settings of a client. They are checked once, so that a setting that cannot work fails before the first request.

use std::env;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::uri::Authority;
use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::api;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result, sanitize};
use crate::hooks::Hooks;
use crate::raw::{BAD_HEADER_VALUE, RESERVED_HEADER, Secrets};
use crate::retry::RetryPolicy;

pub(crate) const API_KEY_VARIABLE: &str = "ATOMIVERSE_API_KEY";
pub(crate) const BASE_URL_VARIABLE: &str = "ATOMIVERSE_BASE_URL";
pub(crate) const API_URL_VARIABLE: &str = "ATOMIVERSE_API_URL";

/// A value, and the name under which the user set it: a method of the builder or an environment variable.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

impl Setting {
    /// Reads an environment variable. An empty one counts as not set.
    pub(crate) fn from_env(name: &'static str) -> Result<Option<Self>> {
        match env::var(name) {
            Ok(value) if value.is_empty() => Ok(None),
            Ok(value) => Ok(Some(Setting { name, value })),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => {
                Err(Error::input(format!("the environment variable {name} is not valid Unicode")))
            }
        }
    }
}

/// The settings of the user, not yet checked.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) api_key: Option<Setting>,
    pub(crate) base_url: Setting,
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
    pub(crate) root_certificates: Vec<Vec<u8>>,
    pub(crate) platform_certificates: bool,
    pub(crate) retry_policy: RetryPolicy,
    pub(crate) hooks: Hooks,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            api_key: None,
            base_url: Setting { name: "base_url", value: api::BASE_URL.to_owned() },
            api_url: None,
            allow_insecure_http: false,
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            max_response_bytes: 64 * 1024 * 1024,
            user_agent: concat!("atomiverse-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: None,
            proxy_from_env: true,
            headers: Vec::new(),
            api_key_header: None,
            root_certificates: Vec::new(),
            platform_certificates: false,
            retry_policy: RetryPolicy::default(),
            hooks: Hooks::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Settings that were checked, and the values that are derived from them.
pub(crate) struct Config {
    pub(crate) settings: Settings,
    /// The base URL, without a trailing slash.
    pub(crate) base_url: String,
    /// The root of the API, without a trailing slash.
    pub(crate) api_url: String,
    /// The header that carries the key.
    pub(crate) api_key: ApiKey,
    /// The other headers of every request.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) proxy: Option<Proxy>,
}

impl Settings {
    pub(crate) fn check(self) -> Result<Config> {
        let base_url = Url::parse(&self.base_url, self.allow_insecure_http)?;
        if base_url.text.ends_with(api::API_PATH) {
            return Err(bad_url(
                &self.base_url,
                "leave out /api/v1, which the client adds; to set the whole address of the API, use api_url \
                 (ATOMIVERSE_API_URL)",
            ));
        }
        let api_url = match &self.api_url {
            Some(api_url) => Url::parse(api_url, self.allow_insecure_http)?,
            None => Url { text: base_url.text.clone() + api::API_PATH, ..base_url.clone() },
        };
        let Some(api_key) = &self.api_key else {
            return Err(Error::input(
                "no API key: call api_key(..), or set ATOMIVERSE_API_KEY and use from_env()",
            ));
        };
        let api_key = self.api_key(api_key)?;
        let headers = self.checked_headers(&api_key)?;
        let user_agent = &self.user_agent;
        if user_agent.is_empty() || !user_agent.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let shown: String = user_agent.chars().take(80).collect();
            return Err(Error::input(format!(
                "user_agent {shown:?}: it must be printable ASCII and not empty"
            )));
        }
        if self.max_response_bytes == 0 {
            return Err(Error::input("max_response_bytes is zero: no call could succeed"));
        }
        for (name, timeout) in [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)] {
            if timeout.is_zero() {
                return Err(Error::input(format!("{name} is zero: no call could succeed")));
            }
        }
        if api_url.is_https && !cfg!(any(feature = "rustls", feature = "native-tls")) {
            return Err(Error::input(format!(
                "{} needs TLS, which this build leaves out: enable the feature rustls or native-tls",
                sanitize(&api_url.text, 200)
            )));
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

    /// Returns the setting that the address of the API comes from, for the messages of errors.
    pub(crate) fn address(&self) -> &'static str {
        match self.api_url.as_ref().unwrap_or(&self.base_url).name {
            "api_url" => "the API URL (api_url)",
            API_URL_VARIABLE => "the API URL (ATOMIVERSE_API_URL)",
            BASE_URL_VARIABLE => "the base URL (ATOMIVERSE_BASE_URL)",
            _ => "the base URL (base_url)",
        }
    }

    /// Returns the key as it is sent.
    pub(crate) fn api_key(&self, key: &Setting) -> Result<ApiKey> {
        check_key(key)?;
        let header = match &self.api_key_header {
            Some(name) => checked_header("api_key_header", name, &key.value)?,
            None => checked_header("api_key", "Authorization", &format!("Bearer {}", key.value))?,
        };
        let secrets = Secrets::key(&key.value).and(self.headers.iter().map(|(_, value)| value.as_str()));
        Ok(ApiKey { name: key.name, header, secrets })
    }

    fn checked_headers(&self, api_key: &ApiKey) -> Result<Vec<(HeaderName, HeaderValue)>> {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in &self.headers {
            let header = checked_header("header", name, value)?;
            let problem = if api_key.header.0 == header.0 {
                "this header carries the API key, which api_key sets"
            } else if headers.iter().any(|(other, _)| *other == header.0) {
                "this header is set twice"
            } else {
                headers.push(header);
                continue;
            };
            return Err(Error::input(format!("header {:?}: {problem}", sanitize(name, 80))));
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
    /// The strings that no error may show: the key, and the values of the other headers of every request.
    pub(crate) secrets: Secrets,
}

/// Refuses a header that cannot be sent, without showing its value.
fn checked_header(setting: &str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    // These headers are set by ureq and by the requests.
    const RESERVED: [&str; 9] = [
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "user-agent",
    ];
    let shown: String = name.chars().take(80).collect();
    let bad = |why: &str| Err(Error::input(format!("{setting} {shown:?}: {why}")));
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else { return bad("not a valid header name") };
    if RESERVED.contains(&header.as_str()) {
        return bad(RESERVED_HEADER);
    }
    let Ok(mut value) = HeaderValue::from_str(value) else {
        return bad(BAD_HEADER_VALUE);
    };
    value.set_sensitive(true);
    Ok((header, value))
}

/// Refuses a string that cannot be a key, without showing it.
fn check_key(Setting { name, value }: &Setting) -> Result<()> {
    let problem = if value.is_empty() {
        "is empty: create a key in the settings of the dashboard"
    } else if value.starts_with(['"', '\'']) || value.ends_with(['"', '\'']) {
        "is in quotation marks: set it without them"
    } else if value.contains(['\n', '\r']) {
        "contains a line break: remove it"
    } else if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        "contains whitespace or another character that is not visible ASCII: copy it again"
    } else {
        return Ok(());
    };
    Err(Error::input(format!("the API key ({name}) {problem}")))
}

/// A checked URL.
#[derive(Clone)]
struct Url {
    text: String,
    is_https: bool,
    is_loopback: bool,
    host: String,
    port: u16,
}

impl Url {
    fn parse(setting: &Setting, allow_insecure_http: bool) -> Result<Self> {
        let text = &setting.value;
        let bad = |why: &str| Err(bad_url(setting, why));
        let Ok(uri) = text.parse::<Uri>() else { return bad("not a URL") };
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return bad("unsupported scheme"),
            None => return bad("it has no scheme"),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
            return bad("it has no host");
        };
        if has_bad_port(authority) {
            return bad("the port is not a number up to 65535");
        }
        // A password may contain a slash, and the rest of it then looks like a path.
        if text.contains('@') {
            return bad("leave out the user name and password: the API key is the only credential");
        }
        if text.contains(['?', '#']) {
            return bad("leave out the query and the fragment");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let is_loopback = is_loopback(&host);
        if !is_https && !is_loopback && !allow_insecure_http {
            return bad("plain http would show the API key to the network; use https, or call \
                 allow_insecure_http(true)");
        }
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        Ok(Url { text: text.trim_end_matches('/').to_owned(), is_https, is_loopback, host, port })
    }
}

fn bad_url(setting: &Setting, why: &str) -> Error {
    Error::input(format!(
        "{} `{}`: {why}; expected a URL such as {}",
        setting.name,
        shown(&setting.value),
        if [API_URL_VARIABLE, "api_url"].contains(&setting.name) {
            "https://atomiverse.com/api/v1"
        } else {
            "https://atomiverse.com"
        }
    ))
}

/// Returns a URL without the parts that may be secret: everything before the last `@`, and the query.
pub(crate) fn shown(url: &str) -> String {
    let is_scheme = |text: &&str| ["http", "https", "ftp", "socks5"].contains(text);
    let scheme = url.split_once("://").map(|(scheme, _)| scheme).filter(is_scheme);
    let (scheme, rest) = match (scheme, url.rsplit_once('@')) {
        (Some(scheme), Some((_, rest))) => (format!("{scheme}://"), rest),
        (None, Some((_, rest))) => (String::new(), rest),
        (_, None) => (String::new(), url),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    sanitize(&format!("{scheme}{rest}"), 200)
}

/// Returns whether the port is not a number up to 65535. The URL parser accepts any string after the colon.
fn has_bad_port(authority: &Authority) -> bool {
    let host_and_port = authority.as_str().rsplit('@').next().unwrap_or_default();
    host_and_port.len() > authority.host().len() && authority.port_u16().is_none()
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    }
}

/// A proxy that was checked.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// The URL, which may contain a password.
    pub(crate) url: String,
    /// The scheme, host and port, and the name of the setting.
    pub(crate) shown: String,
    is_loopback: bool,
}

impl Proxy {
    /// Reads the proxy from the environment. The first of these variables that is set decides, unless `NO_PROXY` names
    /// the host of the API.
    fn from_env(api_url: &Url) -> Result<Option<Self>> {
        const VARIABLES: [&str; 6] =
            ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
        let mut found = None;
        for name in VARIABLES {
            found = found.or(Setting::from_env(name)?);
        }
        let Some(setting) = found else { return Ok(None) };
        let exempt = match Setting::from_env("NO_PROXY")? {
            Some(list) => Some(list),
            None => Setting::from_env("no_proxy")?,
        };
        if exempt.is_some_and(|list| is_exempt(&api_url.host, api_url.port, &list.value)) {
            return Ok(None);
        }
        Proxy::parse(setting).map(Some)
    }

    fn parse(Setting { name, value }: Setting) -> Result<Self> {
        let bad = |why: &str| {
            Err(Error::input(format!(
                "{name} `{}`: {why}; expected the URL of an HTTP proxy, such as http://proxy.example:3128",
                shown(&value)
            )))
        };
        let url = if value.contains("://") { value.clone() } else { format!("http://{value}") };
        let Ok(uri) = url.parse::<Uri>() else { return bad("not a URL") };
        let scheme = uri.scheme_str().unwrap_or_default();
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ if scheme.starts_with("socks") => return bad("SOCKS proxies are not supported"),
            _ => return bad("unsupported scheme"),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
            return bad("it has no host");
        };
        if has_bad_port(authority) && !uri.path().contains('@') {
            return bad("the port is not a number up to 65535");
        }
        if !matches!(uri.path(), "" | "/") || url.contains(['?', '#']) {
            return bad("it has a path or a query; percent-encode special characters in the password");
        }
        let port = authority.port_u16().unwrap_or(default_port);
        let shown = format!("{scheme}://{}:{port} ({name})", sanitize(authority.host(), 200));
        Ok(Proxy { is_loopback: is_loopback(authority.host()), url, shown })
    }
}

/// Returns whether an entry of `NO_PROXY` names the host. An entry is `*`, or a host or a domain with all hosts below
/// it. A dot or `*.` may precede it, and a port may follow.
fn is_exempt(host: &str, port: u16, list: &str) -> bool {
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        if entry == "*" {
            return true;
        }
        let port = format!(":{port}");
        let domain = entry.strip_suffix(&port).unwrap_or(&entry);
        let domain = domain.trim_start_matches('[').trim_end_matches(']');
        let domain = domain.trim_start_matches('*').trim_start_matches('.');
        let below = host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        !domain.is_empty() && below
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "::2", "example.com", "0.0.0.0"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for list in [
            "*",
            "svc.test",
            ".svc.test",
            "*.svc.test",
            " other.test , svc.test ",
            "SVC.test",
            "test",
            "svc.test:443",
            "a.svc.test",
        ] {
            assert!(is_exempt("a.svc.test", 443, list), "{list}");
        }
        assert!(is_exempt("svc.test", 443, ".svc.test"));
        assert!(is_exempt("::1", 443, "[::1]"));
        for list in ["", ",", ".", "b.svc.test", "vc.test", "svc.test:80", "svc.test.", "*a"] {
            assert!(!is_exempt("a.svc.test", 443, list), "{list}");
        }
    }

    #[test]
    fn a_shown_url_holds_no_secret() {
        for (url, expected) in [
            ("https://user:secret@host.test/path", "https://host.test/path"),
            ("user:secret@host.test", "host.test"),
            ("https://host.test/?token=secret", "https://host.test/"),
            ("https://host.test/#secret", "https://host.test/"),
            ("https://user:se@cret@host.test", "https://host.test"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
