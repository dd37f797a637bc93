//! The new content of a file, from its old one and the hunks.

use crate::patch::matching::{closest, find};
use crate::patch::parse::{Hunk, Line};

/// A hunk that has no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HunkError {
    /// Which one, counted from 0.
    pub(super) index: usize,
    pub(super) why: String,
}

/// A line and its end: `\n`, `\r\n`, or nothing at the end of a file.
type Split<'b> = (&'b [u8], &'b [u8]);

fn split(bytes: &[u8]) -> Vec<Split<'_>> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| {
            let content = line.strip_suffix(b"\n").unwrap_or(line);
            let ends = content.len() < line.len();
            let content = if ends { content.strip_suffix(b"\r").unwrap_or(content) } else { content };
            line.split_at(content.len())
        })
        .collect()
}

/// What a file may begin with that is none of its text: nobody who reads it sees that.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Applies hunks, from top to bottom.
///
/// What is kept is kept byte by byte. What is inserted gets the end that the line before it has, or in whose place it comes. A file
/// whose last line has no end keeps it so, unless something comes to stand after it or in its place. A byte order mark stays unless
/// it is removed as one.
pub(super) fn update(bytes: &[u8], hunks: &[Hunk]) -> Result<Vec<u8>, HunkError> {
    let is_text = std::str::from_utf8(bytes).is_ok();
    let (mark, bytes) = match bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()) {
        Some(bytes) => (BYTE_ORDER_MARK, bytes),
        None => ("", bytes),
    };
    let mut marked = !mark.is_empty();
    let lines = split(bytes);
    let contents: Vec<&[u8]> = lines.iter().map(|(content, _)| *content).collect();
    let mut out = Out { bytes: Vec::with_capacity(bytes.len()), ending: first_ending(&lines) };
    let mut done = 0;
    for (index, hunk) in hunks.iter().enumerate() {
        let located = locate(&contents, hunk, done).map_err(|why| why + unwritable(bytes, is_text));
        let place = located.map_err(|why| HunkError { index, why })?;
        for line in lines.get(done..place.line).unwrap_or_default() {
            out.keep(line);
        }
        let mut at = place.line;
        for line in hunk.lines.iter().take(place.lines) {
            match line {
                Line::Keep(_) => {
                    if let Some(line) = lines.get(at) {
                        out.keep(line);
                    }
                    at += 1;
                }
                Line::Remove(text) => {
                    if let Some(line) = lines.get(at) {
                        out.give_way(line);
                    }
                    marked &= at > 0 || !text.starts_with(BYTE_ORDER_MARK);
                    at += 1;
                }
                Line::Insert(text) if !is_text && text.contains(char::REPLACEMENT_CHARACTER) => {
                    return Err(HunkError { index, why: LOST.to_owned() });
                }
                Line::Insert(text) => out.insert(text),
            }
        }
        done = at;
    }
    for line in lines.get(done..).unwrap_or_default() {
        out.keep(line);
    }
    if marked && !out.bytes.starts_with(BYTE_ORDER_MARK.as_bytes()) {
        out.bytes.splice(0..0, mark.bytes());
    }
    Ok(out.bytes)
}

const LOST: &str = "it would write U+FFFD, which stands for bytes of this file that are not UTF-8: they would be lost. A patch can keep \
                    such a line, or replace it by one without; to change it otherwise, run a command";

/// What a patch can't say of a file, where its lines were not found.
fn unwritable(bytes: &[u8], is_text: bool) -> &'static str {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        "; the file is UTF-16, of which a patch can change nothing: run a command"
    } else if !is_text {
        "; not all of the file is UTF-8: in a patch, U+FFFD stands for each byte that is none, as in what commands show"
    } else if bytes.contains(&b'\r') && !bytes.contains(&b'\n') {
        "; the file's lines end with a carriage return alone, so that it is a single line for a patch: run a command"
    } else {
        ""
    }
}

fn first_ending<'b>(lines: &[Split<'b>]) -> &'b [u8] {
    lines.first().map(|(_, ending)| *ending).filter(|ending| !ending.is_empty()).unwrap_or(b"\n")
}

struct Out<'b> {
    bytes: Vec<u8>,
    /// The end of the last line that had one.
    ending: &'b [u8],
}

impl<'b> Out<'b> {
    fn keep(&mut self, (content, ending): &Split<'b>) {
        self.end();
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(ending);
        self.give_way(&(content, ending));
    }

    /// Takes a line's end for what comes in its place.
    fn give_way(&mut self, (_, ending): &Split<'b>) {
        if !ending.is_empty() {
            self.ending = ending;
        }
    }

    fn insert(&mut self, text: &str) {
        self.end();
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(self.ending);
    }

    /// Ends a line that had no end, since another follows.
    fn end(&mut self) {
        if self.bytes.last().is_some_and(|last| *last != b'\n') {
            self.bytes.extend_from_slice(self.ending);
        }
    }
}

/// Where a hunk goes, and how many of its lines count.
struct Located {
    line: usize,
    lines: usize,
}

fn locate(contents: &[&[u8]], hunk: &Hunk, done: usize) -> Result<Located, String> {
    let mut from = done;
    for context in &hunk.contexts {
        let Some(line) = find(contents, &[context], from, false) else {
            let near = closest(contents, &[context]).map_or_else(String::new, |near| format!(" ({near})"));
            let shown = codex_linux_sandbox::shown(context);
            return Err(format!("no line after line {from} is `{shown}`, which `@@` names{near}"));
        };
        from = line + 1;
    }
    let mut wanted: Vec<&str> = hunk
        .lines
        .iter()
        .filter_map(|line| match line {
            Line::Keep(text) | Line::Remove(text) => Some(text.as_str()),
            Line::Insert(_) => None,
        })
        .collect();
    let all = hunk.lines.len();
    if wanted.is_empty() {
        let at_end = hunk.end_of_file || hunk.contexts.is_empty();
        return Ok(Located { line: if at_end { contents.len() } else { from }, lines: all });
    }
    // The line that `@@` names may be repeated as the first one.
    let starts = [Some(from), from.checked_sub(1).filter(|from| !hunk.contexts.is_empty() && *from >= done)];
    let look = |wanted: &[&str]| {
        starts.iter().flatten().find_map(|start| find(contents, wanted, *start, hunk.end_of_file))
    };
    if let Some(line) = look(&wanted) {
        return Ok(Located { line, lines: all });
    }
    // An empty last line is often only the blank between two hunks.
    if wanted.len() > 1 && matches!(hunk.lines.last(), Some(Line::Keep(text)) if text.is_empty()) {
        wanted.pop();
        if let Some(line) = look(&wanted) {
            return Ok(Located { line, lines: all - 1 });
        }
    }
    Err(why_not(contents, hunk, &wanted, from))
}

/// What is known of why a hunk has no place.
fn why_not(contents: &[&[u8]], hunk: &Hunk, wanted: &[&str], from: usize) -> String {
    if hunk.end_of_file && find(contents, wanted, from, false).is_some() {
        return "its lines are in the file, but not at its end, as `*** End of File` says".to_owned();
    }
    if let Some(line) = find(contents, wanted, 0, false).filter(|line| *line < from) {
        return format!(
            "its lines are at line {}, before the place of the hunk above or of the line that `@@` names: \
             hunks have to be in the order of the file",
            line + 1
        );
    }
    let after: Vec<&str> = hunk
        .lines
        .iter()
        .filter_map(|line| match line {
            Line::Keep(text) | Line::Insert(text) => Some(text.as_str()),
            Line::Remove(_) => None,
        })
        .collect();
    let inserts = hunk.lines.iter().any(|line| matches!(line, Line::Insert(text) if !text.trim().is_empty()));
    let mut why = if from == 0 {
        "its lines are not in the file".to_owned()
    } else {
        format!("its lines are not in the file after line {from}")
    };
    if inserts && find(contents, &after, 0, false).is_some() {
        why.push_str("; what it would make of them is there already");
    } else if let Some(near) = closest(contents, wanted) {
        why.push_str(&format!("; {near}"));
    }
    why
}
