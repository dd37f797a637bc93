//! Where the lines that a hunk names stand in a file.

use std::borrow::Cow;
use std::fmt;

/// How much regard a comparison has to whitespace and signs, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tolerance {
    /// Byte by byte.
    Exact,
    /// Whitespace at the ends of lines is no matter.
    TrailingSpace,
    /// Nor is whitespace at their beginnings.
    Space,
    /// Nor is which of several like signs is used: quotes, dashes and spaces of typography for those of a keyboard; nor a byte
    /// order mark at the beginning, which nobody sees.
    Signs,
}

impl Tolerance {
    /// Every one, the strictest first.
    pub const ALL: [Self; 4] = [Self::Exact, Self::TrailingSpace, Self::Space, Self::Signs];

    /// Whether a file's line counts as the wanted one.
    #[must_use]
    pub fn agrees(self, line: &[u8], wanted: &str) -> bool {
        match self {
            Self::Exact => line == wanted.as_bytes(),
            Self::TrailingSpace => line.trim_ascii_end() == wanted.as_bytes().trim_ascii_end(),
            Self::Space => line.trim_ascii() == wanted.as_bytes().trim_ascii(),
            Self::Signs => plain(&String::from_utf8_lossy(line)) == plain(wanted),
        }
    }
}

/// A line with the signs of a keyboard.
fn plain(line: &str) -> Cow<'_, str> {
    let line = line.trim().trim_start_matches('\u{feff}').trim_start();
    if line.is_ascii() {
        return Cow::Borrowed(line);
    }
    let plain = line.chars().map(|character| match character {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}'..='\u{201b}' => '\'',
        '\u{201c}'..='\u{201f}' => '"',
        '\u{a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    });
    Cow::Owned(plain.collect::<String>().trim().to_owned())
}

/// The first place at or after `start` where all of `wanted` stands, line after line, by the strictest comparison that finds
/// one; with `at_end`, only the end of the file.
#[must_use]
pub fn find(lines: &[&[u8]], wanted: &[&str], start: usize, at_end: bool) -> Option<usize> {
    let last = lines.len().checked_sub(wanted.len())?;
    let first = if at_end { last.max(start) } else { start };
    Tolerance::ALL.into_iter().find_map(|tolerance| {
        (first..=last).find(|place| {
            let mut here = lines.iter().skip(*place).zip(wanted);
            here.all(|(line, wanted)| tolerance.agrees(line, wanted))
        })
    })
}

/// The place that comes nearest to what was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closest {
    /// The line of the file where it begins, counted from 1.
    pub line: usize,
    /// How many lines agree there, and of how many.
    pub agree: (usize, usize),
    /// The first line that does not: its number in the file, what was wanted, and what is there.
    pub difference: Option<(usize, String, Option<String>)>,
}

/// More comparisons than these are not worth a better message.
const MOST_COMPARISONS: usize = 4_000_000;
/// How much of a line is worth showing.
const LONGEST: usize = 160;

/// Looks for the place that comes nearest. Nothing where no line agrees anywhere, or the file is huge.
#[must_use]
pub fn closest(lines: &[&[u8]], wanted: &[&str]) -> Option<Closest> {
    if lines.len().saturating_mul(wanted.len()) > MOST_COMPARISONS {
        return None;
    }
    // A blank line agrees with every other, and says nothing.
    let agrees =
        |line: &[u8], wanted: &str| Tolerance::Signs.agrees(line, wanted) && !wanted.trim().is_empty();
    let agreeing = |place: usize| {
        lines.iter().skip(place).zip(wanted).filter(|(line, wanted)| agrees(line, wanted)).count()
    };
    // The first of those that are as near as one another.
    let (place, agree) = (0..lines.len())
        .map(|place| (place, agreeing(place)))
        .fold((0, 0), |best, this| if this.1 > best.1 { this } else { best });
    if agree == 0 {
        return None;
    }
    let difference = wanted.iter().enumerate().find_map(|(index, wanted)| {
        let line = lines.get(place + index);
        let differs = line.is_none_or(|line| !Tolerance::Signs.agrees(line, wanted));
        let found = line.map(|line| cut(&String::from_utf8_lossy(line)));
        differs.then(|| (place + index + 1, cut(wanted), found))
    });
    Some(Closest { line: place + 1, agree: (agree, wanted.len()), difference })
}

fn cut(line: &str) -> String {
    let end = line.floor_char_boundary(LONGEST);
    match line.get(..end) {
        Some(start) if end < line.len() => format!("{}…", codex_linux_sandbox::shown(start)),
        _ => codex_linux_sandbox::shown(line),
    }
}

impl fmt::Display for Closest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (agree, all) = self.agree;
        write!(
            formatter,
            "the closest match begins at line {}, where {agree} of {all} lines agree",
            self.line
        )?;
        match &self.difference {
            Some((line, wanted, Some(found))) => {
                write!(formatter, "; line {line} is `{found}`, where the patch has `{wanted}`")
            }
            Some((line, wanted, None)) => {
                write!(formatter, "; the file ends before line {line}, where the patch has `{wanted}`")
            }
            None => Ok(()),
        }
    }
}
