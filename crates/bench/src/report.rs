//! The report: a table for people, one JSON object a line for programs.

use std::fmt::Write as _;

use crate::figures::{Better, Figure};

/// The table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let header = [
        "store",
        "what",
        "entries",
        "ours (median)",
        "limit (median)",
        "ratio min / median / max",
        "target",
        "",
    ];
    let mut rows: Vec<[String; 8]> = vec![header.map(str::to_owned)];
    rows.extend(figures.iter().map(row));
    let widths: Vec<usize> = (0..header.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for figure in figures {
        if let Some(note) = &figure.note {
            let _ = writeln!(text, "{} {}: {note}", figure.store, figure.name);
        }
    }
    text
}

fn row(figure: &Figure) -> [String; 8] {
    let percent = |ratio: f64| match figure.better {
        Better::Higher => format!("{:.0} %", ratio * 100.0),
        Better::Lower => format!("{ratio:.2} x"),
    };
    let target = figure.target.map_or_else(String::new, |target| match figure.better {
        Better::Higher => format!(">= {}", percent(target)),
        Better::Lower => format!("<= {}", percent(target)),
    });
    let verdict = match figure.reached() {
        Some(true) => "reached",
        Some(false) => "FALLS SHORT",
        None => "",
    };
    [
        figure.store.to_owned(),
        format!("{} [vs {}]", figure.name, figure.against),
        figure.size.map_or_else(String::new, |size| size.to_string()),
        amount(figure.ours.median, figure.unit),
        amount(figure.limit.median, figure.unit),
        format!(
            "{} / {} / {}",
            percent(figure.ratio.min),
            percent(figure.ratio.median),
            percent(figure.ratio.max)
        ),
        target,
        verdict.to_owned(),
    ]
}

/// Small numbers with decimals, so that none looks like nothing.
fn amount(value: f64, unit: &str) -> String {
    let decimals = if value < 10.0 { 2 } else { 0 };
    format!("{value:.decimals$} {unit}")
}

/// One JSON object a line.
pub(crate) fn json(figures: &[Figure]) -> String {
    figures
        .iter()
        .filter_map(|figure| serde_json::to_string(figure).ok())
        .fold(String::new(), |text, line| text + &line + "\n")
}
