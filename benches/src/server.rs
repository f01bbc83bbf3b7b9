//! Pages that were rendered beforehand, by kind: `/length/3/jobs?limit=50&cursor=7` is page 7 of 50 jobs with
//! 3 atoms each and a Content-Length. A history of a million jobs is the same 50,000 over and over.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The whole history.
pub const JOBS: usize = 1_000_000;
/// Different jobs in it.
const DISTINCT: usize = 50_000;

type Pages = Arc<Vec<Vec<u8>>>;

pub fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let rendered: Arc<Mutex<HashMap<String, Pages>>> = Arc::default();
    for stream in listener.incoming().flatten() {
        let rendered = rendered.clone();
        thread::spawn(move || {
            let _ = serve(&stream, &rendered);
        });
    }
}

fn serve(stream: &TcpStream, rendered: &Mutex<HashMap<String, Pages>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    // The pages of the kind that this connection asks for.
    let mut at_hand: Option<(String, Pages)> = None;
    let mut answer = Vec::new();
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
        let kind = parts.next().unwrap_or_default().to_owned();
        let atoms: usize = parts.next().unwrap_or_default().parse().unwrap_or(3);
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<usize>().ok())
        };
        let limit = parameter("limit").unwrap_or(50);
        let page = parameter("cursor").unwrap_or(0);

        let key = format!("{kind} {atoms} {limit}");
        if at_hand.as_ref().is_none_or(|(hand, _)| *hand != key) {
            let mut rendered = rendered.lock().unwrap();
            let pages = rendered.entry(key.clone()).or_insert_with(|| Arc::new(render(&kind, atoms, limit))).clone();
            at_hand = Some((key, pages));
        }
        let Some((_, pages)) = &at_hand else { return Ok(()) };
        if kind == "slow" {
            thread::sleep(Duration::from_millis(20));
        }
        answer.clear();
        let rest = &pages[page % pages.len()];
        if kind == "gzip" {
            write!(answer, "{HEAD}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", rest.len())?;
        } else {
            let start = start(page, limit);
            if kind == "chunked" {
                write!(answer, "{HEAD}transfer-encoding: chunked\r\n\r\n{:x}\r\n{start}\r\n", start.len())?;
            } else {
                write!(answer, "{HEAD}content-length: {}\r\n\r\n{start}", start.len() + rest.len())?;
            }
        }
        answer.extend_from_slice(rest);
        (&mut &*stream).write_all(&answer)?;
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: 7d1f\r\n";

/// The page up to its jobs.
fn start(page: usize, limit: usize) -> String {
    let has_more = (page + 1) * limit < JOBS;
    let next = page + 1;
    format!(r#"{{"has_more":{has_more},"next_cursor":"{next}","jobs":"#)
}

/// What follows the start of each page.
fn render(kind: &str, atoms: usize, limit: usize) -> Vec<Vec<u8>> {
    (0..DISTINCT / limit)
        .map(|page| {
            let jobs: Vec<String> = (page * limit..(page + 1) * limit).map(|n| job(n, atoms)).collect();
            let rest = format!("[{}]}}", jobs.join(","));
            match kind {
                "chunked" => {
                    let mut body = Vec::new();
                    for chunk in rest.as_bytes().chunks(4096) {
                        write!(body, "{:x}\r\n", chunk.len()).unwrap();
                        body.extend_from_slice(chunk);
                        body.extend_from_slice(b"\r\n");
                    }
                    body.extend_from_slice(b"0\r\n\r\n");
                    body
                }
                "gzip" => {
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
                    encoder.write_all(start(page, limit).as_bytes()).unwrap();
                    encoder.write_all(rest.as_bytes()).unwrap();
                    encoder.finish().unwrap()
                }
                _ => rest.into_bytes(),
            }
        })
        .collect()
}

fn job(n: usize, atoms: usize) -> String {
    // The digits of real coordinates, different ones for each job.
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
