//! Tables in Markdown, and their places in `BENCHMARKS.md`.

use std::fs;
use std::path::PathBuf;

/// Returns the path of a file in the repository.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name)
}

pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        table += &format!("| {} |\n", row.join(" | "));
    }
    table
}

/// Prints a table, and replaces the text between its markers in the report.
pub fn publish(name: &str, table: &str, is_smoke: bool) {
    let note =
        if is_smoke { "*Short run on a busy machine: these figures are to be replaced.*\n\n" } else { "" };
    println!("\n{name}:\n\n{table}");
    let report = fs::read_to_string(path("BENCHMARKS.md")).expect("the report");
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let (before, rest) = report.split_once(&start).expect("a marker");
    let (_, after) = rest.split_once(&end).expect("a marker at the end");
    fs::write(path("BENCHMARKS.md"), format!("{before}{start}\n{note}{table}\n{end}{after}")).unwrap();
}
