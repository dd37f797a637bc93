//! Programs that start others, by their names, and how they are told what to start.

use crate::shell::read::Dialect;

/// What a program does with the words after its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starts {
    /// Nothing that the words say.
    Nothing,
    /// A shell, whose scripts are read here.
    Shell(Dialect),
    /// A shell with a language of its own.
    OtherShell,
    /// The words after its own are a command.
    Words,
    /// The same, and where there is none it starts a shell.
    WordsOrShell,
    /// All words together are a script of the shell's own.
    Eval,
    /// The first word is a script of the shell's own.
    Trap,
    /// A file of commands.
    Source,
    /// `env`, which can take a command apart.
    Env,
    /// `find`: the words after `-exec` and its kind.
    Find,
    /// `xargs`: the words after its own, with more from its input.
    Xargs,
    /// All words together, after its own, are a script.
    Watch,
    /// An option names a script.
    Option {
        /// Whether, without that, it starts a shell that reads its input.
        shell: bool,
    },
    /// `sudo`: the words after its own, but for an option by which it starts a shell.
    Sudo,
    /// Any command, in ways that are not read here.
    Anything,
}

/// Programs that start another one, named by the words after them.
const WRAPPERS: [&str; 64] = [
    "-",
    "aa-exec",
    "arch",
    "builtin",
    "busybox",
    "bwrap",
    "caffeinate",
    "catchsegv",
    "choom",
    "chpst",
    "chronic",
    "chrt",
    "command",
    "cpulimit",
    "dbus-launch",
    "dbus-run-session",
    "dumb-init",
    "envdir",
    "exec",
    "faketime",
    "firejail",
    "gosu",
    "i386",
    "ifne",
    "ionice",
    "linux32",
    "linux64",
    "ltrace",
    "nice",
    "nocorrect",
    "noglob",
    "nohup",
    "nsjail",
    "numactl",
    "perf",
    "pkexec",
    "prlimit",
    "proot",
    "proxychains",
    "proxychains4",
    "repeat",
    "rlwrap",
    "run0",
    "runcon",
    "setarch",
    "setpriv",
    "setsid",
    "setuidgid",
    "softlimit",
    "ssh-agent",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su-exec",
    "systemd-inhibit",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "tini",
    "torsocks",
    "toybox",
    "uclampset",
    "valgrind",
];

/// Programs, and words of shells, that can run anything in ways that are not read here: by what they read, by scripts in
/// languages of their own, or by giving a name another meaning.
const ANYTHING: [&str; 20] = [
    "alias",
    "at",
    "autoload",
    "batch",
    "capsh",
    "compgen",
    "complete",
    "emulate",
    "entr",
    "expect",
    "fc",
    "functions",
    "hyperfine",
    "login",
    "newgrp",
    "parallel",
    "sched",
    "screen",
    "tmux",
    "zmodload",
];

/// What a program of this name does.
pub(super) fn starts(name: &str) -> Starts {
    // `bash-5.2`, `zsh5`. A name of signs and digits alone is none of these.
    let unversioned = name.trim_end_matches(|sign: char| sign.is_ascii_digit() || matches!(sign, '-' | '.'));
    match if unversioned.is_empty() { name } else { unversioned } {
        "ash" | "dash" | "hush" | "posh" | "sh" => Starts::Shell(Dialect::Plain),
        "bash" | "bash-static" | "lksh" | "mksh" | "oksh" | "pdksh" | "rbash" | "rksh" | "rzsh" | "yash"
        | "zsh" | "zsh-static" => Starts::Shell(Dialect::WithTests),
        shell if shell.starts_with("ksh") => Starts::Shell(Dialect::WithTests),
        "csh" | "elvish" | "es" | "fish" | "nu" | "osh" | "powershell" | "pwsh" | "rc" | "scsh" | "tcsh"
        | "xonsh" | "ysh" => Starts::OtherShell,
        "chroot" | "fakeroot" | "nsenter" | "unbuffer" | "unshare" | "xvfb-run" => Starts::WordsOrShell,
        "eval" => Starts::Eval,
        "trap" => Starts::Trap,
        "." | "source" => Starts::Source,
        "env" => Starts::Env,
        "find" => Starts::Find,
        "xargs" => Starts::Xargs,
        "watch" => Starts::Watch,
        "flock" => Starts::Option { shell: false },
        "runuser" | "script" | "sg" | "su" => Starts::Option { shell: true },
        "doas" | "sudo" => Starts::Sudo,
        // The loader, which takes the path of a program.
        loader if loader.starts_with("ld") && (loader.contains(".so") || loader == "ld-linux") => {
            Starts::Words
        }
        // Their names end as versions do.
        _ if WRAPPERS.contains(&name) => Starts::Words,
        other if WRAPPERS.contains(&other) => Starts::Words,
        other if ANYTHING.contains(&other) => Starts::Anything,
        _ => Starts::Nothing,
    }
}

/// Words of shells that look at what is in brackets as they look at a script.
pub(super) fn evaluates_subscripts(name: &str) -> bool {
    matches!(
        name,
        "[" | "declare"
            | "export"
            | "getopts"
            | "let"
            | "local"
            | "mapfile"
            | "printf"
            | "read"
            | "readarray"
            | "readonly"
            | "test"
            | "typeset"
            | "unset"
            | "wait"
    )
}
