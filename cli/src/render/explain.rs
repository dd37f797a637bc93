//! What a command was refused that was run in views.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use codex_core::denial::{Certainty, Denial, LastFailed};
use codex_core::exec::{ExecResult, Replay};
use codex_linux_sandbox::shown;
use nix::errno::Errno;
use serde::{Serialize, Serializer};

use super::quote::quote;
use super::why::grant;

/// All that there is to say.
pub(crate) struct Report<'a> {
    pub(crate) command: &'a [OsString],
    /// Where nobody typed the command now.
    pub(crate) remembered: Option<&'a LastFailed>,
    /// What it could reach that is not undone.
    pub(crate) outside: Option<&'static str>,
    pub(crate) result: &'a ExecResult,
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            command: Vec<String>,
            remembered: Option<Remembered<'a>>,
            effects_outside: Option<&'static str>,
            #[serde(flatten)]
            result: &'a ExecResult,
        }
        #[derive(Serialize)]
        struct Remembered<'a> {
            directory: String,
            options: Vec<String>,
            ended: &'a str,
            time_ms: u64,
        }
        let words = |words: &[OsString]| -> Vec<String> {
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
        };
        Whole {
            command: words(self.command),
            remembered: self.remembered.map(|last| Remembered {
                directory: last.directory.to_string_lossy().into_owned(),
                options: words(&last.options),
                ended: &last.ended,
                time_ms: last.time_ms,
            }),
            effects_outside: self.outside,
            result: self.result,
        }
        .serialize(serializer)
    }
}

impl Report<'_> {
    /// For a person.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("replayed: {}\n", line(self.command));
        if let Some(last) = self.remembered {
            let options = match last.options.as_slice() {
                [] => String::new(),
                options => format!(" with {}", line(options)),
            };
            text.push_str(&format!(
                "  as typed in {}{options}: {}\n",
                shown(&last.directory),
                shown(&last.ended)
            ));
        }
        text.push_str(&format!("  it {}\n", shown(self.result.outcome.sentence())));
        text.push_str("  nothing was changed here: it wrote to views, which are gone\n");
        if let Some(outside) = self.outside {
            text.push_str(&format!("  what it sent over {outside} is not undone\n"));
        }
        if let Some(replay) = &self.result.replay {
            for line in limits_of_the_view(replay) {
                text.push_str(&format!("  {line}\n"));
            }
        }
        for denial in &self.result.denials {
            denied(denial, &mut text);
        }
        match (self.result.denials.len(), self.result.denials_untold) {
            (0, 0) => text.push_str("\nnothing was seen to be refused\n"),
            (_, 0) => {}
            (_, more) => text.push_str(&format!(
                "\nand {more} more that may have been refused, of which no more is known\n"
            )),
        }
        text
    }
}

/// What failed for no reason of the sandbox's, a line each.
pub(super) fn limits_of_the_view(replay: &Replay) -> Vec<String> {
    let full = replay.full.then(|| {
        format!(
            "the view had no room left ({} bytes): what failed for that was not refused; --view-size gives more",
            replay.bytes
        )
    });
    let only_here = replay.only_here.iter().map(|one| {
        let (operation, target, errno) =
            (one.operation.name(), shown(&one.target), Errno::from_raw(one.errno));
        format!("only in the view: {operation} {target} ({errno:?}): {}", one.why)
    });
    full.into_iter().chain(only_here).collect()
}

fn denied(denial: &Denial, text: &mut String) {
    text.push_str(&format!("\ndenied: {} {}\n", denial.operation.name(), shown(&denial.target)));
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<9}{value}\n"));
    if let Some(resolved) = denial.resolved_target.as_ref().filter(|resolved| **resolved != denial.target) {
        line("is", &shown(resolved));
    }
    if let Some(errno) = denial.errno {
        line("error", &format!("{} ({errno:?})", errno.desc()));
    }
    if let Some(program) = &denial.program {
        let times = if denial.count > 1 { format!(", {} times", denial.count) } else { String::new() };
        line("by", &format!("{}{times}", shown(program)));
    }
    if denial.certainty == Certainty::Likely {
        line("known", "likely, for nobody saw the call");
    }
    if let Some(promise) = denial.promise {
        line("promise", promise);
    }
    if let Some(rule) = &denial.rule {
        line("rule", &format!("{} ({})", rule.setting, rule.origin));
    }
    grant(denial.allow.as_ref(), denial.risk.as_deref(), line);
}

/// Words as a shell takes them. What it takes as it is can be shown as it is.
fn line(words: &[OsString]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| String::from_utf8_lossy(&quote(OsStr::as_bytes(word))).into_owned())
        .collect();
    shown(quoted.join(" "))
}
