//! What level namespaces gives beyond the refusals: a world of its own that looks like the host's, and works.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

#[path = "namespaces/groups.rs"]
mod groups;
#[path = "namespaces/messages.rs"]
mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

use codex_tests::cases_at;
use codex_tests::harness::{Expect, Failures, Identity, Listener, Policy, Run, Scene, Verdict, require_tool};
use nix::errno::Errno;
use nix::sys::signal::Signal;

cases_at!(Namespaces;
    the_processes,
    the_mounts,
    the_devices,
    a_device_that_is_a_stream_keeps_its_metadata,
    shared_memory_is_private,
    messages_are_private,
    groups_are_found_where_they_are_said_to_be,
    groups_are_only_read,
    groups_that_are_hidden,
    sockets_work_inside,
    nothing_comes_in,
    unix_sockets_that_are_allowed,
    a_private_tmp,
    init_outlives_every_signal,
    the_level_is_told,
    without_user_namespaces,
    files_of_other_owners,
    roots_that_are_replaced_while_runs_start,
);

const ENOENT: Expect = Expect::Fails(&[Errno::ENOENT]);

fn messages_are_private(scene: &Scene) {
    messages::judge(scene);
}

fn groups_are_found_where_they_are_said_to_be(scene: &Scene) {
    groups::are_found(scene);
}

fn groups_are_only_read(scene: &Scene) {
    groups::are_only_read(scene);
}

fn groups_that_are_hidden(scene: &Scene) {
    groups::that_are_hidden(scene);
}

/// The policies with files of their own to protect.
const CONFINED: [Policy; 3] = Policy::RESTRICTED;

fn python(scene: &Scene, policy: Policy, script: &str) -> Option<Run> {
    let python = require_tool("python3")?;
    Some(scene.under(policy).command(python, ["-c", script]).run())
}

fn the_processes(scene: &Scene) {
    let uid = scene.identity().uid();
    let script = "echo $$ $PPID $(id -u); for one in /proc/[0-9]*; do echo ${one#/proc/}; done";
    for policy in CONFINED {
        let run = scene.under(policy).shell(script).run().expect_code(0);
        let text = run.text();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(format!("2 1 {uid}").as_str()), "{}", run.describe());
        // init, the shell, and nobody else: the shell's own `id` may have gone before or not.
        let listed: BTreeSet<u32> = lines.filter_map(|line| line.parse().ok()).collect();
        assert!(listed.contains(&1) && listed.contains(&2), "{}", run.describe());
        assert!(listed.iter().all(|pid| *pid < 10), "{}", run.describe());
    }
}

/// Nothing is mounted for writing but the roots, and what is the sandbox's own.
fn the_mounts(scene: &Scene) {
    let (workspace, scratch) = (scene.workspace(), scene.path("tmp"));
    for (policy, roots) in
        [(Policy::ReadOnly, vec![]), (Policy::WorkspaceWrite, vec![workspace.as_path(), scratch.as_path()])]
    {
        let run = scene.under(policy).command("cat", ["/proc/self/mountinfo"]).run().expect_code(0);
        // A mount is covered by a later one at the same place.
        let mut seen = BTreeMap::new();
        for line in run.text().lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (Some(place), Some(options)) = (fields.get(4), fields.get(5)) else { run.fail("no table") };
            let has = |wanted: &str| options.split(',').any(|option| option == wanted);
            seen.insert((*place).to_owned(), has("rw"));
            // Programs with privileges of their own gain none, wherever they lie.
            let device = Path::new(place).parent() == Some(Path::new("/dev"));
            assert!(has("nosuid") || device, "{line}\n{}", run.describe());
        }
        let mut expected: BTreeSet<String> =
            ["/dev/mqueue", "/dev/pts", "/dev/shm"].map(str::to_owned).into();
        expected.extend(roots.iter().map(|root| root.to_string_lossy().into_owned()));
        let seen: BTreeSet<String> =
            seen.into_iter().filter_map(|(place, writable)| writable.then_some(place)).collect();
        assert_eq!(seen, expected, "{policy:?}\n{}", run.describe());
    }
}

fn the_devices(scene: &Scene) {
    let expected = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    let outside = fs::read_dir("/dev/pts").expect("list the terminals").count();
    for policy in CONFINED {
        let run = scene.under(policy).command("ls", ["/dev"]).run().expect_code(0);
        assert_eq!(run.text().lines().collect::<Vec<_>>(), expected, "{}", run.describe());
        // The host's terminals are not there; new ones are.
        let run = scene.under(policy).command("ls", ["/dev/pts"]).run().expect_code(0);
        assert_eq!(run.text(), "ptmx\n", "the host has {outside}\n{}", run.describe());
        let pair = "import os; a, b = os.openpty(); print(os.ttyname(b)); os.write(a, b'x\\n'); print(os.read(b, 9))";
        let Some(run) = python(scene, policy, pair) else { return };
        assert_eq!(run.text(), "/dev/pts/0\nb'x\\n'\n", "{}", run.describe());
    }
}

/// The host's shared memory is not there, and what is made inside is not there afterwards.
fn a_device_that_is_a_stream_keeps_its_metadata(scene: &Scene) {
    // Standard input is the host's `/dev/null`, which keeps the mode that it has in any case.
    let fchmod = ["syscall", &libc::SYS_fchmod.to_string(), "0", &0o666.to_string()].map(str::to_owned);
    let mut failures = Failures::new();
    let control = scene.under(Policy::Bare).probe(&fchmod).run().verdict();
    let root = scene.identity() == Identity::Root;
    let expected = if root { Expect::Ok } else { Expect::Fails(&[Errno::EPERM]) };
    failures.check(expected.admits(&control), || format!("the control: {control}"));
    for policy in CONFINED {
        let run = scene.under(policy).probe(&fchmod).run();
        let refused = run.verdict() == Verdict::Errno(Errno::EROFS);
        failures.check(refused, || format!("{policy:?}: {}", run.describe()));
        let run = scene.under(policy).options(["--json"]).probe(&fchmod).run();
        let told = run.text().contains(r#""stdout":{"text":"errno 30 EROFS\n""#);
        failures.check(told, || format!("{policy:?}, captured: {}", run.describe()));
        let run = scene.under(policy).shell("echo x > /dev/null; cat").run();
        failures.check(run.code() == Some(0) && run.text().is_empty(), || run.describe());
    }
    failures.finish();
}

fn shared_memory_is_private(scene: &Scene) {
    let mut failures = Failures::new();
    let name = scene.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (theirs, ours) = (format!("/dev/shm/{name}"), format!("/dev/shm/{name}-inside"));
    fs::write(&theirs, "the host's").expect("write to the host's shared memory");
    scene.give_away(Path::new(&theirs));
    failures.judge("theirs", Expect::Ok, &scene.under(Policy::Bare).probe(["read", &theirs]).run());
    for policy in CONFINED {
        failures.judge("theirs", ENOENT, &scene.under(policy).probe(["read", &theirs]).run());
        let run = scene.under(policy).probe(["write", &ours, "WRONLY,CREAT,EXCL"]).run();
        failures.judge("ours", Expect::Ok, &run);
        failures.check(!Path::new(&ours).exists(), || format!("{ours} [{policy:?}]: it is there outside"));
    }
    fs::remove_file(&theirs).expect("remove what the host has");
    failures.finish();
}

/// Every kind of socket by which processes inside talk to one another, with the network off.
const TALK: &str = "
import os, socket as s, sys
def talk(family, kind, address):
    a = s.socket(family, kind); a.bind(address); address = a.getsockname()
    if kind != s.SOCK_DGRAM: a.listen()
    if os.fork() == 0:
        c = s.socket(family, kind)
        c.connect(address); c.send(b'hello'); os._exit(0)
    end = a if kind == s.SOCK_DGRAM else a.accept()[0]
    assert end.recv(9) == b'hello', address
    assert os.wait()[1] == 0
    print('talked', flush=True)
for family, address in [(s.AF_INET, ('127.0.0.1', 0)), (s.AF_INET6, ('::1', 0))]:
    for kind in [s.SOCK_STREAM, s.SOCK_DGRAM]: talk(family, kind, address)
for kind in [s.SOCK_STREAM, s.SOCK_SEQPACKET]:
    talk(s.AF_UNIX, kind, '\\0' + sys.argv[1])
    for place in sys.argv[1:]: talk(s.AF_UNIX, kind, place + '/' + str(int(kind)))
";

fn sockets_work_inside(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    let places = [scene.directory("workspace/bare"), scene.directory("workspace/inside")];
    for (policy, place) in [Policy::Bare, Policy::WorkspaceWrite].into_iter().zip(places) {
        let arguments = ["-c".as_ref(), TALK.as_ref(), place.as_os_str()];
        let run = scene.under(policy).command(&python, arguments).run().expect_code(0);
        assert_eq!(run.text().lines().count(), 8, "{}", run.describe());
    }
}

/// Who listens inside is found by nobody outside.
fn nothing_comes_in(scene: &Scene) {
    const LISTEN: &str = "
import socket as s, sys
name = sys.argv[1]
t = s.create_server(('127.0.0.1', 0)); u = s.socket(s.AF_UNIX); u.bind('\\0' + name); u.listen()
print(t.getsockname()[1], flush=True)
sys.stdin.read()
";
    let Some(python) = require_tool("python3") else { return };
    let name = scene.root().to_string_lossy().into_owned();
    for policy in [Policy::Bare, Policy::WorkspaceWrite] {
        let mut running = scene.under(policy).command(&python, ["-c", LISTEN, &name]).open_input().start();
        let port: u16 = running.line().and_then(|line| line.parse().ok()).expect("a port");
        let tcp = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.raw_os_error());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let unix = UnixStream::connect_addr(&address).map_err(|error| error.raw_os_error());
        running.close_input();
        let run = running.finish().expect_code(0);
        let refused = Some(Errno::ECONNREFUSED as i32);
        if policy == Policy::Bare {
            assert!(tcp.is_ok() && unix.is_ok(), "{tcp:?} {unix:?}\n{}", run.describe());
        } else {
            // Another test may happen to have the port outside; nobody has the name.
            assert_eq!(unix.err(), Some(refused), "{}", run.describe());
            if let Ok(mut stranger) = tcp {
                stranger.set_nonblocking(true).expect("not to wait for a stranger");
                drop(stranger.read(&mut [0; 1]));
            }
        }
    }
}

/// The socket that is named is reached, its neighbour is not.
fn unix_sockets_that_are_allowed(scene: &Scene) {
    let mut failures = Failures::new();
    let allowed = Listener::unix_stream(scene);
    let neighbour = Listener::unix_stream_at(scene, &scene.outside().join("neighbour.socket"));
    let setting = format!("sandbox.allow_unix_sockets=[\"{}\"]", allowed.address);
    for policy in CONFINED {
        let run = |listener: &Listener| {
            let sandbox = scene.under(policy).options(["-c", &setting]);
            sandbox.probe([listener.probe, &listener.address]).run()
        };
        failures.judge("the one allowed", Expect::Ok, &run(&allowed));
        failures.check(allowed.heard(), || format!("[{policy:?}]: the one allowed heard nothing"));
        let refused = run(&neighbour);
        failures.check(!refused.verdict().is_ok() && !neighbour.heard(), || refused.describe());
    }
    failures.finish();
}

fn a_private_tmp(scene: &Scene) {
    let mut failures = Failures::new();
    let theirs =
        tempfile::Builder::new().prefix("codex-tests-").tempdir_in("/tmp").expect("a directory in /tmp");
    scene.give_away(theirs.path());
    let theirs = theirs.path().to_string_lossy().into_owned();
    let ours = format!("{theirs}-inside");
    let private = |policy: Policy| scene.under(policy).options(["-c", "sandbox.private_tmp=true"]);
    failures.judge("theirs", Expect::Ok, &scene.under(Policy::WorkspaceWrite).probe(["list", &theirs]).run());
    for policy in CONFINED {
        failures.judge("theirs", ENOENT, &private(policy).probe(["list", &theirs]).run());
        let run = private(policy).shell("ls -A /tmp").run().expect_code(0);
        failures.check(run.stdout.is_empty(), || run.describe());
    }
    let run = private(Policy::WorkspaceWrite).probe(["write", &ours, "WRONLY,CREAT,EXCL"]).run();
    failures.judge("ours", Expect::Ok, &run);
    failures.check(!Path::new(&ours).exists(), || format!("{ours} is there outside"));
    failures.finish();
}

/// Nothing that the command can send ends init, or stops it: both would end the call before its time.
fn init_outlives_every_signal(scene: &Scene) {
    let script = "trap '' HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM TSTP TTIN TTOU XCPU XFSZ VTALRM PROF IO PWR SYS
        for signal in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 19 20 21 22 24 25 26 27 29 30 31; do kill -$signal 1; done
        sh -c 'exit 5'; echo $?; echo still here; exit 3";
    for policy in CONFINED {
        let run = scene.under(policy).shell(script).run().expect_code(3);
        assert_eq!(run.text(), "5\nstill here\n", "{}", run.describe());
    }
}

fn the_level_is_told(scene: &Scene) {
    let run = scene.under(Policy::WorkspaceWrite).shell("echo $CODEX_SANDBOX").run().expect_code(0);
    assert_eq!(run.text(), "namespaces\n");
    let run = scene.under(Policy::WorkspaceWrite).options(["--json"]).shell("true").run().expect_code(0);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).expect("a JSON object");
    let promises = report["enforcement"]["promises"].as_array().expect("the promises");
    for guarantee in ["writes", "metadata", "network", "inner-sockets", "processes", "survivors", "privilege"]
    {
        let held = promises.iter().any(|one| one["guarantee"] == guarantee && one["hold"] == "enforced");
        assert!(held, "{guarantee}: {report}");
    }
    // Where nothing is named, this machine gives this level.
    let run = scene.codex(["sandbox", "--", "sh", "-c", "echo $CODEX_SANDBOX"]).run().expect_code(0);
    assert_eq!(run.text(), "namespaces\n", "{}", run.describe());
}

/// Where the machine refuses user namespaces, the best that is left is taken, unless it is not good enough.
fn without_user_namespaces(scene: &Scene) {
    let Some(unshare) = require_tool("unshare") else { return };
    let codex = scene.codex_program();
    let within = |options: &str| {
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces && exec '{}' sandbox --full-auto {options} -- sh -c 'echo $CODEX_SANDBOX'",
            codex.display()
        );
        scene.under(Policy::Bare).command(&unshare, ["-Ur", "sh", "-c", &script]).run()
    };
    let run = within("").expect_code(0);
    assert_eq!(run.text(), "landlock\n", "{}", run.describe());
    for options in ["--isolation namespaces", "-c 'sandbox.require=[\"metadata\"]'"] {
        let run = within(options).expect_code(125);
        assert!(run.stdout.is_empty() && run.error_text().lines().count() == 1, "{}", run.describe());
    }
}

/// Root is a real user: what it may do with files of others in a root, it may do inside, and nothing outside.
fn files_of_other_owners(scene: &Scene) {
    if !scene.identity().uid().is_root() {
        return;
    }
    let script = "set -e; umask 022; cd \"$1\"; touch theirs; chown 1234:2345 theirs; chmod 640 theirs; stat -c '%u:%g %a' theirs
        echo more >> theirs; chown 99:99 theirs; ln theirs second; mv second third; stat -c %u:%g third
        tar cf t.tar --numeric-owner --owner=1500 --group=1600 theirs; mkdir x; tar xf t.tar -C x; stat -c %u:%g x/theirs; rm theirs";
    for (policy, place) in [(Policy::Bare, "bare"), (Policy::WorkspaceWrite, "inside")] {
        let place = scene.directory(&format!("workspace/{place}"));
        let words = ["-c".as_ref(), script.as_ref(), "sh".as_ref(), place.as_os_str()];
        let run = scene.under(policy).command("sh", words).run().expect_code(0);
        assert_eq!(run.text(), "1234:2345 640\n99:99\n1500:1600\n", "{}", run.describe());
    }
}

/// A directory above a root is swapped for a link to the outside, over and over, while runs start: each finds the one, or
/// refuses to run at all, and none writes outside.
fn roots_that_are_replaced_while_runs_start(scene: &Scene) {
    const RUNS: usize = 60;
    let Some(python) = require_tool("python3") else { return };
    let root = scene.directory("workspace/above/root");
    scene.directory("outside/root");
    scene.symlink(scene.outside(), "workspace/link");
    let mut swapping = scene.under(Policy::Bare).command(python, ["-c", SWAP]).start();
    assert_eq!(swapping.line().as_deref(), Some("ready"), "somebody swaps");
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..RUNS {
        let sandbox = scene.under(Policy::WorkspaceWrite).options(["--add-dir".as_ref(), root.as_os_str()]);
        let run = sandbox.shell(&format!("echo x > '{}/file'", root.display())).run();
        ran += usize::from(run.code() == Some(0));
        refused += usize::from(run.code() == Some(125));
        assert!(!scene.outside().join("root/file").exists(), "it was written outside\n{}", run.describe());
    }
    swapping.signal(Signal::SIGTERM);
    drop(swapping.finish());
    assert!(ran > 0 && refused > 0, "of {RUNS} runs, {ran} found the root and {refused} the link");
}

/// Exchanges the two names as fast as it can, until it is ended.
const SWAP: &str = "
import ctypes, os
c = ctypes.CDLL(None)
print('ready', flush=True)
while True:
    c.renameat2(-100, b'above', -100, b'link', 2)
";
