//! The task: what was typed, what is piped in, images, the schema of the answer.

use std::fs::File;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_agent::conversation::Item;
use codex_core::policy::{ResolvedPlaces, Way, way};
use codex_linux_sandbox::shown;
use serde_json::Value;

use crate::args::{ExecArgs, ExecVerb, ResumeArgs};

/// More than a model reads.
const LARGEST_PROMPT: u64 = 16 * 1024 * 1024;
const LARGEST_IMAGE: u64 = 20 * 1024 * 1024;
const LARGEST_SCHEMA: u64 = 1024 * 1024;

/// Why there is no task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    #[error("there is no task: give it as an argument, or by standard input")]
    None,
    #[error("{}: {error}", shown(.path))]
    Io { path: PathBuf, error: std::io::Error },
    #[error(
        "{path} leads to what sandbox.deny_read hides, by the link {link}, which a command could have made",
        path = shown(.path), link = shown(.link)
    )]
    Hidden { path: PathBuf, link: PathBuf },
    #[error("{} is larger than {} bytes", shown(.0), .1)]
    TooLarge(PathBuf, u64),
    #[error("{} is not UTF-8", shown(.0))]
    NotText(PathBuf),
    #[error("{} is no image that models take: PNG, JPEG, GIF or WebP", shown(.0))]
    NotAnImage(PathBuf),
    #[error("the output schema {} is not valid JSON: {error}", shown(.path))]
    Schema { path: PathBuf, error: serde_json::Error },
    #[error("the output schema {} is no JSON Schema: {why}", shown(.path))]
    NoSchema { path: PathBuf, why: String },
}

/// Refuses a file to which a link leads that a command could have made, where it is one that commands can't read: what this
/// program reads, the model is told.
pub(super) fn not_led_astray(
    path: &Path,
    writable: &[PathBuf],
    places: &ResolvedPlaces,
) -> Result<(), PromptError> {
    let failed = |error| PromptError::Io { path: path.to_owned(), error };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let Way { end, links } = way(&absolute).map_err(|errno| failed(errno.into()))?;
    match links.into_iter().find(|link| writable.iter().any(|root| link.starts_with(root))) {
        Some(link) if places.hide(&end) => Err(PromptError::Hidden { path: path.to_owned(), link }),
        Some(_) | None => Ok(()),
    }
}

const STANDARD_INPUT: &str = "standard input";

/// What is asked for.
#[derive(Debug)]
pub(super) struct Task {
    /// What is said to the model.
    pub(super) words: Item,
    /// What its last message has to be like.
    pub(super) schema: Option<Value>,
}

impl Task {
    /// Reads what was typed, piped in and named.
    pub(super) fn read(args: &ExecArgs) -> Result<Self, PromptError> {
        let typed = match &args.verb {
            Some(ExecVerb::Resume(resume)) => prompt_of_resumed(resume),
            None => args.prompt.as_deref(),
        };
        let schema = args.options.output_schema.as_deref().map(schema).transpose()?;
        Ok(Self { words: read(typed, &args.options.image)?, schema })
    }
}

/// With `--last` there is no id, and what stands in its place is the task.
fn prompt_of_resumed(resume: &ResumeArgs) -> Option<&str> {
    if resume.last { resume.prompt.as_deref().or(resume.id.as_deref()) } else { resume.prompt.as_deref() }
}

/// Puts the task together.
fn read(typed: Option<&str>, images: &[PathBuf]) -> Result<Item, PromptError> {
    let text = match typed.filter(|typed| *typed != "-") {
        None if typed.is_none() && std::io::stdin().is_terminal() => return Err(PromptError::None),
        None => standard_input()?,
        Some(typed) if is_piped() => {
            let piped = standard_input()?;
            if piped.trim().is_empty() {
                typed.to_owned()
            } else {
                format!("{typed}\n\n<stdin>\n{piped}\n</stdin>")
            }
        }
        Some(typed) => typed.to_owned(),
    };
    if text.trim().is_empty() {
        return Err(PromptError::None);
    }
    let images = images.iter().map(|path| image(path)).collect::<Result<_, _>>()?;
    Ok(Item::User { text, images })
}

/// Whether somebody has put something into our input: a pipe or a file, and not `/dev/null` or a terminal.
fn is_piped() -> bool {
    let kind = std::fs::metadata("/proc/self/fd/0").map(|status| status.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_file() || kind.is_socket())
}

fn standard_input() -> Result<String, PromptError> {
    let bytes = limited(std::io::stdin().lock(), Path::new(STANDARD_INPUT), LARGEST_PROMPT)?;
    String::from_utf8(bytes).map_err(|_| PromptError::NotText(STANDARD_INPUT.into()))
}

fn limited(from: impl std::io::Read, path: &Path, largest: u64) -> Result<Vec<u8>, PromptError> {
    let mut bytes = Vec::new();
    let read = from.take(largest + 1).read_to_end(&mut bytes);
    read.map_err(|error| PromptError::Io { path: path.to_owned(), error })?;
    if bytes.len() as u64 > largest {
        Err(PromptError::TooLarge(path.to_owned(), largest))
    } else {
        Ok(bytes)
    }
}

fn file(path: &Path, largest: u64) -> Result<Vec<u8>, PromptError> {
    let file = File::open(path).map_err(|error| PromptError::Io { path: path.to_owned(), error })?;
    limited(file, path, largest)
}

/// An image as a `data:` URL, its kind by its first bytes.
fn image(path: &Path) -> Result<String, PromptError> {
    let bytes = file(path, LARGEST_IMAGE)?;
    let kind = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        _ => return Err(PromptError::NotAnImage(path.to_owned())),
    };
    Ok(format!("data:image/{kind};base64,{}", STANDARD.encode(bytes)))
}

/// The schema of the last message.
fn schema(path: &Path) -> Result<Value, PromptError> {
    let bytes = file(path, LARGEST_SCHEMA)?;
    let schema = serde_json::from_slice(&bytes)
        .map_err(|error| PromptError::Schema { path: path.to_owned(), error })?;
    codex_agent::turn::check_schema(&schema)
        .map_err(|why| PromptError::NoSchema { path: path.to_owned(), why })?;
    Ok(schema)
}
