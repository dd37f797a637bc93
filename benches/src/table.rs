//! Markdown tables on standard output: the only place that prints.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

use crate::Outcome;
use crate::programs::Programs;

/// A table: the first column is text, the others are numbers.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    note: String,
}

impl Table {
    /// A table without rows yet, and what has to be known to read it.
    pub(crate) fn new<const N: usize>(head: [&'static str; N], note: impl Into<String>) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), note: note.into() }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// Prints it under a title.
    pub(crate) fn print(&self, title: &str) -> Outcome<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .chain([self.head[column].chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = format!("\n## {title}\n\n");
        let mut line = |cells: &[&str]| {
            let mut line = String::from("|");
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(line, " {cell:<width$} |")?;
                } else {
                    write!(line, " {cell:>width$} |")?;
                }
            }
            writeln!(text, "{line}")
        };
        line(&self.head)?;
        let rules: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(column, width)| {
                "-".repeat(width - usize::from(column > 0)) + if column > 0 { ":" } else { "" }
            })
            .collect();
        line(&rules.iter().map(String::as_str).collect::<Vec<_>>())?;
        for row in &self.rows {
            line(&row.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        if !self.note.is_empty() {
            write!(text, "\n{}\n", self.note)?;
        }
        let mut output = std::io::stdout().lock();
        output.write_all(text.as_bytes())?;
        // A section takes a while: what is known is shown.
        Ok(output.flush()?)
    }
}

/// Says what was measured, on what.
pub(crate) fn preamble(programs: &Programs) -> Outcome<()> {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cores = std::thread::available_parallelism()?;
    let load: String = line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    let size = fs::metadata(&programs.codex)?.len();
    writeln!(
        std::io::stdout(),
        "Linux {kernel}, {cores} processors, load {load}; codex of {size} KiB",
        kernel = line("/proc/sys/kernel/osrelease"),
        size = size / 1024,
    )?;
    Ok(())
}
