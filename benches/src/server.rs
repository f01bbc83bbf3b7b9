//! A server whose pages were rendered beforehand: `/length/3/jobs?limit=50&cursor=100` is the page of 50 jobs from
//! the hundredth on, with 3 atoms each and a Content-Length.
//!
//! The kinds are `length`, `chunked` and `gzip`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The number of jobs in the whole history.
pub const JOBS: usize = 1_000_000;
/// The number of different jobs. The history repeats them.
const DISTINCT: usize = 20_000;

pub fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let rendered = Arc::new(Rendered::default());
    for stream in listener.incoming().flatten() {
        let rendered = rendered.clone();
        thread::spawn(move || {
            let _ = serve(&stream, &rendered);
        });
    }
}

fn serve(stream: &TcpStream, rendered: &Rendered) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    // The history that this connection requested last.
    let mut at_hand: Option<(usize, Arc<History>)> = None;
    let mut response = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut parts = path.split('/').skip(1);
        let kind = parts.next().unwrap_or_default();
        let atoms: usize = parts.next().unwrap_or_default().parse().unwrap_or(3);
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<usize>().ok())
        };
        let (limit, first) = (parameter("limit").unwrap_or(50), parameter("cursor").unwrap_or(0));
        if at_hand.as_ref().is_none_or(|(hand, _)| *hand != atoms) {
            at_hand = Some((atoms, rendered.history(atoms)));
        }
        let Some((_, history)) = &at_hand else { return Ok(()) };
        response.clear();
        match kind {
            "gzip" => gzip(&mut response, &rendered.gzip(atoms, history, first, limit)),
            "chunked" => chunked(&mut response, &history.parts(first, limit)),
            _ => with_length(&mut response, &history.parts(first, limit)),
        }?;
        (&mut &*stream).write_all(&response)?;
    }
}

type Parts<'a> = [std::borrow::Cow<'a, [u8]>];

fn with_length(response: &mut Vec<u8>, parts: &Parts) -> std::io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    write!(response, "{HEAD}content-length: {length}\r\n\r\n")?;
    parts.iter().for_each(|part| response.extend_from_slice(part));
    Ok(())
}

fn chunked(response: &mut Vec<u8>, parts: &Parts) -> std::io::Result<()> {
    write!(response, "{HEAD}transfer-encoding: chunked\r\n\r\n")?;
    for chunk in parts.iter().flat_map(|part| part.chunks(4096)) {
        write!(response, "{:x}\r\n", chunk.len())?;
        response.extend_from_slice(chunk);
        response.extend_from_slice(b"\r\n");
    }
    response.extend_from_slice(b"0\r\n\r\n");
    Ok(())
}

fn gzip(response: &mut Vec<u8>, body: &[u8]) -> std::io::Result<()> {
    write!(response, "{HEAD}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", body.len())?;
    response.extend_from_slice(body);
    Ok(())
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: 7d1f\r\n";

/// Compressed pages by the number of atoms, the first job, and the limit.
type Bodies = HashMap<(usize, usize, usize), Arc<Vec<u8>>>;

/// The pages that were rendered so far.
#[derive(Default)]
struct Rendered {
    histories: Mutex<HashMap<usize, Arc<History>>>,
    compressed: Mutex<Bodies>,
}

impl Rendered {
    fn history(&self, atoms: usize) -> Arc<History> {
        let mut histories = self.histories.lock().unwrap();
        histories.entry(atoms).or_insert_with(|| Arc::new(History::render(atoms))).clone()
    }

    fn gzip(&self, atoms: usize, history: &History, first: usize, limit: usize) -> Arc<Vec<u8>> {
        let key = (atoms, first, limit);
        if let Some(body) = self.compressed.lock().unwrap().get(&key) {
            return body.clone();
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        for part in history.parts(first, limit) {
            encoder.write_all(&part).unwrap();
        }
        let body = Arc::new(encoder.finish().unwrap());
        self.compressed.lock().unwrap().insert(key, body.clone());
        body
    }
}

/// Jobs as JSON, separated by commas.
struct History {
    text: Vec<u8>,
    /// The position of each job in the text, and of its end.
    starts: Vec<usize>,
}

impl History {
    fn render(atoms: usize) -> Self {
        let (mut text, mut starts) = (Vec::new(), vec![0]);
        for n in 0..DISTINCT {
            text.extend_from_slice(job(n, atoms).as_bytes());
            text.push(b',');
            starts.push(text.len());
        }
        History { text, starts }
    }

    /// The body of a page.
    fn parts(&self, first: usize, limit: usize) -> Vec<std::borrow::Cow<'_, [u8]>> {
        let next = first + limit;
        let has_more = next < JOBS;
        let start = format!(r#"{{"has_more":{has_more},"next_cursor":"{next}","jobs":["#);
        let mut parts = vec![start.into_bytes().into()];
        let (mut first, mut left) = (first % DISTINCT, limit);
        while left > 0 {
            let end = (first + left).min(DISTINCT);
            left -= end - first;
            // The last job is not followed by a comma.
            let last = self.starts[end] - usize::from(left == 0);
            parts.push(self.text[self.starts[first]..last].into());
            first = 0;
        }
        parts.push(b"]}".as_slice().into());
        parts
    }
}

fn job(n: usize, atoms: usize) -> String {
    // Each job has different coordinates, with as many digits as real ones.
    let mut seed = n as u64;
    let mut coordinate = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / (1u64 << 31) as f64 * 10.0 - 5.0
    };
    let preview: Vec<String> = (0..atoms)
        .map(|k| {
            let element = ["O", "H", "H", "C", "N", "Cl"][k % 6];
            let (x, y, z) = (coordinate(), coordinate(), coordinate());
            format!(r#"{{"element":"{element}","position":[{x:.6},{y:.6},{z:.6}]}}"#)
        })
        .collect();
    let state = ["done", "done", "failed", "running"][n % 4];
    format!(
        r#"{{"job_id":"{n:08x}-5d1c-4a57-9b0e-3f1c2d4e5f60","name":"benchmark-water-{n}","state":"{state}","#
    ) + &format!(
        r#""job_type":"single_point_energy","created_at":"2026-05-02T14:{:02}:{:02}.123456Z","#,
        n / 60 % 60,
        n % 60
    ) + &format!(
        r#""billed_core_seconds":{}.5,"molecule_preview":{{"formula":"H2O","atoms":[{}]}}}}"#,
        n % 1000,
        preview.join(",")
    )
}
