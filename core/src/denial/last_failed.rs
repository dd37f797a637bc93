//! A command that failed, as it is remembered for whoever asks why: a text and its reader.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The form of the text. One of another form is not read.
const FORM: u32 = 1;

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    form: u32,
    time_ms: u64,
    directory: Word,
    options: Vec<Word>,
    command: Vec<Word>,
    ended: String,
}

/// Bytes, as text where they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&OsStr> for Word {
    fn from(word: &OsStr) -> Self {
        word.to_str()
            .map_or_else(|| Self::Bytes(word.as_bytes().to_vec()), |text| Self::Text(text.to_owned()))
    }
}

impl From<Word> for OsString {
    fn from(word: Word) -> Self {
        match word {
            Word::Text(text) => text.into(),
            Word::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

/// A command that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailed {
    /// Where it was typed.
    pub directory: PathBuf,
    /// The options before it.
    pub options: Vec<OsString>,
    /// The command itself.
    pub command: Vec<OsString>,
    /// How it ended, in a sentence.
    pub ended: String,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

impl LastFailed {
    /// The text.
    ///
    /// # Errors
    ///
    /// None that is known: there is nothing in it that JSON can't say.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let words = |words: &[OsString]| words.iter().map(|word| word.as_os_str().into()).collect();
        serde_json::to_vec(&Record {
            form: FORM,
            time_ms: self.time_ms,
            directory: self.directory.as_os_str().into(),
            options: words(&self.options),
            command: words(&self.command),
            ended: self.ended.clone(),
        })
    }

    /// Reads a text. Nothing where it is none of these.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let record: Record = serde_json::from_slice(text).ok()?;
        let words = |words: Vec<Word>| words.into_iter().map(OsString::from).collect();
        let directory = PathBuf::from(OsString::from(record.directory));
        let whole = record.form == FORM && directory.is_absolute() && !record.command.is_empty();
        whole.then(|| Self {
            directory,
            options: words(record.options),
            command: words(record.command),
            ended: record.ended,
            time_ms: record.time_ms,
        })
    }
}
