//! `initialize`, `environment/*`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FileUri;

/// The version of what is ours on top of the protocol.
pub const EXTENSIONS_VERSION: u32 = 1;

/// `initialize`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitializeParams {
    /// What the client calls itself.
    pub client_name: String,
    /// The session to go on with.
    pub resume_session_id: Option<String>,
    /// Ours: asks for what is on top of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Extensions>,
}

/// What a peer knows on top of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extensions {
    /// The highest version that it knows; the lower one of both counts.
    pub version: u32,
}

/// The answer to `initialize`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitializeResult {
    /// The session; who knows it can resume it.
    pub session_id: String,
    /// As of `environment/info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_info: Option<EnvironmentInfo>,
    /// Ours, where the client has asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Extensions>,
}

/// What a client needs to know of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentInfo {
    /// The shell that commands are written for.
    pub shell: Shell,
    /// The directory that the server works in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<FileUri>,
    /// The server's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_version: Option<String>,
    /// The user's home directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_home_dir: Option<FileUri>,
    /// Where temporary files go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<FileUri>,
    /// Where `$TMPDIR` leads.
    #[serde(default)]
    pub temporary_directories: Vec<FileUri>,
    /// `linux`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_os: Option<String>,
    /// What the server can do beyond the basics. What is not named counts as false.
    #[serde(default)]
    pub capabilities: BTreeMap<String, bool>,
}

/// A shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// `bash`, `zsh`, `sh`.
    pub name: String,
    /// Where it is.
    pub path: String,
}

/// The answer to `environment/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `ready`.
    pub status: String,
}
