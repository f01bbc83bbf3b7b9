//! The proxy: which one is used, and for which hosts.

use std::net::IpAddr;

use crate::config::url::{Setting, Url, host_of, is_loopback, parse_http, shown};
use crate::error::{Error, Result, sanitize};

/// A proxy that was checked.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// The URL, which may contain a password.
    pub(crate) url: String,
    /// The scheme, host and port, and the name of the setting.
    pub(crate) shown: String,
    pub(crate) is_loopback: bool,
}

impl Proxy {
    /// Reads the proxy from the environment: the one for the scheme of the API, or else the one for all schemes. A
    /// proxy that cannot be used is an error unless a later one can.
    pub(crate) fn from_env(api_url: &Url) -> Result<Option<Self>> {
        let first_of = |names: [&'static str; 2]| {
            names.into_iter().map(Setting::from_env).find(|setting| !matches!(setting, Ok(None)))
        };
        let by_scheme =
            if api_url.is_https { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
        let exempt = first_of(["NO_PROXY", "no_proxy"]).transpose()?.flatten();
        if exempt.is_some_and(|list| is_exempt(&api_url.host, &list.value)) {
            return Ok(None);
        }
        let mut problem = None;
        for setting in [by_scheme, ["ALL_PROXY", "all_proxy"]].into_iter().filter_map(first_of) {
            let setting = setting.map(|setting| setting.map(Proxy::parse).transpose());
            match setting.and_then(|proxy| proxy) {
                Ok(proxy) => return Ok(proxy),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        problem.map_or(Ok(None), Err)
    }

    pub(crate) fn parse(Setting { name, value }: Setting) -> Result<Self> {
        let bad = |why: &str| {
            Err(Error::input(format!(
                "{name} `{}`: {why}; expected the URL of an HTTP proxy, such as http://proxy.example:3128",
                shown(&value)
            )))
        };
        let url = if value.contains("://") { value.clone() } else { format!("http://{value}") };
        let (uri, is_https) = match parse_http(&url) {
            Ok(parsed) => parsed,
            Err(why) => return bad(why),
        };
        if !matches!(uri.path(), "" | "/") || url.contains(['?', '#']) {
            return bad("it has a path or a query; percent-encode special characters in the password");
        }
        let (scheme, default_port) = if is_https { ("https", 443) } else { ("http", 80) };
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(default_port));
        let shown = format!("{scheme}://{}:{port} ({name})", sanitize(host, 200));
        Ok(Proxy { is_loopback: is_loopback(&host_of(&uri)), url, shown })
    }
}

/// Returns whether an entry of `NO_PROXY` names the host, as curl reads it. Entries are separated by commas or
/// whitespace. An entry is `*`, an address or a range of addresses, or a host or a domain with all hosts below it. Dots
/// around a domain are ignored.
fn is_exempt(host: &str, list: &str) -> bool {
    let host = host.trim_end_matches('.');
    let address = host.parse::<IpAddr>().ok();
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        if let (Some(address), false) = (address, entry == "*") {
            return is_in_range(address, entry);
        }
        let domain = entry.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
        let below = host.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        entry == "*" || (!domain.is_empty() && below)
    })
}

/// Returns whether an address is in a range such as `10.0.0.0/8`, or equal to a single address.
fn is_in_range(address: IpAddr, range: &str) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let (first, length) =
        range.split_once('/').map_or((range, None), |(first, length)| (first, Some(length)));
    let Ok(first) = first.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
        return false;
    };
    let ((address_bits, size), (first_bits, first_size)) = (bits(address), bits(first));
    let length = length.map_or(Ok(size), str::parse::<u32>).unwrap_or(u32::MAX);
    let differing = (address_bits ^ first_bits).leading_zeros();
    size == first_size && length <= size && differing >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        for list in [
            "*",
            "svc.test",
            ".svc.test",
            " other.test , svc.test ",
            "a.test SVC.test",
            "test",
            "svc.test.",
            "a.svc.test",
        ] {
            assert!(is_exempt("a.svc.test", list), "{list}");
        }
        for list in ["", ",", ".", "b.svc.test", "vc.test", "*a", "10.0.0.0/8"] {
            assert!(!is_exempt("a.svc.test", list), "{list}");
        }
        for (host, list) in [
            ("::1", "[::1]"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("fd00::7", "fd00::/8"),
            ("10.1.2.3", "0.0.0.0/0"),
        ] {
            assert!(is_exempt(host, list), "{host} {list}");
        }
        for (host, list) in [
            ("10.1.2.3", "11.0.0.0/8"),
            ("10.1.2.3", "3"),
            ("::1", "::2"),
            ("10.1.2.3", "10.0.0.0/33"),
            ("10.1.2.3", "::/0"),
        ] {
            assert!(!is_exempt(host, list), "{host} {list}");
        }
    }
}
