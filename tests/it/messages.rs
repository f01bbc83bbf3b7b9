//! Tests the texts of errors and log lines. The first table shows the text of each error, so that they can be read in one
//! place; a change of a text is a change of the table.

use std::collections::HashMap;
use std::error::Error as _;
#[cfg(unix)]
use std::ffi::OsStr;
use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use atomiverse::simulator::{Fault, SimulatedJob, Simulator};
use atomiverse::{
    Attempt, Client, ClientBuilder, Error, JobState, RawRequest, RawResponse, Result, StopToken, WaitOptions,
};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::{Value, json as value};

#[cfg(target_os = "linux")]
use crate::support::BlackHole;
#[cfg(unix)]
use crate::support::in_own_process_with;
use crate::support::{
    Answer, KEY, RawServer, Step, answer, client_of_nobody, in_own_process, job, json, lock, page, raw,
    read_message, secs,
};

const JSON: &str = "content-type: application/json";
const HTML: &str = "content-type: text/html";

const MEGABYTE: usize = 1 << 20;

/// What the server may still be sent in a URL; above 64 KB the client cannot even build one.
const LONG_URL: usize = 30_000;

/// The longest text of an error, however much the server or the caller put into it.
const LONGEST_TEXT: usize = 8 * 1024;

/// A client that makes one attempt.
fn one_attempt(server: &RawServer) -> Client {
    server.client_builder().max_retries(0).timeout(Duration::from_secs(10)).build().unwrap()
}

fn get_error(answer: Answer) -> Error {
    one_attempt(&RawServer::script(vec![answer])).get_job("9f2c").unwrap_err()
}

fn status_error(status: u16, header: &str, body: &str) -> Error {
    get_error(answer(status, &[header], body))
}

fn detail(text: &str) -> String {
    value!({ "detail": text }).to_string()
}

fn payload() -> Value {
    value!({"job_type": "opt"})
}

/// The error and its sources, each as its text.
fn chain(error: &Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts
}

/// A situation, the text that a user sees in it, and how to bring it about. `PORT` is the port of a server, `T` a time
/// that is measured, and `N` another number that varies.
type Row = (&'static str, &'static str, fn() -> String);

const MESSAGES: &[Row] = &[
    // Settings.
    (
        "no key in the environment",
        "the environment variable ATOMIVERSE_API_KEY is not set or empty: create a key in the settings of \
         the dashboard and set the variable to it",
        || of_environment(&[]),
    ),
    ("no key", "no API key: call api_key(..), or set ATOMIVERSE_API_KEY and use from_env()", || {
        refused(Client::builder())
    }),
    (
        "a key in quotation marks",
        "the API key (ATOMIVERSE_API_KEY) is in quotation marks: set it without them",
        || of_environment(&[("ATOMIVERSE_API_KEY", "\"av_key\"")]),
    ),
    ("a key with a line break", "the API key (ATOMIVERSE_API_KEY) contains a line break: remove it", || {
        of_environment(&[("ATOMIVERSE_API_KEY", "av_key\n")])
    }),
    (
        "a key with a space",
        "the API key (api_key) contains whitespace or another character that is not visible ASCII: copy it \
         again",
        || refused(Client::builder().api_key("av key")),
    ),
    ("an empty key", "the API key (api_key) is empty: create a key in the settings of the dashboard", || {
        refused(Client::builder().api_key(""))
    }),
    (
        "a key that cannot replace the present one",
        "the API key (set_api_key) is in quotation marks: set it without them",
        || text(settings().build().unwrap().set_api_key("'av_key'")),
    ),
    (
        "a key that cannot be that of a view",
        "the API key (with_api_key) is empty: create a key in the settings of the dashboard",
        || text(settings().build().unwrap().with_api_key("")),
    ),
    (
        "a base URL with the path of the API",
        "ATOMIVERSE_BASE_URL `https://atomiverse.com/api/v1`: leave out /api/v1, which the client adds; to \
         set the whole address of the API, use api_url (ATOMIVERSE_API_URL); expected a URL such as \
         https://atomiverse.com",
        || of_environment(&[KEY_IS_SET, ("ATOMIVERSE_BASE_URL", "https://atomiverse.com/api/v1")]),
    ),
    (
        "a base URL without a scheme",
        "ATOMIVERSE_BASE_URL `atomiverse.com`: it has no scheme; expected a URL such as \
         https://atomiverse.com",
        || of_environment(&[KEY_IS_SET, ("ATOMIVERSE_BASE_URL", "atomiverse.com")]),
    ),
    (
        "a base URL with another scheme",
        "base_url `ftp://atomiverse.com`: unsupported scheme; expected a URL such as \
         https://atomiverse.com",
        || refused(settings().base_url("ftp://atomiverse.com")),
    ),
    (
        "a base URL that is none",
        "base_url `my server`: not a URL; expected a URL such as https://atomiverse.com",
        || refused(settings().base_url("my server")),
    ),
    (
        "a base URL without a host",
        "base_url `https://:443`: it has no host; expected a URL such as https://atomiverse.com",
        || refused(settings().base_url("https://:443")),
    ),
    (
        "a base URL with a bad port",
        "base_url `https://atomiverse.com:99999`: the port is not a number up to 65535; expected a URL \
         such as https://atomiverse.com",
        || refused(settings().base_url("https://atomiverse.com:99999")),
    ),
    (
        "a base URL with a password",
        "base_url `https://atomiverse.com`: leave out the user name and password: the API key is the only \
         credential; expected a URL such as https://atomiverse.com",
        || refused(settings().base_url("https://user:password@atomiverse.com")),
    ),
    (
        "a base URL with a query",
        "base_url `https://atomiverse.com`: leave out the query and the fragment; expected a URL such as \
         https://atomiverse.com",
        || refused(settings().base_url("https://atomiverse.com?team=7")),
    ),
    (
        "plain http to another machine",
        "ATOMIVERSE_API_URL `http://10.0.0.7/api/v2`: plain http would show the API key to the network; \
         use https, or call allow_insecure_http(true); expected a URL such as \
         https://atomiverse.com/api/v1",
        || of_environment(&[KEY_IS_SET, ("ATOMIVERSE_API_URL", "http://10.0.0.7/api/v2")]),
    ),
    (
        "a user agent with a line break",
        "user_agent \"me\\n\": it must be printable ASCII and not empty",
        || refused(settings().user_agent("me\n")),
    ),
    ("no bytes for a response", "max_response_bytes is zero: no call could succeed", || {
        refused(settings().max_response_bytes(0))
    }),
    ("no time for a call", "timeout is zero: no call could succeed", || {
        refused(settings().timeout(Duration::ZERO))
    }),
    ("a header twice", "header \"x-team\": this header is set twice", || {
        refused(settings().header("X-Team", "a").header("x-team", "b"))
    }),
    (
        "a header that carries the key",
        "header \"Authorization\": this header carries the API key, which api_key sets",
        || refused(settings().header("Authorization", "Basic abc")),
    ),
    ("a header of the client's", "header \"Host\": the client sets this header itself; leave it out", || {
        refused(settings().header("Host", "atomiverse.com"))
    }),
    ("a header whose name is none", "api_key_header \"X Key\": not a valid header name", || {
        refused(settings().api_key_header("X Key"))
    }),
    (
        "a header whose value is none",
        "header \"X-Team\": its value contains a line break or another character that is not visible ASCII",
        || refused(settings().header("X-Team", "a\nb")),
    ),
    (
        "a SOCKS proxy",
        "proxy `socks5://127.0.0.1:PORT`: SOCKS proxies are not supported; expected the URL of an HTTP \
         proxy, such as http://proxy.example:3128",
        || refused(settings().proxy("socks5://127.0.0.1:1080")),
    ),
    (
        "a proxy with another scheme",
        "proxy `ftp://127.0.0.1`: unsupported scheme; expected the URL of an HTTP proxy, such as \
         http://proxy.example:3128",
        || refused(settings().proxy("ftp://127.0.0.1")),
    ),
    (
        "a proxy with a path",
        "proxy `http://proxy.example:3128/path`: it has a path or a query; percent-encode special \
         characters in the password; expected the URL of an HTTP proxy, such as http://proxy.example:3128",
        || refused(settings().proxy("http://proxy.example:3128/path")),
    ),
    (
        "a proxy with a bad port",
        "proxy `http://proxy.example:port`: the port is not a number up to 65535; expected the URL of an \
         HTTP proxy, such as http://proxy.example:3128",
        || refused(settings().proxy("http://proxy.example:port")),
    ),
    (
        "a proxy that is none",
        "proxy `not a url`: not a URL; expected the URL of an HTTP proxy, such as http://proxy.example:3128",
        || refused(settings().proxy("not a url")),
    ),
    (
        "a proxy without a host",
        "proxy `http://:3128`: it has no host; expected the URL of an HTTP proxy, such as \
         http://proxy.example:3128",
        || refused(settings().proxy("http://:3128")),
    ),
    (
        "a proxy that would see the key",
        "the proxy http://proxy.example:3128 (proxy) would see the API key, because the API URL \
         http://localhost/api/v1 is plain http: use https, or call allow_insecure_http(true)",
        || refused(settings().proxy("http://proxy.example:3128")),
    ),
    #[cfg(unix)]
    ("a key that is not Unicode", "the environment variable ATOMIVERSE_API_KEY is not valid Unicode", || {
        use std::os::unix::ffi::OsStrExt as _;
        of_any_environment(&[("ATOMIVERSE_API_KEY", OsStr::from_bytes(b"av_\xff"))])
    }),
    // Arguments.
    ("an empty id", "the job id \"\" is empty; nothing was sent", || text(nobody().get_job(""))),
    (
        "an id that leads elsewhere",
        "the job id \"..\" is not allowed: it would change the path of the request; nothing was sent",
        || text(nobody().delete_job("..")),
    ),
    (
        "an id with a line break",
        "the job id \"9f2c\\n\" contains a control character; nothing was sent",
        || text(nobody().cancel_job("9f2c\n")),
    ),
    (
        "an id with a space at its end",
        "the job id \"9f2c \" begins or ends with whitespace; nothing was sent",
        || text(nobody().rename_job("9f2c ", "water")),
    ),
    ("a limit of zero", "limit is 0, but a page has at least one job; nothing was sent", || {
        text(nobody().list_jobs().limit(0).send())
    }),
    ("an empty cursor", "the cursor is empty; leave it out for the first page; nothing was sent", || {
        text(nobody().list_jobs().cursor("").send())
    }),
    (
        "a payload that is a string",
        "the payload is a string, not a JSON object: parse it first, for example into a \
         serde_json::Value; nothing was sent",
        || text(nobody().submit_job("{}")),
    ),
    ("a payload that is a list", "the payload is not a JSON object; nothing was sent", || {
        text(nobody().submit_job(&value!([1])))
    }),
    (
        "a payload that JSON cannot hold",
        "the payload cannot be written as JSON: key must be a string; nothing was sent",
        || text(nobody().submit_job(&HashMap::from([((1, 2), 3)]))),
    ),
    ("a payload of a batch that is a list", "payloads[1] is not a JSON object; nothing was sent", || {
        text(nobody().submit_batch([payload(), value!([1])]))
    }),
    ("no time for a wait", "timeout is zero: use get_job to load a job once; nothing was sent", || {
        waited(nobody(), &WaitOptions::new().timeout(Duration::ZERO))
    }),
    (
        "a wait without pauses",
        "min_interval is zero: the server would be polled without a pause; nothing was sent",
        || waited(nobody(), &WaitOptions::new().min_interval(Duration::ZERO)),
    ),
    ("pauses that shrink", "max_interval (8 s) is shorter than min_interval (9 s); nothing was sent", || {
        waited(nobody(), &WaitOptions::new().min_interval(secs(9)).max_interval(secs(8)))
    }),
    (
        "a segment of a raw request that leads elsewhere",
        "request: the path segment \"..\" is not allowed: it would change the path; nothing was sent",
        || text(nobody().send(RawRequest::new("GET", ["jobs", ".."]))),
    ),
    (
        "a method in lower case",
        "request: unsupported method `get`; expected GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS in \
         upper case; nothing was sent",
        || text(nobody().send(RawRequest::new("get", ["jobs"]))),
    ),
    (
        "a raw body that JSON cannot hold",
        "request: its body cannot be written as JSON: key must be a string; nothing was sent",
        || text(nobody().send(RawRequest::new("POST", ["jobs"]).json(&HashMap::from([((1, 2), 3)])))),
    ),
    (
        "a path without a slash",
        "request: the path `jobs` does not begin with a slash; expected a path below the API URL, such as \
         /jobs; nothing was sent",
        || sent(|request| request.path = "jobs".to_owned()),
    ),
    (
        "a path that is not encoded",
        "request: the path `/jobs/a b` contains a character that must be percent-encoded; nothing was \
         sent",
        || sent(|request| request.path = "/jobs/a b".to_owned()),
    ),
    (
        "a path that leads out of the API",
        "request: the path `/jobs/../../admin` has a segment `.` or `..`, which is not allowed: it would \
         change the path; nothing was sent",
        || sent(|request| request.path = "/jobs/../../admin".to_owned()),
    ),
    (
        "a raw header of the client's",
        "request: the header \"Host\": the client sets this header itself; leave it out; nothing was sent",
        || sent(|request| request.headers.push(("Host".to_owned(), "x".to_owned()))),
    ),
    (
        "a request that on_request spoils",
        "get job 9f2c: on_request made a request that cannot be sent: the path `v2/jobs` does not begin \
         with a slash; expected a path below the API URL, such as /jobs; nothing was sent (GET \
         http://localhost/api/v1/jobs/9f2c)",
        || hooked(),
    ),
    (
        "a payload of a batch that is a string",
        "payloads[0] is a string, not a JSON object: parse it first, for example into a serde_json::Value; \
         nothing was sent",
        || text(nobody().submit_batch(["{}"])),
    ),
    (
        "a wait of a client without time",
        "with_timeout is zero: the wait cannot poll; nothing was sent",
        || waited(nobody().with_timeout(Duration::ZERO), &WaitOptions::new()),
    ),
    (
        "a raw header whose name is none",
        "request: the header \"X Team\": not a valid header name; nothing was sent",
        || sent(|request| request.headers.push(("X Team".to_owned(), "x".to_owned()))),
    ),
    (
        "a raw header whose value is none",
        "request: the header \"X-Team\": its value contains a line break or another character that is not \
         visible ASCII; nothing was sent",
        || sent(|request| request.headers.push(("X-Team".to_owned(), "a\nb".to_owned()))),
    ),
    (
        "a cursor that is too long for a URL",
        "list jobs: the request cannot be sent: uri too long; nothing was sent (GET \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(nobody().list_jobs().cursor("c".repeat(70_000)).send()),
    ),
    // Connections.
    (
        "a server that is not there",
        "get job 9f2c: no connection: Connection refused (os error N); check the network and the base URL \
         (base_url); nothing was sent (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(nobody().get_job("9f2c")),
    ),
    (
        "a server that is not there, for a submission",
        "submit job: no connection: Connection refused (os error N); check the network and the base URL \
         (base_url); nothing was sent (POST http://127.0.0.1:PORT/api/v1/jobs)",
        || text(nobody().submit_job(&payload())),
    ),
    (
        "a server that is not there, again and again",
        "get job 9f2c: no connection: Connection refused (os error N); check the network and the base URL \
         (base_url); nothing was sent (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c, tried 3 times in T s)",
        || text(client_of_nobody().get_job("9f2c")),
    ),
    (
        "a server that is gone after it has rejected a request",
        "submit job: no connection: Connection refused (os error N); check the network and the base URL \
         (base_url) (POST http://127.0.0.1:PORT/api/v1/jobs, tried 2 times in T s)",
        || gone_after_429(),
    ),
    (
        "a host name that does not exist",
        "get job 9f2c: no connection: failed to lookup address information: WORDS; check the network and \
         the base URL (base_url); nothing was sent (GET http://nobody.invalid/api/v1/jobs/9f2c)",
        || unknown_host(),
    ),
    #[cfg(target_os = "linux")]
    (
        "a server that does not accept connections",
        "get job 9f2c: no connection within T s: the server did not respond; check the network and the base \
         URL (base_url), or allow more time (connect_timeout, timeout); nothing was sent (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || impatient_to_connect(BlackHole::new().client_builder()),
    ),
    (
        "a server that closes the connection",
        "get job 9f2c: the connection broke: the server closed it (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(vec![Step::Close]),
    ),
    (
        "a server that closes the connection of a change",
        "rename job 9f2c: the connection broke: the server closed it; the change may have been made: load \
         the job to check (PATCH http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(client(vec![Step::Close]).rename_job("9f2c", "water")),
    ),
    (
        "a server that closes the connection of a submission",
        "submit job: the connection broke: the server closed it; the job may have been submitted: check the \
         newest jobs (list_jobs) before you submit it again (POST http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(vec![Step::Close]).submit_job(&payload())),
    ),
    (
        "a server that resets the connection",
        "get job 9f2c: the connection broke: Connection reset by peer (os error N) (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(vec![Step::Reset]),
    ),
    (
        "http to a server of https",
        "get job 9f2c: the response is not valid HTTP: invalid HTTP version; the scheme or port of the base \
         URL (base_url) may be wrong (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get([raw(b"\x15\x03\x03\x00\x02\x02\x46".to_vec()), vec![Step::Close]].concat()),
    ),
    (
        "a body that breaks off",
        "get job 9f2c: the connection broke: the server closed it (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c, request id r7)",
        || {
            get([
                raw("HTTP/1.1 200 OK\r\nx-request-id: r7\r\ncontent-length: 99\r\n\r\n{"),
                vec![Step::Close],
            ]
            .concat())
        },
    ),
    (
        "bytes that are not HTTP",
        "get job 9f2c: the response is not valid HTTP: invalid HTTP version; the scheme or port of the base \
         URL (base_url) may be wrong (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(raw("SSH-2.0-OpenSSH_9.7\r\n\r\n")),
    ),
    #[cfg(feature = "gzip")]
    (
        "a body that is not compressed as it says",
        "get job 9f2c: the body of the response is broken: invalid gzip header (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(answer(200, &["content-encoding: gzip"], "not compressed")),
    ),
    (
        "no response in time",
        "get job 9f2c: no response within T s; raise attempt_timeout or timeout if the server needs longer \
         (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(impatient().get_job("9f2c")),
    ),
    (
        "no response in time to a change",
        "delete job 9f2c: no response within T s; raise attempt_timeout or timeout if the server needs \
         longer; the change may have been made: load the job to check (DELETE \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(impatient().delete_job("9f2c")),
    ),
    (
        "no response in time to a submission",
        "submit job: no response within T s; raise timeout if the server needs longer; the job may have \
         been submitted: check the newest jobs (list_jobs) before you submit it again (POST \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(impatient().submit_job(&payload())),
    ),
    (
        "no time left for a request",
        "get job 9f2c: not tried: no time was left to send the request; raise the timeout (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(nobody().with_timeout(Duration::from_nanos(1)).get_job("9f2c")),
    ),
    (
        "a body that is too large",
        "get job 9f2c: the response is larger than 10 bytes; raise max_response_bytes (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || too_large(),
    ),
    (
        "a stop before a request",
        "get job 9f2c: stopped; no request was in flight (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || stopped_before(),
    ),
    (
        "a stop while a request is in flight",
        "get job 9f2c: stopped before the response came (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || stopped_in_flight(|client| client.get_job("9f2c").map(drop)),
    ),
    (
        "a stop while a change is in flight",
        "cancel job 9f2c: stopped before the response came; the change may have been made: load the \
         job to check (POST http://127.0.0.1:PORT/api/v1/jobs/9f2c/cancel)",
        || stopped_in_flight(|client| client.cancel_job("9f2c")),
    ),
    (
        "a stop while a submission is in flight",
        "submit job: stopped before the response came; the job may have been submitted: check the newest \
         jobs (list_jobs) before you submit it again (POST http://127.0.0.1:PORT/api/v1/jobs)",
        || stopped_in_flight(|client| client.submit_job(&payload()).map(drop)),
    ),
    (
        "a stop while the outcome of a change is checked",
        "delete job 9f2c: 409 Conflict: the server said: busy; stopped before it was known what became of \
         the job (DELETE http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || stopped_while_checked(),
    ),
    // Statuses.
    (
        "401 with a key that is refused",
        "get job 9f2c: 401 Unauthorized: the server said: Invalid API key; check the API key (api_key): it \
         may be mistyped or revoked (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(401, &detail("Invalid API key")),
    ),
    (
        "401 with a key that did not arrive",
        "get job 9f2c: 401 Unauthorized: the server said: Not authenticated; no API key seems to have \
         reached the service: it may expect the key in another header (api_key_header), or a proxy or \
         gateway may have removed it (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(401, &detail("Not authenticated")),
    ),
    (
        "401 with a key of the environment",
        "get job 9f2c: 401 Unauthorized: the server said: Invalid API key; check the API key \
         (ATOMIVERSE_API_KEY): it may be mistyped or revoked (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || {
            let server = RawServer::script(vec![answer(401, &[JSON], &detail("Invalid API key"))]);
            of_environment(&[KEY_IS_SET, ("ATOMIVERSE_BASE_URL", &server.url())])
        },
    ),
    (
        "403 with a key that did not arrive",
        "get job 9f2c: 403 Forbidden: the server said: Not authenticated; no API key seems to have reached \
         the service: it may expect the key in another header (api_key_header), or a proxy or gateway may \
         have removed it (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(403, &detail("Not authenticated")),
    ),
    (
        "403 of the service",
        "get job 9f2c: 403 Forbidden: the server said: balance too low (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(403, &detail("balance too low")),
    ),
    (
        "403 of a gateway",
        "get job 9f2c: 403 Forbidden: the server sent an HTML page, \"Sign in\"; the response is not JSON: \
         a proxy or gateway may have sent it, or the base URL (base_url) may be wrong (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || html(403),
    ),
    (
        "404 before any success",
        "get job 9f2c: 404 Not Found: the server said: Job not found; the job may have been deleted or \
         belong to another account, or the base URL (base_url) may be wrong: no call of this client has \
         succeeded yet (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(404, &detail("Job not found")),
    ),
    (
        "404 after a success",
        "get job 9f2c: 404 Not Found: the server said: Job not found; the job may have been deleted or \
         belong to another account (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(verified(answer(404, &[JSON], &detail("Job not found"))).get_job("9f2c")),
    ),
    (
        "404 at an API URL of the environment",
        "get job 9f2c: 404 Not Found: the server said: Not Found; the job may have been deleted or belong \
         to another account, or the API URL (ATOMIVERSE_API_URL) may be wrong: no call of this client has \
         succeeded yet (GET http://127.0.0.1:PORT/v2/jobs/9f2c)",
        || {
            let server = RawServer::script(vec![answer(404, &[JSON], &detail("Not Found"))]);
            of_environment(&[KEY_IS_SET, ("ATOMIVERSE_API_URL", &format!("{}/v2", server.url()))])
        },
    ),
    (
        "404 of a gateway",
        "get job 9f2c: 404 Not Found: the server sent an HTML page, \"Sign in\"; the response is not JSON: \
         a proxy or gateway may have sent it, or the base URL (base_url) may be wrong (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || html(404),
    ),
    (
        "404 for a list before any success",
        "list jobs: 404 Not Found: the server said: Not Found; the base URL (base_url) may be wrong (GET \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(answer(404, &[JSON], &detail("Not Found"))).list_jobs().send()),
    ),
    (
        "405 after a success",
        "list jobs: 405 Method Not Allowed: the server said: Method Not Allowed; the service may differ \
         from what this version expects: see HTTP.md; ClientBuilder::on_request can adapt requests (GET \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(verified(answer(405, &[JSON], &detail("Method Not Allowed"))).list_jobs().send()),
    ),
    (
        "404 for a list after a success",
        "list jobs: 404 Not Found: the server said: Not Found; the service may differ from what this \
         version expects: see HTTP.md; ClientBuilder::on_request can adapt requests (GET \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(verified(answer(404, &[JSON], &detail("Not Found"))).list_jobs().send()),
    ),
    (
        "408",
        "get job 9f2c: 408 Request Timeout; try again later (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(408, ""),
    ),
    (
        "409 for a rename",
        "rename job 9f2c: 409 Conflict: the server said: locked (PATCH \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(client(answer(409, &[JSON], &detail("locked"))).rename_job("9f2c", "water")),
    ),
    (
        "410",
        "get job 9f2c: 410 Gone: the server said: Job was deleted; the job may have been deleted or belong \
         to another account, or the base URL (base_url) may be wrong: no call of this client has succeeded \
         yet (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(410, &detail("Job was deleted")),
    ),
    (
        "422 for a name",
        "rename job 9f2c: 422 Unprocessable Entity: the server said: name: at most 200 characters (PATCH \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(client(answer(422, &[JSON], TOO_LONG)).rename_job("9f2c", "w")),
    ),
    (
        "429",
        "get job 9f2c: 429 Too Many Requests: the server said: slow down; send requests less often (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(429, &detail("slow down")),
    ),
    (
        "429 with Retry-After",
        "get job 9f2c: 429 Too Many Requests; the server asks to wait 120 s before another attempt (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(answer(429, &[JSON, "retry-after: 120"], "")),
    ),
    (
        "a call held back by the Retry-After of another",
        "get job 9f2c: not tried: the server asked this client to wait another T s (Retry-After), \
         and the call has less time left (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || held(),
    ),
    (
        "500",
        "get job 9f2c: 500 Internal Server Error; try again later (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(500, ""),
    ),
    (
        "501",
        "get job 9f2c: 501 Not Implemented; the service may differ from what this version expects: see \
         HTTP.md; ClientBuilder::on_request can adapt requests (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(501, ""),
    ),
    (
        "500 for a raw request that is not about a job",
        "request: 500 Internal Server Error; the request may have been processed (POST \
         http://127.0.0.1:PORT/api/v1/projects)",
        || text(client(answer(500, &[], "")).send(RawRequest::new("POST", ["projects"]))),
    ),
    (
        "500 for a change",
        "cancel job 9f2c: 500 Internal Server Error; the change may have been made: load the job to \
         check (POST http://127.0.0.1:PORT/api/v1/jobs/9f2c/cancel)",
        || text(client(answer(500, &[], "")).cancel_job("9f2c")),
    ),
    (
        "500 for a submission",
        "submit job: 500 Internal Server Error; the job may have been submitted: check the newest jobs \
         (list_jobs) before you submit it again (POST http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(answer(500, &[], "")).submit_job(&payload())),
    ),
    (
        "502 of a gateway",
        "get job 9f2c: 502 Bad Gateway: the server sent an HTML page, \"Sign in\"; try again later (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || html(502),
    ),
    (
        "503 until the retry budget is spent",
        "get job 9f2c: 503 Service Unavailable; try again later (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c, tried 2 times in T s)",
        || budget_spent(),
    ),
    (
        "a status without a name",
        "get job 9f2c: 599 (nonstandard status); try again later (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || status(599, ""),
    ),
    (
        "a redirect",
        "get job 9f2c: 302 Found: the server redirects to https://other.example/login, which is not \
         followed, because the API key is sent only to the configured address; if the API has moved there, \
         change the base URL (base_url) (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(answer(302, &["location: https://other.example/login"], "")),
    ),
    (
        "a redirect to nowhere",
        "get job 9f2c: 301 Moved Permanently: the server redirects to an unknown address (no Location \
         header), which is not followed, because the API key is sent only to the configured address; if the \
         API has moved there, change the base URL (base_url) (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(answer(301, &[], "")),
    ),
    // Outcomes of changes.
    (
        "a delete of a running job",
        "delete job 9f2c: 409 Conflict: the server said: busy; the job is running, and only a job that has \
         ended can be deleted: cancel it first, or use cancel_and_delete (DELETE \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(routed(answer(409, &[JSON], &detail("busy")), json(&in_state("running"))).delete_job("9f2c")),
    ),
    (
        "a delete of a job that has ended meanwhile",
        "delete job 9f2c: 409 Conflict: the server said: busy; the job is done now: try again (DELETE \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(routed(answer(409, &[JSON], &detail("busy")), json(&job("9f2c"))).delete_job("9f2c")),
    ),
    (
        "a delete of a job whose state is not known",
        "delete job 9f2c: 409 Conflict: the server said: busy; the state of the job could not be loaded: \
         get job 9f2c: 500 Internal Server Error; try again later (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c) (DELETE http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(routed(answer(409, &[JSON], &detail("busy")), answer(500, &[], "")).delete_job("9f2c")),
    ),
    (
        "a cancellation that is refused",
        "cancel job 9f2c: 400 Bad Request: the server said: no; the job is running (POST \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c/cancel)",
        || text(routed(answer(400, &[JSON], &detail("no")), json(&in_state("running"))).cancel_job("9f2c")),
    ),
    (
        "a delete that leaves the job",
        "delete job 9f2c: the server responded with 200, but the job is still there and is running; it may \
         have been marked for deletion: load it again later to check (DELETE \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(routed(json(&in_state("running")), json(&in_state("running"))).delete_job("9f2c")),
    ),
    (
        "a delete that shows the job, which cannot be loaded",
        "delete job 9f2c: the server responded with 200, but the response shows the job, and it is not \
         known whether it is gone: get job 9f2c: 500 Internal Server Error; try again later (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c); the change may have been made: load the job to check \
         (DELETE http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(routed(json(&in_state("running")), answer(500, &[], "")).delete_job("9f2c")),
    ),
    (
        "a rename to another name",
        "rename job 9f2c: the server responded with 200, but the body does not confirm success: it begins \
         with \"{\\\"name\\\":\\\"wat\\\"}\"; the change may have been made: load the job to check (PATCH \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(client(json(r#"{"name":"wat"}"#)).rename_job("9f2c", "water")),
    ),
    (
        "a rename that is denied",
        "rename job 9f2c: the server responded with 200, but the body does not confirm success: it begins \
         with \"{\\\"success\\\":false}\" (PATCH http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(client(json(r#"{"success":false}"#)).rename_job("9f2c", "water")),
    ),
    (
        "a rename that meets a login page",
        "rename job 9f2c: the server responded with 200, but the body does not confirm success: it begins \
         with \"<html><title>Sign in</title></html>\"; the response is not JSON: a proxy or gateway may \
         have sent it, or the base URL (base_url) may be wrong; the change may have been made: load the job \
         to check (PATCH http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(client(answer(200, &[HTML], PAGE)).rename_job("9f2c", "water")),
    ),
    (
        "a rename that the service does not have",
        "rename job 9f2c: 404 Not Found, but the job exists and is done: the service does not seem to \
         support this request; the service may differ from what this version expects: see HTTP.md; \
         ClientBuilder::on_request can adapt requests (PATCH http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || {
            text(
                routed(answer(404, &[JSON], &detail("Not Found")), json(&job("9f2c")))
                    .rename_job("9f2c", "water"),
            )
        },
    ),
    (
        "a delete that may have found nothing at a wrong address",
        "delete job 9f2c: 404 Not Found, but it is not known whether the job is gone: list jobs: 404 Not \
         Found: the server said: Not Found; the base URL (base_url) may be wrong (GET \
         http://127.0.0.1:PORT/api/v1/jobs) (DELETE http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || text(client(answer(404, &[JSON], &detail("Not Found"))).delete_job_if_exists("9f2c")),
    ),
    (
        "a delete after 503",
        "delete job 9f2c: 404 Not Found: the server said: Job not found; the job may have been deleted or \
         belong to another account, or the base URL (base_url) may be wrong: no call of this client has \
         succeeded yet; an earlier attempt of this call may have been processed (DELETE \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c, tried 2 times in T s)",
        || deleted_after_503(),
    ),
    (
        "another job",
        "get job 9f2c: the server responded with another job, 77aa; it may be the response to another \
         request (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(json(&job("77aa"))),
    ),
    (
        "another job in the response to a change",
        "cancel job 9f2c: the server responded with another job, 77aa; it may be the response to another \
         request; the change may have been made: load the job to check (POST \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c/cancel)",
        || text(client(json(&job("77aa"))).cancel_job("9f2c")),
    ),
    (
        "a job whose id the service writes in another way",
        "get job 9f2c: the server responded with another job, 9F-2C; this seems to be the same id in the \
         spelling of the service: use that (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(json(&job("9F-2C"))),
    ),
    (
        "a rename of a job that cannot be loaded",
        "rename job 9f2c: 404 Not Found, but it is not known whether the job is gone: get job 9f2c: 500 \
         Internal Server Error; try again later (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c) (PATCH \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || {
            let not_found = answer(404, &[JSON], &detail("Not Found"));
            text(routed(not_found, answer(500, &[], "")).rename_job("9f2c", "water"))
        },
    ),
    // Responses that cannot be read.
    (
        "a page that is a list",
        "list jobs: the response cannot be read as a page of jobs: invalid length 0, expected an object \
         with the field `jobs` at line 1 column 2; content type application/json, the body begins with \
         \"[]\"; the service may differ from what this version expects: see HTTP.md; \
         ClientBuilder::on_response can adapt responses (GET http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(json("[]")).list_jobs().send()),
    ),
    (
        "a page that does not say whether there are more",
        "list jobs: the response cannot be read as a page of jobs: it has neither `has_more` nor \
         `next_cursor`; content type application/json, the body begins with \"{\\\"jobs\\\":[]}\"; the \
         service may differ from what this version expects: see HTTP.md; ClientBuilder::on_response can \
         adapt responses (GET http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(json(r#"{"jobs":[]}"#)).list_jobs().send()),
    ),
    (
        "a page of HTML",
        "list jobs: the response cannot be read as a page of jobs: expected value at line 1 column 1; \
         content type text/html, the body begins with \"<html><title>Sign in</title></html>\"; the response \
         is not JSON: a proxy or gateway may have sent it, or the base URL (base_url) may be wrong (GET \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(answer(200, &[HTML], PAGE)).list_jobs().send()),
    ),
    (
        "one job of a page",
        "list jobs: job 2 of the page (9f2c) cannot be read: missing field `job_type` at line 1 column \
         32; the service may differ from what this version expects: see HTTP.md; \
         ClientBuilder::on_response can adapt responses (GET http://127.0.0.1:PORT/api/v1/jobs)",
        || {
            iterated(vec![format!(
                r#"{{"jobs":[{},{{"job_id":"9f2c","state":"done"}}],"has_more":false}}"#,
                job("a")
            )])
        },
    ),
    (
        "one field of a job of a page",
        "list jobs: job 1 of the page (9f2c) cannot be read: job_type: invalid type: integer `7`, \
         expected a string at line 1 column 56; the service may differ from what this version expects: \
         see HTTP.md; ClientBuilder::on_response can adapt responses (GET \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || iterated(vec![page(&["9f2c"], false, None).replace(r#""opt""#, "7")]),
    ),
    (
        "a job of a page without an id",
        "list jobs: job 1 of the page cannot be read: missing field `job_id` at line 1 column 95; the \
         service may differ from what this version expects: see HTTP.md; ClientBuilder::on_response can \
         adapt responses (GET http://127.0.0.1:PORT/api/v1/jobs)",
        || iterated(vec![page(&["9f2c"], false, None).replace("job_id", "uuid")]),
    ),
    (
        "a job of a page whose time cannot be read",
        "list jobs: job 1 of the page (9f2c) cannot be read: created_at: expected a timestamp: a string or \
         a number at line 1 column 77; the service may differ from what this version expects: see HTTP.md; \
         ClientBuilder::on_response can adapt responses (GET http://127.0.0.1:PORT/api/v1/jobs)",
        || iterated(vec![page(&["9f2c"], false, None).replace("\"2026-05-02T14:32:01Z\"", "[]")]),
    ),
    (
        "more jobs without a cursor",
        "list jobs: the server says that there are more jobs, but sent no cursor for the next page; the \
         service may differ from what this version expects: see HTTP.md; ClientBuilder::on_request and \
         on_response can adapt requests and responses (GET http://127.0.0.1:PORT/api/v1/jobs)",
        || iterated(vec![page(&["a"], true, None)]),
    ),
    (
        "a cursor that repeats",
        "list jobs: the server sent the cursor \"c1\" a second time, so its pages would repeat; the service \
         may differ from what this version expects: see HTTP.md; ClientBuilder::on_request and on_response \
         can adapt requests and responses (GET http://127.0.0.1:PORT/api/v1/jobs)",
        || iterated(vec![page(&["a"], true, Some("c1")), page(&["b"], true, Some("c1"))]),
    ),
    (
        "a page that repeats",
        "list jobs: the page begins with the same job (a) as an earlier one: the server seems to ignore the \
         cursor; the service may differ from what this version expects: see HTTP.md; \
         ClientBuilder::on_request and on_response can adapt requests and responses (GET \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || iterated(vec![page(&["a"], true, Some("c1")), page(&["a"], true, Some("c2"))]),
    ),
    (
        "a job without a field",
        "get job 9f2c: the response cannot be read as a job: missing field `job_type` at line 1 column \
         32; content type application/json, the body begins with \
         \"{\\\"job_id\\\":\\\"9f2c\\\",\\\"state\\\":\\\"done\\\"}\"; the service may differ from what \
         this version expects: see HTTP.md; ClientBuilder::on_response can adapt responses (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(json(r#"{"job_id":"9f2c","state":"done"}"#)),
    ),
    (
        "an empty body",
        "get job 9f2c: the response cannot be read as a job: the body is empty; content type \
         application/json; the service may differ from what this version expects: see HTTP.md; \
         ClientBuilder::on_response can adapt responses (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || get(json("")),
    ),
    (
        "a submission without an id",
        "submit job: the response cannot be read as a submitted job: missing field `job_id`; content type \
         application/json, the body begins with \"{}\"; the service may differ from what this version \
         expects: see HTTP.md; ClientBuilder::on_response can adapt responses; the job may have been \
         submitted: check the newest jobs (list_jobs) before you submit it again (POST \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(answer(201, &[JSON], "{}")).submit_job(&payload())),
    ),
    (
        "a submission whose response mentions a job",
        "submit job: the response cannot be read as a submitted job: missing field `job_id`; it mentions \
         the job_id \"9f2c\"; content type application/json, the body begins with \
         \"{\\\"errors\\\":[{\\\"job_id\\\":\\\"9f2c\\\"}]}\"; the service may differ from what this \
         version expects: see HTTP.md; ClientBuilder::on_response can adapt responses; the job may have \
         been submitted: check the newest jobs (list_jobs) before you submit it again (POST \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(json(r#"{"errors":[{"job_id":"9f2c"}]}"#)).submit_job(&payload())),
    ),
    (
        "a submission whose response is empty but for its Location",
        "submit job: the response cannot be read as a submitted job: the body is empty; its Location is \
         /api/v1/jobs/9f2c; content type not given; the service may differ from what this version expects: \
         see HTTP.md; ClientBuilder::on_response can adapt responses; the job may have been submitted: \
         check the newest jobs (list_jobs) before you submit it again (POST \
         http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(answer(201, &["location: /api/v1/jobs/9f2c"], "")).submit_job(&payload())),
    ),
    (
        "a submission whose response is a sentence",
        "submit job: the response cannot be read as a submitted job: it is neither a job nor the id of one; \
         content type application/json, the body begins with \"\\\"queue is full\\\"\"; the service may \
         differ from what this version expects: see HTTP.md; ClientBuilder::on_response can adapt \
         responses; the job may have been submitted: check the newest jobs (list_jobs) before you submit it \
         again (POST http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(json(r#""queue is full""#)).submit_job(&payload())),
    ),
    (
        "a submission with an id that cannot be used",
        "submit job: the response cannot be read as a submitted job: its job id is not allowed: it would \
         change the path of the request; content type application/json, the body begins with \
         \"{\\\"job_id\\\":\\\"..\\\"}\"; the service may differ from what this version expects: see \
         HTTP.md; ClientBuilder::on_response can adapt responses; the job may have been submitted: check \
         the newest jobs (list_jobs) before you submit it again (POST http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(json(r#"{"job_id":".."}"#)).submit_job(&payload())),
    ),
    (
        "a submission that is denied",
        "submit job: the server responded with 200, but the body does not confirm success: it begins with \
         \"{\\\"job_id\\\":\\\"9f2c\\\",\\\"success\\\":false}\" (POST http://127.0.0.1:PORT/api/v1/jobs)",
        || text(client(json(r#"{"job_id":"9f2c","success":false}"#)).submit_job(&payload())),
    ),
    (
        "a batch that is something else",
        "submit batch: the response cannot be read as the response to a batch: invalid type: string \
         \"all\", expected a sequence at line 1 column 13; content type application/json, the body begins \
         with \"{\\\"jobs\\\":\\\"all\\\"}\"; the service may differ from what this version expects: see \
         HTTP.md; ClientBuilder::on_response can adapt responses; the jobs of this request may have been \
         submitted: check the newest jobs (list_jobs) before you submit them again (POST \
         http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || text(client(json(r#"{"jobs":"all"}"#)).submit_batch([payload()])),
    ),
    (
        "a batch with an id that cannot be used",
        "submit batch: the response cannot be read as the response to a batch: entry 0 has a job_id that \
         begins or ends with whitespace; content type application/json, the body begins with \
         \"{\\\"cache_hits\\\":0,\\\"failed\\\":0,\\\"jobs\\\":[{\\\"job_id\\\":\\\"9f2c \
         \\\",\\\"state\\\":\\\"pending\\\",\\\"status\\\":\\\"submitted\\\"}],\\\"submitted\\\":1,\\\"total\\\":1}\"; \
         the service may differ from what this version expects: see HTTP.md; ClientBuilder::on_response can \
         adapt responses; the jobs of this request may have been submitted: check the newest jobs \
         (list_jobs) before you submit them again (POST http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || text(client(json(&batch(1).to_string().replace("9f2c", "9f2c "))).submit_batch([payload()])),
    ),
    (
        "a batch with too few entries",
        "submit batch: the number of entries in the response (1) differs from the number of payloads (2), \
         so it is not known which entry belongs to which payload; Error::partial_batch holds the entries; \
         the jobs of this request may have been submitted: check the newest jobs (list_jobs) before you \
         submit them again (POST http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || text(client(json(&batch(1).to_string())).submit_batch([payload(), payload()])),
    ),
    (
        "a batch with an entry without an id",
        "submit batch: the response cannot be read as the response to a batch: entry 0 has no job_id; \
         content type application/json, the body begins with \
         \"{\\\"cache_hits\\\":0,\\\"failed\\\":0,\\\"jobs\\\":[{\\\"id_of_job\\\":\\\"9f2c\\\",\\\"state\\\":\\\"pending\\\",\\\"status\\\":\\\"submitted\\\"}],\\\"submitted\\\":1,\\\"total\\\":1}\"; \
         the service may differ from what this version expects: see HTTP.md; ClientBuilder::on_response can \
         adapt responses; the jobs of this request may have been submitted: check the newest jobs \
         (list_jobs) before you submit them again (POST http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || text(client(json(&batch(1).to_string().replace("job_id", "id_of_job"))).submit_batch([payload()])),
    ),
    (
        "a batch in another order",
        "submit batch: the response cannot be read as the response to a batch: entry 0 has an index that is \
         not its position; content type application/json, the body begins with \
         \"{\\\"cache_hits\\\":0,\\\"failed\\\":0,\\\"jobs\\\":[{\\\"index\\\":5,\\\"job_id\\\":\\\"9f2c\\\",\\\"state\\\":\\\"pending\\\",\\\"status\\\":\\\"submitted\\\"}],\\\"submitted\\\":1,\\\"to…\"; \
         the service may differ from what this version expects: see HTTP.md; ClientBuilder::on_response can \
         adapt responses; the jobs of this request may have been submitted: check the newest jobs \
         (list_jobs) before you submit them again (POST http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || {
            text(
                client(json(&batch(1).to_string().replace(r#""job_id""#, r#""index":5,"job_id""#)))
                    .submit_batch([payload()]),
            )
        },
    ),
    (
        "a batch of which a part failed",
        "submit batch: 422 Unprocessable Entity: the server said: charge is missing; of 2500 payloads, \
         the first 1000 were processed (1000 submitted, 0 failed, 0 cache hits), the next 1000 were in \
         the request that failed, and the last 500 were not sent (POST \
         http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || partial_batch(2500),
    ),
    (
        "a batch whose first request failed",
        "submit batch: 422 Unprocessable Entity: the server said: charge is missing; of 1500 payloads, the \
         first 1000 were in the request that failed and the last 500 were not sent (POST \
         http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || {
            text(
                client(answer(422, &[JSON], &detail("charge is missing")))
                    .submit_batch(vec![payload(); 1500]),
            )
        },
    ),
    (
        "a batch whose last request failed",
        "submit batch: 422 Unprocessable Entity: the server said: charge is missing; of 1500 payloads, the \
         first 1000 were processed (1000 submitted, 0 failed, 0 cache hits), and the last 500 were in the \
         request that failed (POST http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || partial_batch(1500),
    ),
    (
        "a batch whose second request was stopped before it was sent",
        "submit batch: stopped; no request was in flight; of 1500 payloads, the first 1000 were processed \
         (1000 submitted, 0 failed, 0 cache hits), and the last 500 were not sent (POST \
         http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || stopped_batch(1),
    ),
    (
        "a batch that was stopped before it was sent",
        "submit batch: stopped; no request was in flight; none of the 1500 payloads was sent (POST \
         http://127.0.0.1:PORT/api/v1/jobs/batch)",
        || stopped_batch(0),
    ),
    (
        "a job that is gone after it was cancelled",
        "get job 9f2c: 404 Not Found: the server said: no such job; the job may have been deleted or belong to \
         another account; the server has accepted the request to cancel the job (GET \
         http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || gone_after_cancellation(),
    ),
    (
        "a raw response that is not JSON, in a hook",
        "the response cannot be read as the requested type: invalid type: sequence, expected a map at line \
         1 column 0; content type application/json, the body begins with \"[]\"; the type that was passed \
         to RawResponse::json may not fit the response",
        || decoded_in_hook(),
    ),
    (
        "a raw response that is not JSON",
        "request: the response cannot be read as the requested type: trailing characters at line 1 column \
         7; content type text/plain, the body begins with \"-76.4 hartree\"; the type that was passed to \
         RawResponse::json may not fit the response (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c/energy)",
        || {
            text(
                client(answer(200, &["content-type: text/plain"], "-76.4 hartree"))
                    .send(RawRequest::new("GET", ["jobs", "9f2c", "energy"]))
                    .unwrap()
                    .json::<Value>(),
            )
        },
    ),
    // Waits.
    (
        "a wait that timed out",
        "wait for job 9f2c: timed out after T s; the job was still running; the job was not cancelled and \
         may cost more: wait again, or cancel it",
        || timed_out(JobState::Running, false, None),
    ),
    (
        "a wait that timed out in a state that this version does not know",
        "wait for job 9f2c: timed out after T s; the job was in the state \"paused\", which this version \
         does not know; the job was not cancelled and may cost more: wait again, or cancel it",
        || timed_out(JobState::Unknown("paused".to_owned()), false, None),
    ),
    (
        "a wait that timed out and cancelled",
        "wait for job 9f2c: timed out after T s; the job was still running; the server accepted the \
         request to cancel it; load the job to see whether it stopped",
        || timed_out(JobState::Running, true, None),
    ),
    (
        "a wait that timed out and could not cancel",
        "wait for job 9f2c: timed out after T s; the job was still running; the job could not be \
         cancelled and may cost more: cancel job 9f2c: 403 Forbidden: the server said: simulated status \
         403 (POST http://127.0.0.1:PORT/api/v1/jobs/9f2c/cancel, request id sim-N)",
        || timed_out(JobState::Running, true, Some(("POST", Fault::status(403)))),
    ),
    (
        "a wait that timed out and may have cancelled",
        "wait for job 9f2c: timed out after T s; the job was still running; it is not known whether the job \
         was cancelled: cancel job 9f2c: the connection broke: the server closed it; the change may have \
         been made: load the job to check (POST http://127.0.0.1:PORT/api/v1/jobs/9f2c/cancel)",
        || timed_out(JobState::Running, true, Some(("POST", Fault::LostAnswer))),
    ),
    (
        "a wait that never saw the job",
        "wait for job 9f2c: timed out after T s; the state of the job could not be loaded (the last poll \
         failed: get job 9f2c: 500 Internal Server Error: the server said: simulated status 500; try again \
         later (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c, request id sim-N)); the job was not cancelled \
         and may cost more: wait again, or cancel it",
        || timed_out(JobState::Running, false, Some(("GET", Fault::status(500)))),
    ),
    (
        "a wait for a job that does not exist",
        "get job 9f2c: 404 Not Found: the server said: Job not found; the job may have been deleted or \
         belong to another account (GET http://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || {
            text(
                verified(answer(404, &[JSON], &detail("Job not found")))
                    .wait_for_job("9f2c", &WaitOptions::new()),
            )
        },
    ),
    (
        "a wait that was stopped",
        "wait for job 9f2c: stopped; the job was running when last seen; the job was not cancelled and \
         may cost more: wait again, or cancel it",
        || stopped_wait(),
    ),
    (
        "a wait that was stopped before it saw the job",
        "wait for job 9f2c: stopped; the state of the job had not been loaded; the job was not cancelled \
         and may cost more: wait again, or cancel it",
        || {
            let stop = StopToken::new();
            stop.stop();
            waited(nobody().with_stop(&stop), &WaitOptions::new())
        },
    ),
    (
        "a wait that was stopped after a cancellation",
        "wait for job 9f2c: stopped; the job was running when last seen; the server accepted the request to \
         cancel it; load the job to see whether it stopped",
        || stopped_cancellation(),
    ),
    (
        "a wait for several jobs with a key that is refused",
        "wait for job 9f2c: 401 Unauthorized: the server said: Invalid API key; check the API key \
         (api_key): it may be mistyped or revoked (GET http://127.0.0.1:PORT/api/v1/jobs)",
        || {
            let client = client(answer(401, &[JSON], &detail("Invalid API key")));
            text(client.wait_for_jobs(["a", "9f2c"], &WaitOptions::new()).last().unwrap())
        },
    ),
    // The log and the hooks see the error of an attempt without what to do.
    ("an attempt that failed", "503 Service Unavailable: the server said: maintenance", || failed_attempt()),
];

/// Those that name the TLS library are rustls's.
#[cfg(feature = "rustls")]
const MESSAGES_OF_SECURE_CONNECTIONS: &[Row] = &[
    (
        "no certificate in a file",
        "add_root_certificates: no certificate found; expected one in PEM format",
        || refused(settings().add_root_certificates("")),
    ),
    ("a certificate that is not PEM", "add_root_certificates: not valid PEM", || {
        refused(settings().add_root_certificates(PEM))
    }),
    #[cfg(feature = "platform-verifier")]
    (
        "a file with a certificate and the system's trust",
        "add_root_certificates cannot be combined with the feature platform-verifier: add the certificate \
         to those that the operating system trusts, or disable the feature",
        || refused(settings().add_root_certificates(authority())),
    ),
    #[cfg(not(feature = "platform-verifier"))]
    (
        "a certificate that is not trusted",
        "get job 9f2c: no secure connection: invalid peer certificate: UnknownIssuer; if the server's \
         certificate comes from a private certificate authority, pass the authority's certificate to \
         add_root_certificates or enable the feature platform-verifier; nothing was sent (GET \
         https://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || of_server(untrusted_server()),
    ),
    #[cfg(feature = "platform-verifier")]
    (
        "a certificate that the operating system does not trust",
        "get job 9f2c: no secure connection: invalid peer certificate: UnknownIssuer; if the server's \
         certificate comes from a private certificate authority, add the authority's certificate to those \
         that the operating system trusts; nothing was sent (GET https://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || of_server(untrusted_server()),
    ),
    (
        "https to a server of plain http",
        "get job 9f2c: no secure connection: received corrupt message of type InvalidContentType; the \
         server does not seem to speak TLS on this port: its URL may have to begin with http://; nothing \
         was sent (GET https://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || of_server(plain_server()),
    ),
    #[cfg(not(feature = "platform-verifier"))]
    (
        "a certificate for another host",
        "get job 9f2c: no secure connection: invalid peer certificate: certificate not valid for name \
         \"127.0.0.1\"; certificate is only valid for DnsName(\"atomiverse.example\"); nothing was sent \
         (GET https://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || of_server_with("atomiverse.example", false),
    ),
    #[cfg(not(feature = "platform-verifier"))]
    (
        "a certificate that has expired",
        "get job 9f2c: no secure connection: invalid peer certificate: certificate expired: verification \
         time N (UNIX), but certificate is not valid after 1577836800 (N seconds ago); \
         nothing was sent (GET https://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || of_server_with("127.0.0.1", true),
    ),
    (
        "https to a server that does not respond",
        "get job 9f2c: no connection within T s: the server did not respond; check the network and the base \
         URL (base_url), or allow more time (connect_timeout, timeout); nothing was sent (GET \
         https://127.0.0.1:PORT/api/v1/jobs/9f2c)",
        || {
            let address = serve(std::mem::forget);
            let builder = Client::builder().api_key(KEY).base_url(format!("https://{address}"));
            impatient_to_connect(builder)
        },
    ),
    (
        "a proxy that does not respond",
        "get job 9f2c: no connection within T s: the proxy http://127.0.0.1:PORT (proxy): no response \
         through it; nothing was sent (GET https://service.example/api/v1/jobs/9f2c)",
        || {
            let address = serve(std::mem::forget);
            let builder = Client::builder().api_key(KEY).base_url("https://service.example");
            impatient_to_connect(builder.proxy(format!("http://{address}")))
        },
    ),
    (
        "a proxy whose host name does not exist",
        "get job 9f2c: no connection: the proxy http://nobody.invalid:3128 (proxy): failed to lookup \
         address information: WORDS; nothing was sent (GET https://service.example/api/v1/jobs/9f2c)",
        || through("http://nobody.invalid:3128", ""),
    ),
    (
        "a proxy of the builder that is not there",
        "get job 9f2c: no connection: the proxy http://127.0.0.1:PORT (proxy): Connection refused (os \
         error N); nothing was sent (GET https://service.example/api/v1/jobs/9f2c)",
        || through("http://user:hunter2@PROXY", &dead()),
    ),
    (
        "a proxy that wants a password",
        "get job 9f2c: no connection: the proxy http://127.0.0.1:PORT (proxy): it responded with 407: put \
         a user name and password into its URL; nothing was sent (GET \
         https://service.example/api/v1/jobs/9f2c)",
        || through("http://PROXY", &refusing("407 Proxy Authentication Required")),
    ),
    (
        "a proxy that refuses the tunnel",
        "get job 9f2c: no connection: the proxy http://127.0.0.1:PORT (proxy): it responded 403; nothing \
         was sent (GET https://service.example/api/v1/jobs/9f2c)",
        || through("http://PROXY", &refusing("403 Forbidden")),
    ),
    (
        "a proxy that cannot reach the service",
        "get job 9f2c: no connection: the proxy http://127.0.0.1:PORT (proxy): it responded 502; nothing \
         was sent (GET https://service.example/api/v1/jobs/9f2c)",
        || through("http://PROXY", &refusing("502 Bad Gateway")),
    ),
    (
        "a proxy of the environment that is not there",
        "get job 9f2c: no connection: the proxy http://127.0.0.1:PORT (HTTPS_PROXY): Connection refused \
         (os error N); nothing was sent (GET https://atomiverse.com/api/v1/jobs/9f2c)",
        || of_environment(&[KEY_IS_SET, ("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:1")]),
    ),
    (
        "a proxy of the environment with a slash in its password",
        "HTTPS_PROXY `http://proxy.example:3128`: it has a path or a query; percent-encode special \
         characters in the password; expected the URL of an HTTP proxy, such as http://proxy.example:3128",
        || of_environment(&[KEY_IS_SET, ("HTTPS_PROXY", "http://user:a/b@proxy.example:3128")]),
    ),
];

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
const MESSAGES_WITHOUT_TLS: &[Row] = &[
    (
        "https",
        "https://atomiverse.com/api/v1 needs TLS, which this build leaves out: enable the feature rustls \
         or native-tls",
        || refused(Client::builder().api_key(KEY)),
    ),
    (
        "a certificate authority",
        "add_root_certificates needs TLS, which this build leaves out: enable the feature rustls or \
         native-tls",
        || refused(settings().add_root_certificates(PEM)),
    ),
];

#[test]
fn each_situation_has_its_message() {
    assert_messages(MESSAGES);
}

#[cfg(feature = "rustls")]
#[test]
fn each_situation_of_a_secure_connection_has_its_message() {
    assert_messages(MESSAGES_OF_SECURE_CONNECTIONS);
}

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
#[test]
fn each_situation_of_a_build_without_tls_has_its_message() {
    assert_messages(MESSAGES_WITHOUT_TLS);
}

#[track_caller]
fn assert_messages(rows: &[Row]) {
    let mut failures = Vec::new();
    for (situation, expected, run) in rows {
        let text = run();
        let shown = without_what_varies(&text);
        if shown != *expected {
            failures.push(format!("{situation}:\n     is {shown}\n not {expected}"));
        }
        if let Some(clause) = repeated(&text) {
            failures.push(format!("{situation}: says twice {clause:?}: {text}"));
        }
        for unwanted in [KEY, "av_key", "hunter2", "\n", "io: "] {
            if text.contains(unwanted) {
                failures.push(format!("{situation}: contains {unwanted:?}: {text}"));
            }
        }
        if text.ends_with(['.', '!']) {
            failures.push(format!("{situation}: ends like a sentence: {text}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Replaces ports, measured times and numbers of the operating system.
fn without_what_varies(text: &str) -> String {
    let mut shown = text.to_owned();
    for (before, after, placeholder) in [
        ("127.0.0.1:", "", "PORT"),
        (" times in ", " s", "T"),
        (" within ", " s", "T"),
        (" wait another ", " s", "T"),
        ("(os error ", ")", "N"),
        // How long a wait polled, and how often.
        (" after ", " s", "T"),
        ("request id sim-", "", "N"),
        // How long ago a certificate expired.
        ("verification time ", " (UNIX)", "N"),
        ("not valid after 1577836800 (", " seconds ago", "N"),
    ] {
        let mut replaced = String::new();
        let mut left = shown.as_str();
        while let Some(at) = left.find(before) {
            let (kept, rest) = left.split_at(at + before.len());
            let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let is_number = length > 0 && rest[length..].starts_with(after);
            replaced += kept;
            replaced += if is_number { placeholder } else { &rest[..length] };
            left = &rest[length..];
        }
        replaced += left;
        shown = replaced;
    }
    // The words of the operating system's resolver.
    let of_resolver = "failed to lookup address information: ";
    if let Some((before, after)) = shown.split_once(of_resolver) {
        let after = after.split_once("; ").map_or("", |(_, after)| after);
        shown = format!("{before}{of_resolver}WORDS; {after}");
    }
    shown
}

/// A clause that a text has twice.
fn repeated(text: &str) -> Option<String> {
    let mut said: Vec<String> = clauses(text).into_iter().filter(|clause| clause.len() >= 10).collect();
    said.sort();
    said.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone())
}

/// The text of an error, which is the same in every form.
#[track_caller]
fn text<T>(outcome: Result<T>) -> String {
    let Err(error) = outcome else { panic!("this succeeds") };
    assert!(error.source().is_none(), "{error}");
    assert_eq!(format!("{error:?}"), error.to_string());
    error.to_string()
}

/// A certificate whose contents are not Base64.
#[cfg(any(feature = "rustls", not(feature = "native-tls")))]
const PEM: &str = "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n";

const KEY_IS_SET: (&str, &str) = ("ATOMIVERSE_API_KEY", KEY);

/// What a client of this environment fails with.
fn of_environment(variables: &[(&str, &str)]) -> String {
    let test = "messages::a_client_of_the_environment_fails_with_one_line";
    error_of(&in_own_process(test, variables, || unreachable!("this is another test")))
}

/// The same, with variables that need not be text.
#[cfg(unix)]
fn of_any_environment(variables: &[(&str, &OsStr)]) -> String {
    let test = "messages::a_client_of_the_environment_fails_with_one_line";
    error_of(&in_own_process_with(test, variables, || unreachable!("this is another test")))
}

fn error_of(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().find_map(|line| line.strip_prefix("error: "));
    line.unwrap_or_else(|| panic!("{stdout} {}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

#[test]
fn a_client_of_the_environment_fails_with_one_line() {
    let test = "messages::a_client_of_the_environment_fails_with_one_line";
    let output = in_own_process(test, &[], || {
        let client = ClientBuilder::from_env().and_then(|builder| builder.max_retries(0).build());
        println!("\nerror: {}", text(client.and_then(|client| client.get_job("9f2c"))));
    });
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout.matches("error: ").count(), 1, "{stdout}");
}

fn settings() -> ClientBuilder {
    Client::builder().api_key(KEY).base_url("http://localhost")
}

fn refused(builder: ClientBuilder) -> String {
    text(builder.build())
}

/// The URL of a server that is not there.
fn dead() -> String {
    // The port is free again when the listener is dropped.
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn nobody() -> Client {
    client_of_nobody().with_max_retries(0)
}

/// The client of a server with this answer to everything.
fn client(answer: Answer) -> Client {
    one_attempt(&RawServer::script(vec![answer]))
}

/// The same, after a call that succeeded.
fn verified(answer: Answer) -> Client {
    let client = one_attempt(&RawServer::script(vec![json(&job("a")), answer]));
    client.get_job("a").unwrap();
    client
}

/// The client of a server with one answer to changes and another to reads.
fn routed(change: Answer, read: Answer) -> Client {
    let is_read = |line: &str| line.starts_with("GET");
    one_attempt(&RawServer::start(
        move |_, request| {
            if is_read(&request.line) { read.clone() } else { change.clone() }
        },
    ))
}

fn get(answer: Answer) -> String {
    text(client(answer).get_job("9f2c"))
}

fn status(status: u16, body: &str) -> String {
    get(answer(status, &[JSON], body))
}

const PAGE: &str = "<html><title>Sign in</title></html>";

fn html(status: u16) -> String {
    get(answer(status, &[HTML], PAGE))
}

const TOO_LONG: &str = r#"{"detail":[{"loc":["body","name"],"msg":"at most 200 characters","type":"x"}]}"#;

fn in_state(state: &str) -> String {
    job("9f2c").replace("done", state)
}

/// The first error of an iteration over these pages.
fn iterated(pages: Vec<String>) -> String {
    let server = RawServer::script(pages.iter().map(|page| json(page)).collect());
    let error = one_attempt(&server).iter_jobs().find_map(Result::err);
    text::<()>(Err(error.unwrap()))
}

/// The response to a batch, with one entry.
fn batch(count: usize) -> Value {
    let entry = value!({"job_id": "9f2c", "state": "pending", "status": "submitted"});
    value!({"total": count, "submitted": count, "failed": 0, "cache_hits": 0, "jobs": vec![entry; count]})
}

fn partial_batch(payloads: usize) -> String {
    let first = json(&batch(1000).to_string());
    let server = RawServer::script(vec![first, answer(422, &[JSON], &detail("charge is missing"))]);
    text(one_attempt(&server).submit_batch(vec![payload(); payloads]))
}

/// Stopped when this many requests have been answered.
fn stopped_batch(answered: usize) -> String {
    let server = RawServer::script(vec![json(&batch(1000).to_string())]);
    let (stop, attempts) = (StopToken::new(), AtomicUsize::new(0));
    if answered == 0 {
        stop.stop();
    }
    let in_hook = stop.clone();
    // The hook runs before each attempt, and the token is checked after it.
    let builder = server.client_builder().on_request(move |_| {
        if attempts.fetch_add(1, Ordering::SeqCst) == answered {
            in_hook.stop();
        }
    });
    text(builder.build().unwrap().with_stop(&stop).submit_batch(vec![payload(); 1500]))
}

fn gone_after_cancellation() -> String {
    let server = RawServer::script(vec![answer(202, &[], ""), answer(404, &[JSON], &detail("no such job"))]);
    text(one_attempt(&server).cancel_and_wait("9f2c", &WaitOptions::new()))
}

fn sent(change: fn(&mut RawRequest)) -> String {
    let mut request = RawRequest::new("GET", ["jobs"]);
    change(&mut request);
    text(nobody().send(request))
}

fn hooked() -> String {
    let hook = |request: &mut RawRequest| request.path = "v2/jobs".to_owned();
    text(settings().on_request(hook).build().unwrap().get_job("9f2c"))
}

/// The client of a server that never responds, which does not wait long for it.
fn impatient() -> Client {
    client(vec![Step::Silence]).with_timeout(Duration::from_millis(50))
}

fn too_large() -> String {
    let server = RawServer::script(vec![json(&job("9f2c"))]);
    text(server.client_builder().max_response_bytes(10).build().unwrap().get_job("9f2c"))
}

fn held() -> String {
    let server = RawServer::script(vec![answer(429, &[JSON, "retry-after: 30"], "")]);
    let client = one_attempt(&server);
    client.get_job("a").unwrap_err();
    text(client.get_job("9f2c"))
}

fn budget_spent() -> String {
    let server = RawServer::script(vec![answer(503, &[], "")]);
    let client = server.client_builder().retry_budget(1).max_retries(5).build().unwrap();
    text(client.get_job("9f2c"))
}

fn deleted_after_503() -> String {
    let server = RawServer::start(|n, request| match request.line.as_str() {
        line if line.starts_with("DELETE") && n == 0 => answer(503, &[], ""),
        _ => answer(404, &[JSON], &detail("Job not found")),
    });
    text(server.client().delete_job("9f2c"))
}

fn stopped_before() -> String {
    let stop = StopToken::new();
    stop.stop();
    text(nobody().with_stop(&stop).get_job("9f2c"))
}

fn stopped_in_flight(call: fn(&Client) -> Result<()>) -> String {
    let stop = StopToken::new();
    let token = stop.clone();
    let server = RawServer::start(move |_, _| {
        token.stop();
        vec![Step::Silence]
    });
    text(call(&one_attempt(&server).with_stop(&stop)))
}

fn stopped_while_checked() -> String {
    let stop = StopToken::new();
    let token = stop.clone();
    let server = RawServer::start(move |_, request| {
        if request.line.starts_with("DELETE") {
            return answer(409, &[JSON], &detail("busy"));
        }
        token.stop();
        vec![Step::Silence]
    });
    text(one_attempt(&server).with_stop(&stop).delete_job("9f2c"))
}

/// A wait that is stopped when the server has accepted the request to cancel the job.
fn stopped_cancellation() -> String {
    let server = RawServer::start(|_, request| {
        if request.line.starts_with("POST") { json("{}") } else { json(&in_state("running")) }
    });
    let stop = StopToken::new();
    let options = WaitOptions::new().on_update(|_| stop.stop());
    text(one_attempt(&server).with_stop(&stop).cancel_and_wait("9f2c", &options))
}

fn failed_attempt() -> String {
    let server = RawServer::script(vec![answer(503, &[JSON], &detail("maintenance"))]);
    let (sender, errors) = mpsc::channel();
    let hook = move |attempt: &Attempt| sender.send(attempt.error.unwrap().to_owned()).unwrap();
    let client = server.client_builder().max_retries(0).on_attempt(hook).build().unwrap();
    client.get_job("9f2c").unwrap_err();
    errors.recv().unwrap()
}

fn decoded_in_hook() -> String {
    let server = RawServer::script(vec![json("[]")]);
    let (sender, errors) = mpsc::channel();
    let hook = move |_: &RawRequest, response: &mut RawResponse| {
        sender.send(text(response.json::<HashMap<String, Value>>())).unwrap();
    };
    let client = server.client_builder().max_retries(0).on_response(hook).build().unwrap();
    client.get_job("9f2c").unwrap_err();
    errors.recv().unwrap()
}

/// A server that asks to come back later, and then refuses connections.
fn gone_after_429() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        drop(listener);
        read_message(&mut BufReader::new(&stream)).unwrap();
        stream.write_all(b"HTTP/1.1 429 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    });
    let moment = Duration::from_millis(1);
    let builder = Client::builder().api_key(KEY).base_url(url).max_retries(1).retry_pause(moment, moment);
    let shown = text(builder.build().unwrap().submit_job(&payload()));
    server.join().unwrap();
    shown
}

/// The top-level domain `invalid` has no hosts (RFC 6761), so no name server need be reached.
fn unknown_host() -> String {
    let builder = Client::builder().api_key(KEY).base_url("http://nobody.invalid").allow_insecure_http(true);
    text(builder.proxy_from_env(false).max_retries(0).build().unwrap().get_job("9f2c"))
}

#[cfg(any(target_os = "linux", feature = "rustls"))]
fn impatient_to_connect(builder: ClientBuilder) -> String {
    let client = builder.connect_timeout(Duration::from_millis(50)).max_retries(0).build().unwrap();
    text(client.get_job("9f2c"))
}

fn waited(client: Client, options: &WaitOptions) -> String {
    text(client.wait_for_job("9f2c", options))
}

/// A wait of 100 seconds on the simulator's clock, for a job that stays in its state. Requests with this method fail.
fn timed_out(state: JobState, cancel: bool, fault: Option<(&'static str, Fault)>) -> String {
    let simulator = Simulator::start().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt").state(state));
    if let Some((method, fault)) = fault {
        simulator.fail_when(move |request| request.method == method, usize::MAX, fault);
    }
    let client = simulator.client_builder().max_retries(0).build().unwrap();
    let options = WaitOptions::new().timeout(secs(100)).cancel_on_timeout(cancel);
    text(client.wait_for_job(&id, &options)).replace(id.as_str(), "9f2c")
}

fn stopped_wait() -> String {
    let simulator = Simulator::start().unwrap();
    let id = simulator.add_job(SimulatedJob::new("opt").state(JobState::Running));
    let stop = StopToken::new();
    let client = simulator.client().unwrap().with_stop(&stop);
    let options = WaitOptions::new().on_update(|_| stop.stop());
    text(client.wait_for_job(&id, &options)).replace(id.as_str(), "9f2c")
}

/// A text in parts that each say one thing.
fn clauses(text: &str) -> Vec<String> {
    let mut text = text.to_owned();
    for separator in [". ", ": ", "; ", " ("] {
        text = text.replace(separator, "\n");
    }
    text.lines().map(|clause| clause.trim_matches([' ', '.', ')', '(']).to_lowercase()).collect()
}

#[cfg(feature = "rustls")]
use with_tls::*;

#[cfg(any(feature = "rustls", feature = "native-tls"))]
mod with_tls {
    #[cfg(feature = "rustls")]
    use std::io::BufRead as _;
    use std::io::Read;
    use std::net::{Shutdown, SocketAddr, TcpStream};
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    /// A server on 127.0.0.1 that does this with each connection.
    pub fn serve(mut conversation: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Ends with the test's process.
        thread::spawn(move || listener.incoming().flatten().for_each(&mut conversation));
        address
    }

    /// A server whose certificate nobody has signed but itself.
    pub fn untrusted_server() -> SocketAddr {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        serve(move |stream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            // The client goes away in the middle of the handshake.
            let _ = StreamOwned::new(connection, stream).read(&mut [0]);
        })
    }

    /// What a client fails with that trusts the authority of the server's certificate.
    #[cfg(all(feature = "rustls", not(feature = "platform-verifier")))]
    pub fn of_server_with(host: &str, expired: bool) -> String {
        let authority = crate::tls::authority();
        let address = crate::tls::server(&authority, host, expired);
        let builder = crate::tls::builder(address).add_root_certificates(authority.pem.as_bytes());
        text(builder.max_retries(0).build().unwrap().get_job("9f2c"))
    }

    /// A server without TLS, which responds as nginx and others do to bytes that are not HTTP.
    pub fn plain_server() -> SocketAddr {
        serve(|mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Write);
            // Until the client has gone: to close with bytes unread would reset the connection.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    }

    pub fn of_server(address: SocketAddr) -> String {
        let builder = Client::builder().api_key(KEY).base_url(format!("https://{address}")).max_retries(0);
        text(builder.build().unwrap().get_job("9f2c"))
    }

    #[cfg(feature = "platform-verifier")]
    pub fn authority() -> String {
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn a_certificate_that_is_not_trusted_leads_to_the_settings_that_help() {
        let text = of_server(untrusted_server());
        let settings = if cfg!(feature = "platform-verifier") {
            &["the operating system trusts"][..]
        } else {
            &["add_root_certificates", "platform-verifier"]
        };
        assert!(settings.iter().all(|setting| text.contains(setting)), "{text}");
        assert_eq!(repeated(&text), None, "{text}");
    }

    #[test]
    fn https_to_a_server_of_plain_http_asks_whether_its_url_is_http() {
        let text = of_server(plain_server());
        assert!(text.contains("no secure connection") && text.contains("begin with http://"), "{text}");
        assert_eq!(repeated(&text), None, "{text}");
    }

    #[test]
    fn a_dead_proxy_is_named_without_its_password() {
        let text = through("http://user:hunter2@PROXY", &dead());
        assert!(text.contains("the proxy http://127.0.0.1:") && !text.contains("hunter2"), "{text}");
        assert_eq!(repeated(&text), None, "{text}");
    }

    /// A proxy that responds to every request with this status.
    #[cfg(feature = "rustls")]
    pub fn refusing(status: &'static str) -> String {
        let address = serve(move |mut stream| {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        });
        format!("http://{address}")
    }

    pub fn through(template: &str, proxy: &str) -> String {
        let proxy = template.replace("PROXY", proxy.trim_start_matches("http://"));
        let builder = Client::builder().api_key(KEY).base_url("https://service.example").proxy(proxy);
        text(builder.max_retries(0).build().unwrap().get_job("9f2c"))
    }
}

/// Fails with the lengths and not with the texts, which may be megabytes.
#[track_caller]
fn assert_bounded(errors: Vec<(&str, Error)>) {
    let mut failures = Vec::new();
    for (name, error) in errors {
        let texts = [
            ("{}", error.to_string()),
            ("{:?}", format!("{error:?}")),
            ("{:#?}", format!("{error:#?}")),
            ("the chain", chain(&error).join(": ")),
        ];
        for (form, text) in &texts {
            if text.len() > LONGEST_TEXT {
                failures.push(format!("{name}: {form} has {} bytes", text.len()));
            }
        }
        if texts[0].1.chars().any(char::is_control) {
            failures.push(format!("{name}: more than one line"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn a_long_cursor_makes_no_long_error() {
    let repeating = |length: usize| {
        let page = json(&page(&["a"], true, Some(&"c".repeat(length))));
        one_attempt(&RawServer::script(vec![page])).iter_jobs().find_map(Result::err).unwrap()
    };
    let listed = |answer: Answer, length: usize| {
        let client = one_attempt(&RawServer::script(vec![answer]));
        client.list_jobs().cursor("c".repeat(length)).send().unwrap_err()
    };
    let without_cursor = json(&page(&["j".repeat(MEGABYTE).as_str()], true, None));
    assert_bounded(vec![
        ("a cursor that repeats", repeating(LONG_URL)),
        ("a cursor too long to be sent", repeating(10 * MEGABYTE)),
        ("a cursor of the caller's", listed(answer(500, &[], ""), LONG_URL)),
        ("a cursor of the caller's that is too long to be sent", listed(answer(500, &[], ""), 10 * MEGABYTE)),
        ("more jobs and no cursor", listed(without_cursor, 1)),
    ]);
}

#[test]
fn a_long_response_makes_no_long_error() {
    let long = "x".repeat(MEGABYTE);
    let location = |length: usize| {
        let header = format!("location: https://service.example/{}", "x".repeat(length));
        get_error(answer(302, &[&header], ""))
    };
    let list = |body: &Value| {
        let server = RawServer::script(vec![json(&body.to_string())]);
        one_attempt(&server).list_jobs().send().unwrap_err()
    };
    let request_id = format!("x-request-id: {}", "r".repeat(LONG_URL));
    let content_type = format!("content-type: text/{}", "h".repeat(LONG_URL));
    assert_bounded(vec![
        ("a Location of 1 MB", location(MEGABYTE)),
        ("a Location of 30 KB", location(LONG_URL)),
        ("a detail of 1 MB", status_error(422, JSON, &detail(&long))),
        ("a detail of 30 KB", status_error(422, JSON, &detail(&long[..LONG_URL]))),
        ("a text of 1 MB", status_error(500, "content-type: text/plain", &long)),
        ("an HTML page of 1 MB", status_error(404, HTML, &format!("<title>{long}</title>"))),
        ("a request id of 30 KB", status_error(500, &request_id, "")),
        ("a content type of 30 KB", status_error(200, &content_type, "?")),
        ("a job that cannot be read", get_error(json(&value!({"job_id": long, "state": 5}).to_string()))),
        ("a flag that is a text of 1 MB", list(&value!({"jobs": [], "has_more": long}))),
        ("bytes that are not HTTP", get_error(raw(format!("{long}\r\n\r\n")))),
    ]);
}

#[test]
fn a_long_state_makes_no_long_error() {
    let long = "s".repeat(MEGABYTE);
    let in_long_state = job("a").replace(r#""done""#, &format!("{long:?}"));

    let server = RawServer::script(vec![answer(409, &[JSON], &detail("busy")), json(&in_long_state)]);
    let conflict = one_attempt(&server).delete_job("a").unwrap_err();
    assert!(conflict.is_conflict());

    let listed = format!(r#"{{"jobs":[{in_long_state}],"has_more":false,"next_cursor":null}}"#);
    let server = RawServer::start(move |_, request| {
        json(if request.line.contains('?') { &listed } else { &in_long_state })
    });
    let options = WaitOptions::new().timeout(Duration::from_millis(100));
    let timeout = one_attempt(&server).wait_for_job("a", &options).unwrap_err();
    assert!(timeout.is_timeout());
    assert_bounded(vec![("a delete that is refused", conflict), ("a wait that times out", timeout)]);
}

#[test]
fn a_large_batch_makes_no_long_error() {
    let entry = value!({"job_id": "a", "state": "pending", "status": "submitted"});
    let batch = |entries: Vec<Value>| {
        let count = entries.len();
        let body =
            value!({"total": count, "submitted": count, "failed": 0, "cache_hits": 0, "jobs": entries});
        json(&body.to_string())
    };

    // The first response has three entries for two payloads, and hands over what it received.
    let mut failed = entry.clone();
    failed["error"] = value!("e".repeat(MEGABYTE));
    let server = RawServer::script(vec![batch(vec![failed, entry.clone(), entry.clone()])]);
    let counted = one_attempt(&server).submit_batch([payload(), payload()]).unwrap_err();
    assert_eq!(counted.partial_batch().unwrap().received.jobs.len(), 3);

    let server = RawServer::script(vec![batch(vec![entry; 999])]);
    let many = one_attempt(&server).submit_batch(vec![payload(); 1000]).unwrap_err();
    assert_eq!(many.partial_batch().unwrap().received.jobs.len(), 999);
    assert_bounded(vec![("an entry with a long error", counted), ("many entries", many)]);
}

#[test]
fn a_long_value_of_the_caller_makes_no_long_error() {
    let server = RawServer::script(vec![answer(404, &[JSON], &detail("Job not found"))]);
    let client = one_attempt(&server);
    let id = |length: usize| "j".repeat(length);
    let build = |base_url: String, user_agent: String| {
        Client::builder().api_key(KEY).base_url(base_url).user_agent(user_agent).build().unwrap_err()
    };
    assert_bounded(vec![
        ("a job id of 30 KB", client.get_job(id(LONG_URL)).unwrap_err()),
        ("a job id of 1 MB", client.get_job(id(MEGABYTE)).unwrap_err()),
        ("a job id of 1 MB, to cancel", client.cancel_job(id(MEGABYTE)).unwrap_err()),
        ("a job id of 1 MB with a blank at its end", client.delete_job(id(MEGABYTE) + " ").unwrap_err()),
        ("a job id that is encoded", client.get_job("é".repeat(LONG_URL / 6)).unwrap_err()),
        ("a base URL of 1 MB", build(format!("ftp://{}", id(MEGABYTE)), "me".to_owned())),
        ("a user agent of 1 MB", build("http://localhost".to_owned(), id(MEGABYTE) + "\n")),
    ]);
}

/// This crate's lines at level debug that are about the job `a`.
struct Recorder(Mutex<Vec<String>>);

impl Log for Recorder {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("atomiverse") && metadata.level() == Level::Debug
    }
    fn log(&self, record: &Record) {
        let line = record.args().to_string();
        if self.enabled(record.metadata()) && line.contains("/jobs/a") {
            lock(&self.0).push(line);
        }
    }
    fn flush(&self) {}
}

static RECORDER: Recorder = Recorder(Mutex::new(Vec::new()));

#[test]
fn each_attempt_writes_one_debug_line() {
    let test = "messages::each_attempt_writes_one_debug_line";
    // A logger belongs to the process, and another test sets its own.
    let output = in_own_process(test, &[], || {
        log::set_logger(&RECORDER).unwrap();
        log::set_max_level(LevelFilter::Debug);
        let run = |name: &str, max_retries: u32, server: Option<RawServer>| {
            let pause = Duration::from_millis(1);
            let builder = match &server {
                Some(server) => server.client_builder(),
                None => Client::builder().api_key(KEY).base_url(dead()).retry_pause(pause, pause),
            };
            let client =
                builder.max_retries(max_retries).attempt_timeout(Duration::from_millis(50)).build().unwrap();
            let _ = client.get_job("a");
            for line in lock(&RECORDER.0).drain(..) {
                println!("\n{name}| {line}");
            }
        };
        let script = |answer: Answer| Some(RawServer::script(vec![answer]));
        run("success", 0, script(json(&job("a"))));
        run("status", 0, script(answer(503, &[], "")));
        run("status, retried", 2, script(answer(503, &[], "")));
        run("refused", 0, None);
        run("refused, retried", 2, None);
        run("closed", 0, script(vec![Step::Close]));
        run("reset, retried", 2, script(vec![Step::Reset]));
        run("timeout", 0, script(vec![Step::Silence]));
        run("timeout, retried", 1, script(vec![Step::Silence]));
        run("redirect", 0, script(answer(302, &["location: /elsewhere"], "")));
        run("not found", 0, script(answer(404, &[JSON], &detail("Job not found"))));
    });
    let text = String::from_utf8(output.stdout).unwrap();
    let mut failures = Vec::new();
    for (name, attempts) in [
        ("success", 1),
        ("status", 1),
        ("status, retried", 3),
        ("refused", 1),
        ("refused, retried", 3),
        ("closed", 1),
        ("reset, retried", 3),
        ("timeout", 1),
        ("timeout, retried", 2),
        ("redirect", 1),
        ("not found", 1),
    ] {
        let lines: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("| ")).collect();
        if lines.len() != attempts {
            failures.push(format!("{name}: {attempts} attempts, {} lines: {lines:#?}", lines.len()));
        }
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn the_url_of_an_error_has_no_query() {
    let cursor = "cursor-of-the-caller";
    let list = |client: Client| client.list_jobs().limit(7).cursor(cursor).send().unwrap_err();
    let of_server = |answer: Answer| {
        let builder = RawServer::script(vec![answer]).client_builder();
        list(builder.max_retries(0).timeout(Duration::from_millis(300)).build().unwrap())
    };
    for (name, error) in [
        ("status", of_server(answer(500, &[], ""))),
        ("decode", of_server(json("[]"))),
        ("closed", of_server(vec![Step::Close])),
        ("timeout", of_server(vec![Step::Silence])),
        ("refused", list(client_of_nobody())),
    ] {
        let texts =
            [error.to_string(), format!("{error:?}"), format!("{error:#?}"), chain(&error).join(": ")];
        for text in texts {
            assert!(!text.contains(cursor) && !text.contains("limit=7"), "{name}: {text}");
        }
        assert!(error.to_string().contains("/api/v1/jobs"), "{name}: {error}");
    }
}

/// The durations in a text, in seconds: `0.05 s`, `50 ms`, `1.5s`.
fn durations(text: &str) -> Vec<f64> {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())).collect();
    let mut found = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let following = words.get(n + 1).copied().unwrap_or_default();
        let attached = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &word[..word.len() - attached.len()];
        let unit = if attached.is_empty() { following } else { attached };
        let factor = match unit {
            "s" | "second" | "seconds" => 1.0,
            "ms" | "milliseconds" => 1e-3,
            _ => continue,
        };
        found.extend(number.parse::<f64>().map(|number| number * factor));
    }
    found
}

#[test]
fn a_final_timeout_says_how_long_the_whole_call_took() {
    let server = RawServer::script(vec![vec![Step::Silence]]);
    let client = server
        .client_builder()
        .attempt_timeout(Duration::from_millis(50))
        .retry_pause(Duration::from_millis(60), Duration::from_millis(60))
        .build()
        .unwrap();
    let error = client.get_job("a").unwrap_err();
    let text = error.to_string();
    assert_eq!((error.is_timeout(), error.attempts()), (true, 3), "{text}");
    assert!(text.contains("3 times") || text.contains("3 attempts"), "{text}");
    let durations = durations(&text);
    assert!(durations.iter().any(|seconds| (0.05..0.06).contains(seconds)), "the attempt's bound: {text}");
    assert!(durations.iter().any(|seconds| *seconds >= 0.15), "the whole call's time: {text}");
}

#[test]
fn an_error_that_a_later_call_may_not_meet_is_transient() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let error = status_error(status, JSON, &detail("busy"));
        assert!(error.is_transient(), "{error}");
        assert_eq!(error.status(), Some(status));
        assert!(!error.is_decode(), "{error}");
    }
    let cut = [raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"), vec![Step::Close]].concat();
    let silent = RawServer::script(vec![vec![Step::Silence]]);
    let impatient = silent.client_builder().timeout(Duration::from_millis(50)).build().unwrap();
    for (name, error) in [
        ("refused", client_of_nobody().get_job("a").unwrap_err()),
        ("closed", get_error(vec![Step::Close])),
        ("reset", get_error(vec![Step::Reset])),
        ("cut", get_error(cut)),
        ("timeout", impatient.get_job("a").unwrap_err()),
        ("timeout of a change", impatient.cancel_job("a").unwrap_err()),
    ] {
        assert!(error.is_transient(), "{name}: {error}");
        // Of a response that was cut, the status is known.
        assert!(error.status().is_none() || name == "cut", "{name}: {error}");
        assert!(!error.is_decode(), "{name}: {error}");
        assert_eq!(error.is_timeout(), name.starts_with("timeout"), "{name}: {error}");
    }
}

#[test]
fn an_error_that_a_later_call_would_meet_again_is_not_transient() {
    for status in [302, 400, 401, 403, 404, 409, 410, 422, 501] {
        let error = status_error(status, JSON, &detail("no"));
        assert!(!error.is_transient(), "{error}");
        assert_eq!(error.status(), Some(status));
        assert!(!error.is_decode(), "{error}");
    }
    let server = RawServer::script(vec![json(&job("a"))]);
    for (name, error) in [
        ("an empty id", server.client().get_job("").unwrap_err()),
        ("an id that is a path", server.client().get_job("..").unwrap_err()),
        ("a payload that is no object", server.client().submit_job("text").map(drop).unwrap_err()),
        ("no key", Client::builder().build().unwrap_err()),
    ] {
        assert!(!error.is_transient() && !error.is_decode() && !error.is_not_found(), "{name}: {error}");
        assert_eq!((error.status(), error.attempts()), (None, 0), "{name}: {error}");
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_response_that_cannot_be_read_is_a_decode_error() {
    let list = RawServer::script(vec![json("[]")]);
    let submit = RawServer::script(vec![answer(201, &[JSON], "{}")]);
    let batch = RawServer::script(vec![json(r#"{"jobs":"all"}"#)]);
    for (name, status, error) in [
        ("HTML", 200, status_error(200, HTML, "<html>hello</html>")),
        ("empty", 200, status_error(200, JSON, "")),
        ("half", 200, status_error(200, JSON, "{\"job_id\":")),
        ("a missing field", 200, status_error(200, JSON, r#"{"job_id":"9f2c","state":"done"}"#)),
        ("list", 200, one_attempt(&list).list_jobs().send().unwrap_err()),
        ("submission", 201, one_attempt(&submit).submit_job(&payload()).map(drop).unwrap_err()),
        ("batch", 200, one_attempt(&batch).submit_batch([payload()]).map(drop).unwrap_err()),
    ] {
        assert!(error.is_decode(), "{name}: {error}");
        assert!(!error.is_transient() && !error.is_not_found(), "{name}: {error}");
        assert_eq!(error.status(), Some(status), "{name}: {error}");
    }
}

#[test]
fn a_job_that_is_gone_for_good_is_not_found() {
    for status in [404, 410] {
        let error = status_error(status, JSON, &detail("gone"));
        assert!(error.is_not_found(), "{error}");
        assert_eq!(error.status(), Some(status));
    }
}

#[test]
fn an_html_page_with_404_is_not_a_job_that_is_not_found() {
    for header in [HTML, "content-type: text/html; charset=utf-8"] {
        let error = status_error(404, header, "<html><title>404 Not Found</title></html>");
        assert!(!error.is_not_found(), "{error}");
        assert_eq!(error.status(), Some(404));
    }
}
