//! Values that the user sets, with the names of their settings, and URLs among them.

use std::env;
use std::net::IpAddr;

use ureq::http::Uri;

use crate::error::{Error, Result, sanitize};

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
    /// Reads an environment variable, without whitespace around its value. An empty one counts as not set.
    pub(crate) fn from_env(name: &'static str) -> Result<Option<Self>> {
        match env::var(name) {
            Ok(value) if value.trim().is_empty() => Ok(None),
            Ok(value) => Ok(Some(Setting { name, value: value.trim().to_owned() })),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => {
                Err(Error::input(format!("the environment variable {name} is not valid Unicode")))
            }
        }
    }
}

/// A checked URL.
#[derive(Clone)]
pub(crate) struct Url {
    pub(crate) text: String,
    /// The URL without its path.
    pub(crate) origin: String,
    pub(crate) is_https: bool,
    pub(crate) is_loopback: bool,
    pub(crate) host: String,
}

impl Url {
    pub(crate) fn parse(setting: &Setting, allow_insecure_http: bool) -> Result<Self> {
        let text = &setting.value;
        let bad = |why: &str| Err(bad_url(setting, why));
        let (uri, is_https) = match parse_http(text) {
            Ok(parsed) => parsed,
            Err(why) => return bad(why),
        };
        // A password may contain a slash, and the rest of it then looks like a path.
        if text.contains('@') {
            return bad("leave out the user name and password: the API key is the only credential");
        }
        if text.contains(['?', '#']) {
            return bad("leave out the query and the fragment");
        }
        let host = host_of(&uri);
        let is_loopback = is_loopback(&host);
        if !is_https && !is_loopback && !allow_insecure_http {
            return bad("plain http would show the API key to the network; use https, or call \
                 allow_insecure_http(true)");
        }
        let scheme = if is_https { "https" } else { "http" };
        let origin = format!("{scheme}://{}", uri.authority().map_or("", |authority| authority.as_str()));
        Ok(Url { text: text.trim_end_matches('/').to_owned(), origin, is_https, is_loopback, host })
    }
}

pub(crate) fn bad_url(setting: &Setting, why: &str) -> Error {
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
    let odd = |c: char| !(c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric());
    let spelled = |c: char| if odd(c) { code_point(c) } else { c.to_string() };
    sanitize(&format!("{scheme}{}", rest.chars().map(spelled).collect::<String>()), 200)
}

/// Returns the name of a character that may not be visible, such as `U+FEFF`.
pub(crate) fn code_point(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// Parses a URL with a host, and returns whether it is an `https` one.
pub(crate) fn parse_http(text: &str) -> Result<(Uri, bool), &'static str> {
    let uri: Uri = text.parse().map_err(|_| "not a URL")?;
    let is_https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) => return Err("unsupported scheme"),
        None => return Err("it has no scheme"),
    };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("it has no host")?;
    // The parser accepts any string as a port.
    let after_user = uri.authority().and_then(|authority| authority.as_str().rsplit('@').next());
    if after_user.is_some_and(|rest| rest.len() > host.len()) && uri.port_u16().is_none() {
        return Err(
            "the port is not a number up to 65535, or a character in the password is not percent-encoded",
        );
    }
    Ok((uri, is_https))
}

/// Returns the host in lower case, without the brackets of an IPv6 address.
pub(crate) fn host_of(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

pub(crate) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    }
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
    fn plain_http_to_another_machine_is_refused_unless_it_is_allowed() {
        for (url, is_safe) in [
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
            ("http://localhost:8080", true),
            ("https://example.com", true),
        ] {
            let setting = Setting { name: "base_url", value: url.to_owned() };
            assert_eq!(Url::parse(&setting, false).is_ok(), is_safe, "{url}");
        }
        let setting = Setting { name: "base_url", value: "http://10.0.0.1".to_owned() };
        assert!(Url::parse(&setting, true).is_ok());
    }

    #[test]
    fn a_shown_url_holds_no_secret() {
        for (url, expected) in [
            ("https://user:secret@host.test/path", "https://host.test/path"),
            ("user:secret@host.test", "host.test"),
            ("https://host.test/?token=secret", "https://host.test/"),
            ("https://host.test/#secret", "https://host.test/"),
            ("https://user:se@cret@host.test", "https://host.test"),
            ("\u{feff}https://host.test\r", "U+FEFFhttps://host.testU+000D"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
