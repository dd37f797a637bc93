//! `codex sandbox --learn`: a command again and again, each time with one more thing that it was refused, until it passes; then
//! without each of these in turn.
//!
//! It runs in views of what it may write, so that each run finds what the first one found: what a run has left, the next would not
//! want again, and no line could be shown to be needed. It is also why so much can be tried without a question.

use std::ffi::OsString;
use std::fs;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use codex_core::config::{Explain, Isolation, write_profile};
use codex_core::denial::{Dwelling, Learned, Learner, Next, Opens, Round, Stopped, Words};
use codex_core::enforcement::ExplanationKind;
use codex_core::exec::{ExecResult, Outcome};
use codex_core::policy::SandboxMode;
use codex_linux_sandbox::shown;
use nix::sys::signal::Signal;

use super::explain::{VIEW, outside};
use super::sandbox::{Route, call, exit_code as code_of_run, request, runtime};
use crate::args::{PolicyOptions, SandboxArgs};
use crate::meaning::{Meaning, MeaningError};
use crate::render::learn::Report;
use crate::signals::{Shares, Signals};
use crate::{exit_code, last_failed, render};

/// The word for the network, where others name a place.
const NETWORK: &str = "network";
/// The word for single hosts, each of which is a line.
const HOSTS: &str = "hosts";

pub(super) fn learn(args: &SandboxArgs, typed: &[OsString]) -> i32 {
    let signals = match Signals::block(Shares::Nothing) {
        Ok(signals) => signals,
        Err(errno) => {
            return render::refusal(&format!("the run can't be prepared: {errno}"), exit_code::REFUSED);
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let ended = Course::begin(args, typed, &signals).and_then(|course| course.run(&runtime));
    match ended {
        Ok(code) => code,
        Err(error) => render::refusal(&error.to_string(), error.exit_code()),
    }
}

/// Why nothing is learnt.
#[derive(Debug, thiserror::Error)]
enum LearnError {
    #[error(transparent)]
    Meaning(#[from] MeaningError),
    #[error("--learn-also {word}: {why}", word = shown(.0), why = .1)]
    Word(PathBuf, String),
    #[error("{0} refuses nothing that could be learnt of: --learn takes read-only or workspace-write")]
    Unrestricted(&'static str),
    #[error(
        "--learn runs in views, which need namespaces: {0} asks for level landlock; --in-place runs the command on the directories \
         themselves, again and again"
    )]
    Landlock(String),
    #[error("{0}; --learn runs in views, and with --in-place on the directories themselves, again and again")]
    NoView(String),
    #[error("{0}")]
    NotRun(String, i32),
    #[error("learning was interrupted")]
    Interrupted(i32),
    #[error("{directory}, which was to be granted, can't be made: {why}", directory = shown(.0), why = .1)]
    NotMade(PathBuf, std::io::Error),
}

impl LearnError {
    const fn exit_code(&self) -> i32 {
        match self {
            Self::Meaning(error) => error.exit_code(),
            Self::Word(..) => exit_code::USAGE,
            Self::Unrestricted(_) | Self::Landlock(_) | Self::NoView(_) | Self::NotMade(..) => {
                exit_code::REFUSED
            }
            Self::NotRun(_, code) | Self::Interrupted(code) => *code,
        }
    }
}

/// All the runs.
struct Course<'a> {
    args: &'a SandboxArgs,
    typed: &'a [OsString],
    signals: &'a Signals,
    meaning: Meaning,
    learner: Learner,
    /// Directories that were made, because a writable root has to be there; what lies in another one first.
    made: Vec<PathBuf>,
    /// Whether hosts may be learnt: they are asked for at a proxy.
    hosts: bool,
    /// What the runs could reach that no view undoes.
    outside: Option<&'static str>,
}

impl<'a> Course<'a> {
    fn begin(args: &'a SandboxArgs, typed: &'a [OsString], signals: &'a Signals) -> Result<Self, LearnError> {
        let meaning = Meaning::of(&args.policy)?;
        let settings = &meaning.config.settings;
        let mode = settings.sandbox_mode.value;
        if !matches!(mode, SandboxMode::ReadOnly | SandboxMode::WorkspaceWrite) {
            return Err(LearnError::Unrestricted(mode.name()));
        }
        let isolation = &settings.sandbox.isolation;
        if isolation.value == Isolation::Landlock && !args.learn.in_place {
            return Err(LearnError::Landlock(format!("sandbox.isolation ({})", isolation.origin)));
        }
        let words = words(&args.learn.learn_also, &meaning)?;
        let hosts = words.hosts;
        let home = meaning.world.home.as_deref();
        let workspace = meaning.workspace.as_deref().unwrap_or(Path::new("/"));
        // A command has no say in its first variables.
        let dwelling = Dwelling::of(home, &meaning.environment()?, workspace);
        let learner = Learner::new(settings.clone(), dwelling, words);
        Ok(Self { args, typed, signals, meaning, learner, made: Vec::new(), hosts, outside: None })
    }

    fn run(mut self, runtime: &tokio::runtime::Runtime) -> Result<i32, LearnError> {
        let learnt = self.learn(runtime);
        let learned = self.learner.learned();
        // What no line needs is not left there.
        self.unmake(learnt.is_ok() && learned.stopped == Stopped::Passed);
        let (result, ended_by) = learnt?;
        last_failed::note(self.typed, &self.args.command, &result, ended_by);
        let mut code = code_of_run(&result, ended_by);
        let report = Report {
            result: &result,
            learned: &learned,
            made: &self.made,
            in_place: self.args.learn.in_place,
            outside: self.outside,
            overrides: &self.overrides(),
        };
        let printed = if self.args.json { report.json() } else { report.text() };
        if let Some(name) = &self.args.learn.write_profile {
            let written = self.write(name, &learned);
            code = if code == exit_code::SUCCESS { written } else { code };
        }
        Ok(if printed == exit_code::SUCCESS { code } else { printed })
    }

    /// Runs until nothing more is to be learnt, and returns what came of the last run but those of trials.
    fn learn(
        &mut self,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<(ExecResult, Option<Signal>), LearnError> {
        let last = loop {
            let (result, ended_by) = self.one(runtime)?;
            let next = self.learner.learn(&round(&result));
            match next {
                Next::Again(opens) => {
                    self.say(&format!("{}; the next run may {}", result.outcome.sentence(), named(&opens)));
                    self.make(&opens)?;
                }
                Next::Stop(_) => break (result, ended_by),
            }
        };
        // On the directories themselves a run finds what the one before has left, and passes for that.
        while !self.args.learn.in_place && self.learner.next_trial() {
            self.say("it passes; once more with less");
            // Without the line there is no directory either: the command may make it, and fail by that.
            self.unmake(true);
            let (result, _) = self.one(runtime)?;
            self.learner.tried(&round(&result));
            let settings = self.learner.settings();
            for root in settings.workspace_write.writable_roots.values().filter(|root| !root.is_dir()) {
                self.make(&Opens::Write(root.clone()))?;
            }
        }
        Ok(last)
    }

    /// One run, under what the learner says.
    fn one(&mut self, runtime: &tokio::runtime::Runtime) -> Result<(ExecResult, Option<Signal>), LearnError> {
        let args = self.args;
        self.meaning.config.settings = self.learner.settings();
        let mut options = self.meaning.running_options()?;
        options.explain = Explain::Always;
        options.always_mediated = self.hosts;
        if !args.learn.in_place {
            options.view = Some(args.learn.view_size.and_then(NonZeroU64::new).unwrap_or(VIEW));
        }
        let sandbox = self.meaning.sandbox_with(options)?;
        // The last run may reach less.
        self.outside = self.outside.or(outside(&self.meaning.config.settings));
        let mut request = request(&self.meaning, args.command.clone(), "learn")?;
        request.limits = args.limits();
        let route = Route::Cancel(request.cancellation.clone());
        let (result, ended_by) = runtime.block_on(call(request, &sandbox, self.signals, &route));
        let result =
            result.map_err(|error| LearnError::NotRun(error.to_string(), exit_code::of_request(&error)))?;
        for moved in &result.quarantined {
            render::complaint(&moved.to_string());
        }
        match &result.outcome {
            Outcome::Cancelled => Err(LearnError::Interrupted(code_of_run(&result, ended_by))),
            outcome @ Outcome::SetupFailed { .. } if !args.learn.in_place => {
                Err(LearnError::NoView(outcome.sentence()))
            }
            outcome @ Outcome::SetupFailed { .. } => {
                Err(LearnError::NotRun(outcome.sentence(), exit_code::REFUSED))
            }
            _ => Ok((result, ended_by)),
        }
    }

    fn say(&self, what: &str) {
        if !self.args.quiet {
            render::complaint(&format!("learning: {what}"));
        }
    }

    /// Takes away what was made and is neither a root now nor on the way to one; where nothing is to stay, all of it. Only what is
    /// empty goes.
    fn unmake(&mut self, roots_stay: bool) {
        let settings = self.learner.settings();
        let roots: Vec<&PathBuf> = settings.workspace_write.writable_roots.values().collect();
        self.made.retain(|made| {
            let stays = roots_stay && roots.iter().any(|root| root.starts_with(made));
            stays || fs::remove_dir(made).is_err()
        });
    }

    /// Makes a directory that a tool would have made: a writable root has to be there. No command has anything to say about
    /// the way to it, which was not writable, and has ended.
    fn make(&mut self, opens: &Opens) -> Result<(), LearnError> {
        let Opens::Write(directory) = opens else { return Ok(()) };
        let missing: Vec<&Path> = directory.ancestors().take_while(|above| !above.is_dir()).collect();
        for above in missing.into_iter().rev() {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(above)
                .map_err(|error| LearnError::NotMade(directory.clone(), error))?;
            self.made.insert(0, above.to_owned());
        }
        // What was judged, and no place that a link leads to since.
        match directory.canonicalize() {
            Ok(place) if place == *directory => Ok(()),
            Ok(_) => Err(LearnError::NotMade(directory.clone(), std::io::ErrorKind::NotADirectory.into())),
            Err(error) => Err(LearnError::NotMade(directory.clone(), error)),
        }
    }

    /// What was typed and is in no line.
    fn overrides(&self) -> Vec<String> {
        const IN_LINES: [&str; 5] = [
            "sandbox_mode",
            "sandbox_workspace_write.writable_roots",
            "sandbox_workspace_write.network_access",
            "sandbox.allow_unix_sockets",
            "sandbox.allow_hosts",
        ];
        let PolicyOptions { overrides, profile, isolation, limits, .. } = &self.args.policy;
        let key = |typed: &String| typed.split('=').next().unwrap_or_default().trim().to_owned();
        let overrides = overrides.iter().filter(|typed| !IN_LINES.contains(&key(typed).as_str()));
        let profile = profile.iter().map(|name| format!("-p {name}"));
        let isolation = isolation.iter().map(|isolation| format!("--isolation {}", isolation.name()));
        let limits = limits.iter().map(|(limit, amount)| {
            // As the option is read, of which underscores are as good.
            format!("--limit {}={}", limit.name(), limit.shown(amount.get()))
        });
        overrides.map(|typed| format!("-c {typed}")).chain(profile).chain(isolation).chain(limits).collect()
    }

    fn write(&self, name: &str, learned: &Learned) -> i32 {
        if learned.stopped != Stopped::Passed {
            return render::refusal("no profile is written: the command did not pass", exit_code::REFUSED);
        }
        let Some(codex_home) = &self.meaning.world.codex_home else {
            return render::refusal(
                "no profile is written: neither CODEX_HOME nor HOME is set",
                exit_code::REFUSED,
            );
        };
        match write_profile(codex_home, name, &learned.toml, self.args.learn.replace_profile) {
            Ok(path) => {
                let path = shown(path);
                render::complaint(&format!(
                    "learned: profile {name} is in {path}; codex sandbox -p {name} uses it"
                ));
                exit_code::SUCCESS
            }
            Err(error) => render::refusal(&error.to_string(), exit_code::REFUSED),
        }
    }
}

fn round(result: &ExecResult) -> Round<'_> {
    Round {
        passed: matches!(result.outcome, Outcome::Exited { code: 0 }),
        denials: &result.denials,
        untold: result.denials_untold,
        observed: result.enforcement.explanation.kind == ExplanationKind::Exact,
    }
}

fn named(opens: &Opens) -> String {
    match opens {
        Opens::Write(directory) => format!("write below {}", shown(directory)),
        Opens::Network => "reach the network".to_owned(),
        Opens::Host(host) => format!("reach {host}"),
        Opens::Hosts(hosts) => {
            format!("reach {}", hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Opens::UnixSocket(socket) => format!("reach the socket {}", shown(socket)),
    }
}

/// What the user has said may be granted, links followed: that is what a denial is about.
fn words(typed: &[OsString], meaning: &Meaning) -> Result<Words, LearnError> {
    let mut words = Words::default();
    for word in typed {
        if word == NETWORK {
            words.network = true;
            continue;
        }
        if word == HOSTS {
            words.hosts = true;
            continue;
        }
        let path = Path::new(word);
        let wrong = |why: String| LearnError::Word(path.to_owned(), why);
        let absolute = meaning
            .world
            .absolute(path)
            .ok_or_else(|| LearnError::Meaning(MeaningError::NoWorkingDirectory(path.to_owned())))?;
        let place = absolute.canonicalize().map_err(|error| wrong(error.to_string()))?;
        if place.to_str().is_none() {
            return Err(wrong("it is not UTF-8, and config.toml can't say it".to_owned()));
        }
        let kind = place.symlink_metadata().map_err(|error| wrong(error.to_string()))?.file_type();
        if kind.is_dir() {
            words.directories.push(place);
        } else if kind.is_socket() {
            words.sockets.push(place);
        } else {
            return Err(wrong("neither a directory nor a unix socket".to_owned()));
        }
    }
    Ok(words)
}
