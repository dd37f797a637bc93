//! One line, and how it holds on to the one before.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::LONGEST_LINE;

/// The SHA-256 of a line, without the newline that ends it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// What the first line of a log has for the line before it.
    pub const NONE: Self = Self([0; 32]);

    /// Of a line.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }

    /// What [`Display`](fmt::Display) writes: 64 hexadecimal digits, of any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            *byte = value(digits[0])? << 4 | value(digits[1])?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What comes before a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) digest: Digest,
    /// Where the line is the first of its file: which file of the log that is, counted from 1. So the first lines of the oldest
    /// file can't be taken away like those that went with the files before it.
    pub(super) file: Option<u64>,
}

#[derive(Serialize)]
struct Line<'l, B: Serialize> {
    time_ms: u64,
    prev: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<u64>,
    event: &'l str,
    #[serde(flatten)]
    body: &'l B,
}

/// A line with its newline. Nothing where the body has no fields.
///
/// One that would be too long keeps what is short: who is noted here chooses how long some of it is, and must not get rid of
/// the rest by that.
pub(super) fn line(before: Before, time_ms: u64, event: &str, body: &impl Serialize) -> Option<Vec<u8>> {
    let (prev, file) = (before.digest.to_string(), before.file);
    let mut line = serde_json::to_vec(&Line { time_ms, prev: prev.clone(), file, event, body }).ok()?;
    if line.len() >= LONGEST_LINE {
        let Ok(Value::Object(fields)) = serde_json::to_value(body) else { return None };
        let body = shortened(fields, line.len());
        line = serde_json::to_vec(&Line { time_ms, prev, file, event, body: &body }).ok()?;
    }
    line.push(b'\n');
    Some(line)
}

/// As many fields as fit, the shortest first; of lists that do not fit, the beginning.
fn shortened(fields: Map<String, Value>, bytes_omitted: usize) -> Map<String, Value> {
    let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
    fields.sort_by_cached_key(|(name, value)| written(name, value));
    // The other half is for what every line has, and for the names of what is left out.
    let mut room = LONGEST_LINE / 2;
    let mut kept = Map::new();
    let mut omitted = Vec::new();
    for (name, mut value) in fields {
        if written(&name, &value) > room {
            omitted.push(Value::from(name.as_str()));
            let Value::Array(items) = &mut value else { continue };
            // There may be other lists.
            let mut left = room / 2;
            let fits = |item: &Value| left.checked_sub(written("", item)).map(|rest| left = rest).is_some();
            *items = std::mem::take(items).into_iter().take_while(fits).collect();
        }
        room = room.saturating_sub(written(&name, &value));
        kept.insert(name, value);
    }
    kept.insert("bytes_omitted".to_owned(), bytes_omitted.into());
    kept.insert("omitted".to_owned(), omitted.into());
    kept
}

/// How long a field is in a line, with quotes, colon and comma.
fn written(name: &str, value: &Value) -> usize {
    name.len() + value.to_string().len() + 4
}

/// What every line has.
pub(super) struct Head {
    /// When it was written.
    pub(super) time_ms: u64,
    pub(super) before: Before,
}

/// Nothing where it is no line of a log.
pub(super) fn head(line: &[u8]) -> Option<Head> {
    #[derive(Deserialize)]
    struct Written {
        time_ms: u64,
        prev: String,
        file: Option<u64>,
    }
    let Written { time_ms, prev, file } = serde_json::from_slice(line).ok()?;
    Some(Head { time_ms, before: Before { digest: Digest::parse(&prev)?, file } })
}
