//! The sandbox that a request asks for: camelCase outside, snake_case inside `permissions`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::FileUri;

/// The sandbox of one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxContext {
    /// What is allowed.
    pub permissions: Permissions,
    /// What `current_working_directory` stands for.
    pub cwd: Option<FileUri>,
    /// What `project_roots` stands for.
    #[serde(default)]
    pub workspace_roots: Vec<FileUri>,
    /// What `tmpdir` stands for, where it is not the server's own.
    pub temporary_directories: Option<Vec<FileUri>>,
}

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Permissions {
    /// By rules.
    Managed {
        /// Of files.
        file_system: FileSystem,
        /// Of the network.
        network: Network,
    },
    /// Everything.
    Disabled,
    /// Files are confined by somebody else.
    External {
        /// Of the network.
        network: Network,
    },
}

/// What may cross to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Nothing.
    Restricted,
    /// Everything.
    Enabled,
}

/// What may be done with files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FileSystem {
    /// Everything.
    Unrestricted,
    /// What the entries say, the most specific one first.
    Restricted {
        /// The rules.
        entries: Vec<Entry>,
        /// How deep patterns are looked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        glob_scan_max_depth: Option<std::num::NonZeroU64>,
    },
}

/// A rule about a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The path.
    pub path: EntryPath,
    /// What may be done there.
    pub access: Access,
    /// What happens where it does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_path_behavior: Option<MissingPath>,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
    /// Nothing.
    #[serde(alias = "none")]
    Deny,
}

/// What happens where a path does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingPath {
    /// The rule is left out.
    Skip,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EntryPath {
    /// A path.
    Path {
        /// The path.
        path: FileUri,
    },
    /// All paths of a pattern.
    GlobPattern {
        /// The pattern.
        pattern: String,
    },
    /// A place by its meaning.
    Special {
        /// The place.
        value: Special,
    },
}

/// A place by its meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Special {
    /// `/`.
    Root,
    /// What programs can't do without.
    Minimal,
    /// The sandbox's `cwd`.
    CurrentWorkingDirectory {
        /// Below it.
        #[serde(skip_serializing_if = "Option::is_none")]
        subpath: Option<PathBuf>,
    },
    /// Each of `workspaceRoots`.
    ProjectRoots {
        /// Below each.
        #[serde(skip_serializing_if = "Option::is_none")]
        subpath: Option<PathBuf>,
    },
    /// Where temporary files go.
    Tmpdir,
    /// `/tmp`.
    SlashTmp,
    /// A place that the client itself does not know.
    Unknown,
}
