//! What a run begins with before anybody has read what was typed and configured.

use std::ffi::OsString;

use codex_core::exec::{EarlyInit, Overheard, begin_early};
use codex_linux_sandbox::{Footing, Network};
use nix::errno::Errno;

use crate::args::behind_the_sandbox_verb;
use crate::signals::{Shares, Signals};

/// What is begun before anybody has read what was typed and configured.
pub(crate) struct Begun {
    pub(super) signals: Signals,
    /// Whether a shell waits for this process and the command together.
    pub(super) as_a_job: bool,
    /// Namespaces take longer than all that, and are made meanwhile.
    pub(super) early: Option<EarlyInit>,
    /// What hears the command that will stand on them.
    pub(super) overheard: Option<Overheard>,
}

impl Begun {
    pub(in crate::commands) fn begin(shares: Shares) -> Result<Self, Errno> {
        let as_a_job = shares == Shares::Streams { as_a_job: true };
        Ok(Self { signals: Signals::block(shares)?, as_a_job, early: None, overheard: None })
    }

    /// Begins to make namespaces where what was typed looks as if they will be needed. Where that proves wrong, or they
    /// can't be had, the run finds out by itself.
    pub(crate) fn early(arguments: &[OsString]) -> Option<Self> {
        let footing = guess(arguments)?;
        let mut begun = Self::begin(Shares::streams()).ok()?;
        begun.overheard = Overheard::begin();
        let early = || begin_early(footing, begun.signals.callers);
        begun.early = match &begun.overheard {
            Some(overheard) => overheard.lend(early),
            None => early(),
        };
        Some(begun)
    }
}

/// What a command will stand on, by the words before it. Nothing for other verbs, which would not take the signals that are
/// blocked with it.
fn guess(arguments: &[OsString]) -> Option<Footing> {
    let words = behind_the_sandbox_verb(arguments)?.iter().map(|word| word.to_str().unwrap_or_default());
    let mut footing = Footing { network: Network::Off, confined: true };
    for word in words.take_while(|word| *word != "--") {
        // What an option says may stand in the same word.
        match word.rsplit('=').next().unwrap_or_default() {
            "--network" => footing.network = Network::Full,
            "--explain" | "--learn" | "--json" | "--pty" | "--tty" | "--print-plan" | "--help" | "-h"
            | "landlock" | "danger-full-access" | "external-sandbox" => {
                return None;
            }
            _ => {}
        }
    }
    Some(footing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_verb_that_runs_commands_begins_early() {
        let guess = |line: &str| guess(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let confined = |network| Some(Footing { network, confined: true });
        for verb in ["sandbox", "debug sandbox", "debug landlock", "debug seatbelt"] {
            assert_eq!(guess(&format!("codex {verb} -- ls")), confined(Network::Off));
            assert_eq!(guess(&format!("codex {verb} --network -- ls --json")), confined(Network::Full));
            assert_eq!(guess(&format!("codex {verb} --json -- ls")), None);
        }
        for line in [
            "exec sandbox",
            "debug remote unix:///s -- sleep 1",
            "debug audit verify",
            "debug policy",
            "debug why",
        ] {
            assert_eq!(guess(&format!("codex {line}")), None, "{line}");
        }
        assert_eq!(guess("codex"), None);
        assert_eq!(guess("codex debug"), None);
    }
}
