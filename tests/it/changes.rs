//! Tests that rename, cancel and delete report what really happened. The servers here know what they did, whatever
//! they then respond.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use atomiverse::simulator::Simulator;
use atomiverse::{Attempt, Client, ClientBuilder, Error, JobState, StopToken, WaitOptions};
use socket2::{Domain, Socket, Type};

use crate::support::{Answer, KEY, Message, RawServer, Step, answer, job, json, lock, page};

const JSON: &str = "content-type: application/json";
const HTML: &str = "content-type: text/html";
const PAGE: &str = "<html><head><title>Sign in</title></head></html>";
const NOT_FOUND: &str = r#"{"detail":"Job not found"}"#;
/// How long a client waits for a server that stays silent.
const PATIENCE: Duration = Duration::from_millis(250);
/// The name that a rename asks for.
const NEW: &str = "water";

type Reported = Result<bool, Error>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
enum Method { Rename, Cancel, Delete, DeleteIfExists }
use Method::{Cancel, Delete, DeleteIfExists, Rename};

impl Method {
    fn call(self, client: &Client, id: &str, by_job: bool) -> Reported {
        let job = client.job(id).unwrap();
        match self {
            Rename if by_job => job.rename(NEW).map(|()| true),
            Rename => client.rename_job(id, NEW).map(|()| true),
            Cancel if by_job => job.cancel().map(|()| true),
            Cancel => client.cancel_job(id).map(|()| true),
            Delete if by_job => job.delete().map(|()| true),
            Delete => client.delete_job(id).map(|()| true),
            DeleteIfExists => client.delete_job_if_exists(id),
        }
    }

    fn is_delete(self) -> bool {
        matches!(self, Delete | DeleteIfExists)
    }
}

/// `Job` is the job as the change was to leave it, and `Detail` is the body of an error.
#[rustfmt::skip]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body { Empty, Success, Job, OtherName, OtherJson, Refusal, Html, Text, Detail }
use Body::{Detail, Empty, Html, OtherJson, OtherName, Refusal, Success, Text};

/// What the server does with a request for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// No server listens. It does before the second attempt.
    NotConnected,
    /// The connection is closed after the request was read.
    Lost,
    Silence,
    Status(u16, Body),
}
use Reply::{Lost, NotConnected, Silence, Status};

impl Reply {
    fn is_success(self) -> bool {
        matches!(self, Status(..300, _))
    }

    /// Whether a cancel with this response was accepted.
    fn is_accepted(self) -> bool {
        self.is_success() && !matches!(self, Status(_, Refusal | Html))
    }

    /// Whether the server may have made the change, as far as the client can tell.
    fn is_ambiguous(self) -> bool {
        matches!(self, Lost | Silence | Status(..300 | 500.., _))
    }

    /// Whether the response is one after which the job is not loaded.
    fn is_believed(self) -> bool {
        matches!(self, Status(..300, Empty | Success))
    }
}

/// A reply, and whether the server makes the change before it. One that refuses it plainly does not.
type Answered = (Reply, bool);

fn last_replies() -> Vec<Answered> {
    let mut replies: Vec<Answered> = Vec::new();
    for body in [Empty, Success, Body::Job, OtherName, OtherJson, Refusal, Html, Text] {
        let status = if body == Empty { 204 } else { 200 };
        replies.extend([(Status(status, body), false), (Status(status, body), true)]);
    }
    for body in [Detail, Html, Text, Empty] {
        replies.push((Status(404, body), false));
    }
    replies.extend([409, 410, 422, 400].map(|status| (Status(status, Detail), false)));
    replies
}

fn retried_replies() -> Vec<Answered> {
    let mut replies = vec![(NotConnected, false), (Lost, false), (Lost, true), (Status(429, Detail), false)];
    for status in [500, 502, 503, 520] {
        let body = if status == 502 { Html } else { Detail };
        replies.extend([(Status(status, body), false), (Status(status, body), true)]);
    }
    replies
}

/// What a request for the job meets after the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
enum Sight { Truth, Unavailable, HtmlNotFound }

#[derive(Debug, Clone)]
struct Case {
    n: usize,
    method: Method,
    replies: Vec<Answered>,
    /// The state of the job, or `None` if it never existed.
    job: Option<&'static str>,
    by_job: bool,
    /// Whether the client has had a response before.
    is_warm: bool,
    sight: Sight,
}

/// Returns every sequence of replies that the method can meet, with every job.
fn cases(method: Method) -> Vec<Case> {
    let mut sequences: Vec<Vec<Answered>> = last_replies().into_iter().map(|last| vec![last]).collect();
    for status in [Silence, Status(504, Detail)] {
        sequences.extend([vec![(status, false)], vec![(status, true)]]);
    }
    for first in retried_replies() {
        sequences.extend(last_replies().into_iter().map(|last| vec![first, last]));
    }
    let mut cases = Vec::new();
    for replies in sequences {
        for job in [Some("done"), Some("running"), None] {
            // A job that never existed cannot be changed.
            if job.is_none() && replies.iter().any(|(_, acts)| *acts) {
                continue;
            }
            let n = cases.len();
            // What varies the least by itself is spread over the cases.
            let spread = (n as u32).wrapping_mul(2_654_435_769) >> 16;
            let sight = match spread % 8 {
                0 => Sight::Unavailable,
                1 => Sight::HtmlNotFound,
                _ => Sight::Truth,
            };
            let (by_job, is_warm) = (spread & 8 == 0, spread & 48 != 0 && replies[0].0 != NotConnected);
            cases.push(Case { n, method, replies: replies.clone(), job, by_job, is_warm, sight });
        }
    }
    cases
}

fn summary(id: &str, name: &str, state: &str) -> String {
    job(id).replace("null", &format!("{name:?}")).replace("done", state)
}

/// What the service really has and did.
#[derive(Debug)]
struct World {
    case: Case,
    name: &'static str,
    state: Option<&'static str>,
    /// Whether any attempt changed anything.
    did: bool,
    attempts: usize,
    looks: usize,
    pages: usize,
}

impl World {
    fn new(case: Case) -> Self {
        World { state: case.job, case, name: "untitled", did: false, attempts: 0, looks: 0, pages: 0 }
    }

    fn id(&self) -> String {
        format!("job-{}", self.case.n)
    }

    fn act(&mut self) {
        match self.case.method {
            Rename => self.name = NEW,
            Cancel if self.state == Some("done") => return,
            Cancel => self.state = Some("cancelled"),
            Delete | DeleteIfExists => self.state = None,
        }
        self.did = true;
    }

    fn is_done(&self) -> bool {
        match self.case.method {
            Rename => self.state.is_some() && self.name == NEW,
            Cancel => matches!(self.state, Some("done" | "cancelled")),
            Delete | DeleteIfExists => self.state.is_none(),
        }
    }

    fn respond(&mut self, request: &Message) -> Answer {
        if request.line.contains("/jobs?") {
            self.pages += 1;
            return json(&page(&[], false, None));
        }
        if !request.line.contains(&format!("/jobs/{}", self.id())) {
            // It belongs to an earlier case.
            return vec![Step::Close];
        }
        if request.line.starts_with("GET ") {
            self.looks += 1;
            return match (self.case.sight, self.state) {
                (Sight::Unavailable, _) => answer(503, &[], "busy"),
                (Sight::HtmlNotFound, _) => answer(404, &[HTML], PAGE),
                (Sight::Truth, Some(state)) => json(&summary(&self.id(), self.name, state)),
                (Sight::Truth, None) => answer(404, &[JSON], NOT_FOUND),
            };
        }
        let reached = self.case.replies.iter().filter(|(reply, _)| *reply != NotConnected).nth(self.attempts);
        let (reply, acts) = *reached.unwrap_or_else(|| panic!("one attempt too many: {self:?}"));
        self.attempts += 1;
        if acts {
            self.act();
        }
        let state = if self.case.method == Cancel { "cancelled" } else { self.state.unwrap_or("done") };
        let name = if self.case.method == Rename { NEW } else { self.name };
        match reply {
            NotConnected => unreachable!("a server that was not reached sends nothing"),
            Lost => vec![Step::Close],
            Silence => vec![Step::Silence],
            Status(status, body) => match body {
                Empty if status == 204 => no_content(),
                Empty => answer(status, &[], ""),
                Success => answer(status, &[JSON], r#"{"success":true}"#),
                Body::Job => answer(status, &[JSON], &summary(&self.id(), name, state)),
                OtherName => answer(status, &[JSON], &summary(&self.id(), "another", state)),
                OtherJson => answer(status, &[JSON], r#"{"deleted":0,"errors":["not allowed"]}"#),
                Refusal => answer(status, &[JSON], r#"{"success":false,"message":"locked"}"#),
                Html => answer(status, &[HTML], PAGE),
                Text => answer(status, &["content-type: text/plain"], "not deleted"),
                Detail => answer(status, &[JSON], r#"{"detail":"as the status says"}"#),
            },
        }
    }

    /// Returns what is wrong with the report, given what the server did.
    fn problems(&self, reported: &Reported) -> Vec<&'static str> {
        let Case { method, replies, job, sight, .. } = &self.case;
        let (last, acted) = *replies.last().unwrap();
        let earlier_may = replies[..replies.len() - 1].iter().any(|(reply, _)| reply.is_ambiguous());
        // The untruths that are allowed: an empty body, and one that shows the job as requested.
        let shows_it = *method == Rename && matches!(last, Status(200, Body::Job));
        let lies = !acted && (last.is_believed() || shows_it);
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem| problems.extend((!holds).then_some(problem));
        let is_seen = *sight == Sight::Truth;
        match reported {
            Ok(true) => {
                let holds = match method {
                    Cancel => self.is_done() || last.is_accepted(),
                    Rename => self.is_done() || lies,
                    // A lost delete of a job that never was.
                    _ => (self.is_done() || lies) && (job.is_some() || last.is_success() || earlier_may),
                };
                check(holds, "reported as done, but it is not");
            }
            Ok(false) => check(job.is_none(), "reported as never there, but it was"),
            Err(error) => {
                let (may, said) = (error.may_have_been_processed(), error.to_string());
                check(may || !self.did, "it was done, and the error excludes it");
                check(!may || last.is_ambiguous() || earlier_may, "the error allows for what cannot be");
                check(!may || said.contains("may have been"), "the message omits what may have been done");
                check(!said.contains("nothing was sent") || self.attempts == 0, "something was sent");
                let gone = self.state.is_none() && !(method.is_delete() && self.did);
                check(!error.is_not_found() || gone, "not found, but it is there, or this deleted it");
                check(error.is_conflict() == matches!(last, Status(409, _)), "only a 409 is a conflict");
                let is_done = last.is_success() && is_seen && self.is_done();
                check(!is_done, "it is done and can be seen, but the call failed");
                let is_gone = matches!(last, Status(404 | 410, _)) && job.is_none() && is_seen;
                check(!is_gone || error.is_not_found(), "it is not there, and this can be seen");
                // The request stands in parentheses at the end.
                let said = said.rsplit_once(" (").map_or(0, |(said, _)| said.chars().count());
                check(said <= 250, "the message is long");
            }
        }
        check(!is_seen || self.looks <= 1, "the job is loaded twice");
        check(self.pages <= usize::from(!self.case.is_warm), "a page is loaded without need");
        check(!last.is_believed() || self.looks == 0, "a plain success costs a further request");
        let reached = replies.iter().filter(|(reply, _)| *reply != NotConnected).count();
        check(self.attempts == reached || last == Silence, "the number of attempts is wrong");
        problems
    }
}

/// Returns a builder of clients whose pauses take no real time.
fn builder(simulator: &Simulator, url: String) -> ClientBuilder {
    simulator.client_builder().api_key(KEY).base_url(url)
}

fn holds_for(method: Method) {
    let simulator = Simulator::start().unwrap();
    let cases = cases(method);
    let count = cases.len();
    let world = Arc::new(Mutex::new(World::new(cases[0].clone())));
    let serve = |world: &Arc<Mutex<World>>| {
        let world = world.clone();
        move |_, request: &Message| lock(&world).respond(request)
    };
    let server = RawServer::start(serve(&world));
    let warm = builder(&simulator, server.url()).build().unwrap();
    warm.list_jobs().send().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let (first, id) = (case.replies[0].0, format!("job-{}", case.n));
        *lock(&world) = World::new(case.clone());
        let client = if case.is_warm {
            warm.clone()
        } else if first == NotConnected {
            // A socket that is bound but does not listen refuses connections, and keeps its port from other tests.
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            let (socket, serve, server) = (Mutex::new(Some(socket)), serve(&world), Mutex::new(None));
            let listen = move |_: &Attempt<'_>| {
                if let Some(socket) = lock(&socket).take() {
                    socket.listen(16).unwrap();
                    *lock(&server) = Some(RawServer::start_on(TcpListener::from(socket), serve.clone()));
                }
            };
            builder(&simulator, format!("http://{address}")).on_attempt(listen).build().unwrap()
        } else {
            builder(&simulator, server.url()).build().unwrap()
        };
        let client = if first == Silence { client.with_timeout(PATIENCE) } else { client };
        let reported = method.call(&client, &id, case.by_job);
        let world = lock(&world);
        let problems = world.problems(&reported);
        if !problems.is_empty() {
            wrong.push(format!("{problems:?}\n  {reported:?}\n  {world:?}"));
        }
    }
    let shown = wrong.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {count} cases are wrong:\n{shown}", wrong.len());
}

#[test]
fn a_change_reports_what_happened_whatever_the_server_responds() {
    thread::scope(|scope| {
        for method in [Rename, Cancel, Delete, DeleteIfExists] {
            scope.spawn(move || holds_for(method));
        }
    });
}

/// A server that responds to each change with these bodies in turn, and to each request for the job with `job`, which
/// is its name and state, or `None` if it is not there.
fn service(job: Option<(&'static str, &'static str)>, changes: Vec<Answer>) -> RawServer {
    let mut changes = changes.into_iter();
    RawServer::start(move |_, request| match (&request.line, job) {
        (line, _) if line.contains("/jobs?") => json(&page(&[], false, None)),
        (line, None) if line.starts_with("GET ") => answer(404, &[JSON], NOT_FOUND),
        (line, Some((name, state))) if line.starts_with("GET ") => json(&summary("a", name, state)),
        _ => changes.next().unwrap(),
    })
}

fn quick(server: &RawServer) -> Client {
    builder(&Simulator::start().unwrap(), server.url()).build().unwrap()
}

/// Returns the methods of the requests, and `LIST` for one for a page.
fn methods(server: &RawServer) -> Vec<String> {
    let method = |line: String| match line.split_once(' ') {
        Some(("GET", path)) if path.contains("/jobs?") => "LIST".to_owned(),
        Some((method, _)) => method.to_owned(),
        None => line,
    };
    server.lines().into_iter().map(method).collect()
}

#[test]
fn a_delete_that_was_done_succeeds_whatever_its_body_says() {
    for body in [
        r#"{"deleted":1,"errors":0}"#,
        r#"{"success":true,"error":"none"}"#,
        r#""Failover completed""#,
        r#"{"success":false}"#,
        "Failover completed",
        "1",
        PAGE,
    ] {
        let server = service(None, vec![json(body)]);
        quick(&server).delete_job("a").unwrap_or_else(|error| panic!("{body}: {error}"));
    }
}

#[test]
fn a_change_that_was_not_made_fails_whatever_its_body_says() {
    for body in [
        r#"{"results":[{"code":500.0}]}"#,
        r#"{"succeeded":false}"#,
        r#"{"message":"Cannot delete a running job"}"#,
        r#"{"errors":[]}"#,
        r#"{"ok":false}"#,
        "true",
    ] {
        let server = service(Some(("old", "running")), vec![json(body), json(body)]);
        let client = quick(&server);
        for error in [client.delete_job("a").unwrap_err(), client.rename_job("a", NEW).unwrap_err()] {
            assert!(error.may_have_been_processed() && !error.is_not_found(), "{body}: {error}");
            assert_eq!(
                (error.status(), error.state()),
                (Some(200), Some(&JobState::Running)),
                "{body}: {error}"
            );
        }
        assert_eq!(methods(&server), ["DELETE", "GET", "PATCH", "GET"], "{body}");
    }
}

#[test]
fn a_delete_that_was_done_before_a_server_error_is_reported_as_done() {
    for status in [500, 502, 503, 520] {
        let server = service(None, vec![answer(status, &[], ""), answer(404, &[JSON], NOT_FOUND)]);
        assert!(quick(&server).delete_job_if_exists("a").unwrap(), "{status}");
    }
    let server = service(None, vec![answer(429, &[], ""), answer(404, &[JSON], NOT_FOUND)]);
    assert!(!quick(&server).delete_job_if_exists("a").unwrap());
}

/// A service with one running job, which a cancel ends, or removes. The first request for the job meets 404 if `lags`.
fn cancelling(removes: bool, lags: bool, deleted: Answer) -> RawServer {
    let (mut state, mut lags) = (Some("running"), lags);
    RawServer::start(move |_, request| match (request.line.split(' ').next().unwrap(), state) {
        ("POST", _) => {
            state = if removes { None } else { Some("cancelled") };
            answer(202, &[JSON], r#"{"job_id":"a","status":"cancelling"}"#)
        }
        ("DELETE", Some(_)) => deleted.clone(),
        ("GET", _) if request.line.contains("/jobs?") => json(&page(&[], false, None)),
        ("GET", Some(state)) if !std::mem::take(&mut lags) => json(&summary("a", "x", state)),
        _ => answer(404, &[JSON], NOT_FOUND),
    })
}

fn no_content() -> Answer {
    vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".into())]
}

#[test]
fn cancel_and_delete_deletes_a_job_that_is_not_found_for_a_moment() {
    let server = cancelling(false, true, no_content());
    assert!(quick(&server).cancel_and_delete("a", WaitOptions::new()).unwrap());
    assert!(methods(&server).contains(&"DELETE".to_owned()), "{:?}", server.lines());
}

#[test]
fn cancel_and_delete_has_deleted_a_job_that_the_cancel_removed() {
    let server = cancelling(true, false, no_content());
    assert!(quick(&server).cancel_and_delete("a", WaitOptions::new()).unwrap());
    assert!(methods(&server).contains(&"DELETE".to_owned()), "{:?}", server.lines());
}

#[test]
fn an_error_of_cancel_and_delete_says_that_the_cancel_was_accepted() {
    let server = cancelling(false, false, answer(403, &[JSON], r#"{"detail":"not allowed"}"#));
    let error = quick(&server).cancel_and_delete("a", WaitOptions::new()).unwrap_err();
    assert_eq!((error.status(), error.cancellation_accepted()), (Some(403), Some(true)), "{error}");
}

#[test]
fn a_conflict_about_a_job_that_is_not_there_stays_a_conflict() {
    let conflict = answer(409, &[JSON], r#"{"detail":"no such job"}"#);
    let server = service(None, vec![conflict]);
    let error = quick(&server).delete_job_if_exists("a").unwrap_err();
    assert!(error.is_conflict() && error.state().is_none() && !error.may_have_been_processed(), "{error}");
}

#[test]
fn a_rename_whose_name_the_service_changes_says_how_it_was_stored() {
    for stored in ["w\u{fc}rfel", "wu\u{308}rfel cut"] {
        let server = service(Some((stored, "done")), vec![json(&summary("a", stored, "done"))]);
        let error = quick(&server).rename_job("a", "Wu\u{308}rfel cut off").unwrap_err();
        assert!(error.may_have_been_processed(), "{error}");
        assert!(error.to_string().contains(&format!("{stored:?}")), "{error}");
    }
    let server = service(Some(("water", "done")), vec![json(&summary("a", "water", "done"))]);
    quick(&server).rename_job("a", "  water ").unwrap();
    assert_eq!(methods(&server), ["PATCH"]);
}

#[test]
fn a_conflict_says_each_thing_once() {
    let reason = "job is running; cancel it before deleting it";
    let conflict = |body: &str| vec![answer(409, &[JSON], body)];
    let server = service(Some(("x", "running")), conflict(&format!(r#"{{"detail":"{reason}"}}"#)));
    let error = quick(&server).delete_job("a").unwrap_err();
    let said = error.to_string();
    assert_eq!((said.matches("running").count(), said.matches("cancel").count()), (1, 1), "{said}");
    assert_eq!((error.state(), error.server_message()), (Some(&JobState::Running), Some(reason)));
    // Without a reason of the server, ours is given.
    let server = service(Some(("x", "running")), conflict(""));
    let said = quick(&server).delete_job("a").unwrap_err().to_string();
    assert!(said.contains("running") && said.contains("cancel"), "{said}");
}

#[test]
fn no_job_is_gone_at_an_address_that_never_shows_the_service() {
    for not_found in
        [answer(404, &[JSON], NOT_FOUND), answer(404, &[], "not found"), answer(404, &[HTML], PAGE)]
    {
        let server = RawServer::script(vec![not_found]);
        let client = quick(&server);
        for error in [
            client.delete_job_if_exists("a").unwrap_err(),
            client.rename_job("a", NEW).unwrap_err(),
            client.cancel_job("a").unwrap_err(),
        ] {
            assert!(!error.is_not_found() && !error.may_have_been_processed(), "{error}");
            assert!(error.to_string().contains("base_url"), "{error}");
        }
    }
}

#[test]
fn the_address_is_checked_once() {
    let server = service(None, vec![answer(404, &[JSON], NOT_FOUND); 2]);
    let client = quick(&server);
    assert!(!client.delete_job_if_exists("a").unwrap());
    assert!(!client.delete_job_if_exists("b").unwrap());
    assert_eq!(methods(&server), ["DELETE", "GET", "LIST", "DELETE", "GET"]);
}

/// Returns the error of a delete that meets `first` and is then stopped, or out of time, while the job is loaded.
fn interrupted(first: Answer, stops: bool) -> Error {
    let stop = StopToken::new();
    let token = stop.clone();
    let server = RawServer::start(move |n, _| {
        if n == 0 {
            return first.clone();
        }
        if stops {
            token.stop();
        }
        vec![Step::Silence]
    });
    // A busy machine may need a while for the first response.
    let client = if stops {
        quick(&server).with_stop(&stop)
    } else {
        quick(&server).with_timeout(Duration::from_secs(2))
    };
    client.delete_job("a").unwrap_err()
}

#[test]
fn an_interruption_while_the_job_is_loaded_keeps_what_is_known() {
    for stops in [true, false] {
        let refused = interrupted(answer(409, &[JSON], r#"{"detail":"job is running"}"#), stops);
        assert!(refused.is_conflict() && !refused.may_have_been_processed(), "{refused}");
        let unclear = interrupted(json(r#"{"deleted":1}"#), stops);
        assert!(unclear.status() == Some(200) && unclear.may_have_been_processed(), "{unclear}");
        let not_found = interrupted(answer(404, &[JSON], NOT_FOUND), stops);
        assert!(!not_found.is_not_found() && !not_found.may_have_been_processed(), "{not_found}");
        for error in [refused, unclear, not_found] {
            assert_eq!((error.is_stopped(), error.is_timeout()), (stops, !stops), "{error}");
        }
    }
}

#[test]
fn a_response_is_a_page_by_its_body_and_not_by_its_label() {
    let server = RawServer::script(vec![answer(202, &[HTML], "OK"), answer(202, &[HTML], "")]);
    let client = quick(&server);
    client.cancel_job("a").unwrap();
    client.cancel_job("a").unwrap();
    let server = RawServer::script(vec![json("[]"), answer(404, &[HTML], "")]);
    let client = quick(&server);
    client.list_jobs().send().unwrap_err();
    assert!(!client.delete_job_if_exists("a").unwrap());
}
