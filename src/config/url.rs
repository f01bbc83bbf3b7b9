//! Values that the user sets, with the names of their settings, and URLs among them.

use std::env;
use std::net::IpAddr;

use ureq::http::Uri;

use crate::error::{Error, Result, sanitize};

/// A value, and the name under which the user set it: a method of the builder or an environment variable.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

impl Setting {
    /// Reads an environment variable, without whitespace around its value. An empty one counts as not set.
    pub(crate) fn from_env(name: &'static str) -> Result<Option<Self>> {
        let invalid = |_| Error::input(format!("the environment variable {name} is not valid Unicode"));
        let value = env::var_os(name).unwrap_or_default().into_string().map_err(invalid)?.trim().to_owned();
        Ok((!value.is_empty()).then_some(Setting { name, value }))
    }
}

/// A URL with a host.
#[derive(Clone)]
pub(crate) struct Url {
    /// The URL, without slashes at its end.
    pub(crate) text: String,
    /// The URL without the user, the path and what follows it.
    pub(crate) origin: String,
    pub(crate) is_https: bool,
    pub(crate) has_path: bool,
    pub(crate) is_loopback: bool,
    /// In lower case, without the brackets of an IPv6 address.
    pub(crate) host: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "not a URL")?;
        let scheme = uri.scheme_str().ok_or("it has no scheme")?;
        if !["http", "https"].contains(&scheme) {
            return Err("unsupported scheme");
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        let authority = uri.authority().and_then(|authority| authority.as_str().rsplit('@').next());
        let authority = authority.unwrap_or_default();
        // The parser accepts any string as a port.
        if authority.len() > host.len() && uri.port_u16().is_none() {
            return Err("the port is not a number, or the password is not percent-encoded");
        }
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        Ok(Url {
            text: text.trim_end_matches('/').to_owned(),
            origin: format!("{scheme}://{authority}"),
            is_https: scheme == "https",
            has_path: uri.path() != "/",
            is_loopback: is_loopback(&host),
            host,
        })
    }
}

/// Returns a URL without the parts that may be secret: everything before the last `@`, and the query.
pub(crate) fn shown(url: &str) -> String {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme));
    let scheme = scheme.unwrap_or_default();
    let rest = url.rsplit_once('@').map_or(&url[scheme.len()..], |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    sanitize(&format!("{scheme}{}", rest.escape_debug()), 200)
}

fn is_loopback(host: &str) -> bool {
    host.parse::<IpAddr>().map_or(host == "localhost", |address| address.to_canonical().is_loopback())
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
    fn a_shown_url_holds_no_secret() {
        for (url, expected) in [
            ("https://user:secret@host.test/path", "https://host.test/path"),
            ("user:secret@host.test", "host.test"),
            ("https://host.test/?token=secret", "https://host.test/"),
            ("https://host.test/#secret", "https://host.test/"),
            ("https://user:se@cret@host.test", "https://host.test"),
            ("\u{feff}https://host.test\r", "\\u{feff}https://host.test\\r"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
