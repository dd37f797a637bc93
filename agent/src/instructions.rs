//! What a model is told before the user speaks: where it is, what it may do, what the project wants.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use codex_core::config::ApprovalPolicy;
use codex_core::enforcement::Level;
use codex_core::exec::Sandbox;
use codex_core::policy::{NetworkAccess, ResolvedPlaces, ResolvedWrites};
use nix::fcntl::OFlag;

/// The name of a project's instructions.
const FILE: &str = "AGENTS.md";
/// How much of all of them together is read.
const MOST: usize = 32 * 1024;

/// The system's words.
#[must_use]
pub fn instructions(sandbox: &Sandbox, workspace: &Path, approvals: ApprovalPolicy) -> String {
    let policy = sandbox.policy();
    let mut text = String::from(
        "You are a coding agent. You work without a person to ask: use the tools until the task is done, check your work by \
         running it, and end with a short message that says what you did and what is left. Never claim what you did not see.\n\n\
         Change files with apply_patch, run commands with exec_command. A command that serves or watches has to stay in the \
         foreground of its exec_command: it goes on as a session, and what it leaves in the background is ended with it. \
         Everything is ended when you have said your last word.\n\n\
         # Sandbox\n\n",
    );
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("Workspace: {}", codex_linux_sandbox::shown(workspace)));
    let level = match sandbox.expected().level {
        Level::Namespaces => "namespaces, Landlock and seccomp",
        Level::Landlock => "Landlock and seccomp",
        Level::None => "nothing: commands are not confined",
    };
    line(format!(
        "Policy: {}, enforced by {level}. Only the user can change it; no argument of a call does.",
        policy.mode
    ));
    match &policy.writes {
        ResolvedWrites::Everywhere => line("Writable: everything that the user may write.".to_owned()),
        ResolvedWrites::Beneath(roots) if roots.is_empty() => {
            line("Writable: nothing. Everything can be read.".to_owned());
        }
        ResolvedWrites::Beneath(roots) => {
            let roots: Vec<String> =
                roots.iter().map(|root| codex_linux_sandbox::shown(&root.path)).collect();
            line(format!("Writable: {}. Everything else can be read only.", roots.join(", ")));
            line(
                "Protected in them: what the host runs or trusts later, such as git hooks and configuration, and the \
                 configuration of agents and editors. `git add` and `git commit` work."
                    .to_owned(),
            );
        }
    }
    line(match (policy.network, sandbox.expected().level) {
        (NetworkAccess::Enabled, _) => "Network: on.".to_owned(),
        (NetworkAccess::Restricted, Level::Landlock) => "Network: off, the local one too.".to_owned(),
        (NetworkAccess::Restricted, _) if !sandbox.places().hosts.is_empty() => {
            let hosts: Vec<String> = sandbox.places().hosts.iter().map(ToString::to_string).collect();
            format!(
                "Network: off, but for these hosts, which programs reach by the proxy that HTTP_PROXY and HTTPS_PROXY name: {}. \
                 It answers 403 for others. Within one command or session, programs can talk to each other over localhost.",
                hosts.join(", ")
            )
        }
        (NetworkAccess::Restricted, _) => {
            "Network: off. Within one command or session, programs can talk to each other over localhost; to talk to a server that you \
             start, do both in one session of a shell with a terminal.".to_owned()
        }
    });
    line(asking(approvals).to_owned());
    line(
        "How a denial looks: writing gives EROFS (read-only file system), EACCES or EPERM; the network gives ENETUNREACH, \
         EACCES or a failed look-up of a name. Trying again gives the same: do what can be done without, and say in your last \
         message what the user would have to allow."
            .to_owned(),
    );
    text
}

/// What a model can do where the policy is too little.
const fn asking(policy: ApprovalPolicy) -> &'static str {
    match policy {
        ApprovalPolicy::Never => {
            "Approvals: nobody is asked. A call that asks for more gets it only where the user's own rules give it."
        }
        ApprovalPolicy::OnRequest => {
            "Approvals: a call may ask the user for more: `sandbox_permissions` with `justification`, the least that does, and only \
             where the task can't be done without. A no is final."
        }
        ApprovalPolicy::OnFailure => {
            "Approvals: where a command fails because the sandbox refused something, the user is asked whether it runs again with \
             just that; you need not ask. A no is final."
        }
        ApprovalPolicy::Untrusted => {
            "Approvals: the user is asked before every command that does more than read, and before every patch. Do much with few \
             calls. A no is final."
        }
    }
}

/// The project's own words: `AGENTS.md` from the top of the repository down to the workspace, cut where they are long.
/// Nothing where there is none; what the policy hides from commands is hidden here as well.
#[must_use]
pub fn project_words(workspace: &Path, places: &ResolvedPlaces) -> Option<String> {
    let mut text = String::new();
    let mut room = MOST;
    for directory in way(workspace) {
        let path = directory.join(FILE);
        if places.hide(&path) {
            continue;
        }
        // A link could make us read, and send, any file of the user's.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let Ok(file) = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path) else { continue };
        if !file.metadata().is_ok_and(|status| status.is_file()) {
            continue;
        }
        let mut bytes = Vec::new();
        if file.take(room as u64 + 1).read_to_end(&mut bytes).is_err() || bytes.is_empty() {
            continue;
        }
        let cut = bytes.len() > room;
        bytes.truncate(room);
        room -= bytes.len();
        let words = String::from_utf8_lossy(&bytes);
        let name = codex_linux_sandbox::shown(&path);
        if write!(text, "# {name}\n\n{}\n", words.trim_end()).is_err() {
            continue;
        }
        if cut {
            text.push_str("[… the rest is left out: it is too long …]\n");
        }
        text.push('\n');
    }
    (!text.is_empty()).then(|| {
        format!("<project_instructions>\nWhat the project asks of agents. Deeper files come later and count more.\n\n{text}</project_instructions>")
    })
}

/// The directories from the top of the repository to the workspace; the workspace alone where there is no repository.
fn way(workspace: &Path) -> Vec<PathBuf> {
    let top = workspace.ancestors().find(|directory| directory.join(".git").symlink_metadata().is_ok());
    let top = top.unwrap_or(workspace);
    let mut way: Vec<PathBuf> = workspace
        .ancestors()
        .take_while(|directory| directory.starts_with(top))
        .map(Path::to_owned)
        .collect();
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{MOST, ResolvedPlaces, project_words};

    #[test]
    fn instructions_come_from_the_top_down_and_are_cut() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        let (repository, inner) = (top.join("r"), top.join("r/a/b"));
        fs::create_dir_all(&inner).unwrap();
        let nothing = ResolvedPlaces::default();
        assert_eq!(project_words(&inner, &nothing), None);
        fs::write(top.join("AGENTS.md"), "above the repository").unwrap();
        fs::create_dir(repository.join(".git")).unwrap();
        fs::write(repository.join("AGENTS.md"), "top words").unwrap();
        fs::write(inner.join("AGENTS.md"), "x".repeat(MOST)).unwrap();
        // A link is not followed: it could lead to a secret.
        fs::write(top.join("secret"), "secret").unwrap();
        symlink(top.join("secret"), repository.join("a/AGENTS.md")).unwrap();
        let words = project_words(&inner, &nothing).unwrap();
        assert!(words.find("top words").unwrap() < words.find("xxx").unwrap());
        assert!(words.contains("the rest is left out") && words.len() < MOST + 1000);
        assert!(!words.contains("above the repository") && !words.contains("secret"));
        // Nor is what the policy hides told.
        let denied = vec![repository.join("AGENTS.md")];
        let words = project_words(&inner, &ResolvedPlaces { denied, ..nothing }).unwrap();
        assert!(words.contains("xxx") && !words.contains("top words"));
    }
}
