//! What a test needs of the machine. Missing, it is a loud skip at a desk and a failure in CI.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use nix::unistd::{AccessFlags, access};

use super::{Policy, Scene, Verdict};

/// Where programs are looked for, and the `PATH` of every run. It holds no one's home, so that every identity can use it.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The tools that the suites need, one a line; CI installs them.
const TOOLS: &str = include_str!("../../tools.txt");

/// Reports that this machine lacks `what`: a panic where `CI` is set, else a line on stderr; the caller returns then.
///
/// # Panics
///
/// Where the variable `CI` is set and not empty, as a skip there would read as a pass.
pub fn missing(what: &str) {
    assert!(env::var_os("CI").is_none_or(|value| value.is_empty()), "{what} is missing, and CI must have it");
    announce(&format!("SKIP: {what} is missing on this machine"));
}

/// Writes a line that is seen even where the test passes, whose prints nobody is shown.
pub fn announce(line: &str) {
    // Nobody to tell is no reason to fail.
    drop(std::io::stderr().write_all(format!("{line}\n").as_bytes()));
}

/// The path of a tool that the suites use, or `None` with the skip reported.
///
/// # Panics
///
/// In CI where the tool is missing, and anywhere for a tool that `tools.txt` does not list.
#[must_use]
pub fn require_tool(name: &str) -> Option<PathBuf> {
    let listed = TOOLS.lines().filter_map(|line| line.split_whitespace().next()).any(|tool| tool == name);
    assert!(listed, "{name} is not in tools.txt, so CI would not install it");
    let found = find(name);
    if found.is_none() {
        missing(&format!("the tool {name}"));
    }
    found
}

/// Whether a tool is there that is too large to be installed for the tests alone; where it isn't, says so.
#[must_use]
pub fn at_hand(name: &str) -> bool {
    let found = find(name).is_some();
    if !found {
        announce(&format!("SKIP: {name} is not at hand"));
    }
    found
}

/// A `PATH` with the very toolchain that builds the tests. Where that lies in somebody's home, others can't use it: they skip, which
/// is announced.
pub fn own_rust(scene: &Scene) -> Option<String> {
    let tools = Path::new(env!("CARGO")).parent()?;
    let path = format!("{}:{PATH}", tools.display());
    let asks = scene.under(Policy::Bare).shell("cargo -V && rustc -V && cc --version").env("PATH", &path);
    if asks.run().code() == Some(0) {
        return Some(path);
    }
    announce("SKIP: this user can't use the tests' own Rust");
    None
}

fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(PATH).map(|directory| directory.join(name)).find(|path| {
        access(path, AccessFlags::X_OK).is_ok() && fs::metadata(path).is_ok_and(|it| it.is_file())
    })
}

/// The version of Landlock that this kernel offers; 0 for none.
///
/// # Panics
///
/// Where the probe can't be run.
#[must_use]
pub fn landlock_abi(scene: &Scene) -> i64 {
    let number = libc::SYS_landlock_create_ruleset.to_string();
    let run = scene.under(Policy::Bare).probe(["syscall", &number, "0", "0", "1"]).run();
    match run.verdict() {
        Verdict::Ok(version) => version.parse().unwrap_or_else(|_| run.fail("the version is not a number")),
        Verdict::Errno(_) => 0,
        _ => run.fail("the probe gave no answer"),
    }
}
