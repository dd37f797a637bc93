//! Learning from one observed run to the next what a configuration has to say for a command to pass, and then the least of it.
//!
//! A learner widens its own runs only, one thing a run, and by itself only by what a tool keeps there to read again: a place of
//! the [table](super::TOOLS) that holds no programs. All else takes the user's word. What is named in its text was chosen by the
//! command, so that no name may end a line or a string.

mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::dwelling::Dwelling;
use super::grant::shell_word;
use super::record::{Certainty, Denial, Opens};
use super::secret::{is_run_by_itself, is_secret};
use crate::config::{Origin, Settings, Sourced};
use crate::policy::SandboxMode;

/// How many runs may each be granted one thing more.
pub const MOST_LEARNING_RUNS: u32 = 16;

/// Whose setting a learnt one is called.
const LEARNT: &str = "--learn";

/// What the user has said may be granted, beside what needs no word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Directories that may be made writable. Absolute, links followed.
    pub directories: Vec<PathBuf>,
    /// Unix sockets that may be reached. Absolute, links followed.
    pub sockets: Vec<PathBuf>,
    /// Whether the network may be opened.
    pub network: bool,
    /// Whether single hosts may be reached.
    pub hosts: bool,
}

/// What is known of a run that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Round<'r> {
    /// Whether the command succeeded.
    pub passed: bool,
    /// What it was refused.
    pub denials: &'r [Denial],
    /// How often it was refused something that nobody had room for.
    pub untold: u64,
    /// Whether an observer saw all of its calls.
    pub observed: bool,
}

/// What follows from a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next one has this as well.
    Again(Opens),
    /// No further run would teach anything.
    Stop(Stopped),
}

/// Why no further run would teach anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// The command succeeded.
    Passed,
    /// It failed, and what it was refused is not granted without a word, or not at all.
    OnlyWithheld,
    /// It failed, and nothing was seen to be refused.
    NothingRefused,
    /// It failed, and nobody saw its calls.
    NotObserved,
    /// It was granted something [as often](MOST_LEARNING_RUNS) as anything is.
    TooManyRuns,
}

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Learned {
    /// Lines for the top of `config.toml`, or for a profile, each with its reason in comments above. With these it was run last.
    pub toml: String,
    /// Why it ended.
    pub stopped: Stopped,
    /// How many runs were made to learn.
    pub runs: u32,
    /// How many were made to find what can go.
    pub trials: u32,
    /// Whether no line of it can go: it was tried without each, and failed.
    pub minimal: bool,
    /// What was granted, by the configuration or here, and is not needed.
    pub unused: Vec<String>,
    /// What the last run was refused all the same, a line each, with what would allow it.
    pub withheld: Vec<String>,
    /// Whether everything that the last run was refused is known: it was observed, and nothing was dropped.
    pub complete: bool,
}

/// A thing that is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    opens: Opens,
    origin: Origin,
    /// What was refused without it.
    reasons: Vec<String>,
    /// Whether a run without it has failed.
    tried: bool,
}

/// Who learns, from the settings in effect on.
#[derive(Clone, Debug)]
pub struct Learner {
    said: Settings,
    dwelling: Dwelling,
    words: Words,
    lines: Vec<Line>,
    /// Whether the mode of the settings is needed for anything.
    mode_is_needed: bool,
    mode_was_tried: bool,
    /// The line that is being tried without. The mode comes after the last.
    on_trial: Option<usize>,
    stopped: Stopped,
    runs: u32,
    trials: u32,
    unused: Vec<String>,
    withheld: Vec<String>,
    complete: bool,
}

impl Learner {
    /// Begins with the settings as they are. Secrets, and what tools keep, are told by where the user's things are, whatever home
    /// directory the command has.
    #[must_use]
    pub fn new(settings: Settings, dwelling: Dwelling, words: Words) -> Self {
        let mut lines = Vec::new();
        let mut line = |opens, origin: &Origin| {
            lines.push(Line { opens, origin: origin.clone(), reasons: Vec::new(), tried: false });
        };
        if settings.sandbox_mode.value == SandboxMode::WorkspaceWrite {
            for root in &settings.workspace_write.writable_roots {
                line(Opens::Write(root.value.clone()), &root.origin);
            }
            let network = &settings.workspace_write.network_access;
            if network.value {
                line(Opens::Network, &network.origin);
            }
        }
        for socket in &settings.sandbox.allow_unix_sockets {
            line(Opens::UnixSocket(socket.value.clone()), &socket.origin);
        }
        for host in &settings.sandbox.allow_hosts {
            line(Opens::Host(host.value.clone()), &host.origin);
        }
        Self {
            mode_is_needed: settings.sandbox_mode.value == SandboxMode::WorkspaceWrite,
            mode_was_tried: false,
            said: settings,
            dwelling,
            words,
            lines,
            on_trial: None,
            stopped: Stopped::NothingRefused,
            runs: 0,
            trials: 0,
            unused: Vec::new(),
            withheld: Vec::new(),
            complete: false,
        }
    }

    /// What the next run goes by: a trial, where [one](Self::next_trial) was begun.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let mut settings = self.said.clone();
        let lines: Vec<&Line> = self
            .lines
            .iter()
            .enumerate()
            .filter(|(index, _)| self.on_trial != Some(*index))
            .map(|(_, line)| line)
            .collect();
        let named = |of: fn(&Opens) -> Option<&PathBuf>| {
            let named = lines.iter().filter_map(|line| Some((of(&line.opens)?, &line.origin)));
            named.map(|(path, origin)| Sourced { value: path.clone(), origin: origin.clone() }).collect()
        };
        settings.sandbox.allow_unix_sockets.items = named(Opens::socket);
        let hosts = lines.iter().filter_map(|line| Some((line.opens.host()?, &line.origin)));
        settings.sandbox.allow_hosts.items =
            hosts.map(|(host, origin)| Sourced { value: host.clone(), origin: origin.clone() }).collect();
        let mode = &mut settings.sandbox_mode;
        if mode.value != SandboxMode::WorkspaceWrite {
            return settings;
        }
        if !self.mode_is_needed || self.on_trial == Some(self.lines.len()) {
            *mode = Sourced::from_flag(SandboxMode::ReadOnly, LEARNT);
        }
        settings.workspace_write.writable_roots.items = named(Opens::directory);
        let network = lines.iter().find(|line| line.opens == Opens::Network);
        settings.workspace_write.network_access = Sourced {
            value: network.is_some(),
            origin: network.map(|line| line.origin.clone()).unwrap_or_default(),
        };
        // A flag's, for any mode.
        settings.network = Sourced::default();
        settings
    }

    /// Takes what is known of a run under these settings.
    ///
    /// Granted is one thing: of all that may be granted, what was first refused last. A command ends by what it can't do without,
    /// and what was refused long before is more often something that it goes on without.
    pub fn learn(&mut self, round: &Round<'_>) -> Next {
        self.runs += 1;
        self.note(round);
        self.stopped = if round.passed {
            Stopped::Passed
        } else if !round.observed {
            Stopped::NotObserved
        } else {
            let mut wanted: Vec<(&Denial, Opens)> = Vec::new();
            for denial in round.denials {
                wanted.extend(self.grant(denial).map(|opens| (denial, opens)));
            }
            let last = wanted.iter().max_by(|(one, _), (other, _)| {
                let first = |denial: &Denial| denial.first_ms.unwrap_or_default();
                first(one).total_cmp(&first(other))
            });
            match last {
                Some(_) if self.runs >= MOST_LEARNING_RUNS => Stopped::TooManyRuns,
                Some((_, opens)) => {
                    let reasons = wanted.iter().filter(|(_, other)| other == opens);
                    let reasons = reasons.map(|(denial, _)| text::reason(denial)).collect();
                    let opens = opens.clone();
                    self.open(opens.clone(), reasons);
                    return Next::Again(opens);
                }
                None if round.denials.is_empty() => Stopped::NothingRefused,
                None => Stopped::OnlyWithheld,
            }
        };
        Next::Stop(self.stopped)
    }

    fn note(&mut self, round: &Round<'_>) {
        self.complete = round.observed && round.untold == 0;
        self.withheld = round.denials.iter().map(|denial| self.told(denial)).collect();
    }

    fn open(&mut self, opens: Opens, reasons: Vec<String>) {
        if let Opens::Write(directory) = &opens {
            // One directory holds what lies below it.
            let is_inside =
                |line: &Line| matches!(&line.opens, Opens::Write(inner) if inner.starts_with(directory));
            self.lines.retain(|line| !(line.origin == Origin::Flag(LEARNT) && is_inside(line)));
        }
        self.lines.push(Line { opens, origin: Origin::Flag(LEARNT), reasons, tried: false });
    }

    /// What may be granted for a denial, and is not yet.
    fn grant(&self, denial: &Denial) -> Option<Opens> {
        let writes = self.said.sandbox_mode.value == SandboxMode::WorkspaceWrite;
        let allow = denial.allow.as_ref().map(|allow| &allow.opens);
        let opens = match (self.word(denial), allow) {
            _ if denial.certainty != Certainty::Exact => None,
            (Some(opens), _) => Some(opens),
            (None, Some(Opens::Write(directory))) if self.needs_no_word(denial, directory) => {
                Some(Opens::Write(directory.clone()))
            }
            (None, Some(Opens::Host(host))) if self.words.hosts => Some(Opens::Host(host.clone())),
            (None, Some(Opens::Network | Opens::Host(_) | Opens::Hosts(_))) if self.words.network => {
                Some(Opens::Network)
            }
            (None, _) => None,
        }?;
        // Of these only workspace-write has settings, and that mode is the user's to choose.
        let has_a_setting = writes || !belongs_to_the_mode(&opens);
        (has_a_setting && !self.lines.iter().any(|line| line.opens == opens)).then_some(opens)
    }

    /// What the user has said of it.
    fn word(&self, denial: &Denial) -> Option<Opens> {
        use super::Operation as Op;

        let place = denial.resolved_target.as_ref().unwrap_or(&denial.target);
        let place = Path::new(place);
        let Words { directories, sockets, .. } = &self.words;
        let socket = |word: &PathBuf| Opens::UnixSocket(word.clone());
        let is_new = |opens: &Opens| !self.lines.iter().any(|line| line.opens == *opens);
        match denial.operation {
            Op::Unix => sockets.iter().find(|word| *word == place).map(socket),
            // Where the network is open and no socket is, there are none to connect, and nobody hears which one it would have been.
            Op::Call if denial.target == "socket" && !is_new(&Opens::Network) => {
                sockets.iter().map(socket).find(is_new)
            }
            Op::Write | Op::Create | Op::Remove | Op::Rename | Op::Metadata => {
                // The narrowest of them.
                let above = directories.iter().filter(|word| place.starts_with(word));
                above.max_by_key(|word| word.as_os_str().len()).map(|word| Opens::Write(word.clone()))
            }
            Op::Read | Op::Connect | Op::Signal | Op::Call | Op::Use => None,
        }
    }

    /// Whether a directory is one that a tool keeps to read again. Whoever proposed it may have known of no home, or of another.
    fn needs_no_word(&self, denial: &Denial, directory: &Path) -> bool {
        let dwelling = &self.dwelling;
        let is_kept = |path: &Path| !is_secret(path, dwelling) && !is_run_by_itself(path, dwelling);
        let named = [Some(&denial.target), denial.resolved_target.as_ref()];
        let a_cache = dwelling.tools().any(|(place, tool)| !tool.holds_programs && place == directory);
        // What was to be made on the way to it is not opened.
        let is_no_secret = |path: &Path| is_kept(path) || (path != directory && directory.starts_with(path));
        a_cache && is_kept(directory) && named.into_iter().flatten().all(|path| is_no_secret(Path::new(path)))
    }

    /// A denial in a line, with the word that would let it be granted.
    fn told(&self, denial: &Denial) -> String {
        let line = denial.line();
        let word = match denial.allow.as_ref().map(|allow| &allow.opens) {
            _ if denial.certainty != Certainty::Exact || self.grant(denial).is_some() => None,
            Some(Opens::Network) => Some("network".to_owned()),
            Some(Opens::Host(_) | Opens::Hosts(_)) => Some("hosts".to_owned()),
            Some(Opens::Write(place) | Opens::UnixSocket(place)) => place.to_str().and_then(shell_word),
            None => None,
        };
        let is_open_to_words = self.said.sandbox_mode.value == SandboxMode::WorkspaceWrite
            || denial.allow.as_ref().is_some_and(|allow| !belongs_to_the_mode(&allow.opens));
        match word {
            Some(word) if is_open_to_words => format!("{line}; takes --learn-also {word}"),
            Some(_) => format!("{line}; takes --full-auto"),
            None => line,
        }
    }

    /// Begins a trial without the next line, the last one first, and at last without the mode, where nothing else needs it.
    /// Returns whether there is one: then [the settings](Self::settings) are the trial's. Only what passed can be tried.
    pub fn next_trial(&mut self) -> bool {
        let untried = self.lines.iter().rposition(|line| !line.tried);
        let needs_mode = |line: &Line| belongs_to_the_mode(&line.opens);
        let mode = self.mode_is_needed && !self.mode_was_tried && !self.lines.iter().any(needs_mode);
        self.on_trial = match untried {
            _ if self.stopped != Stopped::Passed => None,
            None if mode => Some(self.lines.len()),
            untried => untried,
        };
        self.on_trial.is_some()
    }

    /// Takes what came of the trial: what it passed without is gone.
    pub fn tried(&mut self, round: &Round<'_>) {
        let Some(index) = self.on_trial.take() else { return };
        self.trials += 1;
        if round.passed {
            // What the lines that are left were run with last.
            self.note(round);
        }
        match (self.lines.get_mut(index), round.passed) {
            (Some(line), false) => {
                line.tried = true;
                if line.reasons.is_empty() {
                    let is_its = |denial: &&Denial| text::is_about(denial, &line.opens);
                    line.reasons = round.denials.iter().filter(is_its).map(text::reason).collect();
                }
            }
            (Some(_), true) => {
                let line = self.lines.remove(index);
                self.unused.push(text::unused(&line));
            }
            (None, passed) => {
                self.mode_was_tried = true;
                self.mode_is_needed = !passed;
                if passed {
                    self.unused.push(text::unused_mode(&self.said.sandbox_mode));
                }
            }
        }
    }

    /// What was learnt so far.
    #[must_use]
    pub fn learned(&self) -> Learned {
        let mut withheld = self.withheld.clone();
        if self.said.sandbox_mode.value != SandboxMode::WorkspaceWrite && self.said.network.value {
            withheld.push("--network was typed, and no setting says it but under workspace-write".to_owned());
        }
        let said = &self.said;
        let lists = [&said.workspace_write.writable_roots.origin, &said.sandbox.allow_unix_sockets.origin];
        let values = [&said.sandbox_mode.origin, &said.workspace_write.network_access.origin];
        if lists.into_iter().chain(values).any(|origin| matches!(origin, Origin::Project { .. })) {
            withheld
                .push("what the project's own .codex/config.toml tightens, which no line undoes".to_owned());
        }
        Learned {
            toml: self.toml(),
            stopped: self.stopped,
            runs: self.runs,
            trials: self.trials,
            minimal: self.stopped == Stopped::Passed && self.lines.iter().all(|line| line.tried),
            unused: self.unused.clone(),
            withheld,
            complete: self.complete,
        }
    }
}

/// Whether only `workspace-write` has a setting for it.
const fn belongs_to_the_mode(opens: &Opens) -> bool {
    match opens {
        Opens::Write(_) | Opens::Network => true,
        Opens::UnixSocket(_) | Opens::Host(_) | Opens::Hosts(_) => false,
    }
}

#[cfg(test)]
mod tests;
