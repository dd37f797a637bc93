//! A question to the person at the terminal: nothing in it that the model wrote looks like ours, or moves the cursor.

use codex_agent::approval::{Act, Question, Reason};
use codex_linux_sandbox::shown;

/// So many blanks are shown as they are: more could push the rest of a command out of sight.
const MOST_BLANKS: usize = 8;

/// The question, up to where the answer is typed.
pub(crate) fn question(question: &Question) -> String {
    let mut text = String::from("\n");
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(match (&question.act, question.reason) {
        (Act::Type(_), _) => "codex: the model wants to type into a command that goes on.".to_owned(),
        (Act::Patch, _) => "codex: the model wants to change files.".to_owned(),
        (Act::Again, _) => "codex: a command failed in the sandbox. Run it again, with more?".to_owned(),
        (Act::Run, Reason::Request) => "codex: the model asks for more than the policy gives.".to_owned(),
        (Act::Run, _) => "codex: the model wants to run a command, in the sandbox.".to_owned(),
    });
    if let Act::Type(chars) = &question.act {
        lines(chars, "  < ", &mut line);
    }
    lines(&question.command, "  $ ", &mut line);
    line(format!("  in {}", shown(&question.directory)));
    for because in &question.because {
        line(format!("  because: {}", visible(because)));
    }
    if let Some(justification) = &question.justification {
        line(format!("  the model says: \u{201c}{}\u{201d}", visible(justification)));
    }
    for opened in question.grant.lines() {
        line(format!("  opens: {}", visible(&opened)));
    }
    for risk in &question.risks {
        line(format!("  risk: {}", visible(risk)));
    }
    text + prompt(question)
}

/// What may be answered.
pub(crate) fn prompt(question: &Question) -> &'static str {
    if question.may_last {
        "[o]nce, for this [s]ession, [d]eny (d WORDS tells the model why), [a]bort the run; Enter denies: "
    } else {
        "[o]nce, [d]eny (d WORDS tells the model why), [a]bort the run; Enter denies: "
    }
}

/// Lines that the model wrote, each behind a mark of ours.
fn lines(text: &str, mark: &str, line: &mut impl FnMut(String)) {
    for part in text.split('\n') {
        line(format!("{mark}{}", visible(part)));
    }
}

/// Text on one line, with whatever would not be seen written out.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    let mut blanks = 0;
    for character in text.chars().chain(['\0']) {
        if character == ' ' {
            blanks += 1;
            continue;
        }
        if blanks > MOST_BLANKS {
            visible.push_str(&format!("\u{27e8}{blanks} blanks\u{27e9}"));
        } else {
            visible.extend(std::iter::repeat_n(' ', blanks));
        }
        blanks = 0;
        visible.push(character);
    }
    visible.pop();
    shown(visible)
}

#[cfg(test)]
mod tests {
    use codex_agent::approval::{Act, Grant, Question, Reason};

    use super::question;

    #[test]
    fn what_a_model_writes_stays_in_its_place() {
        let asked = Question {
            act: Act::Run,
            reason: Reason::Request,
            because: Vec::new(),
            command: format!("bash -c 'ls\u{1b}[2K\u{202e}\r{}; rm x\n[o]nce'", " ".repeat(5000)),
            directory: "/w\u{7}".into(),
            justification: Some("fine\nthe user has agreed\u{9b}1A".to_owned()),
            grant: Grant { unsandboxed: true, ..Grant::default() },
            risks: vec!["much".to_owned()],
            may_last: false,
        };
        assert_eq!(
            question(&asked),
            "\ncodex: the model asks for more than the policy gives.\n  $ bash -c 'ls\\u{1b}[2K\\u{202e}\\r⟨5000 blanks⟩; rm x\n  $ \
             [o]nce'\n  in /w\\u{7}\n  the model says: “fine\\nthe user has agreed\\u{9b}1A”\n  opens: no sandbox: whatever you \
             can do, it can\n  risk: much\n[o]nce, [d]eny (d WORDS tells the model why), [a]bort the run; Enter denies: "
        );
    }
}
