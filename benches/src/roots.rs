//! How start-up grows with what the user configures.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use crate::Outcome;
use crate::measure::{Case, in_turn, rounds};
use crate::programs::Programs;
use crate::table::Table;

const ROOTS: [u32; 5] = [0, 1, 10, 100, 300];
const VARIABLES: [u32; 3] = [0, 100, 1000];
/// Below this, what each one costs drowns in the noise.
const FEW: u32 = 10;

pub(crate) fn measure(programs: &Programs) -> Outcome<Table> {
    let mut cases = Vec::new();
    let mut sizes = Vec::new();
    for count in ROOTS {
        cases.push(Case::command(format!("{count} more writable roots"), with_roots(programs, count)?));
        sizes.push(count);
    }
    for count in VARIABLES {
        let mut command = programs.sandbox(&[]);
        command.env_clear().env("CODEX_HOME", programs.scratch().join("home"));
        command.envs((0..count).map(|number| (format!("VARIABLE_{number}"), "a value of the usual length")));
        cases.push(Case::command(format!("{count} environment variables"), command));
        sizes.push(count);
    }
    let count = rounds() / 4;
    let timings = in_turn(count, cases)?;
    let note = format!("Of {count} rounds. Budget: flat to 100, then 20 µs each.");
    let mut table = Table::new(["`codex sandbox` with", "median ms", "minimum ms", "µs each"], note);
    let mut base = 0;
    for (place, (timing, size)) in timings.iter().zip(sizes).enumerate() {
        if size == 0 {
            base = place;
        }
        let more = timing.median() - timings[base].median();
        table.row([
            timing.name.clone(),
            format!("{:.3}", timing.median() * 1e3),
            format!("{:.3}", timing.minimum() * 1e3),
            if size < FEW { String::new() } else { format!("{:.1}", more * 1e6 / f64::from(size)) },
        ]);
    }
    Ok(table)
}

fn with_roots(programs: &Programs, count: u32) -> Outcome<Command> {
    let roots = programs.scratch().join("roots");
    let mut words: Vec<_> = ["sandbox", "--full-auto"].map(std::ffi::OsString::from).into();
    // The roots that come by themselves would be the same for all, and need not be there.
    for setting in ["exclude_slash_tmp", "exclude_tmpdir_env_var"] {
        words.extend(["-c".into(), format!("sandbox_workspace_write.{setting}=true").into()]);
    }
    for number in 0..count {
        let root = roots.join(number.to_string());
        fs::create_dir_all(&root)?;
        words.extend(["--add-dir".into(), root.into_os_string()]);
    }
    words.extend(["--".into(), programs.idle.clone().into_os_string()]);
    let mut command = programs.codex(words.iter().map(OsStr::new));
    command.current_dir(programs.workspace());
    Ok(command)
}
