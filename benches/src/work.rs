//! Whole programs at work inside, against the same programs outside.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::measure::{Case, Timings, in_turn};
use crate::programs::{BWRAP_NAMESPACES, Programs, quiet};
use crate::table::Table;

const ROUNDS: usize = 11;
const DIRECTORIES: usize = 100;
const FILES_A_DIRECTORY: usize = 50;

/// What is done, and how a shell says it. Each takes long enough for the start-up, which is counted, to be little of it.
const KINDS: [(&str, &str); 4] = [
    ("`find`, 6 times", "for i in 1 2 3 4 5 6; do find . -newer deep -type f > /dev/null; done"),
    ("`grep -r`, 3 times", "for i in 1 2 3; do grep -r nothing . ; done; true"),
    ("`git status`, 6 times", "for i in 1 2 3 4 5 6; do git status > /dev/null || exit 1; done"),
    ("100 programs started", "i=0; while [ $i -lt 100 ]; do i=$((i+1)); env true; done"),
];

pub(crate) fn measure(programs: &Programs) -> Outcome<Table> {
    let directory = programs.scratch().join("tree");
    furnish(&directory)?;
    let note = format!("The shortest of {ROUNDS} rounds, start-up included. Budget: 1.03.");
    let mut table = Table::new(["", "bare ms", "inside ms", "×", "bwrap ms", "× "], note);
    for (name, line) in KINDS {
        let shell = ["sh", "-c", line].map(OsStr::new);
        let bare = quiet(Path::new("/bin/sh"), shell.into_iter().skip(1));
        let options = ["sandbox", "--full-auto", "--"].map(OsStr::new);
        let inside = programs.codex(options.into_iter().chain(shell));
        let mut commands = vec![bare, inside];
        if let Some(bwrap) = &programs.bwrap {
            let mut reference = quiet(bwrap, BWRAP_NAMESPACES.iter().map(|option| OsStr::new(*option)));
            reference.arg("--bind").args([&directory, &directory]).args(shell);
            commands.push(reference);
        }
        let cases = commands.into_iter().map(|mut command| {
            command.current_dir(&directory);
            Case::command(name, command)
        });
        let timings = in_turn(ROUNDS, cases.collect())?;
        let of = |place: usize, value: &dyn Fn(&Timings) -> String| {
            timings.get(place).map_or_else(|| "–".to_owned(), value)
        };
        let milliseconds = |timing: &Timings| format!("{:.1}", timing.minimum() * 1e3);
        let ratio = |timing: &Timings| format!("{:.3}", timing.minimum() / timings[0].minimum());
        let columns =
            [of(0, &milliseconds), of(1, &milliseconds), of(1, &ratio), of(2, &milliseconds), of(2, &ratio)];
        let [bare, inside, times, reference, reference_times] = columns;
        table.row([name.to_owned(), bare, inside, times, reference, reference_times]);
    }
    Ok(table)
}

/// A source tree under version control.
fn furnish(directory: &Path) -> Outcome<()> {
    for number in 0..DIRECTORIES {
        let below = directory.join("deep").join(number.to_string());
        fs::create_dir_all(&below)?;
        for file in 0..FILES_A_DIRECTORY {
            fs::write(below.join(format!("{file}.rs")), "fn main() {}\n".repeat(50))?;
        }
    }
    for arguments in [&["init", "--quiet"][..], &["add", "."]] {
        let mut git = Command::new("git");
        let git = git.args(arguments).current_dir(directory).stdin(Stdio::null());
        if !git.status()?.success() {
            return Err(format!("{git:?} failed").into());
        }
    }
    Ok(())
}
