//! A server that answers with whatever bytes a test wants, and ends connections in every way.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio, exit};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::{Client, ClientBuilder};

pub const KEY: &str = "av_key-that-must-not-leak";

/// What the server does, one after the other, when it has read a request.
#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// One byte at a time.
    Trickle(Vec<u8>, Duration),
    Close,
    /// Ends the connection with RST.
    Reset,
    /// Sends nothing more until the client has gone.
    Silence,
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub type Answer = Vec<Step>;

/// An answer that HTTP allows, with a length.
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

/// A summary as the contract has it.
pub fn job(id: impl std::fmt::Display) -> String {
    format!(
        r#"{{"job_id":"{id}","name":null,"state":"done","job_type":"opt","created_at":"2026-05-02T14:32:01Z"}}"#
    )
}

/// A page as the contract has it.
pub fn page(ids: &[&str], has_more: bool, next_cursor: Option<&str>) -> String {
    let jobs: Vec<String> = ids.iter().map(job).collect();
    let next_cursor = next_cursor.map_or("null".to_owned(), |cursor| format!("{cursor:?}"));
    format!(r#"{{"jobs":[{}],"has_more":{has_more},"next_cursor":{next_cursor}}}"#, jobs.join(","))
}

/// A request or an answer as it came: `line` is such as `GET /api/v1/jobs?limit=50`.
#[derive(Debug, Clone)]
pub struct Message {
    pub line: String,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Message {
    /// The value of a header, by its name in lower case; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter().filter_map(|header| header.split_once(':'));
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }
}

/// Runs `body` in a process of its own with these variables and no others, since the environment belongs
/// to the process: the test starts itself again. `test` is its full name.
pub fn in_own_process(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Output {
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

/// A client of a server that is not there, and that does not wait long between attempts.
pub fn client_of_nobody() -> Client {
    // The port is free again when this is dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pause = Duration::from_millis(1);
    Client::builder()
        .api_key(KEY)
        .base_url(format!("http://{address}"))
        .retry_pause(pause, pause)
        .build()
        .unwrap()
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
}

/// An example, which `cargo test` has built beside its test, without a key.
#[allow(dead_code)] // Only the tests of the examples run them.
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

/// Waits for a condition that another thread brings about.
#[track_caller]
pub fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + secs(30);
    while !condition() {
        assert!(Instant::now() < end, "the condition did not come about");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RawServer {
    /// Answers the first request with the first answer and so on; the last answer is for all that follow.
    pub fn script(answers: Vec<Answer>) -> Self {
        RawServer::start(move |n, _| answers[n.min(answers.len() - 1)].clone())
    }

    /// The answer to the `n`th request, counted from 0 over all connections.
    pub fn start(answer: impl FnMut(usize, &Message) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let answer = Arc::new(Mutex::new(answer));
        let server = RawServer { address, seen: seen.clone() };
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (seen.clone(), answer.clone());
                {
                    let mut seen = lock(&seen);
                    seen.open += 1;
                    seen.most_open = seen.most_open.max(seen.open);
                }
                thread::spawn(move || {
                    // The client may go at any time: that is its right.
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

    /// A client that does not wait long, neither for answers nor between attempts.
    pub fn client_builder(&self) -> ClientBuilder {
        Client::builder()
            .api_key(KEY)
            .base_url(self.url())
            .retry_pause(Duration::from_millis(1), Duration::from_millis(1))
    }

    pub fn client(&self) -> Client {
        self.client_builder().build().unwrap()
    }

    pub fn requests(&self) -> Vec<Message> {
        lock(&self.seen).requests.clone()
    }

    /// The request lines received so far.
    pub fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    /// The most connections that were open at a time.
    pub fn most_open(&self) -> usize {
        lock(&self.seen).most_open
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

/// What comes next, or `None` where the connection ends before it.
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
