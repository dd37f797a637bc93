//! Columns for people.

use std::io::IsTerminal as _;

use codex_core::enforcement::{Enforcement, Hold, LimitHolding};

/// The columns of a screen.
const SCREEN: usize = 100;
/// The fewest columns that prose is broken into.
const NARROWEST: usize = 30;

/// As [`aligned`], with the last cell of a row that is too long for a screen broken into several lines.
pub(super) fn fitted(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let before: usize = (0..columns.saturating_sub(1)).map(|column| width(column) + 2).sum();
    let left = SCREEN.saturating_sub(before + 2).max(NARROWEST);
    let mut broken = Vec::new();
    for row in rows {
        let Some((last, others)) = row.split_last() else { continue };
        for (index, line) in lines(last, left).into_iter().enumerate() {
            let others = others.iter().map(|cell| if index == 0 { cell.clone() } else { String::new() });
            broken.push(others.chain([line]).collect());
        }
    }
    aligned(&broken)
}

/// A text in lines of at most `width` characters, broken at blanks; a longer word stays whole.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let length = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if length > 0 && length + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) if length == 0 => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

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

/// How far each limit holds, a row a limit.
pub(super) fn limit_rows(enforcement: &Enforcement) -> Vec<Vec<String>> {
    let rows = enforcement.limits.iter().map(|holding| {
        let LimitHolding { limit, amount, hold, why } = holding;
        vec![limit.name().to_owned(), limit.shown(*amount), word(*hold).to_owned(), why.clone().into_owned()]
    });
    rows.collect()
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

#[cfg(test)]
mod tests {
    use super::{SCREEN, fitted};

    #[test]
    fn prose_stays_on_the_screen_and_loses_nothing() {
        let why = "words ".repeat(60) + "end";
        let rows = [["P1", "writes", &why], ["P10", "x", ""]].map(|row| row.map(str::to_owned).to_vec());
        let text = fitted(&rows);
        assert!(text.lines().all(|line| line.chars().count() <= SCREEN), "{text}");
        assert_eq!(text.matches("words").count(), 60, "{text}");
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("               words")), "{text}");
        assert_eq!(text.lines().last(), Some("  P10  x"));
    }
}
