//! The dashboard page behind the link of a job: plain HTML with the molecule as SVG.

use std::fmt::Write;

use crate::types::{Atom, MoleculePreview};

pub(super) fn page(title: &str, facts: &[(&str, &str)], preview: Option<&MoleculePreview>) -> String {
    let rows: String = facts
        .iter()
        .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(value)))
        .collect();
    let picture = preview.map(picture).unwrap_or_default();
    document(title, &format!("<table>\n{rows}</table>\n{picture}"))
}

pub(super) fn not_found() -> String {
    document("No such job", "<p>It may have been deleted.</p>")
}

fn document(title: &str, content: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body {{ font: 16px sans-serif; margin: 2em }} th {{ text-align: left; padding-right: 2em }}</style>\n\
         </head><body>\n<h1>{title}</h1>\n{content}\n<p><small>atomiverse simulator</small></p>\n</body></html>\n"
    )
}

/// Draws the molecule, seen along the axis in which it is thinnest, from the back to the front.
fn picture(preview: &MoleculePreview) -> String {
    const SIZE: f64 = 320.0;
    let range = |axis: usize| {
        let positions = preview.atoms.iter().map(|atom| atom.position[axis]);
        let (low, high) = positions.fold((f64::MAX, f64::MIN), |(low, high), p| (low.min(p), high.max(p)));
        if low <= high { (low, high) } else { (0.0, 0.0) }
    };
    let mut axes = [0, 1, 2];
    axes.sort_by(|a, b| {
        let extent = |axis: usize| range(axis).1 - range(axis).0;
        extent(*b).total_cmp(&extent(*a))
    });
    let [across, up, depth] = axes;
    // This leaves room for an atom on each side.
    let span = (range(across).1 - range(across).0).max(range(up).1 - range(up).0) + 3.0;
    let scale = SIZE / span;
    let place = |position: &[f64; 3], axis: usize| {
        let (low, high) = range(axis);
        SIZE / 2.0 + (position[axis] - (low + high) / 2.0) * scale
    };
    let mut atoms: Vec<&Atom> = preview.atoms.iter().collect();
    atoms.sort_by(|a, b| a.position[depth].total_cmp(&b.position[depth]));

    let mut svg = format!("<svg viewBox=\"0 0 {SIZE} {SIZE}\" width=\"{SIZE}\" role=\"img\">\n");
    for atom in atoms {
        let (x, y) = (place(&atom.position, across), place(&atom.position, up));
        let (radius, colour) = match atom.element.as_str() {
            "H" => (0.45, "#f0f0f0"),
            "C" => (0.75, "#909090"),
            "N" => (0.72, "#5070f0"),
            "O" => (0.70, "#f03020"),
            _ => (0.80, "#d080d0"),
        };
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" fill=\"{colour}\" stroke=\"#404040\"/>\
             <text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" dominant-baseline=\"central\">{}</text>",
            radius * scale,
            escape(atom.element.as_str()),
        );
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
