//! The budgets, measured: `benches/run [SECTION…]` prints a table for each section.
//!
//! Everything that is compared runs in turn, round by round, so that a machine that is busy for a while is busy for
//! all of them; ratios are taken within a round, and the middle one is printed.

mod capture;
mod inside;
mod measure;
mod output;
mod programs;
mod roots;
mod server;
mod soak;
mod startup;
mod table;
mod trees;
mod wire;
mod work;

use std::error::Error;

use programs::Programs;

/// What a measurement can end with: there is nobody to tell failures apart for.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// A section's name, what it is about, and how it is measured.
type Section = (&'static str, &'static str, fn(&Programs) -> Outcome<table::Table>);

const SECTIONS: [Section; 11] = [
    ("startup", "Start-up: a command that does nothing", startup::measure),
    ("roots", "Start-up by the size of the policy and of the environment", roots::measure),
    ("trees", "Start-up by what the workspace holds", trees::measure),
    ("capture", "Output through capture", capture::measure),
    ("streams", "What each room of output adds to reading a pipe", output::through_a_pipe),
    ("rooms", "The rooms of output by themselves", output::in_memory),
    ("wire", "The helper's arguments, written and read", wire::measure),
    ("inside", "Work inside, a call", inside::measure),
    ("work", "Work inside, whole programs", work::measure),
    ("server", "The exec server, over a unix socket", server::measure),
    ("soak", "What many calls leave behind", soak::measure),
];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // This program is also what it measures: the work inside, and a command that writes as fast as it can.
        [inside::WORKER, directory] => return inside::work(directory),
        [capture::WRITER, bytes] => return capture::write_lines(bytes.parse()?),
        [output::WRITER, kind, bytes] => return output::write_output(kind, bytes.parse()?),
        [capture::READER, codex, workspace, bytes, command @ ..] => {
            return capture::read_once(codex, workspace, bytes, command);
        }
        // `cargo test --all-targets` starts benches too, and a timed test would be a flaky one.
        words if !words.contains(&"--bench") => return Ok(()),
        _ => {}
    }
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|word| !SECTIONS.iter().any(|(name, ..)| name == **word)) {
        return Err(format!(
            "no section {unknown}: there are {}",
            SECTIONS.map(|(name, ..)| name).join(", ")
        )
        .into());
    }
    let programs = Programs::find()?;
    table::preamble(&programs)?;
    for (name, title, measure) in SECTIONS {
        // It takes minutes, and is about leaks and not about speed.
        if wanted.is_empty() && name != "soak" || wanted.iter().any(|word| *word == name) {
            measure(&programs)?.print(title)?;
        }
    }
    Ok(())
}
