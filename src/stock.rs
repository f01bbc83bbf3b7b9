//! Whether a request may have been sent, by what ureq promises to keep.
//!
//! It promises little about errors, so what is not certain is taken to have been sent.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::http::{self, header};
use ureq::{Body, Error, SendBody, Timeout};

use crate::not_connected::NotConnected;
use crate::stop;
use crate::sync::lock;

/// When idle connections were distrusted last: only those that were used later are used.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolHealth(Arc<Mutex<Option<Instant>>>);

impl PoolHealth {
    /// No connection that is idle now is used again.
    pub(crate) fn distrust_idle_connections(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    /// How long a connection may have been idle to be used now.
    pub(crate) fn limit(&self, max_idle: Duration) -> Duration {
        lock(&self.0).map_or(max_idle, |distrusted| distrusted.elapsed().min(max_idle))
    }
}

/// What is known of an attempt, also to a caller that has left it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempt {
    may_be_sent: Arc<AtomicBool>,
    /// How many threads make an attempt of a call that was stopped.
    pub(crate) abandoned: Arc<AtomicUsize>,
}

impl Attempt {
    pub(crate) fn next(&self) -> Self {
        Attempt { may_be_sent: Arc::default(), abandoned: self.abandoned.clone() }
    }

    pub(crate) fn may_be_sent(&self) -> bool {
        self.may_be_sent.load(Ordering::SeqCst)
    }
}

/// Sends a request. If nobody asked for the first byte of its body, the server cannot have acted on it.
pub(crate) fn run(
    request: http::Request<Option<&[u8]>>,
    is_safe: bool,
    attempt: &Attempt,
    run: impl FnOnce(http::Request<SendBody>) -> Result<http::Response<Body>, Error>,
) -> Result<http::Response<Body>, Error> {
    let (mut parts, body) = request.into_parts();
    // Without a body nothing shows when the request is sent, so it counts as possibly sent from the start.
    attempt.may_be_sent.store(body.is_none_or(<[u8]>::is_empty), Ordering::SeqCst);
    let outcome = match body {
        None => run(http::Request::from_parts(parts, SendBody::none())),
        Some(body) => {
            // ureq cannot determine the length of a reader.
            parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
            let mut reader = Reader { body, may_be_sent: &attempt.may_be_sent };
            run(http::Request::from_parts(parts, SendBody::from_reader(&mut reader)))
        }
    };
    outcome.map_err(|error| match error {
        Error::Io(_) | Error::Timeout(_) if !attempt.may_be_sent() => NotConnected::wrap(error),
        error => mark(error, is_safe),
    })
}

/// Hands the body out in pieces: ureq gives each piece the time that is left, and a server that reads
/// slowly renews it for each part of a piece.
struct Reader<'a> {
    body: &'a [u8],
    may_be_sent: &'a AtomicBool,
}

const MAX_PIECE: usize = 4096;

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The flag is set before the stop is checked: a caller that stops the request and then finds the flag unset
        // concludes that nothing was sent.
        self.may_be_sent.store(true, Ordering::SeqCst);
        if stop::is_current_stopped() {
            return Err(io::Error::other("stopped"));
        }
        let length = buffer.len().min(MAX_PIECE);
        self.body.read(&mut buffer[..length])
    }
}

/// Marks an error that comes from before the connection stood. Of a request that changes nothing, it is
/// enough that it probably does.
fn mark(error: Error, is_safe: bool) -> Error {
    let is_marked = match &error {
        Error::HostNotFound | Error::ConnectionFailed | Error::ConnectProxyFailed(_) => true,
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        Error::Tls(_) | Error::TlsRequired => true,
        // TLS errors on an established connection are reported as `Io`.
        #[cfg(feature = "rustls")]
        Error::Rustls(_) => true,
        #[cfg(feature = "native-tls")]
        Error::NativeTls(_) | Error::Der(_) => true,
        Error::Io(error) => is_from_setup(error) || is_safe && !is_loss(error),
        _ => false,
    };
    match error {
        error if is_marked => NotConnected::wrap(error),
        // If a firewall rejects a retransmission, Linux can report a refusal although the connection was established.
        Error::Io(error) if error.kind() != io::ErrorKind::InvalidData && !is_loss(&error) => {
            Error::Io(io::Error::new(io::ErrorKind::ConnectionAborted, error))
        }
        error => error,
    }
}

/// By their texts, as the kind tells nothing: a failed look-up, and a certificate that rustls does not trust.
fn is_from_setup(error: &io::Error) -> bool {
    let text = error.to_string();
    text.starts_with("failed to lookup address information") || text.starts_with("invalid peer certificate")
}

/// Whether it is what happens to connections that stand.
fn is_loss(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    let kind = error.kind();
    matches!(kind, UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | WriteZero)
        || matches!(kind, NotConnected | TimedOut | WouldBlock | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_loss_only_connections_that_were_used_later_are_used() {
        let (pool_health, minute) = (PoolHealth::default(), Duration::from_secs(60));
        assert_eq!(pool_health.limit(minute), minute);
        pool_health.distrust_idle_connections();
        assert!(pool_health.limit(minute) < Duration::from_secs(10));
        assert_eq!(pool_health.limit(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn what_may_have_been_sent_is_not_marked() {
        let is_marked = |error, is_safe| matches!(mark(error, is_safe), Error::Other(_));
        let io = |kind: io::ErrorKind| Error::Io(kind.into());
        for is_safe in [false, true] {
            assert!(is_marked(Error::HostNotFound, is_safe));
            assert!(is_marked(Error::Timeout(Timeout::Connect), is_safe));
            assert!(!is_marked(Error::Timeout(Timeout::Global), is_safe));
            assert!(!is_marked(io(io::ErrorKind::ConnectionReset), is_safe));
            assert_eq!(is_marked(io(io::ErrorKind::ConnectionRefused), is_safe), is_safe);
        }
    }
}
