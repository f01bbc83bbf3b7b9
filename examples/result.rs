//! Fetches the result of a job as JSON. The path is an assumption:
//!
//! ```text
//! cargo run --example result -- --output energy.json 9f2c
//! ```

mod common;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use atomiverse::{Client, JobId, Request};
use clap::Parser;
use serde_json::Value;

use common::Result;

/// Fetch the result of a job and write its JSON to a file. An existing file is kept. Exits with 0 on success, 1 after
/// an error, and 2 on wrong usage.
#[derive(Parser)]
#[command(name = "result")]
struct Arguments {
    /// The id of the job
    id: String,
    /// The path of the result below the API URL; `{id}` stands for the id of the job
    #[arg(long, default_value = "jobs/{id}/result")]
    path: String,
    /// The file to write to, or `-` for standard output [default: {id}.json]
    #[arg(long)]
    output: Option<String>,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    common::finish(common::connect().and_then(|service| run(&arguments, &service.client)))
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let id = client.job(&arguments.id)?.id().clone();
    // The path is split before the id is inserted, so a slash in the id stays part of its segment.
    let segments = arguments.path.trim_matches('/').split('/').map(|part| part.replace("{id}", id.as_str()));
    let result: Value = client.send(Request::new("GET", segments))?.json()?;
    let text = format!("{result:#}\n");
    let name = arguments.output.clone().unwrap_or_else(|| file_name(&id));
    if name == "-" {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    write(Path::new(&name), &text, arguments.force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{name} already exists; pass --force to overwrite it"),
        _ => format!("{name}: {error}"),
    })?;
    writeln!(io::stdout(), "{name} written")?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // `create_new` fails if the file exists, even if it was created only a moment ago.
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    options.write(true).open(path)?.write_all(text.as_bytes())
}

/// Returns the id, without characters that have a meaning in a path.
fn file_name(id: &JobId) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("{}.json", id.as_str().chars().take(60).map(safe).collect::<String>())
}
