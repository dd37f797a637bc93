//! The line that stands for what is missing.

use std::path::PathBuf;

use codex_linux_sandbox::shown;

use crate::output::counted;

/// Where more of the stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) path: PathBuf,
    /// How many bytes of the stream the file has, from its start.
    pub(super) bytes: u64,
    /// Whether these are all.
    pub(super) complete: bool,
    /// Whether the file has what the text shows byte for byte.
    pub(super) offset: bool,
}

/// How much the line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Counts { place: bool },
    Dots,
    Nothing,
}

impl Marker {
    pub(super) const LONG: Self = Self::Counts { place: true };
    pub(super) const NONE: Self = Self::Nothing;
    /// The longest first.
    pub(super) const FORMS: &[Self] = &[Self::LONG, Self::Counts { place: false }, Self::Dots];

    /// The line, without its newline. It never grows as the numbers get smaller.
    pub(super) fn line(self, bytes: u64, lines: u64, from: u64, rest: Option<&Rest>) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Dots => "[…]".to_owned(),
            Self::Counts { place } => {
                let missing = match lines {
                    0 => counted(bytes, "byte"),
                    lines => format!("{} and {}", counted(bytes, "byte"), counted(lines, "line")),
                };
                let place = rest.filter(|_| place).map(|rest| rest.place(from)).unwrap_or_default();
                format!("[… {missing} omitted{place} …]")
            }
        }
    }
}

impl Rest {
    fn place(&self, from: u64) -> String {
        let path = shown(&self.path);
        match (self.offset, self.complete) {
            (true, true) => format!(": from byte {from} on in {path}"),
            (true, false) => format!(": from byte {from} to {} in {path}", self.bytes),
            (false, true) => format!(": all output is in {path}"),
            (false, false) => {
                format!(": the first {} of all output are in {path}", counted(self.bytes, "byte"))
            }
        }
    }
}
