//! P2 at level namespaces: unix sockets work among processes inside, and lead to no other.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

#[path = "unix_sockets/flood.rs"]
mod flood;
#[path = "unix_sockets/host.rs"]
mod host;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use codex_tests::cases;
use codex_tests::harness::{Failures, Policy, Scene, require_tool};
use flood::more_is_refused_than_a_pipe_holds;
use host::{Host, brokered, built, under};

cases!(
    programs_serve,
    node_serves,
    host_sockets_stay_closed,
    an_address_that_changes,
    a_descriptor_that_changes,
    a_socket_that_came_as_input,
    listed_sockets_are_open,
    listed_sockets_with_the_network_on,
    a_message_finds_no_address,
    more_is_refused_than_a_pipe_holds,
    nothing_is_left_behind,
    where_somebody_listens_already,
);

const WORKS: &str = include_str!("unix_sockets/works.py");
const REACH: &str = include_str!("unix_sockets/reach.py");
const RACE: &str = include_str!("unix_sockets/race.c");
const TAKEN: &str = include_str!("unix_sockets/taken.c");

fn programs_serve(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    if !brokered(scene) {
        return;
    }
    let script = scene.file("works.py", WORKS);
    let mut failures = Failures::new();
    for act in [
        "asyncio_server",
        "manager",
        "forkserver",
        "spawn",
        "threaded_server",
        "names",
        "failures",
        "descriptors_travel",
        "hidden_from_tracers",
        "agent",
        "tcp",
        "many",
        "blocked",
        "flood",
        "killed",
        "forgotten",
    ] {
        for policy in [Policy::Bare, Policy::WorkspaceWrite] {
            // Names that one run leaves behind are in the way of the next.
            let scene = scene.fresh(&format!("{}-{act}", &format!("{policy:?}")[..1]));
            let script = script.to_str().expect("a path in UTF-8");
            let run = under(&scene, policy, &[], &python, &[script, act]).run();
            failures.check(run.code() == Some(0) && run.text().ends_with("done\n"), || {
                format!("{act} [{policy:?}]\n{}", run.describe())
            });
        }
    }
    let run =
        under(scene, Policy::WorkspaceWrite, &[], &python, &[script.to_str().expect("UTF-8"), "credentials"]);
    let run = run.run();
    failures.check(run.code() == Some(0), || format!("credentials\n{}", run.describe()));
    failures.finish();
}

fn node_serves(scene: &Scene) {
    let Some(node) = require_tool("node") else { return };
    if !brokered(scene) {
        return;
    }
    let script = "
        const http = require('http');
        const ask = (server, where, then) => server.listen(where, () => {
            const options = typeof where === 'string' ? { socketPath: where } : { port: server.address().port };
            http.get(options, (answer) => { answer.on('data', (text) => { console.log(`${text}`); server.close(then); }); });
        });
        const serve = () => http.createServer((_, answer) => answer.end('hello'));
        ask(serve(), 'socket', () => ask(serve(), 0));
    ";
    for policy in [Policy::Bare, Policy::WorkspaceWrite] {
        let run = under(scene, policy, &[], &node, &["-e", script]).run();
        assert_eq!(run.text(), "hello\nhello\n", "{}", run.describe());
    }
}

fn host_sockets_stay_closed(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    if !brokered(scene) {
        return;
    }
    let script = scene.file("reach.py", REACH);
    let script = script.to_str().expect("a path in UTF-8");
    let mut failures = Failures::new();
    for (place, acts) in [("outside", ["ways"].as_slice()), ("workspace", &["ways", "own_ways"])] {
        for policy in [Policy::Bare, Policy::WorkspaceWrite, Policy::ExternalSandbox] {
            let scene = scene.fresh(&format!("{}{}", &place[..1], policy as u8));
            let host = Host::at(&scene, &format!("{place}/host"));
            for act in acts {
                let work = scene.directory(&format!("workspace/{act}"));
                let work = work.to_str().expect("a path in UTF-8");
                let run = under(&scene, policy, &[], &python, &[script, act, work, host.name()]).run();
                let text = run.text();
                let expected = if policy == Policy::Bare { "connected" } else { "EACCES" };
                // Nobody but root can look into the first process of the host.
                let lines = text.lines().filter(|line| !line.starts_with("parent-root"));
                let right = lines.filter(|line| line.ends_with(expected)).count();
                let all = if *act == "ways" { 10 } else { 2 };
                failures.check(run.code() == Some(0) && right == all, || {
                    format!("{place} {act} [{policy:?}]: not {all} times {expected}\n{}", run.describe())
                });
                let heard = host.heard();
                failures.check(
                    (heard >= all) == (policy == Policy::Bare) && (heard == 0) != (policy == Policy::Bare),
                    || format!("{place} {act} [{policy:?}]: heard {heard} times"),
                );
            }
        }
    }
    failures.finish();
}

/// Runs a race, which the host's socket wins without a sandbox.
fn race(scene: &Scene, mode: &str, ours_connects: bool) {
    let Some(gcc) = require_tool("gcc") else { return };
    if !brokered(scene) {
        return;
    }
    let program = built(scene, &gcc, "race", RACE);
    for policy in [Policy::Bare, Policy::WorkspaceWrite] {
        let scene = scene.fresh(&format!("{policy:?}"));
        let host = Host::at(&scene, "outside/host");
        let heard = std::thread::scope(|scope| {
            let (over, ended) = std::sync::mpsc::channel::<()>();
            let host = &host;
            let hearing = scope.spawn(move || {
                let mut heard = 0;
                // As long as the run lasts, for the backlog of a listener is short.
                while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    heard += host.heard();
                    std::thread::yield_now();
                }
                heard + host.heard()
            });
            let mut arguments = vec![mode, "ours", host.name()];
            // How long an unsandboxed race has to go on is up to the scheduler.
            arguments.extend((policy == Policy::Bare).then_some("until-reached"));
            let run = under(&scene, policy, &[], &program, &arguments).run().expect_code(0);
            drop(over);
            let connected: usize = run.text().trim().parse().expect("a number");
            assert!(policy == Policy::Bare || (connected > 0) == ours_connects, "{}", run.describe());
            hearing.join().expect("hear")
        });
        assert_eq!(heard > 0, policy == Policy::Bare, "{policy:?}: heard {heard} times");
    }
}

fn an_address_that_changes(scene: &Scene) {
    race(scene, "address", true);
}

fn a_descriptor_that_changes(scene: &Scene) {
    race(scene, "descriptor", false);
}

/// A socket that was made outside is in the network outside, wherever it is used.
fn a_socket_that_came_as_input(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    if !brokered(scene) {
        return;
    }
    let host = Host::at(scene, "workspace/host");
    let name = format!("{}-abstract", host.name());
    let address = SocketAddr::from_abstract_name(&name).expect("an abstract name");
    let abstract_host = UnixListener::bind_addr(&address).expect("listen outside");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("listen outside");
    let port = tcp.local_addr().expect("an address").port();
    let socket = |family, kind| {
        use nix::sys::socket::{SockFlag, socket};
        let made: OwnedFd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket outside");
        File::from(made)
    };
    use nix::sys::socket::{AddressFamily, SockType};
    let connected = || {
        let stream =
            std::net::TcpStream::connect(tcp.local_addr().expect("an address")).expect("connect outside");
        File::from(OwnedFd::from(stream))
    };
    let inputs: [(&str, File, File, String); 4] = [
        (
            "unix",
            socket(AddressFamily::Unix, SockType::Stream),
            socket(AddressFamily::Unix, SockType::Stream),
            format!("{:?}", host.name()),
        ),
        (
            "abstract",
            socket(AddressFamily::Unix, SockType::Stream),
            socket(AddressFamily::Unix, SockType::Stream),
            format!("chr(0) + {name:?}"),
        ),
        (
            "tcp",
            socket(AddressFamily::Inet, SockType::Stream),
            socket(AddressFamily::Inet, SockType::Stream),
            format!("('127.0.0.1', {port})"),
        ),
        ("connected", connected(), connected(), format!("('127.0.0.1', {port})")),
    ];
    for (kind, outside, inside, address) in inputs {
        let script = format!(
            "import ctypes, errno, socket\ns = socket.socket(fileno=0)\n\
             s.family == socket.AF_INET and ctypes.CDLL(None).connect(0, bytes(16), 16)\n\
             e = s.connect_ex({address})\nprint(errno.errorcode[e] if e else 'connected')"
        );
        let run = |policy, input| {
            under(scene, policy, &[], &python, &["-c", &script]).input_file(input).run().expect_code(0).text()
        };
        assert_eq!(run(Policy::Bare, outside), "connected\n", "{kind}");
        let refused = run(Policy::WorkspaceWrite, inside);
        // One that stayed connected, since it could not be taken apart, says so.
        assert!(refused == "EACCES\n", "{kind}: {refused}");
    }
    assert!(host.heard() > 0, "the control did not reach the host");
    drop(abstract_host);
}

fn connect_to(scene: &Scene, policy: Policy, options: &[&str], python: &Path, address: &str) -> String {
    let script = format!(
        "import errno, socket\ns = socket.socket(socket.AF_UNIX)\ne = s.connect_ex({address})\n\
         print(errno.errorcode[e] if e else 'connected')"
    );
    under(scene, policy, options, python, &["-c", &script]).run().expect_code(0).text().trim().to_owned()
}

fn listed_sockets_are_open(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    if !brokered(scene) {
        return;
    }
    let (listed, other) = (Host::at(scene, "outside/listed"), Host::at(scene, "outside/other"));
    let missing = scene.path("outside/missing");
    let option = format!("sandbox.allow_unix_sockets=[{:?}, {missing:?}]", listed.name());
    let options = ["-c", option.as_str()];
    let connect = |host: &Host| {
        connect_to(scene, Policy::WorkspaceWrite, &options, &python, &format!("{:?}", host.name()))
    };
    assert_eq!(connect(&listed), "connected");
    assert_eq!(listed.heard(), 1);
    assert_eq!(connect(&other), "EACCES");
    assert_eq!(other.heard(), 0);
    // The list is about this level: where it can't be kept, nothing runs.
    let run = scene
        .under(Policy::WorkspaceWrite)
        .options(options)
        .options(["--isolation", "landlock"])
        .shell(":")
        .run();
    assert!(run.expect_code(125).error_text().contains("allow_unix_sockets"));
    // A listed path that is no socket is a mistake.
    let file = scene.file("outside/file", "");
    let option = format!("sandbox.allow_unix_sockets=[{file:?}]");
    let run = under(scene, Policy::WorkspaceWrite, &["-c", &option], "true", &[]).run().expect_code(125);
    assert!(run.error_text().contains("is no socket"), "{}", run.describe());
}

fn listed_sockets_with_the_network_on(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    if !brokered(scene) {
        return;
    }
    let (listed, other) = (Host::at(scene, "workspace/listed"), Host::at(scene, "workspace/other"));
    let name = format!("{}-abstract", other.name());
    let address = SocketAddr::from_abstract_name(&name).expect("an abstract name");
    let _abstract_host = UnixListener::bind_addr(&address).expect("listen outside");
    let option = format!("sandbox.allow_unix_sockets=[{:?}]", listed.name());
    let policy = Policy::WorkspaceWriteNetwork;
    let connect = |options: &[&str], address: &str| {
        let control = connect_to(scene, Policy::Bare, &[], &python, address);
        (control, connect_to(scene, policy, options, &python, address))
    };
    let answers = |control: &str, answer: &str| (control.to_owned(), answer.to_owned());
    let listing = ["-c", option.as_str()];
    assert_eq!(connect(&listing, &format!("{:?}", listed.name())), answers("connected", "connected"));
    assert_eq!(connect(&listing, &format!("{:?}", other.name())), answers("connected", "EACCES"));
    assert_eq!(connect(&listing, &format!("chr(0) + {name:?}")), answers("connected", "EACCES"));
    let act = "
import socket
def refused(act):
    try: act()
    except PermissionError as error: print(error.errno)
tcp = socket.socket()
tcp.bind(('127.0.0.1', 0))
tcp.listen()
socket.create_connection(tcp.getsockname())
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('127.0.0.1', 0))
udp.connect(udp.getsockname())
refused(lambda: socket.socket(socket.AF_UNIX).bind('own'))
refused(lambda: socket.socket(socket.AF_UNIX).bind(chr(0) + 'own'))
refused(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
";
    let run = under(scene, policy, &listing, &python, &["-c", act]).run().expect_code(0);
    assert_eq!(run.text(), "13\n13\n1\n", "{}", run.describe());
    // Without a list there are none.
    let none =
        "import socket\ntry: socket.socket(socket.AF_UNIX)\nexcept OSError as error: print(error.errno)";
    assert_eq!(under(scene, policy, &[], &python, &["-c", none]).run().expect_code(0).text(), "1\n");
}

/// The kinds of sockets that can be had name their receiver once; the others can't be had.
fn a_message_finds_no_address(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    if !brokered(scene) {
        return;
    }
    let host = Host::at(scene, "workspace/host");
    let act = "
import errno, socket, sys
own = socket.socket(socket.AF_UNIX); own.bind('own'); own.listen()
packets = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); packets.bind('packets'); packets.listen()
def connected(kind, name):
    one = socket.socket(socket.AF_UNIX, kind); one.connect(name); return one
def attempt(make):
    try:
        one = make()
        one.sendto(b'x', sys.argv[1])
        print('sent')
    except OSError as error: print(errno.errorcode[error.errno])
attempt(lambda: socket.socket(socket.AF_UNIX))
attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
attempt(lambda: connected(socket.SOCK_STREAM, 'own'))
attempt(lambda: connected(socket.SOCK_SEQPACKET, 'packets'))
print(packets.accept()[0].recv(1))
attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_RAW))
attempt(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK))
";
    let run =
        under(scene, Policy::WorkspaceWrite, &[], &python, &["-c", act, host.name()]).run().expect_code(0);
    let expected = "ENOTSUP\nENOTCONN\nEISCONN\nsent\nb'x'\nEPERM\nEPERM\nEPERM\n";
    assert_eq!(run.text(), expected, "{}", run.describe());
    assert_eq!(host.heard(), 0);
}

/// A client that holds its connection when the command ends sees it end too, and no thread outlives the sandbox.
fn nothing_is_left_behind(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    if !brokered(scene) {
        return;
    }
    let act = "
import os, socket, threading, time
server = socket.socket(socket.AF_UNIX); server.bind('server'); server.listen(0)
def wait():
    one = socket.socket(socket.AF_UNIX); one.connect('server'); time.sleep(1000)
for _ in range(20): threading.Thread(target=wait, daemon=True).start()
server.accept()
os._exit(7)
";
    let run = under(scene, Policy::WorkspaceWrite, &[], &python, &["-c", act]).run();
    assert_eq!(run.code(), Some(7), "{}", run.describe());
    let left = UnixStream::connect(scene.workspace().join("server"));
    assert_eq!(left.expect_err("nobody is left").kind(), ErrorKind::ConnectionRefused);
    fs::remove_file(scene.workspace().join("server")).expect("the file stays");
}

/// A process can have one listener. Where it has, unix sockets are refused, the report says so, and the rest holds.
fn where_somebody_listens_already(scene: &Scene) {
    let (Some(python), Some(gcc)) = (require_tool("python3"), require_tool("gcc")) else { return };
    if !brokered(scene) {
        return;
    }
    let program = built(scene, &gcc, "taken", TAKEN);
    let served = libc::SYS_process_vm_readv;
    let act = format!(
        "
import ctypes, errno, socket
def attempt(act):
    try: act(); print('done')
    except OSError as error: print(errno.errorcode[error.errno])
attempt(lambda: socket.socket(socket.AF_UNIX))
tcp = socket.socket(); tcp.bind(('127.0.0.1', 0)); tcp.listen()
attempt(lambda: socket.create_connection(tcp.getsockname()))
libc = ctypes.CDLL(None, use_errno=True)
for call in [438, {served}]:
    libc.syscall(call, -1, 0, 0, 0, 0, 0); print(errno.errorcode[ctypes.get_errno()])
"
    );
    let sandboxed =
        ["debug", "sandbox", "-s", "workspace-write", "--isolation", "namespaces", "--json", "--"];
    let words = [scene.codex_program().into_os_string()]
        .into_iter()
        .chain(sandboxed.map(Into::into))
        .chain([python.into_os_string(), "-c".into(), act.into()]);
    let run = scene.under(Policy::Bare).command(program, words).run().expect_code(0);
    let text = run.text();
    assert!(text.contains(r#""unix_sockets":"refused""#), "{}", run.describe());
    assert!(text.contains(r"EPERM\ndone\nEPERM\nEPERM\n"), "{}", run.describe());
}
