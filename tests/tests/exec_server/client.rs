//! Our own client, and the verb that uses it.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use codex_exec_server::client::{Endpoint, Event, ExecServerClient, RemoteProcess};
use codex_exec_server::protocol::{FileUri, NamedPolicy, StartParams, Stream, WriteStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::raw::{PATIENCE, Server, Way};

fn params(server: &Server, id: &str, argv: &[&str]) -> StartParams {
    let argv = argv.iter().map(ToString::to_string).collect();
    let cwd = FileUri::of(&server.path("ws")).unwrap();
    let policy = Some(NamedPolicy::Name("workspace-write".to_owned()));
    StartParams { policy, ..StartParams::new(id, argv, cwd) }
}

fn endpoint(server: &Server, way: Way) -> Endpoint {
    match way {
        Way::Stdio => {
            let words = [env!("CARGO_BIN_EXE_codex-under-test"), "exec-server", "--listen", "stdio", "-C"];
            let command = words.iter().map(Into::into).chain([server.path("ws").into_os_string()]).collect();
            Endpoint::Command { command }
        }
        Way::WebSocket | Way::Unix => server.url().parse().unwrap(),
    }
}

/// Standard output, the bytes that are missing of it, and the exit code.
async fn outcome(process: &mut RemoteProcess) -> (Vec<u8>, u64, Option<i32>) {
    let (mut output, mut missing, mut exit) = (Vec::new(), 0, None);
    while let Some(event) = process.next().await {
        match event {
            Event::Output { stream: Stream::Stdout, bytes } => output.extend(bytes),
            Event::Output { .. } => {}
            // Asked for after it was gone, nobody knows how much it was.
            Event::Gap(gap) => missing += gap.bytes.map_or(u64::from(u32::MAX), |bytes| bytes.stdout),
            Event::Exited { code } => exit = Some(code),
            Event::Closed { .. } => return (output, missing, exit),
        }
    }
    panic!("the session is lost");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn processes_are_handles_over_every_transport() {
    for way in [Way::Stdio, Way::WebSocket, Way::Unix] {
        let server = Server::start(way);
        block_on(async {
            let client = ExecServerClient::connect(endpoint(&server, way), "test").await.unwrap();
            assert_eq!(client.environment().unwrap().platform_os.as_deref(), Some("linux"));
            let mut cat = params(&server, "cat", &["sh", "-c", "cat; exit 4"]);
            cat.pipe_stdin = Some(true);
            let mut process = client.start(&cat).await.unwrap();
            assert_eq!(process.input().write(b"one".to_vec()).await.unwrap(), WriteStatus::Accepted);
            assert_eq!(process.input().write(b"two".to_vec()).await.unwrap(), WriteStatus::Accepted);
            assert_eq!(process.input().close().await.unwrap(), WriteStatus::Accepted);
            assert_eq!(outcome(&mut process).await, (b"onetwo".to_vec(), 0, Some(4)));
            assert!(!process.input().terminate().await.unwrap());
            let error = client.start(&params(&server, "none", &["no-such-program"])).await.unwrap_err();
            assert_eq!(error.to_string(), "the server says: no-such-program: command not found (-32603)");
        });
    }
}

#[test]
fn a_user_who_is_slow_catches_up_or_is_told() {
    let server = Server::start(Way::Unix);
    block_on(async {
        let client = ExecServerClient::connect(endpoint(&server, Way::Unix), "test").await.unwrap();
        let flood = params(&server, "flood", &["head", "-c", "30000000", "/dev/zero"]);
        let mut process = client.start(&flood).await.unwrap();
        // Nothing is taken until the end of another one.
        let mut other = client.start(&params(&server, "other", &["sleep", "0.2"])).await.unwrap();
        assert_eq!(outcome(&mut other).await, (Vec::new(), 0, Some(0)));
        let (output, missing, exit) = outcome(&mut process).await;
        let came = output.len() as u64;
        assert_eq!(exit, Some(0));
        let is_told = came + missing == 30_000_000 || (came < 30_000_000 && missing >= u64::from(u32::MAX));
        assert!(is_told, "{came} bytes came, and {missing} are told as missing");
    });
}

/// Passes bytes on to a server, until it is told to cut what it has and to begin anew.
async fn relay(listener: TcpListener, server: SocketAddr, mut cuts: watch::Receiver<u32>) {
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut to = TcpStream::connect(server).await.unwrap();
        cuts.mark_unchanged();
        tokio::select! {
            _ended = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
            _cut = cuts.changed() => {}
        }
    }
}

#[test]
fn a_connection_that_is_cut_is_made_anew_and_nothing_is_lost() {
    let server = Server::start(Way::WebSocket);
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (cut, cuts) = watch::channel(0);
        tokio::spawn(relay(listener, server.address(), cuts));
        let client =
            ExecServerClient::connect(Endpoint::WebSocket { host, token: None }, "test").await.unwrap();
        let mut cat = params(&server, "cat", &["cat"]);
        cat.pipe_stdin = Some(true);
        let mut process = client.start(&cat).await.unwrap();
        let mut expected = Vec::new();
        for round in 0..10_u32 {
            let line = format!("{round}\n").into_bytes();
            expected.extend(&line);
            if round % 3 == 1 {
                cut.send(round).unwrap();
            }
            // Asked again over the next connection, where it has to be; written once in any case.
            assert_eq!(process.input().write(line).await.unwrap(), WriteStatus::Accepted);
        }
        // This one is not asked twice, so that no cut may be under way.
        process.input().close().await.unwrap();
        assert_eq!(outcome(&mut process).await, (expected, 0, Some(0)));
    });
}

#[test]
fn debug_remote_is_the_command() {
    let server = Server::start(Way::Unix);
    let remote = |options: &[&str], command: &[&str], input: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_codex-under-test"))
            .args(["debug", "remote"])
            .args(options)
            .args([server.url(), "--"])
            .args(command)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let script = "cat; pwd; echo err >&2; touch made; exit 9";
    let pwd = format!("in{}\n", server.path("ws").display());
    assert_eq!(
        remote(&["-s", "workspace-write"], &["sh", "-c", script], b"in"),
        (Some(9), pwd, "err\n".to_owned())
    );
    assert!(server.path("ws/made").exists());
    let (code, _, told) = remote(&[], &["touch", "not"], b"");
    assert_eq!((code, server.path("ws/not").exists()), (Some(1), false), "{told}");
    let (code, _, told) = remote(&["-s", "danger-full-access"], &["true"], b"");
    assert_eq!(code, Some(125));
    assert!(told.contains("exec_server.max_policy"), "{told}");
    // A token that others could have read is none to show.
    let token = server.path("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    for (mode, expected) in [(0o600, 0), (0o644, 125)] {
        std::fs::set_permissions(&token, Permissions::from_mode(mode)).unwrap();
        let (code, _, told) = remote(&["--ws-token-file", token.to_str().unwrap()], &["true"], b"");
        assert_eq!((code, told.contains("has the mode 0644")), (Some(expected), expected != 0), "{told}");
    }
}

#[test]
fn debug_remote_is_ended_by_signals() {
    let server = Server::start(Way::Unix);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // Whoever runs the tests may ignore them.
        let mut child = Command::new("/usr/bin/env")
            .args(["--default-signal=INT,TERM", env!("CARGO_BIN_EXE_codex-under-test")])
            .args(["debug", "remote", server.url(), "--", "sh", "-c", "echo runs; exec sleep 1000"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "runs\n");
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        // One that goes on would do so for ever.
        let (ended, end) = channel();
        let waiting = std::thread::spawn(move || ended.send(child.wait().unwrap()));
        let status = end.recv_timeout(PATIENCE);
        if status.is_err() {
            kill(pid, Signal::SIGKILL).unwrap();
        }
        waiting.join().unwrap().unwrap();
        assert_eq!(status.unwrap().signal(), Some(signal as i32));
    }
}
