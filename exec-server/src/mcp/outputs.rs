//! Output that was too long for an answer, as resources of the session whose commands wrote it.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codex_core::output::{Page, SpillDirectory, SpillReader, SpillReport};
use codex_linux_sandbox::shown;
use codex_mcp::model::{Resource, ResourceTemplate};

/// How many are known. The oldest goes first.
const MOST: usize = 256;
/// How much of a command line is kept with its output, in bytes.
const LONGEST: usize = 256;
/// What addresses begin with.
const SCHEME: &str = "codex://output/";
/// How much a page has at most.
const LARGEST: usize = 256 * 1024;
/// How much a page has where nobody says.
const USUAL: usize = 32 * 1024;

/// All of a session.
#[derive(Debug)]
pub(super) struct Outputs {
    directory: Option<Arc<SpillDirectory>>,
    known: Mutex<VecDeque<Output>>,
}

#[derive(Clone, Debug)]
struct Output {
    name: String,
    command: String,
    report: SpillReport,
}

/// A piece that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes from an offset on.
    Bytes { offset: u64, most: Option<u64> },
    /// So many lines from one on, counted from 1, within so many bytes.
    Lines { first: u64, count: Option<u64>, most: Option<u64> },
}

impl Outputs {
    pub(super) fn new(directory: Option<Arc<SpillDirectory>>) -> Self {
        Self { directory, known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Output>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a file, and gives its address.
    pub(super) fn keep(&self, report: &SpillReport, command: &str) -> Option<String> {
        let name = report.path.as_deref().and_then(Path::file_name).and_then(OsStr::to_str)?.to_owned();
        let uri = uri(&name);
        let mut known = self.lock();
        if known.len() >= MOST {
            known.pop_front();
        }
        known.push_back(Output { name, command: cut(command), report: report.clone() });
        Some(uri)
    }

    /// As a client lists them, the newest first.
    pub(super) fn resources(&self) -> Vec<Resource> {
        let known = self.lock();
        let resources = known.iter().rev().map(|output| {
            Resource::new(uri(&output.name), output.name.clone())
                .with_description(format!("All output of: {}", shown(&output.command)))
                .with_mime_type("text/plain")
                .with_size(output.report.bytes)
        });
        resources.collect()
    }

    /// Reads a piece of one, by its name or address.
    pub(super) async fn read(&self, of: &str, piece: Piece) -> Result<Page, String> {
        let name = of.strip_prefix(SCHEME).unwrap_or(of);
        let found = self.lock().iter().find(|output| output.name == name).cloned();
        let (Some(output), Some(directory)) = (found, self.directory.clone()) else {
            return Err(format!(
                "there is no output `{}`: it is none of this session's, or is not kept any more",
                shown(of)
            ));
        };
        let page = tokio::task::spawn_blocking(move || {
            let mut reader = SpillReader::open(&directory, &output.report)?;
            let most = |asked: Option<u64>| {
                asked.map_or(USUAL, |asked| usize::try_from(asked).unwrap_or(LARGEST).clamp(1, LARGEST))
            };
            match piece {
                Piece::Bytes { offset, most: asked } => reader.bytes(offset, most(asked)),
                Piece::Lines { first, count, most: asked } => {
                    reader.lines(first, count.unwrap_or(u64::MAX), most(asked))
                }
            }
        });
        let page = page.await.map_err(|error| error.to_string())?;
        page.map_err(|errno| format!("the output `{}` can't be read: {}", shown(of), errno.desc()))
    }
}

/// A command's beginning, to know it by.
fn cut(command: &str) -> String {
    let begin = command.get(..command.floor_char_boundary(LONGEST)).unwrap_or(command);
    if begin.len() < command.len() { format!("{begin}…") } else { begin.to_owned() }
}

fn uri(name: &str) -> String {
    format!("{SCHEME}{name}")
}

/// The forms of addresses.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let template = |query: &str, name: &str, description: &str| {
        ResourceTemplate::new(format!("{SCHEME}{{name}}{query}"), name)
            .with_description(description)
            .with_mime_type("text/plain")
    };
    vec![
        template("{?offset,bytes}", "output-bytes", "A piece of a command's output, from an offset on."),
        template("{?line,lines}", "output-lines", "Lines of a command's output, counted from 1."),
    ]
}

/// An address as an output and a piece of it.
pub(super) fn parse(uri: &str) -> Result<(&str, Piece), String> {
    let rest = uri
        .strip_prefix(SCHEME)
        .ok_or_else(|| format!("`{}` is no address of an output: these begin with {SCHEME}", shown(uri)))?;
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut offset, mut bytes, mut line, mut lines) = (None, None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match key {
            "offset" => &mut offset,
            "bytes" => &mut bytes,
            "line" => &mut line,
            "lines" => &mut lines,
            other => return Err(format!("an address of an output has no `{}`", shown(other))),
        };
        let number = value.parse::<u64>();
        *place = Some(number.map_err(|_other| format!("`{}` has to be a number", shown(pair)))?);
    }
    match (offset, line) {
        (Some(_), Some(_)) => Err("either `offset` or `line`, and not both".to_owned()),
        (_, None) if lines.is_none() => {
            Ok((name, Piece::Bytes { offset: offset.unwrap_or(0), most: bytes.or(Some(LARGEST as u64)) }))
        }
        (_, None) if offset.is_some() => Err("`lines` goes with `line`".to_owned()),
        (_, first) => Ok((
            name,
            Piece::Lines { first: first.unwrap_or(1), count: lines, most: bytes.or(Some(LARGEST as u64)) },
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LARGEST, LONGEST, Piece, cut, parse};

    #[test]
    fn a_command_is_kept_by_its_beginning() {
        assert_eq!(cut("ls"), "ls");
        let whole = "x".repeat(LONGEST);
        assert_eq!(cut(&whole), whole);
        assert_eq!(cut(&"é".repeat(1 << 20)), format!("{}…", "é".repeat(LONGEST / 2)));
        assert_eq!(cut(&format!("x{}", "é".repeat(LONGEST))).len(), LONGEST - 1 + "…".len());
    }

    #[test]
    fn addresses_are_read() {
        let all = Some(LARGEST as u64);
        for (address, expected) in [
            ("codex://output/1.out", Piece::Bytes { offset: 0, most: all }),
            ("codex://output/1.out?", Piece::Bytes { offset: 0, most: all }),
            ("codex://output/1.out?offset=7&bytes=9", Piece::Bytes { offset: 7, most: Some(9) }),
            ("codex://output/1.out?line=3", Piece::Lines { first: 3, count: None, most: all }),
            (
                "codex://output/1.out?line=3&lines=2&bytes=9",
                Piece::Lines { first: 3, count: Some(2), most: Some(9) },
            ),
            ("codex://output/1.out?lines=2", Piece::Lines { first: 1, count: Some(2), most: all }),
        ] {
            assert_eq!(parse(address), Ok(("1.out", expected)), "{address}");
        }
        for address in [
            "file:///etc/passwd",
            "codex://output/1.out?offset=-1",
            "codex://output/1.out?offset",
            "codex://output/1.out?other=1",
            "codex://output/1.out?offset=1&line=1",
            "codex://output/1.out?offset=1&lines=1",
            "codex://output/1.out?bytes=99999999999999999999999",
        ] {
            assert!(parse(address).is_err(), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_address_crashes_it(query in ".*") {
            drop(parse(&query));
            drop(parse(&format!("codex://output/{query}")));
        }
    }
}
