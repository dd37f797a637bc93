//! What comes in, what goes out, and what is kept of it.

use codex_core::exec::Outcome;
use codex_core::output::OutputBudget;

use crate::runs::{read_only, request, run, shell, succeed};
use crate::tools::tool;

#[test]
fn standard_input_is_empty() {
    assert_eq!(succeed(request(["cat"]), &read_only()), "");
    assert_eq!(succeed(shell("readlink /proc/self/fd/0"), &read_only()), "/dev/null\n");
    assert_eq!(succeed(shell("read line; echo $?"), &read_only()), "1\n");
}

#[test]
fn nothing_else_is_inherited() {
    // A descriptor that the caller left open to its children.
    let inherited = std::fs::File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(&inherited, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    for sandbox in [read_only(), crate::runs::unrestricted()] {
        // 3 is the directory that `ls` itself reads.
        assert_eq!(succeed(request(["ls", "/proc/self/fd"]), &sandbox), "0\n1\n2\n3\n");
    }
    drop(inherited);
}

#[test]
fn both_streams_are_kept_apart_and_together() {
    let result = run(shell("echo out; echo err >&2; exit 1"), &read_only());
    assert_eq!(result.outcome, Outcome::Exited { code: 1 });
    assert_eq!(
        (result.stdout.head.as_slice(), result.stderr.head.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(result.output.bytes_total, 8);
}

#[test]
fn streams_are_bytes() {
    let result = run(shell("printf '\\000\\377\\r\\n'; printf '\\376' >&2"), &read_only());
    assert_eq!(
        (result.stdout.head.as_slice(), result.stderr.head.as_slice()),
        (&b"\x00\xff\r\n"[..], &b"\xfe"[..])
    );
}

#[test]
fn a_long_stream_is_counted_whole_and_kept_within_its_budget() {
    if tool("seq").is_none() {
        return;
    }
    let mut request = shell("seq 100000; seq 7 >&2");
    request.budget = OutputBudget { bytes: 1000, lines: 20 };
    let result = run(request, &read_only());
    let stdout = &result.stdout;
    assert_eq!((stdout.bytes_total, stdout.lines_total), (588_895, 100_000));
    assert_eq!((stdout.head.len(), stdout.tail.len(), stdout.bytes_omitted), (500, 500, 587_895));
    assert!(stdout.head.starts_with(b"1\n2\n3\n") && stdout.tail.ends_with(b"99999\n100000\n"));
    let text = stdout.text().text;
    assert!(text.starts_with("1\n2\n") && text.ends_with("\n100000\n"), "{text}");
    assert!(text.lines().count() <= 21, "twenty lines, and the one that tells of the gap: {text}");
    assert_eq!(
        (result.stderr.bytes_total, result.stderr.bytes_omitted, result.stderr.lines_total),
        (14, 0, 7)
    );
    assert_eq!((result.output.bytes_total, result.output.lines_total), (588_909, 100_007));
}

#[test]
fn a_command_whose_output_is_not_wanted_ends_by_itself() {
    let mut request = shell("head -c 1000000 /dev/zero");
    request.budget = OutputBudget { bytes: 0, lines: 0 };
    let result = run(request, &read_only());
    assert_eq!(result.outcome, Outcome::Exited { code: 0 });
    assert_eq!((result.stdout.bytes_total, result.stdout.bytes_omitted), (1_000_000, 1_000_000));
}

#[test]
fn a_command_that_closes_its_streams_is_waited_for() {
    let result =
        run(shell("exec >&- 2>&-; i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; exit 9"), &read_only());
    assert_eq!(result.outcome, Outcome::Exited { code: 9 });
    assert_eq!((result.stdout.bytes_total, result.streams_left_open), (0, false));
}

#[test]
fn a_command_has_a_session_of_its_own_and_no_terminal() {
    let result = run(shell("exec 3<>/dev/tty"), &read_only());
    assert_ne!(result.outcome, Outcome::Exited { code: 0 });
    // Fields of stat: process, parent, group, session, terminal.
    let ids = succeed(request(["cat", "/proc/self/stat"]), &read_only());
    let after_name: Vec<&str> = ids.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let own = ids.split_whitespace().next().unwrap();
    assert_eq!((after_name[2], after_name[3], after_name[4]), (own, own, "0"));
}

#[test]
fn signals_are_as_a_program_expects_them() {
    let status = succeed(request(["cat", "/proc/self/status"]), &read_only());
    // The C library's posix_spawn(3) leaves its own two signals ignored, 32 and 33, in every child.
    let own = 0b11 << 31;
    for mask in ["SigBlk:", "SigIgn:"] {
        let bits = status.lines().find_map(|line| line.strip_prefix(mask)).unwrap().trim();
        assert_eq!(u64::from_str_radix(bits, 16).unwrap() & !own, 0, "{mask}");
    }
    // A writer whose reader has gone ends by SIGPIPE, and quietly.
    let result = run(shell("yes | head -n 1"), &read_only());
    assert_eq!((result.outcome, result.stderr.bytes_total), (Outcome::Exited { code: 0 }, 0));
}

/// A stream that is never empty must not keep the other one from being read: its writer would wait for ever.
#[test]
fn p8_a_flood_on_one_stream_does_not_starve_the_other() {
    let sandbox = read_only();
    for (flood, finite) in [("", ">&2"), (">&2", "")] {
        // Ten pipes full: the shell ends by itself only if they are read.
        let request = shell(&format!("yes {flood} & head -c 655360 /dev/zero {finite}; kill $!; exit 3"));
        let result = run(request, &sandbox);
        assert_eq!(result.outcome, Outcome::Exited { code: 3 }, "flood {flood:?}");
        let read = if finite.is_empty() { result.stdout } else { result.stderr };
        assert_eq!(read.bytes_total, 655360);
    }
}
