//! What was learnt from a command: settings as they stand in a file, the rest as we say everything.

use std::path::PathBuf;

use codex_core::denial::{Learned, MOST_LEARNING_RUNS, Stopped};
use codex_core::exec::ExecResult;
use codex_core::output::Captured;
use codex_linux_sandbox::shown;
use serde::Serialize;

use super::explain::limits_of_the_view;
use super::{bytes, complaint, error_bytes};

/// All that there is to say.
pub(crate) struct Report<'r> {
    /// Of the last run that was no trial.
    pub(crate) result: &'r ExecResult,
    pub(crate) learned: &'r Learned,
    /// Directories that were made.
    pub(crate) made: &'r [PathBuf],
    pub(crate) in_place: bool,
    /// What the runs could reach that no view undoes.
    pub(crate) outside: Option<&'static str>,
    /// What was typed and is in no line.
    pub(crate) overrides: &'r [String],
}

impl Report<'_> {
    pub(crate) fn json(&self) -> i32 {
        #[derive(Serialize)]
        struct Whole<'r> {
            #[serde(flatten)]
            result: &'r ExecResult,
            learned: Lesson<'r>,
        }
        #[derive(Serialize)]
        struct Lesson<'r> {
            #[serde(flatten)]
            learned: &'r Learned,
            made: Vec<String>,
            in_place: bool,
            effects_outside: Option<&'static str>,
            typed_beside: &'r [String],
        }
        let made = self.made.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let (in_place, typed_beside) = (self.in_place, self.overrides);
        let learned =
            Lesson { learned: self.learned, made, in_place, effects_outside: self.outside, typed_beside };
        super::json(&Whole { result: self.result, learned })
    }

    /// What the last run wrote, and then the lines on standard error.
    pub(crate) fn text(&self) -> i32 {
        let printed = bytes(&whole(&self.result.stdout));
        error_bytes(&whole(&self.result.stderr));
        let learned = self.learned;
        let runs = match learned.runs {
            1 => "in one run".to_owned(),
            runs => format!("in {runs} runs"),
        };
        let say = |text: &str| complaint(&format!("learned: {text}"));
        match learned.stopped {
            Stopped::Passed if learned.toml.is_empty() => say("it passes under the configuration as it is"),
            Stopped::Passed => {
                say(&format!("it passes, found {runs}, with these lines at the top of config.toml:"))
            }
            stopped => {
                say(&format!(
                    "it does not pass, after {}: {}",
                    runs.trim_start_matches("in "),
                    self.outcome()
                ));
                say(self.why(stopped));
                if learned.runs > 1 {
                    say("so far it has taken these lines, which are not enough:");
                }
            }
        }
        if learned.stopped == Stopped::Passed || learned.runs > 1 {
            error_bytes(learned.toml.as_bytes());
        }
        self.limits(&say);
        printed
    }

    fn outcome(&self) -> String {
        shown(self.result.outcome.sentence())
    }

    fn why(&self, stopped: Stopped) -> &'static str {
        const { assert!(MOST_LEARNING_RUNS == 16) }
        match stopped {
            Stopped::Passed => "it passed",
            Stopped::OnlyWithheld => "what it was refused last is granted with a word only, or not at all",
            // A filter's or a mount's refusal that nobody could tell is none to build on.
            Stopped::NothingRefused if !self.learned.complete => {
                "nothing more can be learnt: not all that was refused is known"
            }
            Stopped::NothingRefused => {
                "nothing was seen to be refused in the last run: it fails for another reason, or one that nobody sees"
            }
            Stopped::NotObserved => "nobody could observe it, and nothing is granted for what is only likely",
            Stopped::TooManyRuns => "after sixteen runs it is not run again",
        }
    }

    fn limits(&self, say: &dyn Fn(&str)) {
        let learned = self.learned;
        for line in &learned.unused {
            say(&format!("not needed: {line}"));
        }
        for line in &learned.withheld {
            let passed = learned.stopped == Stopped::Passed;
            say(&format!("{}: {line}", if passed { "refused, and not needed" } else { "not granted" }));
        }
        for path in self.made {
            say(&format!("{} was made: a writable root has to be there", shown(path)));
        }
        for typed in self.overrides {
            say(&format!("it ran with {} as well, which is in no line", shown(typed)));
        }
        if let Some(replay) = &self.result.replay {
            limits_of_the_view(replay).iter().for_each(|line| say(line));
        }
        if !learned.complete {
            say("not all that was refused is known; --json says why");
        }
        if self.in_place {
            say("it ran on the directories themselves, and was not tried without each line");
        } else {
            say("nothing that it did here was done: it ran in views, which are gone");
        }
        if let Some(outside) = self.outside {
            say(&format!("what it sent over {outside} was sent, in every run that could"));
        }
    }
}

/// What is there of a stream.
fn whole(stream: &Captured) -> Vec<u8> {
    stream.text().text.into_bytes()
}
