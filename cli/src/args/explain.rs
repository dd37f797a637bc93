//! `codex debug explain`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, FromArgMatches as _};

use super::{PolicyOptions, SandboxArgs, duration, limit};

pub(super) const EXAMPLES: &str = "\
Examples:
  Tell all that the last command of `codex sandbox` was refused that failed:
      codex debug explain
  And what it would still be refused with one more directory:
      codex debug explain --add-dir ~/.cargo/registry
  Of a command that has not run yet:
      codex debug explain --full-auto -- make install

The command runs in views of the directories that it may write, which end with it: nothing changes
here. It has no input. What it sends over a network that the policy opens is not undone.

Exit codes:
      0 nothing was seen to be refused; 1 something was, or may have been; 124 it did not end in time;
      126 and 127 it could not be executed; 130 interrupted; 125 it was not run; 2 usage or
      configuration";

/// What was typed.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// End the command after this long: 300ms, 10s, 2m, 1h. Without it, it may run for ever.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// How much the command may write: 1GiB unless given. It is kept in memory.
    #[arg(long, value_name = "SIZE", value_parser = limit::parse_size)]
    pub(crate) view_size: Option<u64>,
    /// Run it although the policy opens the network, or sockets of the host: what it sends there is not undone.
    #[arg(long)]
    pub(crate) effects_outside: bool,
    /// Print the outcome as one JSON object, what the command wrote included.
    #[arg(long)]
    pub(crate) json: bool,
    /// The command and its arguments. Without it, the last one of `codex sandbox` that failed.
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

/// The policy that is meant by what was typed before a command of `codex sandbox`.
pub(crate) fn policy_typed(options: &[OsString]) -> Result<PolicyOptions, clap::Error> {
    let command = SandboxArgs::augment_args(clap::Command::new("sandbox").no_binary_name(true));
    let words = options.iter().cloned().chain(["--", "-"].map(OsString::from));
    let matches = command.try_get_matches_from(words)?;
    Ok(SandboxArgs::from_arg_matches(&matches)?.policy)
}

impl PolicyOptions {
    /// These, and where they say nothing, others.
    pub(crate) fn or(self, others: Self) -> Self {
        // Two spellings of one setting.
        let (sandbox, full_auto) = if self.sandbox.is_some() || self.full_auto {
            (self.sandbox, self.full_auto)
        } else {
            (others.sandbox, others.full_auto)
        };
        let mut limits = others.limits;
        limits.extend(self.limits);
        let mut overrides = others.overrides;
        overrides.extend(self.overrides);
        Self {
            sandbox,
            full_auto,
            cd: self.cd.or(others.cd),
            add_dir: both(others.add_dir, self.add_dir),
            network: self.network || others.network,
            allow_host: both(others.allow_host, self.allow_host),
            isolation: self.isolation.or(others.isolation),
            explain: self.explain || others.explain,
            limits,
            overrides,
            profile: self.profile.or(others.profile),
        }
    }
}

fn both<T>(mut others: Vec<T>, own: Vec<T>) -> Vec<T> {
    others.extend(own);
    others
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use codex_core::policy::SandboxMode;

    use super::{PolicyOptions, policy_typed};

    fn typed(line: &str) -> PolicyOptions {
        policy_typed(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_is_typed_goes_on_top_of_what_was_typed() {
        let before = typed("--json --full-auto --add-dir /a -c a=1 -p one --limit memory=1GiB");
        let both = typed("-s read-only --add-dir /b -c b=2").or(before);
        assert_eq!((both.sandbox, both.full_auto), (Some(SandboxMode::ReadOnly), false));
        assert_eq!(both.add_dir, ["/a", "/b"].map(std::path::PathBuf::from));
        assert_eq!(both.overrides, ["a=1", "b=2"]);
        assert_eq!((both.profile.as_deref(), both.limits.len(), both.network), (Some("one"), 1, false));
        assert!(typed("").or(typed("--full-auto --network")).network);
        assert!(policy_typed(&["--no-such-option".into()]).is_err());
    }
}
