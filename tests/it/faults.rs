//! Tests a table of faults in HTTP responses. For each fault, the tests check the outcome of a call, the number of
//! requests, the time, and that a listing with the fault loses and repeats no job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use atomiverse::ClientBuilder;

use crate::support::{Answer, Message, RawServer, Step, answer, gzip, job, page, raw, until};

/// The effect of a fault on a read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// The response is accepted.
    Good,
    /// The request is retried.
    Retried,
    /// Same as `Retried`, except that changes are not retried because they may have been processed.
    RetriedIfRead,
    /// It is an error, and the request is not retried.
    Error,
}
use Then::{Error, Good, Retried, RetriedIfRead};

const ATTEMPT: Duration = Duration::from_millis(2500);
const BOUND: Duration = Duration::from_secs(10);

/// Builds the faulty response from a good body.
type Fault = Box<dyn Fn(&str) -> Answer + Send>;

fn bytes(fault: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Fault {
    Box::new(move |body| raw(fault(body)))
}

fn fixed(answer: Answer) -> Fault {
    Box::new(move |_| answer.clone())
}

fn head(headers: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n")
}

/// Sends the first part of a good response, then does this.
fn cut(at: &'static str, end: Step) -> Fault {
    Box::new(move |body| {
        let whole = format!("{}{body}", head(&format!("content-length: {}", body.len())));
        let to = match at {
            "start" => 0,
            "status" => 6,
            "head" => 30,
            "body" => whole.len() - body.len(),
            _ => whole.len() - body.len() / 2,
        };
        vec![Step::Send(whole.as_bytes()[..to].to_vec()), end.clone()]
    })
}

fn chunked(body: &str) -> String {
    let (first, second) = body.split_at(body.len() / 2);
    format!(
        "{}{:x}\r\n{first}\r\n{:X};ext=1\r\n{second}\r\n",
        head("transfer-encoding: chunked"),
        first.len(),
        second.len()
    )
}

fn gzipped(compressed: &[u8]) -> Vec<u8> {
    let head = head(&format!("content-encoding: gzip\r\ncontent-length: {}", compressed.len()));
    [head.as_bytes(), compressed].concat()
}

fn table() -> Vec<(String, Fault, Then)> {
    let mut table: Vec<(String, Fault, Then)> = Vec::new();
    let mut add = |name: &str, fault: Fault, then: Then| table.push((name.to_owned(), fault, then));

    for at in ["start", "status", "head", "body", "middle of the body"] {
        add(&format!("closed at the {at}"), cut(at, Step::Close), Retried);
        add(&format!("reset at the {at}"), cut(at, Step::Reset), Retried);
        add(&format!("silence at the {at}"), cut(at, Step::Silence), RetriedIfRead);
    }
    let trickled =
        |body: &str| format!("{}{body}", head(&format!("content-length: {}", body.len()))).into_bytes();
    add(
        "one byte at a time",
        Box::new(move |body| vec![Step::Trickle(trickled(body), Duration::from_millis(50))]),
        RetriedIfRead,
    );

    let longer =
        |body: &str| format!("{}{body} and more", head(&format!("content-length: {}", body.len()))).into();
    add("a body longer than its length", bytes(longer), Good);
    add(
        "a body that ends with the connection",
        Box::new(|body| vec![Step::Send(format!("{}{body}", head("connection: close")).into()), Step::Close]),
        Good,
    );
    add(
        "a truncated body that ends with the connection",
        Box::new(|body| {
            vec![
                Step::Send(format!("{}{}", head("connection: close"), &body[..body.len() / 2]).into()),
                Step::Close,
            ]
        }),
        Error,
    );
    add("chunks", bytes(|body| format!("{}0\r\n\r\n", chunked(body)).into()), Good);
    add(
        "chunks with a trailer",
        bytes(|body| format!("{}0\r\nx-check: 1\r\n\r\n", chunked(body)).into()),
        Good,
    );
    add(
        "chunks without the last one",
        Box::new(|body| vec![Step::Send(chunked(body).into()), Step::Close]),
        Retried,
    );
    add(
        "a chunk whose size is not a number",
        bytes(|_| format!("{}xyz\r\n", head("transfer-encoding: chunked")).into()),
        Error,
    );
    add(
        "a chunk longer than its size",
        bytes(|body| format!("{}2\r\n{body}\r\n0\r\n\r\n", head("transfer-encoding: chunked")).into()),
        Error,
    );
    if cfg!(feature = "gzip") {
        add("gzip", bytes(|body| gzipped(&gzip(body.as_bytes()))), Good);
        add("content-encoding gzip without gzip", bytes(|body| gzipped(body.as_bytes())), Error);
        add(
            "gzip with a wrong checksum",
            bytes(|body| {
                let mut compressed = gzip(body.as_bytes());
                let length = compressed.len();
                compressed[length - 6] ^= 1;
                gzipped(&compressed)
            }),
            Error,
        );
        add(
            "half of the gzip data",
            bytes(|body| {
                let compressed = gzip(body.as_bytes());
                gzipped(&compressed[..compressed.len() / 2])
            }),
            Retried,
        );
        add(
            "gzip, then the connection is closed",
            Box::new(|body| {
                let whole = gzipped(&gzip(body.as_bytes()));
                vec![Step::Send(whole[..whole.len() - 20].to_vec()), Step::Close]
            }),
            Retried,
        );
        add(
            "gzip, then silence",
            Box::new(|body| {
                let whole = gzipped(&gzip(body.as_bytes()));
                vec![Step::Send(whole[..whole.len() - 20].to_vec()), Step::Silence]
            }),
            RetriedIfRead,
        );
        add(
            "larger than the limit only when decompressed",
            bytes(|_| gzipped(&gzip(&[b' '; 200_000]))),
            Error,
        );
    }
    add("longer than the limit, with a length", fixed(answer(200, &[], &" ".repeat(200_000))), Error);
    add(
        "longer than the limit, in chunks",
        bytes(|_| {
            format!("{}30d40\r\n{}\r\n0\r\n\r\n", head("transfer-encoding: chunked"), " ".repeat(200_000))
                .into()
        }),
        Error,
    );

    let json = |text: &str| answer(200, &["content-type: application/json"], text);
    add("no content type", Box::new(|body| answer(200, &[], body)), Good);
    add("another content type", Box::new(|body| answer(200, &["content-type: text/plain"], body)), Good);
    add("a byte order mark before JSON", Box::new(|body| answer(200, &[], &format!("\u{feff}{body}"))), Good);
    add("text after JSON", Box::new(|body| answer(200, &[], &format!("{body}{body}"))), Error);
    add("HTML with 200", fixed(answer(200, &["content-type: text/html"], "<html>log in</html>")), Error);
    add(
        "HTML with 502",
        fixed(answer(502, &["content-type: text/html"], "<html><title>Bad</title></html>")),
        Retried,
    );
    add("an empty body", fixed(json("")), Error);
    add("204", fixed(raw("HTTP/1.1 204 No Content\r\n\r\n")), Error);
    add(
        "invalid UTF-8",
        bytes(|body| {
            let body = [&body.as_bytes()[..12], b"\xff\xfe", &body.as_bytes()[12..]].concat();
            [head(&format!("content-length: {}", body.len())).into_bytes(), body].concat()
        }),
        Error,
    );
    for text in ["null", "true", "7", "\"text\"", "[]", "[1,2]", "{}", "{\"job_id\":\"a\"}", "{\"jobs\":[]}"]
    {
        add(&format!("{text} as body"), fixed(json(text)), Error);
    }
    let wrong = [
        ("\"job_id\":\"", "\"job_id\":true,\"x\":\"", "a wrong type of an identifier"),
        ("\"state\":\"done\"", "\"state\":[\"done\"]", "a wrong type of a state"),
        ("\"name\":null", "\"name\":{\"a\":1}", "a wrong type of a name"),
        ("\"name\":null", "\"billed_core_seconds\":\"much\"", "a wrong type of a charge"),
        ("\"name\":null", "\"billed_core_seconds\":1e999", "a number out of range"),
        ("\"created_at\":", "\"created\":", "a missing field"),
        ("\"name\":null", "\"job_id\":\"twice\"", "a field twice"),
    ];
    for (from, to, name) in wrong {
        add(name, Box::new(move |body| answer(200, &[], &body.replace(from, to))), Error);
    }
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    add("deep nesting", fixed(json(&deep(20_000))), Error);
    add(
        "deep nesting in an unknown field",
        Box::new(move |body| {
            answer(200, &[], &body.replace("\"name\":null", &format!("\"x\":{}", deep(20_000))))
        }),
        Error,
    );
    add(
        "deep nesting in a preview",
        Box::new(move |body| {
            answer(
                200,
                &[],
                &body.replace("\"name\":null", &format!("\"molecule_preview\":{}", deep(20_000))),
            )
        }),
        Good,
    );

    add(
        "deep nesting in an error",
        fixed(answer(422, &[], &format!("{{\"detail\":{}}}", deep(20_000)))),
        Error,
    );

    let endless = || format!("HTTP/1.1 200 OK\r\n{}", "x-more: and more\r\n".repeat(20_000));
    add("a huge header", bytes(|_| head(&format!("x-huge: {}", "x".repeat(500_000))).into()), Error);
    add("an endless head", Box::new(move |_| vec![Step::Send(endless().into()), Step::Silence]), Error);
    let interim = |first: &'static str| {
        Box::new(move |body: &str| {
            raw(format!("{first}\r\n\r\n{}{body}", head(&format!("content-length: {}", body.len()))))
        })
    };
    add("100 before the response", interim("HTTP/1.1 100 Continue"), Good);
    add("103 before the response", interim("HTTP/1.1 103 Early Hints\r\nlink: </a>"), Good);
    add("101", fixed(raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n")), Error);
    for status in [300, 301, 302, 303, 304, 307, 308] {
        add(&status.to_string(), fixed(answer(status, &["location: http://127.0.0.1:1/"], "")), Error);
    }
    for status in [400, 401, 402, 403, 404, 405, 409, 410, 413, 418, 422, 431, 451, 501, 505] {
        add(&status.to_string(), fixed(answer(status, &[], "words")), Error);
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 507, 520, 599] {
        add(&status.to_string(), fixed(answer(status, &[], "words")), Retried);
    }
    add(
        "503 with a truncated body",
        fixed(
            [raw("HTTP/1.1 503 Busy\r\ncontent-length: 100\r\n\r\nhalf of the words"), vec![Step::Close]]
                .concat(),
        ),
        Retried,
    );
    add(
        "500 with an endless body",
        fixed([raw("HTTP/1.1 500 Oops\r\ncontent-length: 100\r\n\r\nhalf"), vec![Step::Silence]].concat()),
        RetriedIfRead,
    );

    for (name, text) in [
        ("another protocol", "SSH-2.0-OpenSSH_9.7\r\n\r\n"),
        ("a status that is not a number", "HTTP/1.1 two OK\r\n\r\n"),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
        ("a header without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
        ("zero bytes", "\0\0\0\0\0\0\0\0\r\n\r\n"),
        ("a TLS alert", "\x15\x03\x01\x00\x02\x02\x0a\r\n\r\n"),
    ] {
        add(name, fixed(raw(text)), Error);
    }
    add("a length that is not a number", fixed(raw(head("content-length: many"))), Error);
    add("a negative length", fixed(raw(head("content-length: -1"))), Error);
    table
}

const PAGES: [&[&str]; 3] = [&["a", "b"], &["c", "d"], &["e"]];

/// Returns the body of a server without faults.
fn good(request: &Message) -> String {
    let line = &request.line;
    if line.starts_with("PATCH") {
        return job("a").replace(r#""name":null"#, r#""name":"water""#);
    }
    if !line.contains("/jobs?") {
        return job("a");
    }
    let n = ["cursor=c1", "cursor=c2"].iter().position(|cursor| line.contains(cursor)).map_or(0, |n| n + 1);
    page(PAGES[n], n < 2, ["c1", "c2"].get(n).copied())
}

/// Starts a server that sends the fault to the first `times` requests whose line contains `on`.
fn server(fault: Fault, on: &'static str, times: usize) -> RawServer {
    let mut left = times;
    RawServer::start(move |_, request| {
        let body = good(request);
        if left == 0 || !request.line.contains(on) {
            return answer(200, &["content-type: application/json"], &body);
        }
        left -= 1;
        fault(&body)
    })
}

fn builder(server: &RawServer) -> ClientBuilder {
    server.client_builder().timeout(ATTEMPT).max_response_bytes(100_000).proxy_from_env(false)
}

/// Checks every row of the table, several at a time.
fn for_each_fault(check: impl Fn(&str, Fault, Then) + Send + Sync) {
    let rows: Vec<_> = table();
    assert!(rows.len() >= 100, "{} rows", rows.len());
    let (queue, failed) = (Mutex::new(rows), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some((name, fault, then)) = queue.lock().unwrap().pop() else { return };
                    let started = Instant::now();
                    // A panic is caught so that every failing row is reported.
                    let outcome = catch_unwind(AssertUnwindSafe(|| check(&name, fault, then)));
                    if outcome.is_err() || started.elapsed() > BOUND {
                        failed.lock().unwrap().push(format!("{name}, after {:?}", started.elapsed()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_single_fault_is_retried_or_reported() {
    for_each_fault(|name, fault, then| {
        let server = server(fault, "GET", 1);
        let outcome = builder(&server).build().unwrap().get_job("a");
        let requests = server.requests().len();
        match then {
            Good => {
                assert_eq!(outcome.unwrap().job_id, "a", "{name}");
                assert_eq!(requests, 1, "{name}");
            }
            Retried | RetriedIfRead => match outcome {
                Ok(_) => assert_eq!(requests, 2, "{name}"),
                Err(error) => panic!("{name}: {error}"),
            },
            Error => {
                let error = outcome.expect_err(name);
                assert_eq!(requests, 1, "{name}: {error}");
            }
        }
    });
}

#[test]
fn a_lasting_fault_is_an_error_after_up_to_three_attempts() {
    for_each_fault(|name, fault, then| {
        let server = server(fault, "GET", usize::MAX);
        let outcome = builder(&server).build().unwrap().get_job("a");
        let attempts = match then {
            Good => return assert!(outcome.is_ok(), "{name}"),
            Retried | RetriedIfRead => 3,
            Error => 1,
        };
        let error = outcome.expect_err(name);
        if error.is_timeout() {
            // How many attempts fit into the time of the call is not at issue here.
            return assert!(error.attempts() >= 2, "{name}: {error}");
        }
        assert_eq!(error.attempts(), attempts, "{name}: {error}");
        // An attempt may time out before a busy server has read its request.
        until(|| server.requests().len() >= attempts as usize);
        assert_eq!(server.requests().len(), attempts as usize, "{name}: {error}");
    });
}

#[test]
fn a_change_is_retried_only_if_that_is_safe() {
    for_each_fault(|name, fault, then| {
        let server = server(fault, "PATCH", 1);
        let outcome = builder(&server).build().unwrap().rename_job("a", "water");
        let patches = server.lines().iter().filter(|line| line.starts_with("PATCH")).count();
        let may_be_in_progress = then == RetriedIfRead || ["408", "504"].contains(&name);
        let expected = if then == Retried && !may_be_in_progress { 2 } else { 1 };
        assert_eq!(patches, expected, "{name}: {outcome:?}");
        if may_be_in_progress {
            assert!(outcome.expect_err(name).may_have_been_processed(), "{name}");
        }
    });
}

#[test]
fn a_listing_with_a_fault_loses_and_repeats_no_job() {
    for_each_fault(|name, fault, then| {
        let server = server(fault, "cursor=c1", 1);
        let client = builder(&server).build().unwrap();
        let mut jobs = client.iter_jobs();
        let mut seen: Vec<String> = Vec::new();
        let mut failure = None;
        for outcome in &mut jobs {
            match outcome {
                Ok(job) => seen.push(job.job_id.into()),
                Err(error) => failure = Some(error),
            }
        }
        match then {
            Good | Retried | RetriedIfRead => assert!(failure.is_none(), "{name}: {failure:?}"),
            // Some faults in a job are not faults in a page.
            Error if failure.is_none() => {}
            // Only the jobs of this page have the fault.
            Error if failure.as_ref().is_some_and(atomiverse::Error::is_unreadable_job) => {
                assert_eq!(seen, ["a", "b", "e"], "{name}");
                return;
            }
            Error => {
                assert_eq!(seen, ["a", "b"], "{name}");
                assert_eq!(jobs.cursor(), Some("c1"), "{name}");
                for job in client.iter_jobs().resume_from(Some("c1")) {
                    seen.push(job.unwrap_or_else(|error| panic!("{name}: {error}")).job_id.into());
                }
            }
        }
        if name != "{\"jobs\":[]} as body" {
            assert_eq!(seen, PAGES.concat(), "{name}: {failure:?}");
        }
    });
}

#[test]
fn a_connection_that_was_closed_between_two_requests_is_replaced() {
    for end in [Step::Close, Step::Reset] {
        let server = RawServer::start(move |_, request| {
            let mut steps = answer(200, &[], &good(request));
            steps.push(end.clone());
            steps
        });
        let client = server.client_builder().max_retries(2).build().unwrap();
        for _ in 0..5 {
            client.get_job("a").unwrap();
        }
        assert!(server.requests().len() <= 10);
    }
}

#[test]
fn a_client_without_retries_makes_one_attempt() {
    for_each_fault(|name, fault, then| {
        let server = server(fault, "GET", 1);
        let outcome = builder(&server).max_retries(0).build().unwrap().get_job("a");
        assert_eq!(outcome.is_ok(), then == Good, "{name}");
        assert_eq!(server.requests().len(), 1, "{name}");
    });
}

#[test]
fn sixteen_threads_can_share_a_client_despite_faults() {
    let server = RawServer::start(|n, request| match n % 16 {
        3 => vec![Step::Close],
        11 => answer(503, &["retry-after: 0"], ""),
        _ => {
            let id = request.line.rsplit('/').next().unwrap_or_default();
            answer(200, &[], &job(id))
        }
    });
    let client = server.client_builder().max_retries(20).build().unwrap();
    thread::scope(|scope| {
        for t in 0..16 {
            let client = client.clone();
            scope.spawn(move || {
                for n in 0..25 {
                    let id = format!("{t}-{n}");
                    assert_eq!(client.get_job(&id).unwrap().job_id, id.as_str());
                }
            });
        }
    });
    assert!(server.most_open() <= 16 + 3, "{} connections at a time", server.most_open());
}
