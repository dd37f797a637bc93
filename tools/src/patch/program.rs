//! The program `apply_patch`: a patch from an argument or from standard input, applied where it is started.
//!
//! It runs where a command runs, in the sandbox: what it may write is what the kernel lets it write.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use super::{Bounds, apply, parse, plan};

/// The name that it is started under.
pub const PROGRAM: &str = "apply_patch";
/// More than a model writes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Applies the patch that the arguments name (the program's own name first), and gives the exit code with what is to be
/// printed: to standard output where the code is 0, else to standard error.
#[must_use]
pub fn run(arguments: &[OsString]) -> (i32, String) {
    match patch_text(arguments).and_then(|text| apply_text(&text)) {
        Ok(summary) => (0, summary),
        Err(message) => (1, format!("{PROGRAM}: {message}\n")),
    }
}

fn patch_text(arguments: &[OsString]) -> Result<String, String> {
    match arguments.get(1..).unwrap_or_default() {
        [] => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().take(LARGEST).read_to_end(&mut bytes);
            read.map_err(|error| format!("standard input: {error}"))?;
            text(bytes)
        }
        [patch] => text(patch.as_bytes().to_vec()),
        _ => Err("more than one argument; give the patch as one, or by standard input".to_owned()),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!(
            "line {line} of the patch is not UTF-8: a patch names and writes nothing else; what it need not change it keeps, and U+FFFD \
             stands for bytes that are none in lines that it keeps or removes"
        )
    })
}

fn apply_text(text: &str) -> Result<String, String> {
    let patch = parse::parse(text).map_err(|error| error.to_string())?;
    // The kernel's own name of it: no links in it.
    let base = std::env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
    let plan = plan(&patch, &Bounds::of_the_kernel(base)).map_err(|error| error.to_string())?;
    apply(plan).map(|summary| summary.to_string()).map_err(|error| error.to_string())
}
