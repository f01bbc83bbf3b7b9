//! Looks up the address of the server and caches it for a short while.
//!
//! ureq calls its resolver for every request, before it searches its pool for a connection, and its own resolver starts
//! a thread for every lookup with a time limit. This one runs at most one lookup for a host at a time, and keeps a
//! result that arrives after its caller has given up.
//!
//! Like `connector`, this uses a part of ureq that may change in a minor version. Therefore the feature `dns-cache` sets an
//! upper bound for the version of ureq.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::clock::{Clock, DECADES};
use crate::not_connected::NotConnected;
use crate::stop::{self, POLL_INTERVAL, StopToken};
use crate::sync::lock;

/// How long addresses are used, unless connecting to them fails.
const MAX_AGE: Duration = Duration::from_secs(30);

/// The capacity of ureq's list of addresses.
const MAX_ADDRESSES: usize = 16;

type LookUp = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

#[derive(Clone)]
pub(crate) struct CachingResolver {
    look_up: Arc<LookUp>,
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    addresses: Option<Addresses>,
    pending: Option<Pending>,
    /// The address of the last connection that was made. It is tried first.
    preferred: Option<SocketAddr>,
}

struct Addresses {
    host: String,
    found: Vec<SocketAddr>,
    found_at: Instant,
}

/// A lookup in progress, on a thread of its own.
#[derive(Clone)]
struct Pending {
    host: String,
    /// The process that started the thread. After a fork, the thread does not exist in the child.
    process: u32,
    outcome: Arc<Outcome>,
}

#[derive(Default)]
struct Outcome {
    result: Mutex<Option<Result<Vec<SocketAddr>, String>>>,
    arrived: Condvar,
}

impl CachingResolver {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        CachingResolver::with_look_up(clock, |host| Ok(host.to_socket_addrs()?.collect()))
    }

    fn with_look_up(
        clock: Arc<dyn Clock>,
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        CachingResolver { look_up: Arc::new(look_up), state: Arc::default(), clock }
    }

    /// Forgets the addresses, because none of them accepted a connection.
    pub(crate) fn invalidate(&self) {
        self.state().addresses = None;
    }

    /// Remembers an address that accepted a connection.
    pub(crate) fn prefer(&self, address: SocketAddr) {
        self.state().preferred = Some(address);
    }

    #[cfg(test)]
    pub(crate) fn has_addresses(&self) -> bool {
        self.state().addresses.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn find(&self, host: &str, within: Duration) -> Result<Vec<SocketAddr>, Failure> {
        let deadline = Instant::now() + within.min(DECADES);
        let outcome = {
            let mut state = self.state();
            if let Some(Addresses { host: known, found, found_at }) = &state.addresses {
                let age = self.clock.now().saturating_duration_since(*found_at);
                if known == host && age < MAX_AGE {
                    return Ok(found.clone());
                }
            }
            let process = std::process::id();
            match &state.pending {
                Some(pending) if pending.host == host && pending.process == process => {
                    pending.outcome.clone()
                }
                _ => self.start(&mut state, host, process)?,
            }
        };
        let stop = stop::current();
        let mut result = lock(&outcome.result);
        loop {
            match &*result {
                Some(Ok(found)) => return Ok(found.clone()),
                Some(Err(reason)) => return Err(Failure::NotFound(reason.clone())),
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.as_ref().is_some_and(StopToken::is_stopped) {
                return Err(Failure::TimedOut);
            }
            let pause = if stop.is_some() { left.min(POLL_INTERVAL) } else { left };
            let waited = outcome.arrived.wait_timeout(result, pause);
            result = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn start(&self, state: &mut State, host: &str, process: u32) -> Result<Arc<Outcome>, Failure> {
        let outcome = Arc::new(Outcome::default());
        let (resolver, host) = (self.clone(), host.to_owned());
        let pending = Pending { host: host.clone(), process, outcome: outcome.clone() };
        let look_up = {
            let outcome = outcome.clone();
            move || {
                let result = (resolver.look_up)(&host).map_err(|error| error.to_string());
                let mut state = resolver.state();
                if let Ok(found) = &result {
                    let (found, found_at) = (found.clone(), resolver.clock.now());
                    state.addresses = Some(Addresses { host, found, found_at });
                }
                state.pending = None;
                drop(state);
                *lock(&outcome.result) = Some(result);
                outcome.arrived.notify_all();
            }
        };
        let thread = thread::Builder::new().name("atomiverse-resolver".to_owned());
        thread
            .spawn(look_up)
            .map_err(|error| Failure::NotFound(format!("cannot start a thread: {error}")))?;
        state.pending = Some(pending);
        Ok(outcome)
    }

    /// Returns as many addresses as the list can hold, the preferred one first.
    fn in_order(&self, mut addresses: Vec<SocketAddr>) -> ResolvedSocketAddrs {
        if let Some(preferred) = self.state().preferred {
            // The sort is stable, so the other addresses keep their order.
            addresses.sort_by_key(|address| *address != preferred);
        }
        let mut list = self.empty();
        addresses.into_iter().take(MAX_ADDRESSES).for_each(|address| list.push(address));
        list
    }
}

enum Failure {
    TimedOut,
    NotFound(String),
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if let Some(address) = literal(uri) {
            return Ok(self.in_order(vec![address]));
        }
        let authority = uri.scheme().zip(uri.authority());
        let host =
            authority.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let host = host.ok_or(ureq::Error::HostNotFound)?;
        match self.find(&host, *timeout.after) {
            Ok(addresses) if addresses.is_empty() => Err(NotConnected::wrap(ureq::Error::HostNotFound)),
            Ok(addresses) => Ok(self.in_order(addresses)),
            Err(Failure::TimedOut) => Err(NotConnected::wrap(ureq::Error::Timeout(ureq::Timeout::Resolve))),
            Err(Failure::NotFound(reason)) => {
                Err(NotConnected::wrap(ureq::Error::Io(io::Error::other(reason))))
            }
        }
    }
}

impl std::fmt::Debug for CachingResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachingResolver").finish_non_exhaustive()
    }
}

/// Returns the address in the URL, if it has one in place of a host name.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, uri.port_u16().unwrap_or(default_port)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::SystemTime;

    use super::*;

    #[derive(Debug)]
    struct ManualClock {
        start: Instant,
        elapsed: Mutex<Duration>,
    }

    impl ManualClock {
        fn new() -> Arc<Self> {
            Arc::new(ManualClock { start: Instant::now(), elapsed: Mutex::default() })
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Instant {
            self.start + *lock(&self.elapsed)
        }
        fn system_time(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
        fn sleep(&self, pause: Duration, _: Option<&StopToken>) {
            *lock(&self.elapsed) += pause;
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_kept_for_one_host_and_for_a_while() {
        let clock = ManualClock::new();
        let count = Arc::new(AtomicUsize::new(0));
        let resolver = {
            let count = count.clone();
            CachingResolver::with_look_up(clock.clone(), move |host| {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(host.to_socket_addrs()?.collect())
            })
        };
        let find = |host| {
            let found = resolver.find(host, LONG).unwrap_or_default();
            assert!(!found.is_empty() && found.iter().all(|found| found.ip().is_loopback()));
            count.load(Ordering::SeqCst)
        };
        assert_eq!(find("localhost:80"), 1);
        clock.sleep(Duration::from_secs(29), None);
        assert_eq!(find("localhost:80"), 1);
        clock.sleep(Duration::from_secs(1), None);
        assert_eq!(find("localhost:80"), 2, "too old");
        assert_eq!(find("localhost:81"), 3, "another host");
        resolver.invalidate();
        assert_eq!(find("localhost:81"), 4, "invalidated");
    }

    #[test]
    fn a_late_look_up_is_kept_and_is_the_only_one() {
        let count = Arc::new(AtomicUsize::new(0));
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let resolver = {
            let count = count.clone();
            CachingResolver::with_look_up(ManualClock::new(), move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = lock(&released).recv();
                Ok(vec![address("127.0.0.1:80")])
            })
        };
        for _ in 0..3 {
            let outcome = resolver.find("slow.test:80", Duration::from_millis(5));
            assert!(matches!(outcome, Err(Failure::TimedOut)));
        }
        release.send(()).unwrap();
        assert!(resolver.find("slow.test:80", LONG).is_ok());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(resolver.has_addresses());
    }

    #[test]
    fn a_call_that_waits_for_a_slow_look_up_can_be_stopped() {
        // Ends when `release` is dropped.
        let (release, released) = mpsc::channel::<()>();
        let (started, released) = (Arc::new(AtomicUsize::new(0)), Mutex::new(released));
        let resolver = {
            let started = started.clone();
            CachingResolver::with_look_up(ManualClock::new(), move |_| {
                started.fetch_add(1, Ordering::SeqCst);
                let _ = lock(&released).recv();
                Ok(vec![address("127.0.0.1:80")])
            })
        };
        let took = [0, 20, 40].map(|moment| {
            let stop = StopToken::new();
            let caller = thread::spawn({
                let (resolver, stop) = (resolver.clone(), stop.clone());
                move || {
                    let outcome = stop::during(Some(&stop), || resolver.find("slow.test:80", LONG));
                    assert!(matches!(outcome, Err(Failure::TimedOut)));
                    Instant::now()
                }
            });
            while started.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(moment));
            let stopped = Instant::now();
            stop.stop();
            caller.join().unwrap().saturating_duration_since(stopped)
        });
        // The lookup itself is still running.
        assert!(took.iter().all(|took| *took < Duration::from_secs(5)), "{took:?}");
        assert_eq!(started.load(Ordering::SeqCst), 1, "one look-up for all of them");
        drop(release);
        assert!(resolver.find("slow.test:80", LONG).is_ok());
    }

    #[test]
    fn a_failed_look_up_is_not_kept() {
        let answers =
            Mutex::new(vec![Ok(vec![address("127.0.0.1:80")]), Err(io::Error::other("no such name"))]);
        let resolver = CachingResolver::with_look_up(ManualClock::new(), move |_| {
            lock(&answers).pop().unwrap_or_else(|| Ok(Vec::new()))
        });
        let failed = resolver.find("host.test:80", LONG);
        assert!(matches!(failed, Err(Failure::NotFound(reason)) if reason == "no such name"));
        assert!(resolver.find("host.test:80", LONG).is_ok());
    }

    #[test]
    fn the_address_that_worked_is_tried_first() {
        let resolver = CachingResolver::new(ManualClock::new());
        let (black_hole, good) = (address("[::1]:80"), address("127.0.0.1:80"));
        let order = || resolver.in_order(vec![black_hole, good]).to_vec();
        assert_eq!(order(), [black_hole, good]);
        resolver.prefer(good);
        assert_eq!(order(), [good, black_hole]);
        resolver.prefer(address("127.0.0.2:80"));
        assert_eq!(order(), [black_hole, good]);
        assert_eq!(resolver.in_order(vec![good; 40]).len(), MAX_ADDRESSES);
    }

    #[test]
    fn an_address_is_not_looked_up() {
        for (text, expected) in [
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://127.0.0.1", "127.0.0.1:443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("https://[::1]", "[::1]:443"),
        ] {
            assert_eq!(literal(&uri(text)), Some(address(expected)), "{text}");
        }
        assert_eq!(literal(&uri("http://localhost")), None);
        assert_eq!(literal(&uri("http://127.0.0.1.example")), None);
    }
}
