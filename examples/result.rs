//! Fetches the result of a job as JSON. The path is an assumption:
//!
//! ```text
//! cargo run --example result -- --output energy.json job-000119
//! ```

mod common;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::ExitCode;

use atomiverse::{Client, Request};
use clap::Parser;
use serde_json::value::RawValue;

use common::Result;

/// Fetch the result of a job and write its JSON to a file. Fails if the file exists.
#[derive(Parser)]
#[command(name = "result", after_help = common::CLIENT_HELP)]
struct Arguments {
    /// The id of the job
    id: String,
    /// The path of the result below the API URL; `{id}` stands for the id of the job. The default is that of the
    /// simulator: the service documents none
    #[arg(long, default_value = "jobs/{id}/result")]
    path: String,
    /// The file to write to, or `-` for standard output [default: {id}.json]
    #[arg(long, value_name = "FILE")]
    output: Option<String>,
}

fn main() -> ExitCode {
    common::main(run)
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let id = client.job(&arguments.id)?.id().clone();
    // The path is split before the id is inserted, so a slash in the id stays part of its segment.
    let segments = arguments.path.trim_matches('/').split('/').map(|part| part.replace("{id}", id.as_str()));
    let result: Box<RawValue> = client.send(Request::new("GET", segments))?.json()?;
    let text = format!("{result}\n");
    let name = arguments.output.clone().unwrap_or_else(|| common::file_name(id.as_str()) + ".json");
    if name == "-" {
        io::stdout().write_all(common::printable_json(&text).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    // This fails if the file exists, even if it was created only a moment ago.
    let file = OpenOptions::new().write(true).create_new(true).open(&name);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("{name}: {error}"))?;
    writeln!(io::stdout(), "{name} written")?;
    Ok(ExitCode::SUCCESS)
}
