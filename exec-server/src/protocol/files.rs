//! `fs/*`: parameters and results.

use serde::{Deserialize, Serialize};

use super::{FileUri, SandboxContext};
use crate::files::WalkOptions;

/// `fs/readFile`, `fs/getMetadata`, `fs/canonicalize`, `fs/readDirectory`: a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathParams {
    /// The path.
    pub path: FileUri,
    /// The sandbox that it is looked at in; null for none.
    pub sandbox: Option<SandboxContext>,
    /// Whether symbolic links are followed; true where nothing is said.
    pub follow_symlinks: Option<bool>,
}

/// The answer to `fs/getMetadata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataResult {
    /// Whether it is, or leads to, a directory.
    pub is_directory: bool,
    /// Whether it is, or leads to, a regular file.
    pub is_file: bool,
    /// Whether the path itself is a symbolic link.
    pub is_symlink: bool,
    /// The size in bytes.
    pub size: u64,
    /// When it came to be, in milliseconds since 1970; 0 where nobody knows.
    pub created_at_ms: i64,
    /// When it was changed last, in milliseconds since 1970.
    pub modified_at_ms: i64,
}

/// The answer to `fs/canonicalize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanonicalizeResult {
    /// The path without links.
    pub path: FileUri,
}

/// `fs/writeFile`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteFileParams {
    /// The file.
    pub path: FileUri,
    /// Its content in base64. A text here, since what is wrong with it is told by another code than a wrong type.
    pub data_base64: String,
    /// The sandbox that it is written in; null for none.
    pub sandbox: Option<SandboxContext>,
    /// Whether symbolic links are followed; true where nothing is said.
    pub follow_symlinks: Option<bool>,
}

/// `fs/createDirectory`, `fs/remove`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeParams {
    /// The path.
    pub path: FileUri,
    /// With all above it, or with all below it; true where nothing is said.
    pub recursive: Option<bool>,
    /// Of `fs/remove`: whether it is no error that nothing is there; true where nothing is said.
    pub force: Option<bool>,
    /// The sandbox that it is done in; null for none.
    pub sandbox: Option<SandboxContext>,
    /// Whether symbolic links on the way are followed; true where nothing is said.
    pub follow_symlinks: Option<bool>,
}

/// `fs/copy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyParams {
    /// What.
    pub source_path: FileUri,
    /// Where to.
    pub destination_path: FileUri,
    /// Whether a directory is copied with what is in it.
    pub recursive: bool,
    /// The sandbox that it is done in; null for none.
    pub sandbox: Option<SandboxContext>,
}

/// The answer to `fs/readDirectory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadDirectoryResult {
    /// Sorted by name.
    pub entries: Vec<DirectoryEntry>,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryEntry {
    /// The name; what is no UTF-8 in it is replaced.
    pub file_name: String,
    /// Whether it is, or leads to, a directory.
    pub is_directory: bool,
    /// Whether it is, or leads to, a regular file.
    pub is_file: bool,
}

/// `fs/walk`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalkParams {
    /// The directory.
    pub path: FileUri,
    /// How far.
    pub options: WalkOptions,
    /// The sandbox that it is looked at in; null for none.
    pub sandbox: Option<SandboxContext>,
}

/// The answer to `fs/walk`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkResult {
    /// What was found, breadth first, sorted by name in each directory.
    pub entries: Vec<WalkEntry>,
    /// Directories that could not be read.
    pub errors: Vec<WalkError>,
    /// Whether there is more than the options let be told.
    pub truncated: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkEntry {
    /// The path as it was come to.
    pub path: FileUri,
    /// What it is.
    pub kind: WalkKind,
}

/// What it is that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalkKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// A directory that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkError {
    /// The directory.
    pub path: FileUri,
    /// Why.
    pub message: String,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenMode {
    /// To be read.
    #[default]
    Read,
    /// To be written from the start; what was in it is gone.
    Replace,
}

/// `fs/open`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenParams {
    /// What the client will know it by.
    pub handle_id: String,
    /// The file.
    pub path: FileUri,
    /// What for; to be read where nothing is said.
    pub mode: Option<OpenMode>,
    /// The sandbox that it is opened in; null for none.
    pub sandbox: Option<SandboxContext>,
}

/// `fs/watchMissing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchParams {
    /// What the client will know it by; each number once.
    pub watch_id: u64,
    /// What is not there.
    pub missing: Vec<FileUri>,
    /// What is there.
    pub present: Option<FileUri>,
    /// The sandbox that they are looked at in; null for none.
    pub sandbox: Option<SandboxContext>,
}

/// The answer to `fs/watchMissing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchResult {
    /// Whether it will be told when something is not as it was.
    pub watching: bool,
}

/// `fs/missingChanged`: something that was not there is, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingChangedParams {
    /// The watch, which is over.
    pub watch_id: u64,
}

/// `fs/close`, and the answer to `fs/open`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandleParams {
    /// The open file.
    pub handle_id: String,
}

/// `fs/readBlock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadBlockParams {
    /// The open file.
    pub handle_id: String,
    /// From where on.
    pub offset: u64,
    /// How many bytes at most: 1 to 1 MiB.
    pub len: u64,
}

/// `fs/writeBlock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteBlockParams {
    /// The open file.
    pub handle_id: String,
    /// Where.
    pub offset: u64,
    /// The bytes in base64; 1 MiB at most.
    pub chunk: String,
}
