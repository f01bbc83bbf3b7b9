//! Writes the molecules of jobs as XYZ files, one for each job:
//!
//! ```text
//! cargo run --example export_xyz -- --max-jobs 20 molecules
//! ```

mod common;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use atomiverse::{Client, JobSummary};
use clap::Parser;

use common::{Outcome, Result};

/// Write the molecule of each job to an XYZ file that is named after the job. Existing files are kept.
#[derive(Parser)]
#[command(name = "export_xyz", after_help = common::CLIENT_HELP)]
struct Arguments {
    /// The folder to write to; it is created if it does not exist
    folder: PathBuf,
    /// Only this many of the newest jobs
    #[arg(long, value_name = "NUMBER", default_value_t = usize::MAX, hide_default_value = true)]
    max_jobs: usize,
}

fn main() -> ExitCode {
    common::main(run)
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (mut written, mut there, mut without) = (0, 0, 0);
    let mut outcome = Outcome::default();
    outcome.for_each_job(client.iter_jobs().max_jobs(arguments.max_jobs), |outcome, job| {
        let Some(preview) = &job.molecule_preview else {
            without += 1;
            return Ok(());
        };
        let path = folder.join(file_name(&job));
        // This fails if the file exists, even if it was created only a moment ago.
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        match file.and_then(|mut file| file.write_all(preview.to_xyz().as_bytes())) {
            Ok(()) => written += 1,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => there += 1,
            Err(error) => {
                eprintln!("error: {}: {error}", path.display());
                outcome.failed = true;
            }
        }
        Ok(())
    })?;
    writeln!(io::stdout(), "{written} written, {there} already there, {without} without a molecule")?;
    Ok(outcome.code())
}

/// Returns the name, without characters that have a meaning in a path, and the id, which tells jobs apart.
fn file_name(job: &JobSummary) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = job.name.as_deref().unwrap_or("job").chars().take(60).map(safe).collect();
    format!("{name}.{}.xyz", common::file_name(job.job_id.as_str()))
}
