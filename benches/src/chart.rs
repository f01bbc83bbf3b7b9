//! The chart of the scan.

use std::fmt::Write;
use std::fs;

use crate::report;

/// For each body, how many times as fast as the hand-written loop each client is.
pub type Bars<'a> = Vec<(String, Vec<(&'a str, f64)>)>;

const COLOURS: [&str; 4] = ["#1f6feb", "#54aeff", "#8c959f", "#d0d7de"];

/// Draws horizontal bars, and a line at 1.
pub fn draw(bars: &Bars) {
    const LEFT: usize = 120;
    const WIDTH: usize = 480;
    const BAR: usize = 14;
    let longest = bars.iter().flat_map(|(_, bars)| bars).map(|(_, ratio)| *ratio).fold(1.0, f64::max);
    let x = |ratio: f64| LEFT as f64 + ratio / longest * WIDTH as f64;
    let mut y = 64;
    let mut shapes = String::new();
    for (body, clients) in bars {
        writeln!(
            shapes,
            r#"<text x="{}" y="{}" text-anchor="end">{body}</text>"#,
            LEFT - 8,
            y + BAR * clients.len() / 2 + 4
        )
        .unwrap();
        for ((_, ratio), colour) in clients.iter().zip(COLOURS) {
            let (width, end) = (x(*ratio) - x(0.0), x(*ratio) + 4.0);
            writeln!(
                shapes,
                r#"<rect x="{LEFT}" y="{y}" width="{width:.1}" height="{}" fill="{colour}"/>"#,
                BAR - 2
            )
            .unwrap();
            writeln!(shapes, r#"<text x="{end:.1}" y="{}" class="small">{ratio:.2}</text>"#, y + BAR - 3)
                .unwrap();
            y += BAR;
        }
        y += 10;
    }
    let one = x(1.0);
    writeln!(
        shapes,
        r#"<line x1="{one:.1}" x2="{one:.1}" y1="56" y2="{y}" stroke="black" stroke-dasharray="3"/>"#
    )
    .unwrap();
    let names = bars.first().map_or(&[][..], |(_, clients)| clients);
    let mut legend_x = LEFT;
    for ((name, _), colour) in names.iter().zip(COLOURS) {
        writeln!(shapes, r#"<rect x="{legend_x}" y="34" width="10" height="10" fill="{colour}"/>"#).unwrap();
        writeln!(shapes, r#"<text x="{}" y="43" class="small">{name}</text>"#, legend_x + 14).unwrap();
        legend_x += 30 + 7 * name.len();
    }
    let (width, height) = (LEFT + WIDTH + 60, y + 10);
    let svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">
<style>.small {{ font-size: 11px }}</style>
<rect width="{width}" height="{height}" fill="white"/>
<text x="10" y="20" font-weight="bold">Speed of reading all jobs; the hand-written ureq loop is 1; longer is better</text>
{shapes}</svg>
"#
    );
    fs::write(report::path("benchmarks.svg"), svg).unwrap();
}
