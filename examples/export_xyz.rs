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
use indicatif::ProgressBar;

use common::Result;

/// Write the molecule of each job to an XYZ file that is named after the job. Existing files are kept. Exits with 0 on
/// success, 1 after an error, and 2 on wrong usage.
#[derive(Parser)]
#[command(name = "export_xyz")]
struct Arguments {
    /// The folder to write to; it is created if it does not exist
    folder: PathBuf,
    /// Only this many of the newest jobs
    #[arg(long)]
    max_jobs: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    common::finish(common::connect().and_then(|service| run(&arguments, &service.client)))
}

fn run(arguments: &Arguments, client: &Client) -> Result<ExitCode> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (mut written, mut there, mut without) = (0, 0, 0);
    let spinner = ProgressBar::new_spinner().with_message("jobs read");
    for job in client.iter_jobs().max_jobs(arguments.max_jobs.unwrap_or(usize::MAX)) {
        let job = job?;
        spinner.inc(1);
        let Some(preview) = &job.molecule_preview else {
            without += 1;
            continue;
        };
        let path = folder.join(file_name(&job));
        // This fails if the file exists, even if it was created only a moment ago.
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(preview.to_xyz().as_bytes())
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                written += 1;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => there += 1,
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        }
    }
    spinner.finish_and_clear();
    writeln!(io::stdout(), "{written} written, {there} already there, {without} without a molecule")?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the name and the id, without characters that have a meaning in a path.
fn file_name(job: &JobSummary) -> String {
    let safe = |text: &str| -> String {
        text.chars().take(60).map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
    };
    format!("{}.{}.xyz", safe(job.name.as_deref().unwrap_or("job")), safe(job.job_id.as_str()))
}
