//! Columns for people.

use std::io::IsTerminal as _;

use codex_core::enforcement::Hold;

/// Lines of cells, aligned by the widest cell of each column; the last column is left ragged.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!(" {cell:width$} "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How far a guarantee holds, as a word.
pub(super) const fn word(hold: Hold) -> &'static str {
    match hold {
        Hold::Enforced => "enforced",
        Hold::Partial => "partial",
        Hold::Absent => "absent",
        Hold::NotRequested => "not requested",
    }
}

/// Colours the words of [`word`] where a person looks at a terminal.
pub(super) fn coloured(text: String) -> String {
    if !std::io::stdout().is_terminal() || crate::world::no_color() {
        return text;
    }
    [(Hold::Enforced, 32), (Hold::Partial, 33), (Hold::Absent, 31), (Hold::NotRequested, 2)].into_iter().fold(
        text,
        |text, (hold, colour)| {
            let cell = format!(" {} ", word(hold));
            text.replace(&cell, &format!(" \u{1b}[{colour}m{}\u{1b}[0m ", word(hold)))
        },
    )
}
