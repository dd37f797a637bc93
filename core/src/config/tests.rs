//! Tests of the whole room: sources in, settings out.

mod files;
mod layers;
mod manual;
mod messages;
mod project;
mod properties;

use std::fs;
use std::path::PathBuf;

use super::{ConfigError, ConfigSources, FlagLayer, Loaded, load};

/// A home of the configuration and a workspace, both in a directory of their own.
struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("home")).unwrap();
        fs::create_dir_all(directory.path().join("project/.codex")).unwrap();
        Self { directory }
    }

    fn user(text: impl AsRef<[u8]>) -> Self {
        let fixture = Self::new();
        fs::write(fixture.user_file(), text).unwrap();
        fixture
    }

    fn with_project(self, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.project_file(), text).unwrap();
        self
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn user_file(&self) -> PathBuf {
        self.home().join("config.toml")
    }

    fn project_root(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    fn project_file(&self) -> PathBuf {
        self.project_root().join(".codex/config.toml")
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        self.load_with(&[], None, FlagLayer::default())
    }

    fn load_with(
        &self,
        overrides: &[&str],
        profile: Option<&str>,
        flags: FlagLayer,
    ) -> Result<Loaded, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(|typed| (*typed).to_owned()).collect();
        load(&ConfigSources {
            codex_home: Some(&self.home()),
            home: Some("/home/me".as_ref()),
            overrides: &overrides,
            profile,
            project_root: Some(&self.project_root()),
            flags,
        })
    }

    /// The message of a load that has to fail, with the file's path shortened.
    fn error(&self) -> String {
        let message = self.load().unwrap_err().to_string();
        message.replace(&format!("{}/", self.home().display()), "")
    }

    /// The notices of a load that has to succeed, with the file's path shortened.
    fn notices(&self) -> Vec<String> {
        let prefix = format!("{}/", self.project_root().display());
        let notices = self.load().unwrap().notices;
        notices.iter().map(|notice| notice.to_string().replace(&prefix, "")).collect()
    }
}

fn override_error(typed: &str) -> String {
    Fixture::new().load_with(&[typed], None, FlagLayer::default()).unwrap_err().to_string()
}
