//! Which program this binary is, by the name it was started under.

use std::ffi::OsStr;
use std::path::Path;

/// A program that this binary can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// The command line.
    Main,
    /// The helper that applies a plan and becomes the command.
    LinuxSandbox,
    /// The program that applies a patch.
    ApplyPatch,
    /// The program that touches files for a server.
    Files,
}

/// Every name that leads somewhere else than to the command line.
pub const ALIASES: [(&str, Route); 2] =
    [(codex_linux_sandbox::PROGRAM, Route::LinuxSandbox), ("apply_patch", Route::ApplyPatch)];

/// A name that leads somewhere else as well, and that no command is given on its `PATH`: whoever starts it talks to it.
pub const FILES: (&str, Route) = ("codex-files", Route::Files);

impl Route {
    /// Decides by the file name of `argv[0]`: whole, letter case and all. Whoever starts the program without a name
    /// gets the command line.
    #[must_use]
    pub fn of(argv0: Option<&OsStr>) -> Self {
        let name = argv0.and_then(|argv0| Path::new(argv0).file_name());
        ALIASES
            .iter()
            .chain([&FILES])
            .find(|(alias, _)| name == Some(OsStr::new(alias)))
            .map_or(Self::Main, |(_, route)| *route)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::{ALIASES, FILES, Route};

    #[test]
    fn only_the_whole_file_name_counts() {
        let cases = [
            ("codex-linux-sandbox", Route::LinuxSandbox),
            ("/a/b/codex-linux-sandbox", Route::LinuxSandbox),
            ("./codex-linux-sandbox/", Route::LinuxSandbox),
            ("/a/b/apply_patch", Route::ApplyPatch),
            ("codex-files", Route::Files),
            ("apply-patch", Route::Main),
            ("codex", Route::Main),
            ("", Route::Main),
            ("/", Route::Main),
            ("..", Route::Main),
            ("codex-linux-sandbox/codex", Route::Main),
            ("codex-linux-sandbox-2", Route::Main),
            ("Codex-Linux-Sandbox", Route::Main),
        ];
        for (argv0, expected) in cases {
            assert_eq!(Route::of(Some(argv0.as_ref())), expected, "{argv0:?}");
        }
        assert_eq!(Route::of(None), Route::Main);
    }

    proptest! {
        #[test]
        fn any_other_name_is_the_command_line(name in prop::collection::vec(1_u8.., 0..40)) {
            let name = OsString::from_vec(name);
            prop_assume!(ALIASES.iter().chain([&FILES]).all(|(alias, _)| !name.to_string_lossy().contains(alias)));
            prop_assert_eq!(Route::of(Some(&name)), Route::Main);
        }
    }
}
