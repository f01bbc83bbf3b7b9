//! The proxy: which one is used, and for which hosts.

use std::net::IpAddr;

use crate::config::url::{Setting, Url, shown};
use crate::error::{Error, Result, sanitize};

/// A proxy that was checked.
pub(crate) struct Proxy {
    pub(crate) proxy: ureq::Proxy,
    /// The scheme, host and port, and the name of the setting.
    pub(crate) shown: String,
}

impl Proxy {
    /// Reads the proxy from the environment: the one for the scheme of the API, or else the one for all schemes. A
    /// proxy that cannot be used is an error unless a later one can.
    pub(crate) fn from_env(api_url: &Url) -> Result<Option<Self>> {
        for name in ["NO_PROXY", "no_proxy"] {
            if Setting::from_env(name)?.is_some_and(|list| is_exempt(&api_url.host, &list.value)) {
                return Ok(None);
            }
        }
        let by_scheme =
            if api_url.is_https { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
        let names = by_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]);
        let settings = names.filter_map(|name| Setting::from_env(name).transpose());
        let proxies = settings.map(|setting| setting.and_then(Proxy::parse));
        proxies.reduce(|first, next| first.or_else(|problem| next.map_err(|_| problem))).transpose()
    }

    pub(crate) fn parse(Setting { name, value }: Setting) -> Result<Self> {
        let bad = |why: &str| {
            Error::input(format!(
                "{name} `{}`: {why}; expected the URL of an HTTP proxy, such as http://proxy.example:3128",
                shown(&value)
            ))
        };
        let text = if value.contains("://") { value.clone() } else { format!("http://{value}") };
        let url = Url::parse(&text).map_err(bad)?;
        if url.has_path || text.contains(['?', '#']) {
            return Err(bad("it has a path or a query; percent-encode special characters in the password"));
        }
        let proxy = ureq::Proxy::new(&text).map_err(|_| bad("it cannot be used"))?;
        let shown = format!("{} (set by {name})", sanitize(&url.origin, 200));
        Ok(Proxy { proxy, shown })
    }
}

/// Returns whether an entry of `NO_PROXY` names the host, as curl reads it. Entries are separated by commas or
/// whitespace. An entry is `*`, an address or a range of addresses, or a host or a domain with all hosts below it. Dots
/// around a domain are ignored.
fn is_exempt(host: &str, list: &str) -> bool {
    let host = host.trim_end_matches('.');
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| match host.parse() {
        _ if entry == "*" => true,
        Ok(address) => is_in_range(address, entry),
        Err(_) => {
            let domain = entry.trim_matches('.').to_ascii_lowercase();
            let start = host.strip_suffix(&domain).filter(|_| !domain.is_empty());
            start.is_some_and(|start| start.is_empty() || start.ends_with('.'))
        }
    })
}

/// Returns whether an address is in a range such as `10.0.0.0/8`, or equal to a single address.
fn is_in_range(address: IpAddr, range: &str) -> bool {
    let (first, length) = range.split_once('/').unwrap_or((range, "128"));
    let (Ok(first), Ok(length)) = (first.trim_matches(['[', ']']).parse::<IpAddr>(), length.parse()) else {
        return false;
    };
    // An address of 32 bits is followed by zeros, which makes a single address equal in all 128 bits.
    let bits = |address| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    first.is_ipv4() == address.is_ipv4() && (bits(first) ^ bits(address)).leading_zeros() >= length
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
