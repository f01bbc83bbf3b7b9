//! A server that responds with arbitrary bytes and can end connections in every way, and other helpers.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::{Command, Output, Stdio, exit};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::simulator::Simulator;
use atomiverse::{Client, ClientBuilder, Contract, Operation, Request};

pub const KEY: &str = "av_key-that-must-not-leak";

/// One of the things that the server does in turn after it has read a request.
#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// Sends one byte at a time, with a pause after each.
    Trickle(Vec<u8>, Duration),
    Close,
    /// Ends the connection with RST.
    Reset,
    /// Sends nothing more until the client closes the connection.
    Silence,
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A generator of pseudorandom numbers (SplitMix64).
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub fn once_in<T>(&mut self, n: usize, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(n) == 0).then(|| value(self))
    }

    /// Returns a duration below this number of milliseconds.
    pub fn millis(&mut self, end: usize) -> Duration {
        Duration::from_micros(self.below(end * 1000) as u64)
    }
}

pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

pub type Answer = Vec<Step>;

/// Returns a valid HTTP response with a content length.
pub fn answer(status: u16, headers: &[&str], body: &str) -> Answer {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    raw(format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n{headers}\r\n{body}"))
}

pub fn json(body: &str) -> Answer {
    answer(200, &["content-type: application/json"], body)
}

pub fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
    vec![Step::Send(bytes.into())]
}

/// Returns a summary that follows the contract.
pub fn job(id: impl std::fmt::Display) -> String {
    format!(
        r#"{{"job_id":"{id}","name":null,"state":"done","job_type":"opt","created_at":"2026-05-02T14:32:01Z"}}"#
    )
}

/// Returns a page that follows the contract.
pub fn page(ids: &[&str], has_more: bool, next_cursor: Option<&str>) -> String {
    let jobs: Vec<String> = ids.iter().map(job).collect();
    let next_cursor = next_cursor.map_or("null".to_owned(), |cursor| format!("{cursor:?}"));
    format!(r#"{{"jobs":[{}],"has_more":{has_more},"next_cursor":{next_cursor}}}"#, jobs.join(","))
}

/// A request or a response as received. The `line` of a request is such as `GET /api/v1/jobs?limit=50`.
#[derive(Debug, Clone)]
pub struct Message {
    pub line: String,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Message {
    /// Returns the value of a header, or an empty string if there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter().filter_map(|header| header.split_once(':'));
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }
}

/// Runs `body` in a process of its own with only these environment variables, which cannot be changed safely in a
/// process with threads. The test starts itself again; `test` is its full name.
pub fn in_own_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Output {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, OsStr::new(value))).collect();
    in_own_process_with(test, &variables, body)
}

/// The same, with variables that need not be text.
pub fn in_own_process_with(test: &str, variables: &[(&str, &OsStr)], body: impl FnOnce()) -> Output {
    const MARK: &str = "ATOMIVERSE_TEST_IN_OWN_PROCESS";
    if env::var_os(MARK).is_some() {
        body();
        exit(0);
    }
    Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--quiet"])
        .env_clear()
        .env(MARK, "1")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Returns a client whose server refuses connections.
pub fn client_of_nobody() -> Client {
    // The port is free again when the listener is dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    client_builder(format!("http://{address}")).build().unwrap()
}

/// Returns a builder of clients that pause in simulated time.
pub fn client_builder(base_url: String) -> ClientBuilder {
    Simulator::start().unwrap().client_builder().api_key(KEY).base_url(base_url)
}

/// The contract that is assumed, whose operations a function sees.
pub struct Watching<F>(pub F);

impl<F: Fn(Operation<'_>) + Send + Sync + 'static> Contract for Watching<F> {
    fn request(&self, operation: Operation<'_>) -> Request {
        (self.0)(operation);
        Request::assumed(operation)
    }
}

/// Starts a simulator, and returns it with a client.
pub fn start() -> (Simulator, Client) {
    let simulator = Simulator::start().unwrap();
    let client = simulator.client().unwrap();
    (simulator, client)
}

/// Returns the request lines that the simulator has received.
pub fn lines(simulator: &Simulator) -> Vec<String> {
    simulator.requests().iter().map(ToString::to_string).collect()
}

pub struct RawServer {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Message>,
    open: usize,
    most_open: usize,
    connections: Vec<Weak<TcpStream>>,
    /// The test has dropped the server.
    is_over: bool,
}

/// Returns a command that runs an example without a key. `cargo test` has built it next to the test.
#[allow(dead_code)] // Only the tests of the examples use this.
pub fn example(name: &str) -> Command {
    let mut path = env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is not built: run `cargo build --examples`", path.display());
    let mut command = Command::new(path);
    for name in ["ATOMIVERSE_API_KEY", "ATOMIVERSE_API_URL", "ATOMIVERSE_BASE_URL"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// An address that does not respond: its queue of connections is full, so Linux drops further ones.
#[cfg(target_os = "linux")]
#[allow(dead_code)] // The tests of the examples do not use this.
pub struct BlackHole {
    address: SocketAddr,
    _listener: socket2::Socket,
    _queue: Vec<TcpStream>,
}

#[cfg(target_os = "linux")]
#[allow(dead_code)]
impl BlackHole {
    pub fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queue.push(stream);
        }
        BlackHole { address, _listener: listener, _queue: queue }
    }

    pub fn client_builder(&self) -> ClientBuilder {
        client_builder(format!("http://{}", self.address))
    }
}

/// Sends a signal to a process. A shell can do this without the program `kill`, which not every machine has.
#[cfg(unix)]
#[allow(dead_code)] // Not every test that includes this file uses it.
pub fn signal(name: &str, process: u32) {
    let script = format!("kill {name} {process}");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

/// Returns whether this machine knows the name `localhost`. A small container may not.
#[allow(dead_code)]
pub fn knows_localhost() -> bool {
    ("localhost", 80).to_socket_addrs().is_ok()
}

/// Waits until a condition is true that depends on another thread or process.
#[track_caller]
pub fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + secs(30);
    while !condition() {
        assert!(Instant::now() < end, "the condition was not true in time");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RawServer {
    /// Responds to the first request with the first response, and so on. The last response is repeated.
    pub fn script(answers: Vec<Answer>) -> Self {
        RawServer::start(move |n, _| answers[n.min(answers.len() - 1)].clone())
    }

    /// Responds to the `n`th request, counted from 0 over all connections.
    pub fn start(answer: impl FnMut(usize, &Message) -> Answer + Send + 'static) -> Self {
        RawServer::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// The same, with a socket that listens already.
    pub fn start_on(
        listener: TcpListener,
        answer: impl FnMut(usize, &Message) -> Answer + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let answer = Arc::new(Mutex::new(answer));
        let server = RawServer { address, seen: seen.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().flatten().map(Arc::new) {
                let (seen, answer) = (seen.clone(), answer.clone());
                {
                    let mut seen = lock(&seen);
                    if seen.is_over {
                        return;
                    }
                    seen.open += 1;
                    seen.most_open = seen.most_open.max(seen.open);
                    seen.connections.retain(|connection| connection.strong_count() > 0);
                    seen.connections.push(Arc::downgrade(&stream));
                }
                thread::spawn(move || {
                    // The client may close the connection at any time.
                    let _ = converse(&stream, &seen, &mut |n, request| lock(&answer)(n, request));
                    lock(&seen).open -= 1;
                });
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns a builder of clients that pause in simulated time.
    pub fn client_builder(&self) -> ClientBuilder {
        client_builder(self.url())
    }

    pub fn client(&self) -> Client {
        self.client_builder().build().unwrap()
    }

    pub fn requests(&self) -> Vec<Message> {
        lock(&self.seen).requests.clone()
    }

    /// Returns the request lines received so far.
    pub fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    /// Returns the largest number of connections that were open at the same time.
    pub fn most_open(&self) -> usize {
        lock(&self.seen).most_open
    }
}

/// Ends the threads of the server. Those of all tests together would need more addresses than a 32-bit process has.
impl Drop for RawServer {
    fn drop(&mut self) {
        let mut seen = lock(&self.seen);
        seen.is_over = true;
        for connection in seen.connections.drain(..).filter_map(|connection| connection.upgrade()) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(seen);
        // A connection wakes up the thread that accepts them.
        let _ = TcpStream::connect(self.address);
    }
}

type Respond<'a> = dyn FnMut(usize, &Message) -> Answer + 'a;

fn converse(stream: &TcpStream, seen: &Mutex<Seen>, respond: &mut Respond) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_message(&mut reader)? {
        let n = {
            let mut seen = lock(seen);
            seen.requests.push(request.clone());
            seen.requests.len() - 1
        };
        for step in respond(n, &request) {
            match step {
                Step::Send(bytes) => (&mut &*stream).write_all(&bytes)?,
                Step::Trickle(bytes, pause) => {
                    for byte in bytes {
                        (&mut &*stream).write_all(&[byte])?;
                        thread::sleep(pause);
                    }
                }
                Step::Close => return stream.shutdown(Shutdown::Both),
                Step::Reset => {
                    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                    return Ok(());
                }
                Step::Silence => {
                    io::copy(&mut reader, &mut io::sink())?;
                }
            }
        }
    }
    Ok(())
}

/// Reads the next message. Returns `None` if the connection ends before its head is complete.
pub fn read_message(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut head = head.into_iter();
    let line = head.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let mut message = Message { line, headers: head.collect(), body: Vec::new() };
    let length = message.header("content-length").parse().unwrap_or(0);
    reader.take(length).read_to_end(&mut message.body)?;
    Ok(Some(message))
}
