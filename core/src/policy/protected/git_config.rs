//! Git's configuration files: read as git reads them, and cut down to what makes git run nothing.
//!
//! The reader follows `git-config(1)` and git's own parser to the letter where they differ, and gives up where git would:
//! a file that is misread here and understood there would be a way in. What is cut down is written anew from what was
//! read, so that nothing of the original's form is left to be understood in two ways.

mod inert;

use std::collections::HashSet;

/// One assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The section, in lower case. Empty for what stands before the first section.
    pub section: Vec<u8>,
    /// The subsection: as written between quotes, or in lower case after a dot.
    pub subsection: Option<Vec<u8>>,
    /// The key, in lower case.
    pub key: Vec<u8>,
    /// The value, its quotes and escapes taken out. `None` where there is no `=`, which git reads as true.
    pub value: Option<Vec<u8>>,
}

impl Entry {
    /// Whether this is the variable `section.key`, whatever the subsection.
    #[must_use]
    pub fn is(&self, section: &str, key: &str) -> bool {
        self.section == section.as_bytes() && self.key == key.as_bytes()
    }

    /// The name as `git config` shows it.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let mut name = self.section.clone();
        for part in self.subsection.iter().chain([&self.key]) {
            if !name.is_empty() {
                name.push(b'.');
            }
            name.extend_from_slice(part);
        }
        name
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        out.extend_from_slice(&self.section);
        if let Some(subsection) = &self.subsection {
            out.extend_from_slice(b" \"");
            for byte in subsection {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
            out.push(b'"');
        }
        out.extend_from_slice(b"]\n\t");
        out.extend_from_slice(&self.key);
        if let Some(value) = &self.value {
            out.extend_from_slice(b" = \"");
            for byte in value {
                match byte {
                    b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    other => out.push(*other),
                }
            }
            out.push(b'"');
        }
        out.push(b'\n');
    }
}

/// A file that git would refuse to read, or that holds what no variable can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: not a line of git configuration")]
pub struct Malformed {
    /// The line, counted from 1.
    pub line: usize,
}

/// Reads a file.
///
/// # Errors
///
/// [`Malformed`] for the first line that git would stop at, and for a NUL byte, which ends a value in git and not here.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = Reader { text, at: 0, line: 1 };
    let mut entries = Vec::new();
    let (mut section, mut subsection) = (Vec::new(), None);
    while let Some(byte) = reader.next() {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'#' | b';' => reader.skip_line(),
            b'[' => (section, subsection) = reader.header()?,
            first if first.is_ascii_alphabetic() => {
                let (key, value) = reader.assignment(first)?;
                entries.push(Entry { section: section.clone(), subsection: subsection.clone(), key, value });
            }
            _ => return Err(reader.malformed()),
        }
    }
    if text.contains(&0) {
        return Err(reader.malformed());
    }
    Ok(entries)
}

/// Writes assignments so that [`parse`], and git, read them back.
#[must_use]
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let mut text = Vec::new();
    for entry in entries {
        entry.write(&mut text);
    }
    text
}

/// What [`disarm`] made of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disarmed {
    /// Nothing in it makes git run or follow anything.
    Harmless,
    /// It has to be replaced by this.
    Replace {
        /// The new content.
        text: Vec<u8>,
        /// The names of the variables that are gone. Empty where git could not have read the file, or only its form was
        /// in doubt.
        removed: Vec<Vec<u8>>,
    },
}

/// Takes out of a file all that is not known to be inert.
#[must_use]
pub fn disarm(text: &[u8]) -> Disarmed {
    disarm_since(b"", text, |_upwards| true)
}

/// The same for a file that had another text `before`, which is trusted: what stood in that may stay. Where the way to the
/// work tree leads is for the caller to know: git writes files there, at every checkout.
#[must_use]
pub fn disarm_since(before: &[u8], text: &[u8], is_own_work_tree: impl Fn(&[u8]) -> bool) -> Disarmed {
    let trusted = parse(before).unwrap_or_default();
    let Ok(entries) = parse(text) else {
        return Disarmed::Replace { text: before.to_vec(), removed: Vec::new() };
    };
    let is_elsewhere = |entry: &Entry| {
        entry.is("core", "worktree") && !entry.value.as_deref().is_some_and(&is_own_work_tree)
    };
    let may_stay = |entry: &Entry| trusted.contains(entry) || inert::is_inert(entry) && !is_elsewhere(entry);
    let (kept, removed): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(may_stay);
    if removed.is_empty() && is_plain(before, text) {
        return Disarmed::Harmless;
    }
    Disarmed::Replace { text: write(&kept), removed: removed.iter().map(Entry::name).collect() }
}

/// Whether each line stood there before or is of the few forms that git writes itself and that can be read in one way only.
fn is_plain(before: &[u8], text: &[u8]) -> bool {
    let old: HashSet<&[u8]> = before.split(|byte| *byte == b'\n').collect();
    let plain_value =
        |byte: &u8| matches!(byte, b' '..=b'~' | 0x80..) && !matches!(byte, b'"' | b'\\' | b'#' | b';');
    text.split(|byte| *byte == b'\n').all(|line| match line {
        [] => true,
        [b'[', header @ .., b']'] => {
            old.contains(line) || !header.contains(&b']') && header.iter().all(|byte| *byte >= b' ')
        }
        [b'\t', assignment @ ..] => {
            old.contains(line)
                || assignment.first().is_some_and(u8::is_ascii_alphabetic)
                    && assignment.iter().all(plain_value)
        }
        _ => old.contains(line),
    })
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    line: usize,
}

impl Reader<'_> {
    /// The next byte, a carriage return before a line feed left out.
    fn next(&mut self) -> Option<u8> {
        let mut byte = *self.text.get(self.at)?;
        self.at += 1;
        if byte == b'\r' && self.text.get(self.at) == Some(&b'\n') {
            self.at += 1;
            byte = b'\n';
        }
        if byte == b'\n' {
            self.line += 1;
        }
        Some(byte)
    }

    const fn malformed(&self) -> Malformed {
        Malformed { line: self.line }
    }

    fn skip_line(&mut self) {
        while !matches!(self.next(), None | Some(b'\n')) {}
    }

    /// What follows an opening bracket: the section and its subsection.
    fn header(&mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), Malformed> {
        let mut name = Vec::new();
        loop {
            match self.next() {
                Some(b']') => break,
                Some(b' ' | b'\t' | b'\r') => {
                    let subsection = self.quoted_subsection()?;
                    return Ok((name, Some(subsection)));
                }
                Some(byte) if is_key_byte(byte) || byte == b'.' => name.push(byte.to_ascii_lowercase()),
                _ => return Err(self.malformed()),
            }
        }
        // The old form, `[section.subsection]`.
        Ok(match name.iter().position(|byte| *byte == b'.') {
            Some(dot) => {
                let subsection = name.split_off(dot + 1);
                name.truncate(dot);
                (name, Some(subsection))
            }
            None => (name, None),
        })
    }

    fn quoted_subsection(&mut self) -> Result<Vec<u8>, Malformed> {
        loop {
            match self.next() {
                Some(b' ' | b'\t' | b'\r') => {}
                Some(b'"') => break,
                _ => return Err(self.malformed()),
            }
        }
        let mut name = Vec::new();
        loop {
            match self.next() {
                Some(b'"') => break,
                Some(b'\\') => match self.next() {
                    None | Some(b'\n') => return Err(self.malformed()),
                    Some(escaped) => name.push(escaped),
                },
                None | Some(b'\n') => return Err(self.malformed()),
                Some(byte) => name.push(byte),
            }
        }
        if self.next() == Some(b']') { Ok(name) } else { Err(self.malformed()) }
    }

    fn assignment(&mut self, first: u8) -> Result<(Vec<u8>, Option<Vec<u8>>), Malformed> {
        let mut key = vec![first.to_ascii_lowercase()];
        let mut byte = self.next();
        while let Some(part) = byte.filter(|byte| is_key_byte(*byte)) {
            key.push(part.to_ascii_lowercase());
            byte = self.next();
        }
        while matches!(byte, Some(b' ' | b'\t')) {
            byte = self.next();
        }
        match byte {
            None | Some(b'\n') => Ok((key, None)),
            Some(b'=') => Ok((key, Some(self.value()?))),
            Some(_) => Err(self.malformed()),
        }
    }

    fn value(&mut self) -> Result<Vec<u8>, Malformed> {
        let mut value = Vec::new();
        // Where the blanks begin that count only if something follows them.
        let mut end = 0;
        let mut quoted = false;
        loop {
            match self.next() {
                None | Some(b'\n') => {
                    value.truncate(end);
                    return if quoted { Err(self.malformed()) } else { Ok(value) };
                }
                Some(blank @ (b' ' | b'\t' | b'\r')) if !quoted => {
                    if !value.is_empty() {
                        value.push(blank);
                    }
                    continue;
                }
                Some(b'#' | b';') if !quoted => {
                    self.skip_line();
                    value.truncate(end);
                    return Ok(value);
                }
                Some(b'"') => quoted = !quoted,
                Some(b'\\') => match self.next() {
                    // Blanks before a line that goes on count, even where nothing more follows.
                    None | Some(b'\n') => {}
                    Some(b't') => value.push(b'\t'),
                    Some(b'b') => value.push(8),
                    Some(b'n') => value.push(b'\n'),
                    Some(escaped @ (b'\\' | b'"')) => value.push(escaped),
                    _ => return Err(self.malformed()),
                },
                Some(byte) => value.push(byte),
            }
            end = value.len();
        }
    }
}

const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

#[cfg(test)]
mod tests;
