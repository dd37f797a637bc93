//! Configuration: files, overrides and flags, laid over one another into settings with a known origin.

mod settings;

pub use settings::{
    EnvironmentInherit, EnvironmentPolicy, Isolation, Origin, SandboxSettings, Settings, Sourced,
    WorkspaceWriteSettings,
};
