//! `codex exec`: a task for a model.

mod last_message;
mod prompt;

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codex_agent::approval::{Approvals, Rules, Standing};
use codex_agent::context::Window;
use codex_agent::conversation::Item;
use codex_agent::event::{Event, Events};
use codex_agent::instructions::{instructions, project_words};
use codex_agent::provider::{Client, LOCAL_PROVIDER, ModelError, Provider, ProviderError};
use codex_agent::redact::Redactor;
use codex_agent::rollout::{self, Journal, Meta, Rollout, RolloutError};
use codex_agent::tools::{ToolContext, Tools};
use codex_agent::turn::{DEFAULT_MAX_TURNS, Ending, Limits, Run};
use codex_core::config::{ApprovalPolicy, SourcedList};
use codex_core::environment::SECRET_WORDS;
use codex_core::exec::{Labels, Sandbox, SandboxOptions, watch};
use codex_core::policy::ResolvedWrites;
use codex_linux_sandbox::shown;
use nix::sys::signal::Signal;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sandbox::{aliases, put_first};
use super::spill::spill_directory;
use crate::args::{ExecArgs, ExecVerb, ResumeArgs};
use crate::exit_code;
use crate::meaning::{Meaning, MeaningError};
use crate::person::AtTheTerminal;
use crate::render::exec::Show;
use crate::signals::{Shares, Signals};
use crate::widening::Widening;
use last_message::{LastMessage, LastMessageError};
use prompt::PromptError;

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
}

pub(crate) fn exec(args: &ExecArgs) -> i32 {
    let mut show = Show::new(args.options.json, args.options.color);
    // Reading waits for somebody, who can still change their mind: signals do what they do to any program until then.
    let words = match task(args) {
        Ok(words) => words,
        Err(error) => return show.refused(&error.to_string()),
    };
    // Before there is a second thread.
    let signals = match Signals::block(Shares::Nothing) {
        Ok(signals) => signals,
        Err(errno) => return show.refused(&ExecError::Prepare(errno.to_string()).to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return show.refused(&ExecError::Prepare(error.to_string()).to_string()),
    };
    let (sender, events) = unbounded_channel();
    let Prepared { mut run, words, last_message } =
        match prepare(args, words, Arc::new(Events::new(sender)), &show) {
            Ok(prepared) => prepared,
            Err(error) => return show.refused(&error.to_string()),
        };
    let (ending, ended_by) = runtime.block_on(go(&mut run, words, events, &signals, &mut show));
    match ending {
        Ending::Done { message, fits, last_command_went_well } => {
            let mut code = show.last_message(&message);
            if let Some(place) = last_message
                && let Err(error) = place.write(&message)
            {
                code = show.failed(&ExecError::LastMessage(error).to_string());
            }
            match code {
                exit_code::SUCCESS if !fits => exit_code::UNFIT,
                exit_code::SUCCESS
                    if args.options.fail_on_command_error && last_command_went_well == Some(false) =>
                {
                    exit_code::COMMAND_FAILED
                }
                code => code,
            }
        }
        Ending::Failed(_) => exit_code::FAILED,
        Ending::Cancelled => exit_code::SIGNAL_BASE + ended_by.unwrap_or(Signal::SIGINT) as i32,
    }
}

/// Runs it, shows what happens, and passes on what is to end it.
async fn go(
    run: &mut Run,
    words: Vec<Item>,
    mut events: UnboundedReceiver<Event>,
    signals: &Signals,
    show: &mut Show,
) -> (Ending, Option<Signal>) {
    let cancellation = run.cancellation.clone();
    run.events.tell(Event::ThreadStarted { thread_id: run.thread_id.clone() });
    let mut ended_by = None;
    let ending = {
        let saying = run.say(words);
        let listening = listen(signals, &cancellation, &mut ended_by);
        tokio::pin!(saying, listening);
        let mut listens = true;
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => show.event(&event),
                () = &mut listening, if listens => listens = false,
                ending = &mut saying => break ending,
            }
        }
    };
    while let Ok(event) = events.try_recv() {
        show.event(&event);
    }
    (ending, ended_by)
}

/// Takes signals as they come. Ends only where they can't be waited for.
async fn listen(signals: &Signals, cancellation: &CancellationToken, ended_by: &mut Option<Signal>) {
    let Ok(watched) = signals.descriptor().as_fd().try_clone_to_owned().and_then(watch) else { return };
    loop {
        let Ok(mut ready) = watched.readable().await else { return };
        while let Some(received) = signals.take() {
            if !matches!(received.signal, Signal::SIGUSR1 | Signal::SIGUSR2) {
                ended_by.get_or_insert(received.signal);
                cancellation.cancel();
            }
        }
        ready.clear_ready();
    }
}

/// What was typed and piped in.
fn task(args: &ExecArgs) -> Result<Item, PromptError> {
    let typed = match &args.verb {
        Some(ExecVerb::Resume(resume)) => prompt_of_resumed(resume),
        None => args.prompt.as_deref(),
    };
    prompt::read(typed, &args.options.image)
}

/// A run that can begin.
struct Prepared {
    run: Run,
    /// What is said to the model.
    words: Vec<Item>,
    /// Where its last message goes, besides standard output.
    last_message: Option<LastMessage>,
}

/// Makes everything ready. Nothing is asked and nothing run.
fn prepare(args: &ExecArgs, words: Item, events: Arc<Events>, show: &Show) -> Result<Prepared, ExecError> {
    let options = &args.options;
    let meaning = Meaning::of(&args.policy)?;
    // While a model thinks, the namespaces of its next call can be made.
    let running = meaning.running_options()?;
    let sandbox = meaning.sandbox_with(SandboxOptions { standby: true, ..running.clone() })?;
    let settings = &meaning.config.settings;
    let provider =
        Provider::of(settings, options.oss.then_some(LOCAL_PROVIDER), |name| std::env::var_os(name))?;
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
    let schema = options.output_schema.as_deref().map(prompt::schema).transpose()?;
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
            show.note(&format!("the session began in {}, and goes on here", shown(&meta.cwd)));
        }
        said = items;
        (Journal::new(rollout), meta.id)
    } else {
        first.extend(project_words(&workspace).map(|text| Item::User { text, images: Vec::new() }));
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
    show.begins(&thread_id, &model, &provider.name, &sandbox);
    let policy = options.ask_for_approval.unwrap_or(settings.approval_policy.value);
    let instructions = instructions(&sandbox, &workspace, policy);
    let cancellation = CancellationToken::new();
    let approvals = approvals(&meaning, policy, &workspace, running, show);
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
    let run = Run {
        client: Client::new(provider)?,
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
    Ok(Prepared { run, words: first, last_message })
}

/// Who is asked, and what the user has said beforehand.
fn approvals(
    meaning: &Meaning,
    policy: ApprovalPolicy,
    workspace: &Path,
    options: SandboxOptions,
    show: &Show,
) -> Approvals {
    let said = &meaning.config.settings.approvals;
    let prefixes = |list: &SourcedList<Vec<String>>| list.values().cloned().collect();
    let rules = Rules {
        allow: prefixes(&said.allow),
        prompt: prefixes(&said.prompt),
        forbid: prefixes(&said.forbid),
        unsandboxed: prefixes(&said.unsandboxed),
    };
    let places = |key: &str, list: &SourcedList<PathBuf>| {
        let mut places = Vec::new();
        for place in list.values() {
            // What a link leads to may be another place by now: a command of an earlier run may have turned it.
            match place.canonicalize() {
                Ok(real) if real == *place => places.push(real),
                Ok(real) => show.note(&format!(
                    "{key}: {} is not given: it leads to {} by a link; name that",
                    shown(place),
                    shown(&real)
                )),
                Err(error) => show.note(&format!("{key}: {} is not given: {error}", shown(place))),
            }
        }
        places
    };
    let standing = Standing {
        write: places("approvals.write", &said.write),
        read: places("approvals.read", &said.read),
        network: said.network.value,
    };
    let widening = Arc::new(Widening::of(meaning, workspace, options));
    Approvals::new(policy, rules, standing, widening, Arc::new(AtTheTerminal))
}

/// With `--last` there is no id, and what stands in its place is the task.
fn prompt_of_resumed(resume: &ResumeArgs) -> Option<&str> {
    if resume.last { resume.prompt.as_deref().or(resume.id.as_deref()) } else { resume.prompt.as_deref() }
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
