//! Nothing outlasts the call, nobody but the proxy has its socket, and whoever is slow or many holds nothing up.

use std::fs;

use codex_tests::harness::{Policy, Scene};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::outside::{Outside, Serving};
use super::{act, act_under};

pub(super) fn the_listening_socket_is_nobodys(scene: &Scene) {
    let script = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def listening(port):
    for line in open('/proc/net/tcp').readlines()[1:]:
        fields = line.split()
        if fields[1].endswith(':%04X' % port) and fields[3] == '0A': return fields[9]
def processes(): return [int(name) for name in os.listdir('/proc') if name.isdigit()]
def holders(inode):
    found = 0
    for pid in processes():
        try: names = os.listdir(f'/proc/{pid}/fd')
        except OSError: continue
        for name in names:
            try: found += os.readlink(f'/proc/{pid}/fd/{name}') == f'socket:[{inode}]'
            except OSError: pass
    return found
def taken(inode):
    found = 0
    for pid in processes():
        if (other := libc.syscall(434, pid, 0)) < 0: continue
        for number in range(64):
            if (got := libc.syscall(438, other, number, 0)) >= 0:
                found += os.fstat(got).st_ino == int(inode)
                os.close(got)
        os.close(other)
    return found
own = socket.socket()
own.bind(('127.0.0.1', 0))
own.listen()
mine = listening(own.getsockname()[1])
print(holders(mine), taken(mine) if len(sys.argv) > 1 else '')
if len(sys.argv) > 1: sys.exit()
proxy = listening(3128)
print(proxy is not None, holders(proxy), taken(proxy))
def bound(address, port, *options):
    s = socket.socket()
    for option in options: s.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        s.bind((address, port))
        s.listen()
        return 'bound'
    except OSError as error: return errno.errorcode[error.errno]
for address in ('127.0.0.1', '0.0.0.0'):
    for options in ((), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)):
        print(bound(address, 3129, *options), bound(address, 3128, *options))
";
    let Some(bare) = act_under(scene, Policy::Bare, &[], &[], script, &["control"]) else { return };
    assert_eq!(bare.run().expect_code(0).text(), "1 1\n");
    let Some(run) = act(scene, &[], &["granted.example"], script, &[]) else { return };
    let run = run.run().expect_code(0);
    let expected = format!("1 \nTrue 0 0\n{}", "bound EADDRINUSE\n".repeat(8));
    assert_eq!(run.text(), expected, "{}", run.describe());
}

/// Holds a tunnel, in a process that has left everything behind.
const HOLDS: &str = "
status, s = tunnel(sys.argv[1])
assert (status, s.recv(4)) == (200, b'here')
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open('/dev/null', os.O_RDWR)
        for number in range(3): os.dup2(null, number)
        while True: threading.Event().wait()
    os._exit(0)
os.wait()
print('ready', flush=True)
if sys.argv[2] == 'waits': threading.Event().wait()
";

pub(super) fn a_tunnel_ends_with_its_call(scene: &Scene) {
    let outside = Outside::serve("127.0.0.2", Serving::Waiting);
    let name = outside.name();
    for options in [&[][..], &["--json"], &["--explain"]] {
        let Some(run) = act(scene, options, &[&name], HOLDS, &[&name, "ends"]) else { return };
        run.run().expect_code(0);
        assert_eq!(outside.ended(1), [b""], "{options:?}");
    }
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let Some(run) = act(scene, &[], &[&name], HOLDS, &[&name, "waits"]) else { return };
        let mut running = run.start();
        assert_eq!(running.line().as_deref(), Some("ready"));
        running.signal(signal);
        running.wait_for_exit();
        assert_eq!(outside.ended(1), [b""], "{signal}");
    }
}

pub(super) fn deadlines_and_signals_are_kept(scene: &Scene) {
    let outside = Outside::serve("127.0.0.2", Serving::Waiting);
    let name = outside.name();
    let script = "
kept = []
for _ in range(100):
    s = proxy()
    s.sendall(f'GET http://{sys.argv[1]}/ HTTP/1.1\\r\\nX: '.encode())
    kept.append(s)
for _ in range(20): kept.append(tunnel(sys.argv[1])[1])
print('ready', flush=True)
while True:
    threading.Event().wait(0.05)
    for s in kept[:100]: s.sendall(b'x')
";
    // It never ends by itself, whenever the deadline comes.
    let Some(run) = act(scene, &["--timeout", "1s"], &[&name], script, &[&name]) else { return };
    run.run().expect_code(124);
    let Some(run) = act(scene, &[], &[&name], script, &[&name]) else { return };
    let mut running = run.start();
    assert_eq!(running.line().as_deref(), Some("ready"));
    running.signal(Signal::SIGTERM);
    running.finish().expect_code(143);
}

pub(super) fn many_connections_take_turns(scene: &Scene) {
    let outside = Outside::serve("127.0.0.2", Serving::Waiting);
    let name = outside.name();
    let script = "
request = f'CONNECT {sys.argv[1]} HTTP/1.1\\r\\n\\r\\n'.encode()
waiting = []
for _ in range(300):
    s = proxy()
    s.sendall(request)
    waiting.append(s)
right = 0
for s in waiting:
    data = b''
    while not data.endswith(b'here') and (more := s.recv(1000)): data += more
    right += data.startswith(b'HTTP/1.1 200') and data.endswith(b'here')
    s.close()
print(right)
";
    let Some(run) = act(scene, &[], &[&name], script, &[&name]) else { return };
    let run = run.run().expect_code(0);
    assert_eq!(run.text(), "300\n", "{}", run.describe());
    assert_eq!(outside.arrivals().len(), 300);
}

/// The most memory that a process had, in KiB.
fn most_memory(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of codex");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

pub(super) fn who_does_not_read_costs_no_memory(scene: &Scene) {
    let outside = Outside::serve("127.0.0.2", Serving::Deaf);
    let name = outside.name();
    let script = "
status, s = tunnel(sys.argv[1])
assert status == 200
p = proxy()
p.sendall(f'POST http://{sys.argv[1]}/ HTTP/1.1\\r\\nContent-Length: 1000000000\\r\\n\\r\\n'.encode())
chunk = bytes(1 << 20)
for one in (s, p):
    # Whoever takes nothing for that long takes nothing at all.
    one.settimeout(1)
    sent = 0
    try:
        while sent < 256: one.sendall(chunk); sent += 1
    except TimeoutError: pass
    print(sent < 256, flush=True)
sys.stdin.readline()
";
    let Some(run) = act(scene, &[], &[&name], script, &[&name]) else { return };
    let mut running = run.open_input().start();
    for _ in 0..2 {
        assert_eq!(running.line().as_deref(), Some("True"));
    }
    // All that was sent would be twice that and more.
    let most = most_memory(running.pid());
    assert!(most < 128 << 10, "{most} KiB");
    assert!(running.send(b"\n"));
    running.finish().expect_code(0);
}
