//! More is refused than anybody is told: it is counted, and nobody waits for it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use codex_tests::harness::{Failures, Policy, Scene, require_tool};
use serde_json::Value;

use super::host::{brokered, under};

/// More sockets than the broker keeps refusals of.
const SOCKETS: usize = 60;
/// As many as it keeps.
const KEPT: usize = 48;

/// Connects to each, by a name that is short and a path that is not: `connect.py SOCKETS DIRECTORY…`.
const CONNECT: &str = r#"
import os, socket, sys
for name in sys.argv[2:]:
    os.chdir(name)
connected = 0
for number in range(int(sys.argv[1])):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(f"s{number}")
            connected += 1
        except PermissionError:
            pass
print(connected, "connected")
sys.exit(3)
"#;

/// Sockets of the host, in a directory so deep that what a record says of one of them is as long as this.
fn listening(scene: &Scene, depth: usize) -> (PathBuf, Vec<UnixListener>) {
    let name = "d".repeat(200);
    let place = (0..depth).fold("outside".to_owned(), |place, _| format!("{place}/{name}"));
    let directory = scene.directory(&place);
    let held = File::open(&directory).expect("open the directory");
    let listeners = (0..SOCKETS).map(|number| {
        // An address has no room for the path.
        let path = format!("/proc/self/fd/{}/s{number}", held.as_raw_fd());
        let listener = UnixListener::bind(&path).expect("listen outside");
        scene.give_away(&directory.join(format!("s{number}")));
        listener
    });
    let listeners = listeners.collect();
    (directory, listeners)
}

/// What can't be told is counted, whoever reads it: `codex` at once, nobody, or the process that stands for the command, which
/// would read it too late.
pub(super) fn more_is_refused_than_a_pipe_holds(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    if !brokered(scene) {
        return;
    }
    let mut failures = Failures::new();
    for (depth, fits) in [(0, true), (13, false)] {
        let scene = scene.fresh(&format!("{depth}"));
        let (_directory, _listeners) = listening(&scene, depth);
        let script = scene.file("connect.py", CONNECT);
        let outside = scene.outside();
        let name = "d".repeat(200);
        let sockets = SOCKETS.to_string();
        let mut words = vec![script.to_str().expect("UTF-8"), &sockets, outside.to_str().expect("UTF-8")];
        words.extend(std::iter::repeat_n(name.as_str(), depth));

        let bare = under(&scene, Policy::Bare, &[], &python, &words).run();
        failures.check(bare.text() == "60 connected\n", || format!("control: {}", bare.describe()));

        let run = under(&scene, Policy::WorkspaceWrite, &[], &python, &words).run();
        failures.check((run.code(), run.text().as_str()) == (Some(3), "0 connected\n"), || {
            format!("{depth}: {}", run.describe())
        });

        let run = under(&scene, Policy::WorkspaceWrite, &["--json", "--quiet"], &python, &words).run();
        let whole: Value = serde_json::from_slice(&run.stdout).unwrap_or_default();
        let told = whole["denials"].as_array().map_or(0, Vec::len);
        let untold =
            usize::try_from(whole["denials_untold"].as_u64().unwrap_or_default()).unwrap_or_default();
        let right = if fits { told == KEPT } else { (1..KEPT).contains(&told) };
        failures.check(whole["exit_code"] == 3 && right && told + untold == SOCKETS, || {
            format!("{depth}: {told} told, {untold} not\n{}", run.describe())
        });

        // A status pipe that nobody reads.
        let pipe = format!(
            "exec 3<> \"$1\"; shift; exec -a codex-linux-sandbox {} -s disk-full-read-access --isolation namespaces \
             --status-fd 3 -- \"$@\"",
            scene.codex_program().display()
        );
        let fifo = scene.path("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("make a pipe");
        scene.give_away(&fifo);
        let words = ["-c", &pipe, "sh", fifo.to_str().expect("UTF-8"), python.to_str().expect("UTF-8")]
            .into_iter()
            .chain(words.iter().copied());
        let run = scene.under(Policy::Bare).command("bash", words).run();
        failures.check((run.code(), run.text().as_str()) == (Some(3), "0 connected\n"), || {
            format!("{depth}, unread: {}", run.describe())
        });
    }
    failures.finish();
}
