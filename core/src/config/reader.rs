//! A document tree of TOML, walked against the known keys into a [`Document`].
//!
//! A walk by hand rather than a derived deserialiser: it goes on after a mistake, it knows where every key and value
//! stands, and its messages speak of settings instead of types.

mod values;

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::escape::toml_key;
use super::layer::{Document, Layer, ProfileChoice};
use super::problem::{Problem, ProblemKind, Problems};
use super::schema::{self, Key, Node, Setting};
use super::settings::{ApprovalPolicy, EnvironmentInherit, Explain, Isolation};
use super::source::Source;
use crate::policy::{GitProtection, SandboxMode};
use values::without_repeats;

/// A value of the tree.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// The walk through one source.
pub(super) struct Reader<'a> {
    source: &'a Source<'a>,
    home: Option<&'a Path>,
    /// The dotted key that is being read.
    pub(super) path: Vec<String>,
    /// The profile that is being read.
    profile: Option<String>,
    /// The server of models that is being read.
    pub(super) provider: Option<String>,
    problems: Problems,
}

/// Reads a whole document of TOML: what it says, and what is wrong with it. What is wrong is left out of what it says,
/// and a text that isn't TOML says nothing.
pub(super) fn read_text(text: &str, source: &Source<'_>, home: Option<&Path>) -> (Document, Vec<Problem>) {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return (Document::default(), syntax_problems(&errors, source));
    }
    let mut reader = Reader::new(source, home);
    let mut document = Document::default();
    reader.table(tree.get_ref(), &schema::ROOT, &mut document);
    (document, reader.finish())
}

/// The earliest syntax error of each line: the parser goes on after an error, and what it says of the rest of that line
/// is mostly its own confusion.
fn syntax_problems(errors: &[toml::de::Error], source: &Source<'_>) -> Vec<Problem> {
    let mut found: Vec<(usize, &str)> =
        errors.iter().map(|error| (error.span().map_or(0, |span| span.start), error.message())).collect();
    found.sort_by_key(|(offset, _)| *offset);
    found.dedup_by_key(|(offset, _)| source.line(*offset));
    let mut problems = Problems::default();
    for (offset, message) in found {
        problems.report(|| Problem {
            place: source.place(offset),
            kind: ProblemKind::Syntax { message: message.to_owned() },
        });
    }
    problems.into_list(source.whole())
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source<'a>, home: Option<&'a Path>) -> Self {
        let home = home.filter(|home| home.is_absolute());
        Self { source, home, path: Vec::new(), profile: None, provider: None, problems: Problems::default() }
    }

    /// The problems met.
    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems.into_list(self.source.whole())
    }

    /// Reports a problem at `offset`; `kind` is given the dotted key.
    pub(super) fn report(&mut self, offset: usize, kind: impl FnOnce(String) -> ProblemKind) {
        let (source, path) = (self.source, &self.path);
        self.problems.report(|| Problem { place: source.place(offset), kind: kind(toml_key(path)) });
    }

    /// Reads a table whose keys are `keys`.
    fn table(&mut self, table: &DeTable<'_>, keys: &[Key], document: &mut Document) {
        for (name, value) in table {
            self.path.push(name.get_ref().clone().into_owned());
            if let Some(node) = self.step(keys, name.get_ref(), name.span().start) {
                self.node(node, value, document);
            }
            self.path.pop();
        }
    }

    /// What stands behind the key `name`, which the path already ends in. An unknown or forbidden one is reported.
    pub(super) fn step(&mut self, keys: &[Key], name: &str, offset: usize) -> Option<Node> {
        match schema::find(keys, name) {
            Some(key) if self.source.is_project() && !key.project => {
                self.report(offset, |key| ProblemKind::NotForProjects { key });
                None
            }
            Some(key) => Some(key.node),
            None => {
                self.report(offset, |key| ProblemKind::UnknownKey {
                    key,
                    suggestion: schema::suggestion(keys, name),
                    known: schema::names(keys),
                });
                None
            }
        }
    }

    /// Reads what stands behind a key.
    pub(super) fn node(&mut self, node: Node, value: &Value<'_>, document: &mut Document) {
        match (node, value.get_ref()) {
            (Node::Setting(setting), _) => self.setting(setting, value, &mut document.layer),
            (Node::ProfileName, _) => {
                if let Some(name) = self.text(value, node.expected()) {
                    let name = self.sourced(name.to_owned(), value);
                    let place = self.source.place(value.span().start);
                    document.profile = Some(ProfileChoice { name, place });
                }
            }
            (Node::Table(keys), DeValue::Table(table)) => self.table(table, keys, document),
            (Node::Variables, DeValue::Table(table)) => {
                for (name, value) in table {
                    self.path.push(name.get_ref().clone().into_owned());
                    self.variable(name.get_ref(), name.span().start, value, &mut document.layer);
                    self.path.pop();
                }
            }
            (Node::Profiles, DeValue::Table(table)) => {
                for (name, value) in table {
                    self.path.push(name.get_ref().clone().into_owned());
                    self.in_profile(name.get_ref(), document, |reader, inner| {
                        reader.node(Node::Table(schema::PROFILE), value, inner);
                    });
                    self.path.pop();
                }
            }
            (Node::Providers, DeValue::Table(table)) => {
                for (name, value) in table {
                    self.path.push(name.get_ref().clone().into_owned());
                    self.provider = Some(name.get_ref().clone().into_owned());
                    self.node(Node::Table(&schema::PROVIDER), value, document);
                    self.provider = None;
                    self.path.pop();
                }
            }
            (Node::Provider(key), _) => self.provider_key(key, value, &mut document.layer),
            (Node::Table(_) | Node::Variables | Node::Profiles | Node::Providers, _) => {
                self.wrong_type(value, node.expected());
            }
        }
    }

    /// Runs `read` on the layer of a profile.
    pub(super) fn in_profile(
        &mut self,
        name: &str,
        document: &mut Document,
        read: impl FnOnce(&mut Self, &mut Document),
    ) {
        let mut inner = Document::default();
        self.profile = Some(name.to_owned());
        read(self, &mut inner);
        self.profile = None;
        document.profiles.insert(name.to_owned(), inner.layer);
    }

    fn setting(&mut self, setting: Setting, value: &Value<'_>, layer: &mut Layer) {
        let expected = setting.expected();
        match setting {
            Setting::SandboxMode => {
                layer.sandbox_mode = self.word(value, &SandboxMode::ALL, SandboxMode::name);
            }
            Setting::Inherit => {
                layer.inherit = self.word(value, &EnvironmentInherit::ALL, EnvironmentInherit::name);
            }
            Setting::Isolation => layer.isolation = self.word(value, &Isolation::ALL, Isolation::name),
            Setting::NetworkAccess => layer.network_access = self.boolean(value, expected),
            Setting::ExcludeTmpdirEnvVar => layer.exclude_tmpdir_env_var = self.boolean(value, expected),
            Setting::ExcludeSlashTmp => layer.exclude_slash_tmp = self.boolean(value, expected),
            Setting::IgnoreDefaultExcludes => layer.ignore_default_excludes = self.boolean(value, expected),
            Setting::LinuxSandboxExe => {
                layer.codex_linux_sandbox_exe = self
                    .text(value, expected)
                    .and_then(|path| self.absolute_path(path, value, false))
                    .map(|path| self.sourced(path, value));
            }
            Setting::WritableRoots => layer.writable_roots = self.absolute_paths(value, expected),
            Setting::Exclude => layer.exclude = self.list(value, expected, Self::pattern),
            Setting::IncludeOnly => layer.include_only = self.list(value, expected, Self::pattern),
            Setting::Require => {
                layer.require = self.list(value, expected, Self::guarantees).map(without_repeats);
            }
            Setting::Git => layer.git = self.word(value, &GitProtection::ALL, GitProtection::name),
            Setting::Protect => layer.protect = self.list(value, expected, Self::relative_path),
            Setting::Unprotect => layer.unprotect = self.list(value, expected, Self::built_in_name),
            Setting::DenyRead => layer.deny_read = self.absolute_paths(value, expected),
            Setting::AllowRead => layer.allow_read = self.absolute_paths(value, expected),
            Setting::PrivateTmp => layer.private_tmp = self.boolean(value, expected),
            Setting::Model => layer.model = self.sourced_text(value, expected),
            Setting::ModelProvider => layer.model_provider = self.sourced_text(value, expected),
            Setting::ApprovalPolicy => {
                layer.approval_policy = self.word(value, &ApprovalPolicy::ALL, ApprovalPolicy::name);
            }
            Setting::Allow => layer.allow = self.list(value, expected, Self::first_words),
            Setting::Prompt => layer.prompt = self.list(value, expected, Self::first_words),
            Setting::Forbid => layer.forbid = self.list(value, expected, Self::first_words),
            Setting::Unsandboxed => layer.unsandboxed = self.list(value, expected, Self::first_words),
            Setting::ApproveWrite => layer.approve_write = self.absolute_paths(value, expected),
            Setting::ApproveRead => layer.approve_read = self.absolute_paths(value, expected),
            Setting::ApproveHosts => layer.approve_hosts = self.list(value, expected, Self::host_grant),
            Setting::ApproveNetwork => layer.approve_network = self.boolean(value, expected),
            Setting::ModelContextWindow => layer.model_context_window = self.count(value, expected),
            Setting::AllowUnixSockets => layer.allow_unix_sockets = self.absolute_paths(value, expected),
            Setting::AllowHosts => layer.allow_hosts = self.list(value, expected, Self::host_grant),
            Setting::Explain => layer.explain = self.word(value, &Explain::ALL, Explain::name),
            Setting::Limit(limit) => {
                if let Some(amount) = self.amount(limit, value, expected) {
                    layer.limits.insert(limit, amount);
                }
            }
            Setting::ServerMaxPolicy => {
                layer.server_max_policy = self.word(value, &SandboxMode::ALL, SandboxMode::name);
            }
            Setting::ServerWritableRoots => {
                layer.server_writable_roots = self.absolute_paths(value, expected);
            }
            Setting::ServerHttpAllow => {
                layer.server_http_allow = self.list(value, expected, Self::host_grant);
            }
            Setting::ServerNetworkAccess => layer.server_network_access = self.boolean(value, expected),
            Setting::AuditMaxBytes => layer.audit_max_bytes = self.count(value, expected),
            Setting::AuditFile => {
                layer.audit_file = self
                    .text(value, expected)
                    .and_then(|path| self.absolute_path(path, value, true))
                    .map(|path| self.sourced(path, value));
            }
        }
    }

    /// Reads the value of the environment variable `name`.
    pub(super) fn variable(&mut self, name: &str, name_at: usize, value: &Value<'_>, layer: &mut Layer) {
        if name.is_empty() || name.contains(['=', '\0']) {
            return self.report(name_at, |key| ProblemKind::VariableName { key });
        }
        let Some(text) = self.text(value, "a string") else { return };
        if text.contains('\0') {
            return self.report(value.span().start, |key| ProblemKind::Nul { key });
        }
        let content = self.sourced(text.to_owned(), value);
        layer.set.insert(name.to_owned(), content);
    }
}
