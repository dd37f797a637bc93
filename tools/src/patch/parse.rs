//! The envelope, read.

use codex_linux_sandbox::shown;

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const ADD: &str = "*** Add File:";
const DELETE: &str = "*** Delete File:";
const UPDATE: &str = "*** Update File:";
const MOVE: &str = "*** Move to:";
const END_OF_FILE: &str = "*** End of File";

/// A patch: changes to files, in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// At least one.
    pub changes: Vec<Change>,
}

/// What becomes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It comes to be.
    Add {
        /// Its path, as written.
        path: String,
        /// Its lines, without their ends.
        lines: Vec<String>,
    },
    /// It goes.
    Delete {
        /// Its path, as written.
        path: String,
    },
    /// It changes, moves, or both.
    Update {
        /// Its path, as written.
        path: String,
        /// Its new path, where it moves.
        move_to: Option<String>,
        /// What changes in it, from top to bottom. Empty only where it moves.
        hunks: Vec<Hunk>,
    },
}

impl Change {
    /// The path of the file that is changed.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Add { path, .. } | Self::Delete { path } | Self::Update { path, .. } => path,
        }
    }
}

/// One place in a file, and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hunk {
    /// Lines that come before the place, each after the one before it: what stands after `@@`.
    pub contexts: Vec<String>,
    /// The lines.
    pub lines: Vec<Line>,
    /// Whether the place is at the end of the file.
    pub end_of_file: bool,
    /// Where it stands in the patch, counted from 1.
    pub at: usize,
}

/// One line of a hunk, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// It is there, and stays.
    Keep(String),
    /// It is there, and goes.
    Remove(String),
    /// It comes to be.
    Insert(String),
}

/// What is wrong with the text of a patch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No envelope.
    #[error("the first line of a patch has to be `{BEGIN}`")]
    NoBegin,
    /// No end.
    #[error("the last line of a patch has to be `{END}`")]
    NoEnd,
    /// Nothing in it.
    #[error("the patch is empty: it names no file")]
    Empty,
    /// A line where a file should be named.
    #[error(
        "line {at}: `{found}` is not a valid hunk header; expected `{ADD} PATH`, `{DELETE} PATH` or `{UPDATE} PATH`",
        found = shown(.found)
    )]
    Header {
        /// Counted from 1.
        at: usize,
        /// The line.
        found: String,
    },
    /// A header without its path.
    #[error("line {at}: the path is missing")]
    NoPath {
        /// Counted from 1.
        at: usize,
    },
    /// A line of an added file that does not begin as it has to.
    #[error("line {at}: every line of an added file begins with `+`, and `{found}` does not", found = shown(.found))]
    Added {
        /// Counted from 1.
        at: usize,
        /// The line.
        found: String,
    },
    /// A line of a hunk that does not begin as it has to.
    #[error(
        "line {at}: every line of a hunk begins with a space (kept), `-` (removed) or `+` (inserted), and `{found}` does not",
        found = shown(.found)
    )]
    Hunk {
        /// Counted from 1.
        at: usize,
        /// The line.
        found: String,
    },
    /// An update that says nothing.
    #[error("line {at}: the update of {path} has no hunk, and moves nothing", path = shown(.path))]
    NoHunk {
        /// Counted from 1.
        at: usize,
        /// The path.
        path: String,
    },
    /// A hunk without lines.
    #[error("line {at}: the hunk has no line")]
    EmptyHunk {
        /// Counted from 1.
        at: usize,
    },
}

/// Reads a patch.
///
/// Space around the envelope is no matter, nor is a here-document around it (`<<'EOF'` … `EOF`), which models write out of
/// habit. The ends of lines may be `\n` or `\r\n`.
///
/// # Errors
///
/// [`ParseError`] names the first line that is wrong.
pub fn parse(text: &str) -> Result<Patch, ParseError> {
    let mut lines: Vec<(usize, &str)> =
        text.lines().enumerate().map(|(index, line)| (index + 1, line)).collect();
    trim(&mut lines);
    unwrap_here_document(&mut lines);
    match lines.first() {
        Some((_, first)) if first.trim() == BEGIN => {}
        _ => return Err(ParseError::NoBegin),
    }
    match lines.last() {
        Some((_, last)) if last.trim() == END && lines.len() > 1 => {}
        _ => return Err(ParseError::NoEnd),
    }
    let inner = lines.get(1..lines.len() - 1).unwrap_or_default();
    let mut reader = Reader { lines: inner, next: 0, solid: None };
    let mut changes = Vec::new();
    while let Some(change) = reader.change()? {
        changes.push(change);
    }
    if changes.is_empty() { Err(ParseError::Empty) } else { Ok(Patch { changes }) }
}

fn trim(lines: &mut Vec<(usize, &str)>) {
    while lines.last().is_some_and(|(_, line)| line.trim().is_empty()) {
        lines.pop();
    }
    let blank = lines.iter().take_while(|(_, line)| line.trim().is_empty()).count();
    lines.drain(..blank);
}

fn unwrap_here_document(lines: &mut Vec<(usize, &str)>) {
    let Some((_, first)) = lines.first() else { return };
    let Some((_, word)) = first.split_once("<<") else { return };
    let word = word.trim().trim_matches(['\'', '"']);
    if !word.is_empty() && lines.len() > 1 && lines.last().is_some_and(|(_, last)| last.trim() == word) {
        lines.pop();
        lines.remove(0);
        trim(lines);
    }
}

struct Reader<'t> {
    lines: &'t [(usize, &'t str)],
    next: usize,
    /// The first line that is not blank, from the next one on, where it was looked for.
    solid: Option<usize>,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<(usize, &'t str)> {
        self.lines.get(self.next).copied()
    }

    fn change(&mut self) -> Result<Option<Change>, ParseError> {
        while self.peek().is_some_and(|(_, line)| line.trim().is_empty()) {
            self.next += 1;
        }
        let Some((at, line)) = self.peek() else { return Ok(None) };
        self.next += 1;
        let header = line.trim();
        let path = |prefix: &str| {
            header.strip_prefix(prefix).map(|path| match path.trim() {
                "" => Err(ParseError::NoPath { at }),
                path => Ok(path.to_owned()),
            })
        };
        if let Some(path) = path(ADD) {
            return Ok(Some(Change::Add { path: path?, lines: self.added()? }));
        }
        if let Some(path) = path(DELETE) {
            return Ok(Some(Change::Delete { path: path? }));
        }
        let Some(path) = path(UPDATE) else {
            return Err(ParseError::Header { at, found: line.to_owned() });
        };
        let path = path?;
        let mut move_to = None;
        if let Some((at, line)) = self.peek()
            && let Some(target) = line.trim().strip_prefix(MOVE)
        {
            self.next += 1;
            match target.trim() {
                "" => return Err(ParseError::NoPath { at }),
                target => move_to = Some(target.to_owned()),
            }
        }
        let hunks = self.hunks()?;
        if hunks.is_empty() && move_to.is_none() {
            return Err(ParseError::NoHunk { at, path });
        }
        Ok(Some(Change::Update { path, move_to, hunks }))
    }

    fn added(&mut self) -> Result<Vec<String>, ParseError> {
        let mut lines = Vec::new();
        while let Some((at, line)) = self.peek() {
            if is_header(line) {
                break;
            }
            match line.strip_prefix('+') {
                Some(content) => lines.push(content.to_owned()),
                // A blank line before the next file is nobody's content.
                None if line.trim().is_empty() && self.blank_until_header() => {}
                None => return Err(ParseError::Added { at, found: line.to_owned() }),
            }
            self.next += 1;
        }
        Ok(lines)
    }

    /// Whether nothing but blank lines comes before the next file, or the end. Looks at no line twice, however many are blank.
    fn blank_until_header(&mut self) -> bool {
        let solid = match self.solid {
            Some(solid) if solid >= self.next => solid,
            _ => {
                let rest = self.lines.get(self.next..).unwrap_or_default();
                let blank = rest.iter().take_while(|(_, line)| line.trim().is_empty()).count();
                self.next + blank
            }
        };
        self.solid = Some(solid);
        self.lines.get(solid).is_none_or(|(_, line)| is_header(line))
    }

    fn hunks(&mut self) -> Result<Vec<Hunk>, ParseError> {
        let mut hunks = Vec::new();
        while let Some((at, line)) = self.peek() {
            if is_header(line) || self.blank_until_header() {
                break;
            }
            let mut hunk = Hunk { at, ..Hunk::default() };
            while let Some((_, line)) = self.peek()
                && let Some(context) = context(line)
            {
                if !context.is_empty() {
                    hunk.contexts.push(context.to_owned());
                }
                self.next += 1;
            }
            self.hunk_lines(&mut hunk)?;
            if hunk.lines.is_empty() {
                return Err(ParseError::EmptyHunk { at });
            }
            hunks.push(hunk);
        }
        Ok(hunks)
    }

    fn hunk_lines(&mut self, hunk: &mut Hunk) -> Result<(), ParseError> {
        while let Some((at, line)) = self.peek() {
            if line.trim_end() == END_OF_FILE {
                hunk.end_of_file = true;
                self.next += 1;
                break;
            }
            if is_header(line) || context(line).is_some() {
                break;
            }
            let mut characters = line.chars();
            let first = characters.next();
            let rest = characters.as_str().to_owned();
            hunk.lines.push(match first {
                Some(' ') => Line::Keep(rest),
                Some('-') => Line::Remove(rest),
                Some('+') => Line::Insert(rest),
                None if self.blank_until_header() => break,
                // An editor that takes away spaces at the ends of lines takes the mark of an empty kept line as well.
                None => Line::Keep(String::new()),
                Some(_) => return Err(ParseError::Hunk { at, found: line.to_owned() }),
            });
            self.next += 1;
        }
        Ok(())
    }
}

fn is_header(line: &str) -> bool {
    let line = line.trim();
    [ADD, DELETE, UPDATE].iter().any(|header| line.starts_with(header)) && !line.is_empty()
}

/// What a hunk's first line says, where it is one.
fn context(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("@@")?;
    match rest.strip_prefix(' ') {
        // The numbers of other tools say nothing here: places are found by their lines.
        Some(context) if is_numbers(context) => Some(""),
        Some(context) => Some(context),
        None if rest.is_empty() => Some(""),
        None => None,
    }
}

/// `-1,4 +1,6 @@`, as `diff -u` has it.
fn is_numbers(text: &str) -> bool {
    let Some((numbers, _)) = text.split_once(" @@") else { return false };
    let mut words = numbers.split(' ');
    let is_range = |word: Option<&str>, sign| {
        word.and_then(|word| word.strip_prefix(sign)).is_some_and(|range| {
            !range.is_empty() && range.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
        })
    };
    is_range(words.next(), '-') && is_range(words.next(), '+') && words.next().is_none()
}
