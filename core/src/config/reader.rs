//! A document tree of TOML, walked against the known keys into a [`Document`].
//!
//! A walk by hand rather than a derived deserialiser: it goes on after a mistake, it knows where every key and value
//! stands, and its messages speak of settings instead of types.

use std::num::NonZeroU64;
use std::path::{Component, Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::escape::toml_key;
use super::http_grant::HttpGrant;
use super::layer::{Document, Layer, ProfileChoice};
use super::nearest::nearest;
use super::problem::{Problem, ProblemKind, Problems};
use super::schema::{self, Key, Node, Setting};
use super::settings::{ApprovalPolicy, EnvironmentInherit, Explain, Isolation, Sourced, SourcedList};
use super::source::Source;
use crate::enforcement::Guarantee;
use crate::limits::{Limit, parse_amount};
use crate::policy::{GitProtection, NAMES, SandboxMode};

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
            Setting::ApproveNetwork => layer.approve_network = self.boolean(value, expected),
            Setting::ModelContextWindow => layer.model_context_window = self.count(value, expected),
            Setting::AllowUnixSockets => layer.allow_unix_sockets = self.absolute_paths(value, expected),
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
                layer.server_http_allow = self.list(value, expected, Self::http_grant);
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

    pub(super) fn wrong_type(&mut self, value: &Value<'_>, expected: &'static str) {
        let found = type_name(value.get_ref());
        self.report(value.span().start, |key| ProblemKind::WrongType { key, expected, found });
    }

    pub(super) fn sourced<T>(&self, content: T, value: &Value<'_>) -> Sourced<T> {
        Sourced { value: content, origin: self.source.origin(value.span().start, self.profile.as_deref()) }
    }

    pub(super) fn sourced_text(
        &mut self,
        value: &Value<'_>,
        expected: &'static str,
    ) -> Option<Sourced<String>> {
        self.text(value, expected).map(|text| self.sourced(text.to_owned(), value))
    }

    pub(super) fn text<'v>(&mut self, value: &'v Value<'_>, expected: &'static str) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(value, expected);
        }
        text
    }

    fn boolean(&mut self, value: &Value<'_>, expected: &'static str) -> Option<Sourced<bool>> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(value, expected);
        }
        boolean.map(|boolean| self.sourced(boolean, value))
    }

    /// A whole number, or text that says more.
    fn amount(
        &mut self,
        limit: Limit,
        value: &Value<'_>,
        expected: &'static str,
    ) -> Option<Sourced<NonZeroU64>> {
        let text = match value.get_ref() {
            // Written as a person would write it: what TOML takes as well (`0x10`, `1_000`) is a number by then.
            DeValue::Integer(number) => {
                i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
            }
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => None,
        };
        let Some(text) = text else {
            self.wrong_type(value, expected);
            return None;
        };
        match parse_amount(limit, &text) {
            Ok(amount) => Some(self.sourced(amount, value)),
            Err(error) => {
                self.report(value.span().start, |key| ProblemKind::Amount { key, found: text, error });
                None
            }
        }
    }

    pub(super) fn word<T: Copy>(
        &mut self,
        value: &Value<'_>,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Option<Sourced<T>> {
        let text = self.text(value, "a string")?;
        let word = all.iter().copied().find(|word| name(*word) == text);
        if word.is_none() {
            let known = all.iter().map(|word| name(*word)).collect();
            self.unknown_word(text, known, value);
        }
        word.map(|word| self.sourced(word, value))
    }

    fn unknown_word(&mut self, text: &str, known: Vec<&'static str>, value: &Value<'_>) {
        self.report(value.span().start, |key| ProblemKind::UnknownWord {
            key,
            found: text.to_owned(),
            suggestion: nearest(text, known.iter().copied()).map(|near| format!("`{near}`")),
            known,
        });
    }

    /// Reads an array of strings; `convert` makes any number of items of each.
    fn list<T>(
        &mut self,
        value: &Value<'_>,
        expected: &'static str,
        mut convert: impl FnMut(&mut Self, &str, &Value<'_>, &mut Vec<T>),
    ) -> Option<SourcedList<T>> {
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(value, expected);
            return None;
        };
        let mut items: Vec<Sourced<T>> = Vec::new();
        for element in array {
            let Some(text) = self.text(element, expected) else { continue };
            let mut converted = Vec::new();
            convert(self, text, element, &mut converted);
            for item in converted {
                items.push(self.sourced(item, element));
            }
        }
        Some(SourcedList { items, origin: self.sourced((), value).origin })
    }

    fn pattern(&mut self, text: &str, _: &Value<'_>, patterns: &mut Vec<String>) {
        patterns.push(text.to_owned());
    }

    /// The first words of a command. Quotes and the like would be read as a shell does, and are not wanted here.
    fn first_words(&mut self, text: &str, value: &Value<'_>, prefixes: &mut Vec<Vec<String>>) {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let plain = |word: &String| {
            word.chars().all(|character| character.is_alphanumeric() || "-_./=:,@%+".contains(character))
        };
        if words.is_empty() || !words.iter().all(plain) {
            return self.report(value.span().start, |key| ProblemKind::NotPlainWords {
                key,
                found: text.to_owned(),
            });
        }
        prefixes.push(words);
    }

    fn http_grant(&mut self, text: &str, value: &Value<'_>, grants: &mut Vec<HttpGrant>) {
        match text.parse() {
            Ok(grant) => grants.push(grant),
            Err(error) => self.report(value.span().start, |key| ProblemKind::NotAServer {
                key,
                found: text.to_owned(),
                error,
            }),
        }
    }

    fn guarantees(&mut self, text: &str, value: &Value<'_>, guarantees: &mut Vec<Guarantee>) {
        let named = Guarantee::named(text);
        if named.is_empty() {
            self.unknown_word(text, guarantee_words(), value);
        }
        guarantees.extend(named);
    }

    /// A path that is followed from a directory chosen later, and leads nowhere but below it.
    fn relative_path(&mut self, text: &str, value: &Value<'_>, paths: &mut Vec<PathBuf>) {
        let offset = value.span().start;
        if text.contains('\0') {
            return self.report(offset, |key| ProblemKind::Nul { key });
        }
        let path = Path::new(text);
        let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
        if text.is_empty() || !plain {
            return self.report(offset, |key| ProblemKind::NotRelative { key, found: text.to_owned() });
        }
        paths.push(path.components().collect());
    }

    fn built_in_name(&mut self, text: &str, value: &Value<'_>, names: &mut Vec<String>) {
        if NAMES.iter().any(|name| name.path == text) {
            names.push(text.to_owned());
        } else {
            self.report(value.span().start, |key| ProblemKind::NotBuiltIn {
                key,
                found: text.to_owned(),
                suggestion: nearest(text, NAMES.iter().map(|name| name.path)).map(|near| format!("`{near}`")),
            });
        }
    }

    fn absolute_paths(&mut self, value: &Value<'_>, expected: &'static str) -> Option<SourcedList<PathBuf>> {
        self.list(value, expected, |reader, text, item, paths: &mut Vec<_>| {
            paths.extend(reader.absolute_path(text, item, true));
        })
    }

    fn absolute_path(&mut self, text: &str, value: &Value<'_>, home: bool) -> Option<PathBuf> {
        let offset = value.span().start;
        if text.contains('\0') {
            self.report(offset, |key| ProblemKind::Nul { key });
            return None;
        }
        if home && let Some(below) = text.strip_prefix("~/") {
            let Some(directory) = self.home else {
                self.report(offset, |key| ProblemKind::NoHome { key, found: text.to_owned() });
                return None;
            };
            // Joining what starts with a slash would leave the home directory behind.
            return Some(directory.join(below.trim_start_matches('/')));
        }
        if !text.starts_with('/') {
            self.report(offset, |key| ProblemKind::NotAbsolute { key, found: text.to_owned(), home });
            return None;
        }
        Some(PathBuf::from(text))
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

/// The same guarantees, each once: the words of promises overlap with those of their parts.
fn without_repeats(list: SourcedList<Guarantee>) -> SourcedList<Guarantee> {
    let mut seen = Vec::new();
    let mut items = list.items;
    items.retain(|item| {
        let fresh = !seen.contains(&item.value);
        if fresh {
            seen.push(item.value);
        }
        fresh
    });
    SourcedList { items, origin: list.origin }
}

/// The words that `sandbox.require` takes: each guarantee, then each promise.
fn guarantee_words() -> Vec<&'static str> {
    let mut words: Vec<&'static str> = Guarantee::ALL.into_iter().map(Guarantee::name).collect();
    words.extend(Guarantee::ALL.into_iter().map(Guarantee::promise));
    // The guarantees of one promise stand next to one another.
    words.dedup();
    words
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
