//! How start-up grows with what lies in the workspace: files, and repositories whose metadata is protected.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::measure::{Case, in_turn, rounds};
use crate::programs::Programs;
use crate::table::Table;

/// Files in the small tree and in the large one.
const FILES: [u32; 2] = [10, 300_000];
const FILES_A_DIRECTORY: u32 = 9;
const REPOSITORIES: [u32; 4] = [0, 1, 10, 100];

pub(crate) fn measure(programs: &Programs) -> Outcome<Table> {
    let mut cases = Vec::new();
    let mut sizes = Vec::new();
    for count in FILES {
        let workspace = programs.scratch().join(format!("files-{count}"));
        plant(&workspace, count)?;
        cases.push(Case::command(format!("{count} files"), in_workspace(programs, &workspace)?));
        sizes.push(0);
    }
    for count in REPOSITORIES {
        let workspace = programs.scratch().join(format!("repositories-{count}"));
        for number in 0..count {
            repository(&workspace.join(number.to_string()))?;
        }
        fs::create_dir_all(&workspace)?;
        cases.push(Case::command(format!("{count} repositories"), in_workspace(programs, &workspace)?));
        sizes.push(count);
    }
    let count = rounds() / 4;
    let timings = in_turn(count, cases)?;
    let note = format!(
        "Of {count} rounds, level namespaces; each tree was searched before, once. Budgets: 300 000 files within 10 % of \
         10; a protected place flat to 100, then 20 µs. A repository is four places."
    );
    let columns =
        ["`codex sandbox --full-auto` in a tree of", "median ms", "minimum ms", "× 10 files", "µs each"];
    let mut table = Table::new(columns, note);
    for (timing, size) in timings.iter().zip(sizes) {
        let more = timing.median() - timings[FILES.len()].median();
        table.row([
            timing.name.clone(),
            format!("{:.3}", timing.median() * 1e3),
            format!("{:.3}", timing.minimum() * 1e3),
            format!("{:.2}", timing.ratio(&timings[0])),
            if size < 10 { String::new() } else { format!("{:.1}", more * 1e6 / f64::from(size)) },
        ]);
    }
    Ok(table)
}

fn in_workspace(programs: &Programs, workspace: &Path) -> Outcome<Command> {
    let words = |idle: &'static str| {
        let settings = ["exclude_slash_tmp", "exclude_tmpdir_env_var"];
        let settings =
            settings.iter().flat_map(|key| ["-c".to_owned(), format!("sandbox_workspace_write.{key}=true")]);
        let mut words: Vec<String> =
            ["sandbox", "--full-auto", "--isolation=namespaces"].map(String::from).into();
        words.extend(settings);
        words.extend(["--".to_owned(), idle.to_owned()]);
        words
    };
    // Long enough for the search beside the command to come to its end, so that the list of what is there is whole.
    let first = words("sleep");
    let mut search = programs.codex(first.iter().map(OsStr::new));
    search.arg("5").current_dir(workspace);
    if !search.status()?.success() {
        return Err("the tree could not be searched".into());
    }
    let words = words("true");
    let mut command = programs.codex(words.iter().map(OsStr::new));
    command.current_dir(workspace);
    Ok(command)
}

/// A tree of empty files, a few to a directory, three directories deep.
fn plant(top: &Path, files: u32) -> Outcome<()> {
    fs::create_dir_all(top)?;
    for directory in 0..files.div_ceil(FILES_A_DIRECTORY) {
        let path: PathBuf = [directory / 1000, directory / 30 % 34, directory]
            .iter()
            .fold(top.to_owned(), |path, number| path.join(number.to_string()));
        fs::create_dir_all(&path)?;
        for file in 0..FILES_A_DIRECTORY {
            File::create(path.join(file.to_string()))?;
        }
    }
    Ok(())
}

fn repository(path: &Path) -> Outcome<()> {
    fs::create_dir_all(path)?;
    let status = Command::new("git").args(["init", "-q"]).current_dir(path).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err("git init failed".into()) }
}
