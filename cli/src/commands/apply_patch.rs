//! `apply_patch`: the program that commands find under this name.

use std::ffi::OsString;

use codex_tools::patch::program;

use crate::exit_code;
use crate::render;

pub(crate) fn apply_patch(arguments: Vec<OsString>) -> i32 {
    match program::run(&arguments) {
        (exit_code::SUCCESS, said) => render::bytes(said.as_bytes()),
        (code, said) => render::message(&said, code),
    }
}
