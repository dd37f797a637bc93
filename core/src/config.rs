//! Configuration: files, overrides and flags, laid over one another into settings with a known origin.
//!
//! ```text
//! config.toml ─▶ source_file ─▶ reader ─┐ (schema: the keys)
//! -c key=value ──────▶ overrides ───────┼─▶ layer ─▶ load ─▶ settings ─▶ policy
//! flags ────────────────────────────────┘             ▲           └────▶ listing
//! .codex/config.toml ─▶ source_file ─▶ project ───────┘ (tightens only)
//!
//! what was learnt ─▶ profile_file ─▶ config.toml
//! ```

mod escape;
mod layer;
mod listing;
mod load;
mod nearest;
mod notice;
mod overrides;
mod position;
mod problem;
mod profile_file;
mod project;
mod provider;
mod reader;
mod schema;
mod settings;
mod source;
mod source_file;
mod sourced;

#[cfg(test)]
mod tests;

pub(crate) use escape::toml_string;
pub(crate) use listing::limit_key;
pub use listing::{SettingRow, rows};
pub use load::{ConfigSources, FlagLayer, Loaded, load};
pub use notice::{Notice, NoticeKind};
pub use problem::{ConfigError, Place, Problem, ProblemKind};
pub use profile_file::{ProfileError, write_profile};
pub use provider::{ProviderSettings, WireApi};
pub use settings::{
    ApprovalPolicy, ApprovalSettings, AuditSettings, EnvironmentInherit, EnvironmentPolicy,
    ExecServerSettings, Explain, Isolation, SandboxSettings, Settings, WorkspaceWriteSettings,
};
pub use sourced::{Origin, Sourced, SourcedList};
