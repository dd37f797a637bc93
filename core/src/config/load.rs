//! The sources of configuration, laid over one another.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use super::layer::{Document, ProfileChoice};
use super::nearest::nearest;
use super::notice::Notice;
use super::overrides::read_override;
use super::problem::{ConfigError, Place, Problem, ProblemKind};
use super::project::tighten;
use super::reader::read_text;
use super::settings::{Explain, Isolation, Settings};
use super::source::Source;
use super::source_file::{FILE_NAME, PROJECT_DIRECTORY, read_project_file, read_user_file};
use super::sourced::{Origin, Sourced};
use crate::limits::Limit;
use crate::policy::{HostGrant, SandboxMode};

/// Where settings come from. Nothing is looked up beside what is named here; the default names nothing.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources<'a> {
    /// The directory that holds the user's `config.toml`.
    pub codex_home: Option<&'a Path>,
    /// What `~/` stands for in `writable_roots`. Not used unless absolute.
    pub home: Option<&'a Path>,
    /// The `-c key=value` overrides, in the order in which they were typed: later ones win.
    pub overrides: &'a [String],
    /// The profile of `-p`. It wins over the one that overrides and the file name.
    pub profile: Option<&'a str>,
    /// The workspace, whose `.codex/config.toml` may tighten the settings.
    pub project_root: Option<&'a Path>,
    /// What flags of the command line set.
    pub flags: FlagLayer,
}

/// What flags of the command line set. Give each value its flag with [`Sourced::from_flag`].
#[derive(Clone, Debug, Default)]
pub struct FlagLayer {
    /// The mode.
    pub sandbox_mode: Option<Sourced<SandboxMode>>,
    /// Whether commands may reach the network, whatever the mode.
    pub network: Option<Sourced<bool>>,
    /// Writable roots beside those of the configuration. Absolute; they need not be UTF-8.
    pub writable_roots: Vec<Sourced<PathBuf>>,
    /// Hosts that commands may reach beside those of the configuration.
    pub allow_hosts: Vec<Sourced<HostGrant>>,
    /// How the level of isolation is chosen.
    pub isolation: Option<Sourced<Isolation>>,
    /// How it is found out what was refused.
    pub explain: Option<Sourced<Explain>>,
    /// What commands may use, in the unit of each limit.
    pub limits: BTreeMap<Limit, Sourced<NonZeroU64>>,
}

/// The outcome of [`load`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What the user should hear about the project's file.
    pub notices: Vec<Notice>,
    /// The profile that applies, and who chose it.
    pub profile: Option<Sourced<String>>,
}

/// Reads every source and lays them over one another: defaults, the user's file, the profile, overrides, flags, each
/// winning over those before it. The project's file comes last, and only tightens.
///
/// # Errors
///
/// Everything wrong with the user's file, the overrides, the flags and the choice of a profile, all at once. A project's
/// file causes no error; see [`Loaded::notices`].
pub fn load(sources: &ConfigSources<'_>) -> Result<Loaded, ConfigError> {
    let mut problems = sources.flags.problems();
    let user = UserFile::read(sources, &mut problems);
    let overrides: Vec<Document> = sources
        .overrides
        .iter()
        .map(|typed| {
            let (document, wrong) = read_override(typed, sources.home);
            problems.extend(wrong);
            document
        })
        .collect();
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }

    let UserFile { document: mut file, identity } = user;
    let chosen = choose_profile(sources.profile, &file, &overrides)?;
    let mut layers = vec![file.layer];
    let mut override_layers = Vec::new();
    if let Some(name) = &chosen {
        layers.extend(file.profiles.remove(&name.value));
    }
    for mut document in overrides {
        if let Some(name) = &chosen {
            layers.extend(document.profiles.remove(&name.value));
        }
        override_layers.push(document.layer);
    }
    let mut settings = Settings::default();
    for layer in layers.into_iter().chain(override_layers) {
        layer.lay_over(&mut settings);
    }
    sources.flags.clone().lay_over(&mut settings);

    let notices = match sources.project_root {
        Some(root) => read_project(root, identity, sources.home, &mut settings),
        None => Vec::new(),
    };
    Ok(Loaded { settings, notices, profile: chosen })
}

/// The user's file, read.
#[derive(Default)]
struct UserFile {
    document: Document,
    identity: Option<(u64, u64)>,
}

impl UserFile {
    fn read(sources: &ConfigSources<'_>, problems: &mut Vec<Problem>) -> Self {
        let Some(directory) = sources.codex_home else { return Self::default() };
        let path = directory.join(FILE_NAME);
        match read_user_file(&path) {
            Ok(None) => Self::default(),
            Ok(Some(contents)) => {
                let source = Source::user(&path, &contents.text);
                let (document, wrong) = read_text(&contents.text, &source, sources.home);
                problems.extend(wrong);
                Self { document, identity: Some(contents.identity) }
            }
            Err(problem) => {
                problems.push(*problem);
                Self::default()
            }
        }
    }
}

/// The profile that applies: of the flag, else of the last override that names one, else of the file.
fn choose_profile(
    flag: Option<&str>,
    file: &Document,
    overrides: &[Document],
) -> Result<Option<Sourced<String>>, ConfigError> {
    let by_flag = flag.map(|name| ProfileChoice {
        name: Sourced::from_flag(name.to_owned(), "-p"),
        place: Place::Flag("-p"),
    });
    let by_text = || overrides.iter().rev().chain([file]).find_map(|document| document.profile.clone());
    let Some(ProfileChoice { name, place }) = by_flag.or_else(by_text) else { return Ok(None) };

    let known: BTreeSet<&str> = std::iter::once(file)
        .chain(overrides)
        .flat_map(|document| document.profiles.keys().map(String::as_str))
        .collect();
    if known.contains(name.value.as_str()) {
        return Ok(Some(name));
    }
    let suggestion = nearest(&name.value, known.iter().copied()).map(|near| format!("`{near}`"));
    let known = known.into_iter().map(str::to_owned).collect();
    let kind = ProblemKind::UnknownProfile { name: name.value, known, suggestion };
    Err(ConfigError { problems: vec![Problem { place, kind }] })
}

fn read_project(
    root: &Path,
    user_file: Option<(u64, u64)>,
    home: Option<&Path>,
    settings: &mut Settings,
) -> Vec<Notice> {
    let path = root.join(PROJECT_DIRECTORY).join(FILE_NAME);
    match read_project_file(root, &path) {
        Ok(None) => Vec::new(),
        // A workspace that is the home directory: the user's own file, which has been read, and is no stranger's.
        Ok(Some(contents)) if Some(contents.identity) == user_file => Vec::new(),
        Ok(Some(contents)) => tighten(settings, &path, &contents.text, home),
        Err(problem) => vec![Notice::ignored(*problem)],
    }
}

impl FlagLayer {
    fn problems(&self) -> Vec<Problem> {
        let relative = self.writable_roots.iter().filter(|root| !root.value.is_absolute());
        relative
            .map(|root| Problem {
                place: match &root.origin {
                    Origin::Flag(name) => Place::Flag(name),
                    other => Place::Override(other.to_string()),
                },
                kind: ProblemKind::NotAbsolute {
                    key: "sandbox_workspace_write.writable_roots".to_owned(),
                    found: root.value.to_string_lossy().into_owned(),
                    home: false,
                },
            })
            .collect()
    }

    pub(super) fn lay_over(self, settings: &mut Settings) {
        let Self { sandbox_mode, network, writable_roots, allow_hosts, isolation, explain, limits } = self;
        if let Some(mode) = sandbox_mode {
            settings.sandbox_mode = mode;
        }
        if let Some(network) = network {
            settings.workspace_write.network_access = network.clone();
            settings.network = network;
        }
        settings.workspace_write.writable_roots.items.extend(writable_roots);
        settings.sandbox.allow_hosts.items.extend(allow_hosts);
        if let Some(isolation) = isolation {
            settings.sandbox.isolation = isolation;
        }
        if let Some(explain) = explain {
            settings.sandbox.explain = explain;
        }
        settings.sandbox.limits.extend(limits);
    }
}
