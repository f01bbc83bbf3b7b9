//! Finding the address of the server. ureq looks it up for every request and, under a time limit, on a thread of
//! its own for each; a client has one server, so that this is remembered for a short while.
//!
//! With `http`, the only file that names ureq. It is of the part that ureq does not hold stable between its minor
//! versions: hence the upper bound in `Cargo.toml`.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::clock::Clock;

/// As long as a server's addresses may be relied on; a connection that cannot be made ends it earlier.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct RememberingResolver {
    default: Arc<DefaultResolver>,
    last: Arc<Mutex<Option<Lookup>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Lookup {
    uri: Uri,
    addresses: Vec<SocketAddr>,
    made: Instant,
}

impl RememberingResolver {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        RememberingResolver { default: Arc::default(), last: Arc::default(), clock }
    }

    /// The addresses did not answer: they are looked up anew.
    pub(crate) fn forget(&self) {
        *self.last() = None;
    }

    #[cfg(test)]
    pub(crate) fn remembers(&self) -> bool {
        self.last().is_some()
    }

    fn last(&self) -> MutexGuard<'_, Option<Lookup>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for RememberingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        if let Some(address) = literal(uri) {
            addresses.push(address);
            return Ok(addresses);
        }
        if let Some(lookup) = &*self.last() {
            let is_same = lookup.uri.authority() == uri.authority() && lookup.uri.scheme() == uri.scheme();
            let age = self.clock.now().saturating_duration_since(lookup.made);
            if is_same && age < REMEMBERED_FOR {
                lookup.addresses.iter().for_each(|address| addresses.push(*address));
                return Ok(addresses);
            }
        }
        let found = self.default.resolve(uri, config, timeout)?;
        let (uri, addresses, made) = (uri.clone(), found.to_vec(), self.clock.now());
        *self.last() = Some(Lookup { uri, addresses, made });
        Ok(found)
    }
}

/// A host that is an address needs no look-up.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let authority = uri.authority()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let address: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(address, authority.port_u16().unwrap_or(default_port)))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[derive(Debug)]
    struct Clockwork {
        start: Instant,
        elapsed: Mutex<Duration>,
    }

    impl Clock for Clockwork {
        fn now(&self) -> Instant {
            self.start + *self.elapsed.lock().unwrap()
        }
        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
        fn sleep(&self, pause: Duration) {
            *self.elapsed.lock().unwrap() += pause;
        }
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn a_look_up_is_remembered_for_its_server_and_for_a_while() {
        let clock = Arc::new(Clockwork { start: Instant::now(), elapsed: Mutex::default() });
        let resolver = RememberingResolver::new(clock.clone());
        let config = Config::default();
        let look_up = |text| resolver.resolve(&uri(text), &config, NextTimeout::default()).unwrap().to_vec();
        let made = || resolver.last().as_ref().map(|lookup| lookup.made);

        let addresses = look_up("http://localhost:80/a");
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        let first = made().unwrap();
        clock.sleep(Duration::from_secs(29));
        assert_eq!(look_up("http://localhost:80/b"), addresses);
        assert_eq!(made(), Some(first));
        clock.sleep(Duration::from_secs(1));
        look_up("http://localhost:80/c");
        assert_eq!(made(), Some(first + Duration::from_secs(30)), "looked up anew");
        clock.sleep(Duration::from_secs(1));
        assert_eq!(look_up("http://localhost:81/")[0].port(), 81, "another server");
        assert_eq!(made(), Some(first + Duration::from_secs(31)));
        resolver.forget();
        assert_eq!(made(), None);
    }

    #[test]
    fn an_address_is_not_looked_up() {
        for (text, address) in [
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://127.0.0.1", "127.0.0.1:443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("https://[::1]", "[::1]:443"),
        ] {
            assert_eq!(literal(&uri(text)), Some(address.parse().unwrap()), "{text}");
        }
        assert_eq!(literal(&uri("http://localhost")), None);
        assert_eq!(literal(&uri("http://127.0.0.1.example")), None);
    }
}
