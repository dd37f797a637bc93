//! Without `--json`: what a command says on a standard error that is no terminal tells what it was refused, and arrives as it
//! would without us.

use codex_tests::harness::{Level, Policy, Run, Scene, require_tool};

/// A shell that runs the line in this way, at the scene's level.
fn by_a_shell(scene: &Scene, policy: Policy, options: &[&str], script: &str, way: &str) -> Run {
    let line = scene.under(policy).options(options).shell(script).shell_line();
    scene.under(Policy::Bare).shell(&way.replace("LINE", &line)).run()
}

/// Prints what came over a stream socket, as Node's children have for their standard error.
const OVER_A_SOCKET: &str = r#"
import socket, subprocess, sys
ours, theirs = socket.socketpair()
command = subprocess.Popen(sys.argv[1:], stderr=theirs)
theirs.close()
sys.stdout.buffer.write(b"".join(iter(lambda: ours.recv(65536), b"")))
sys.exit(command.wait())
"#;

pub(super) fn what_a_command_says_is_told_to_whoever_reads_it(scene: &Scene) {
    super::furnish(scene);
    let file = scene.path("outside/file").display().to_string();
    let denial = format!("codex: denied: write {file} (");
    let (fails, succeeds) = (format!("echo x > {file}"), format!("echo x > {file} || true"));
    let ways = [
        "LINE 2>&1 >/dev/null | cat",
        "LINE 2>&1 | cat",
        "LINE 2>said; cat said",
        "echo before >said; LINE >>said 2>&1; cat said",
    ];
    let run = |options: &[&str], script: &str, way: &str| {
        by_a_shell(scene, Policy::WorkspaceWrite, options, script, way).text()
    };
    for way in ways {
        let said = run(&[], &fails, way);
        assert!(said.contains(&denial), "{way}: {said}");
        // The command's own words come first.
        let words = said.find("file: ").expect("the shell names the file");
        assert!(said.find(&denial).is_some_and(|told| words < told), "{way}: {said}");
        assert!(!run(&["--quiet"], &fails, way).contains("codex: denied"), "{way}");
        assert!(!run(&["-c", "sandbox.explain=\"never\""], &fails, way).contains("codex: denied"), "{way}");
        assert!(!run(&[], &succeeds, way).contains("codex: denied"), "{way}");
        // A link that leads to nothing is made into a file where it leads.
        scene.symlink(scene.path("outside/not-there"), "workspace/dangling");
        let dangling = run(&[], "echo x > dangling", way);
        assert!(dangling.contains("codex: denied: create dangling ("), "{way}: {dangling}");
        std::fs::remove_file(scene.path("workspace/dangling")).expect("the link is there");
        // What only looks like it is none.
        let look_alike = run(&[], "cat nothing-here", way);
        assert!(
            look_alike.contains("nothing-here") && !look_alike.contains("codex: denied"),
            "{way}: {look_alike}"
        );
    }
    // A terminal of its own is read as well.
    let shown = |options: &[&str], script: &str| {
        run(&[options, &["--pty"]].concat(), script, "LINE 2>&1 </dev/null | cat")
    };
    let said = shown(&[], &fails);
    assert!(said.contains(&denial), "{said}");
    assert!(
        !shown(&["--quiet"], &fails).contains("codex: denied")
            && !shown(&[], &succeeds).contains("codex: denied")
    );
    let Some(python) = require_tool("python3") else { return };
    let line = scene.under(Policy::WorkspaceWrite).shell(&fails).shell_line();
    let words = format!("exec {} -c '{OVER_A_SOCKET}' {line}", python.display());
    let run = scene.under(Policy::Bare).shell(&words).run();
    assert!(run.code() != Some(0) && run.text().contains(&denial), "{}", run.describe());
}

/// Both streams in one pipe keep their order, many bytes keep their number, and a reader that has seen enough ends the writer.
pub(super) fn it_arrives_as_it_was_written(scene: &Scene) {
    const BOTH: &str = "i=0; while [ $i -lt 1000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done";
    const MUCH: &str = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo end >&2";
    const WITHOUT_END: &str = "yes >&2";
    let rows = [
        (BOTH, "LINE 2>&1 | cat"),
        (MUCH, "LINE 2>&1 >/dev/null | cat"),
        (WITHOUT_END, "{ LINE; echo $? >&3; } 3>code 2>&1 | head -n 1; cat code"),
    ];
    for (script, way) in rows {
        let control = by_a_shell(scene, Policy::Bare, &[], script, way);
        assert!(!control.stdout.is_empty(), "{}", control.describe());
        for policy in [Policy::ReadOnly, Policy::WorkspaceWrite, Policy::DangerFullAccess] {
            let run = by_a_shell(scene, policy, &[], script, way);
            let same = run.stdout == control.stdout && run.stderr == control.stderr;
            assert!(same, "{policy:?}, {way}: {} bytes\n{}", run.stdout.len(), run.describe());
        }
    }
}

/// What a command can read from is its own, what takes nothing is waited for by nobody, and nothing is lost of what a pipe holds.
pub(super) fn who_can_tell_has_the_stream_itself(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    let told = |policy, name: &str| {
        let place = scene.directory(&format!("workspace/{name}"));
        let program = scene.file(&format!("workspace/{name}/spoken.py"), include_str!("spoken.py"));
        let command = scene.under(policy).command(&python, [program]).shell_line();
        let (place, python) = (place.display(), python.display());
        let words = format!("cd {place} && exec {python} -c '{}' {command}", include_str!("streams.py"));
        scene.under(Policy::Bare).shell(&words).run()
    };
    let control = told(Policy::Bare, "bare");
    assert_eq!(
        control.text(),
        "conversation: b'read question\\n' 0\n\
         fifo: b'read question\\n' 0\n\
         reader: b\"wrote b'EBADF'\\n\" 0 b''\n\
         listens: b\"wrote b'ENOTCONN'\\n\" 0\n\
         spliced: 0 True True\n",
        "{}",
        control.describe()
    );
    let run = told(Policy::ReadOnly, "confined");
    assert_eq!(run.text(), control.text(), "{}", run.describe());
}

/// A reader that never reads holds up the command, and neither its deadline nor who waits for it.
pub(super) fn who_never_reads_is_not_waited_for_without_end(scene: &Scene) {
    // The shell holds the other end, and reads nothing.
    let way = "mkfifo full; exec 3<>full; LINE 2>full; echo $?";
    let options = ["--timeout", "300ms"];
    for (script, code) in [("yes >&2", "124\n"), ("head -c 100000 /dev/zero >&2; exec yes >&2", "124\n")] {
        let run = by_a_shell(scene, Policy::ReadOnly, &options, script, &format!("rm -f full; {way}"));
        assert_eq!(run.text(), code, "{}", run.describe());
    }
    // Nor by whoever asks it to end, and waits for that alone: the same at both levels, and each time some seconds.
    if scene.level() == Level::Landlock {
        return;
    }
    let way = "mkfifo filled said; exec 3<>filled; head -c 65536 /dev/zero >&3; LINE 2>filled >said &
        read ready <said; kill $!; wait $!; echo $?; rm filled said";
    let rows = [
        (Policy::Bare, "echo ready; exec yes >&2"),
        (Policy::ReadOnly, "echo >&2; echo ready; exec sleep 1000"),
    ];
    for (policy, script) in rows {
        let run = by_a_shell(scene, policy, &[], script, way);
        assert_eq!(run.text(), "143\n", "{}", run.describe());
    }
}

/// At a terminal nobody hears the command, but a name server that was asked in vain was seen, and the arguments say for whom.
pub(super) fn at_a_terminal_arguments_name_the_host(scene: &Scene) {
    let (Some(script), Some(_python)) = (require_tool("script"), require_tool("python3")) else { return };
    let ask = |port: u16, url: &str| {
        let asks = format!(
            "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect((\"192.0.2.1\", {port}))' {url}"
        );
        let line = scene.under(Policy::WorkspaceWrite).shell(&asks).shell_line();
        scene.under(Policy::Bare).command(&script, ["-qec", &line, "/dev/null"]).run()
    };
    let named = ask(53, "https://example.org/x");
    let line = "codex: denied: connect example.org:443 (P2, likely): ";
    let told = named.text();
    assert!(
        told.contains(line) && told.contains("--allow-host example.org:443 would"),
        "{}",
        named.describe()
    );
    assert!(!told.contains("192.0.2.1:53"), "{}", named.describe());
    // No name server, or nobody named: what was seen, and no more.
    for (port, url) in [(54, "https://example.org/x"), (53, "")] {
        let run = ask(port, url);
        let line = format!("codex: denied: connect 192.0.2.1:{port} (ENETUNREACH, P2): ");
        assert!(run.text().contains(&line) && !run.text().contains("example"), "{}", run.describe());
    }
}
