//! Sockets that somebody else listens at for the server, as systemd does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_tests::harness::require_tool;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

/// Makes sockets, puts them where a service manager does, and becomes the program.
const PASSES: &str = r#"
import fcntl, os, socket, sys
passed = []
for one in sys.argv[1].split(","):
    kind, _, where = one.partition("=")
    if kind in ("tcp", "silent"):
        made = socket.socket()
        made.bind((where, 0))
    else:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "datagrams" else socket.SOCK_STREAM)
        made.bind(where)
    if kind in ("tcp", "unix"):
        made.listen()
    passed.append(fcntl.fcntl(made.fileno(), fcntl.F_DUPFD, 100))
for number, high in enumerate(passed):
    os.dup2(high, 3 + number, inheritable=True)
for high in passed:
    os.close(high)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ.setdefault("LISTEN_FDS", str(len(passed)))
os.execv(sys.argv[2], sys.argv[2:])
"#;

fn server(python: &Path, root: &Path, sockets: &str) -> Command {
    let mut command = Command::new(python);
    command
        .args([
            "-c",
            PASSES,
            sockets,
            env!("CARGO_BIN_EXE_codex-under-test"),
            "exec-server",
            "--listen",
            "systemd",
        ])
        .current_dir(root)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("CODEX_HOME", root)
        .env("HOME", root)
        .stdin(Stdio::null());
    command
}

fn status(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn sockets_that_are_passed_are_served() {
    let Some(python) = require_tool("python3") else { return };
    let root = tempfile::Builder::new().prefix("passed-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let socket = root.path().join("socket");
    let sockets = format!("tcp=127.0.0.1,tcp=127.0.0.1,unix={}", socket.display());
    let mut command = server(&python, root.path(), &sockets);
    let mut child = command.env("LISTEN_FDNAMES", "web:mcp").stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (web, mcp, unix) = (said.next().unwrap(), said.next().unwrap(), said.next().unwrap());
    assert_eq!(unix, format!("unix://{}", socket.display()));
    let web = web.strip_prefix("ws://").unwrap();
    let mcp = mcp.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // Each has the face of its name.
    assert_eq!((status(web, &get("/")).as_str(), status(web, &get("/mcp")).as_str()), ("426", "404"));
    assert_eq!((status(mcp, &get("/")).as_str(), status(mcp, &get("/metrics")).as_str()), ("404", "200"));
    // Commands have neither the sockets nor the word of them.
    let mut stream = UnixStream::connect(&socket).unwrap();
    let cwd = format!("file://{}", root.path().display());
    let script = "env; readlink /proc/self/fd/*; echo end";
    let permissions = json!({"type": "managed", "network": "restricted", "file_system": {"type": "restricted", "entries": [
        {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"}]}});
    for message in [
        json!({"id": 1, "method": "initialize", "params": {"clientName": "t"}}),
        json!({"method": "initialized"}),
        json!({"id": 2, "method": "process/start", "params": {
            "processId": "p", "argv": ["sh", "-c", script], "cwd": cwd, "tty": false, "env": {},
            "envPolicy": {"inherit": "all", "ignoreDefaultExcludes": true, "exclude": [], "set": {}, "includeOnly": []},
            "sandbox": {"permissions": permissions, "cwd": cwd, "workspaceRoots": [cwd], "windowsSandboxLevel": "disabled",
                        "windowsSandboxProxySettingsMode": "reconcile", "useLegacyLandlock": false}}}),
    ] {
        stream.write_all(format!("{message}\n").as_bytes()).unwrap();
    }
    let mut written = String::new();
    for line in BufReader::new(&stream).lines() {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert!(message.get("error").is_none(), "{message}");
        if let Some(chunk) = message["params"]["chunk"].as_str() {
            written += &String::from_utf8(STANDARD.decode(chunk).unwrap()).unwrap();
        }
        if message["method"] == "process/closed" {
            break;
        }
    }
    assert!(written.contains("PATH=") && written.ends_with("end\n"), "{written}");
    assert!(!written.contains("LISTEN_") && !written.contains("socket:"), "{written}");
    kill(nix::unistd::Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(socket.exists(), "it is not the server's to remove");
}

#[test]
fn sockets_that_can_not_be_served_are_refused() {
    let Some(python) = require_tool("python3") else { return };
    let root = tempfile::Builder::new().prefix("passed-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ended = |sockets: &str, variables: &[(&str, &str)]| -> (Option<i32>, String) {
        let Output { status, stderr, stdout } =
            server(&python, root.path(), sockets).envs(variables.iter().copied()).output().unwrap();
        assert!(stdout.is_empty());
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    let datagrams = format!("datagrams={}", root.path().join("datagrams").display());
    for (sockets, variables, words) in [
        // Passed to somebody else, or not at all, or more than there are.
        ("tcp=127.0.0.1", &[("LISTEN_PID", "1")][..], "no socket was passed to this process"),
        ("tcp=127.0.0.1", &[("LISTEN_FDS", "0")], "no socket was passed to this process"),
        ("tcp=127.0.0.1", &[("LISTEN_FDS", "x")], "no socket was passed to this process"),
        ("tcp=127.0.0.1", &[("LISTEN_FDS", "4000000000")], "what was passed is no socket that listens"),
        ("tcp=127.0.0.1", &[("LISTEN_FDS", "900")], "what was passed is no socket that listens"),
        ("silent=127.0.0.1", &[], "what was passed is no socket that listens"),
        (&datagrams, &[], "what was passed is no socket that listens"),
        ("tcp=0.0.0.0", &[], "can be reached from other machines"),
    ] {
        let (code, said) = ended(sockets, variables);
        assert_eq!(code, Some(2), "{sockets} {variables:?}: {said}");
        assert!(said.contains(words), "{sockets} {variables:?}: {said}");
    }
}
