//! `codex exec`: a task for a model.

mod display;
mod go;
mod last_message;
mod prompt;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codex_agent::approval::{Approvals, Rules, Standing};
use codex_agent::context::Window;
use codex_agent::conversation::Item;
use codex_agent::event::Events;
use codex_agent::instructions::{instructions, project_words};
use codex_agent::provider::{Client, LOCAL_PROVIDER, ModelError, Provider, ProviderError};
use codex_agent::redact::Redactor;
use codex_agent::rollout::{self, Journal, Meta, Rollout, RolloutError};
use codex_agent::tools::{ToolContext, Tools};
use codex_agent::turn::{DEFAULT_MAX_TURNS, Ending, Limits, Run};
use codex_core::config::{ApprovalPolicy, SourcedList};
use codex_core::environment::SECRET_WORDS;
use codex_core::exec::{Labels, Sandbox, SandboxOptions};
use codex_core::policy::ResolvedWrites;
use codex_linux_sandbox::shown;
use nix::sys::signal::Signal;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sandbox::{aliases, put_first};
use super::spill::spill_directory;
use crate::args::{ExecArgs, ExecVerb, ResumeArgs};
use crate::meaning::{Meaning, MeaningError};
use crate::person::AtTheTerminal;
use crate::render::exec::{Beginning, Show};
use crate::signals::{Shares, Signals, outlive_readers};
use crate::terminal::takes_complaints;
use crate::widening::Widening;
use crate::{exit_code, render};
use display::{Display, Shown};
use go::{Gone, go};
use last_message::{LastMessage, LastMessageError};
use prompt::{PromptError, Task};

/// Why a run does not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecError {
    #[error(transparent)]
    Meaning(#[from] MeaningError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error("the last message can't be written: {0}")]
    LastMessage(#[from] LastMessageError),
    #[error("the working directory is gone; name the workspace with -C DIR")]
    NoWorkspace,
    #[error("the workspace {path}: {error}", path = shown(.path))]
    Workspace { path: PathBuf, error: std::io::Error },
    #[error(
        "{path} is in no git repository, so that nothing would undo what the model writes; --skip-git-repo-check lets it",
        path = shown(.0)
    )]
    NoRepository(PathBuf),
    #[error("sessions are kept in $CODEX_HOME, and neither it nor a home is set")]
    NoHome,
    #[error("name a session by its id, or take the newest with --last")]
    NoSession,
    #[error("the run can't be prepared: {0}")]
    Prepare(String),
    #[error(
        "nothing can be shown: no thread can be started for it ({0}); too many processes (`ulimit -u`), or too little memory"
    )]
    Display(std::io::Error),
}

pub(crate) fn exec(args: &ExecArgs) -> i32 {
    let mut show = Show::new(args.options.json, args.options.color);
    // Reading waits for somebody, who can still change their mind: signals do what they do to any program until then.
    let task = match Task::read(args) {
        Ok(task) => task,
        Err(error) => return show.refused(&error.to_string()),
    };
    // Before there is a second thread.
    let signals = match Signals::block(Shares::Nothing) {
        Ok(signals) => signals,
        Err(errno) => return show.refused(&ExecError::Prepare(errno.to_string()).to_string()),
    };
    if let Err(errno) = outlive_readers() {
        return show.refused(&ExecError::Prepare(errno.to_string()).to_string());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return show.refused(&ExecError::Prepare(error.to_string()).to_string()),
    };
    let (sender, events) = unbounded_channel();
    let (person, questions) = AtTheTerminal::new();
    let display = match Display::start(&show, events, questions) {
        Ok(display) => display,
        Err(error) => {
            signals.give_back();
            return show.refused(&ExecError::Display(error).to_string());
        }
    };
    let Prepared { mut run, words, last_message, asks, beginning } =
        match prepare(args, task, Arc::new(Events::new(sender)), person) {
            Ok(prepared) => prepared,
            Err(error) => {
                signals.give_back();
                return show.refused(&error.to_string());
            }
        };
    show.may_move(!asks);
    let display = display.begin(show, beginning);
    let Gone { ending, signal, shown } =
        runtime.block_on(go(&mut run, words, display, last_message, &signals));
    let is_shown = shown.is_some();
    let code = match ending {
        Ending::Done { fits, last_command_went_well, .. } => {
            let code = shown.as_ref().map_or(exit_code::OUTPUT, |shown| shown.code);
            match (code, shown) {
                (_, Some(Shown { mut show, unwritten: Some(error), .. })) => {
                    show.failed(&ExecError::LastMessage(error).to_string())
                }
                (exit_code::SUCCESS, _) if !fits => exit_code::UNFIT,
                (exit_code::SUCCESS, _)
                    if args.options.fail_on_command_error && last_command_went_well == Some(false) =>
                {
                    exit_code::COMMAND_FAILED
                }
                (code, _) => code,
            }
        }
        Ending::Failed(_) => exit_code::FAILED,
        Ending::Cancelled => exit_code::SIGNAL_BASE + signal.unwrap_or(Signal::SIGINT) as i32,
    };
    match signal {
        _ if is_shown => code,
        // It was done, and nobody took what was to be shown.
        Some(signal) => exit_code::SIGNAL_BASE + signal as i32,
        None => {
            if takes_complaints(Duration::ZERO) {
                render::complaint("nobody reads what is written: not all of it was taken");
            }
            code
        }
    }
}

/// A run that can begin.
struct Prepared {
    run: Run,
    /// What is said to the model.
    words: Vec<Item>,
    /// Where its last message goes, besides standard output.
    last_message: Option<LastMessage>,
    /// Whether somebody may be asked.
    asks: bool,
    /// What is told before anything happens.
    beginning: Beginning,
}

/// Makes everything ready. Nothing is asked and nothing run.
fn prepare(
    args: &ExecArgs,
    task: Task,
    events: Arc<Events>,
    person: AtTheTerminal,
) -> Result<Prepared, ExecError> {
    let options = &args.options;
    // Whoever is to read them may let wait, and nobody listens to signals yet.
    let mut notes = Vec::new();
    let meaning = Meaning::of(&args.policy)?;
    // While a model thinks, the namespaces of its next call can be made.
    let running = meaning.running_options()?;
    let sandbox = meaning.sandbox_with(SandboxOptions { standby: true, ..running.clone() })?;
    let settings = &meaning.config.settings;
    let provider =
        Provider::of(settings, options.oss.then_some(LOCAL_PROVIDER), |name| std::env::var_os(name))?;
    let client = Client::new(provider)?;
    let provider = client.provider();
    let model =
        options.model.clone().or_else(|| settings.model.value.clone()).ok_or(ProviderError::NoModel)?;
    let workspace = meaning.workspace.clone().ok_or(ExecError::NoWorkspace)?;
    let workspace =
        workspace.canonicalize().map_err(|error| ExecError::Workspace { path: workspace, error })?;
    if !options.skip_git_repo_check && writes_to(&sandbox, &workspace) && !in_repository(&workspace) {
        return Err(ExecError::NoRepository(workspace));
    }
    let writable = writable_by_commands(&meaning, &sandbox, &workspace);
    for path in options.image.iter().chain(&options.output_schema) {
        prompt::not_led_astray(path, &writable, sandbox.places())?;
    }
    let last_message =
        options.output_last_message.as_deref().map(|path| LastMessage::find(path, &writable)).transpose()?;
    let Task { words, schema } = task;
    let resumed = args.verb.as_ref().map(|ExecVerb::Resume(resume)| resume);
    let redactor = Redactor::new(provider.secrets.iter().cloned().chain(secrets_around()));
    let codex_home = meaning.world.codex_home.as_deref();
    let limits = Limits {
        turns: options.max_turns.unwrap_or(DEFAULT_MAX_TURNS),
        tokens: options.max_tokens,
        deadline: options.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
    };
    let mut said = Vec::new();
    let mut first = Vec::new();
    let (journal, thread_id) = if let Some(resume) = resumed {
        let path = session(codex_home.ok_or(ExecError::NoHome)?, resume, &workspace)?;
        let (rollout, meta, items) = Rollout::resume(&path, redactor)?;
        if meta.cwd != workspace {
            notes.push(format!("the session began in {}, and goes on here", shown(&meta.cwd)));
        }
        said = items;
        (Journal::new(rollout), meta.id)
    } else {
        first.extend(
            project_words(&workspace, sandbox.places()).map(|text| Item::User { text, images: Vec::new() }),
        );
        let thread_id = codex_agent::rollout::new_id();
        let meta = Meta {
            id: thread_id.clone(),
            cwd: workspace.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: model.clone(),
            model_provider: provider.id.clone(),
        };
        let journal = match codex_home {
            _ if options.ephemeral => Journal::default(),
            Some(codex_home) => Journal::new(Rollout::begin(codex_home, meta, redactor)?),
            None => return Err(ExecError::NoHome),
        };
        (journal, thread_id)
    };
    first.push(words);
    let mut environment = meaning.environment()?;
    environment.retain(|(name, _)| provider.secret_variables.iter().all(|secret| name != secret.as_str()));
    environment.push(("CODEX_THREAD_ID".into(), thread_id.clone().into()));
    if let Some(aliases) = aliases(&meaning) {
        put_first(&aliases, &mut environment);
    }
    let program = codex_arg0::self_exe().map_err(|error| ExecError::Prepare(error.to_string()))?;
    let policy = options.ask_for_approval.unwrap_or(settings.approval_policy.value);
    let instructions = instructions(&sandbox, &workspace, policy);
    let cancellation = CancellationToken::new();
    let approvals = approvals(&meaning, policy, &workspace, running, person, &mut notes);
    let labels = Labels { by: Some("exec"), session: Some(thread_id.clone()), ..Labels::default() };
    let context = ToolContext {
        labels,
        sandbox,
        workspace,
        environment,
        program,
        spill: codex_home.and_then(spill_directory),
        approvals,
        journal: journal.clone(),
        home: meaning.world.home.clone(),
        abort: cancellation.clone(),
        cancellation: CancellationToken::new(),
    };
    let window = Window::new(provider.context_window);
    let beginning = Beginning::of(notes, &thread_id, &model, &provider.name, &context.sandbox);
    let run = Run {
        client,
        model,
        instructions,
        thread_id,
        items: said,
        window,
        schema,
        limits,
        journal,
        tools: Tools::new(context, Arc::clone(&events)),
        events,
        cancellation,
    };
    Ok(Prepared { run, words: first, last_message, asks: policy != ApprovalPolicy::Never, beginning })
}

/// Who is asked, and what the user has said beforehand.
fn approvals(
    meaning: &Meaning,
    policy: ApprovalPolicy,
    workspace: &Path,
    options: SandboxOptions,
    person: AtTheTerminal,
    notes: &mut Vec<String>,
) -> Approvals {
    let said = &meaning.config.settings.approvals;
    let prefixes = |list: &SourcedList<Vec<String>>| list.values().cloned().collect();
    let rules = Rules {
        allow: prefixes(&said.allow),
        prompt: prefixes(&said.prompt),
        forbid: prefixes(&said.forbid),
        unsandboxed: prefixes(&said.unsandboxed),
    };
    let mut places = |key: &str, list: &SourcedList<PathBuf>| {
        let mut places = Vec::new();
        for place in list.values() {
            // What a link leads to may be another place by now: a command of an earlier run may have turned it.
            match place.canonicalize() {
                Ok(real) if real == *place => places.push(real),
                Ok(real) => notes.push(format!(
                    "{key}: {} is not given: it leads to {} by a link; name that",
                    shown(place),
                    shown(&real)
                )),
                Err(error) => notes.push(format!("{key}: {} is not given: {error}", shown(place))),
            }
        }
        places
    };
    let standing = Standing {
        write: places("approvals.write", &said.write),
        read: places("approvals.read", &said.read),
        network: said.network.value,
        hosts: said.hosts.values().cloned().collect(),
    };
    let widening = Arc::new(Widening::of(meaning, workspace, options));
    Approvals::new(policy, rules, standing, widening, Arc::new(person))
}

fn session(codex_home: &Path, resume: &ResumeArgs, workspace: &Path) -> Result<PathBuf, ExecError> {
    match (&resume.id, resume.last) {
        (_, true) => Ok(rollout::newest(codex_home, workspace)?),
        (Some(id), false) => Ok(rollout::find(codex_home, id)?),
        (None, false) => Err(ExecError::NoSession),
    }
}

/// Below what commands can write, or could in a run before this one, whose policy may have been a wider one: the roots, the
/// workspace, directories for temporary files, and what the user gives to calls. Nothing where no place is kept from them.
fn writable_by_commands(meaning: &Meaning, sandbox: &Sandbox, workspace: &Path) -> Vec<PathBuf> {
    let ResolvedWrites::Beneath(roots) = &sandbox.policy().writes else { return Vec::new() };
    let settings = &meaning.config.settings;
    let named =
        settings.workspace_write.writable_roots.values().chain(settings.approvals.write.values()).cloned();
    let temporary = [PathBuf::from("/tmp"), std::env::temp_dir()];
    let others = named.chain(temporary).map(|place| place.canonicalize().unwrap_or(place));
    roots.iter().map(|root| root.path.clone()).chain(others).chain([workspace.to_owned()]).collect()
}

/// Whether the model may write in the workspace.
fn writes_to(sandbox: &Sandbox, workspace: &Path) -> bool {
    match &sandbox.policy().writes {
        ResolvedWrites::Everywhere => true,
        ResolvedWrites::Beneath(roots) => roots.iter().any(|root| workspace.starts_with(&root.path)),
    }
}

fn in_repository(workspace: &Path) -> bool {
    workspace.ancestors().any(|directory| directory.join(".git").symlink_metadata().is_ok())
}

/// What looks like a secret in our own environment.
fn secrets_around() -> Vec<String> {
    let is_secret = |name: &OsString| {
        let name = name.to_string_lossy().to_ascii_uppercase();
        SECRET_WORDS.iter().any(|word| name.contains(word))
    };
    std::env::vars_os()
        .filter(|(name, _)| is_secret(name))
        .filter_map(|(_, value)| value.into_string().ok())
        .collect()
}
