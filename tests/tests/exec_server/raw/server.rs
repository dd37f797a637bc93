//! A server under test, its places, and the ways to it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Raw;

/// A way to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Stdio,
    WebSocket,
    Unix,
}

pub(crate) const WAYS: [Way; 3] = [Way::Stdio, Way::WebSocket, Way::Unix];

/// The program under test, unless a soak is told of another one.
fn program() -> PathBuf {
    std::env::var_os("SOAK_BIN").map_or_else(|| env!("CARGO_BIN_EXE_codex-under-test").into(), PathBuf::from)
}

/// A server and its places: `ws` is its workspace, `home` its configuration, `outside` neither.
pub(crate) struct Server {
    pub(crate) root: TempDir,
    way: Way,
    child: Option<Child>,
    arguments: Vec<String>,
    url: String,
}

impl Server {
    pub(crate) fn start(way: Way) -> Self {
        Self::with(way, "", &[])
    }

    /// A server with a configuration and further arguments.
    pub(crate) fn with(way: Way, config: &str, arguments: &[&str]) -> Self {
        Self::beneath(way, config, arguments, |_server, command| command)
    }

    /// A server that another program starts.
    pub(crate) fn beneath(
        way: Way,
        config: &str,
        arguments: &[&str],
        wrap: impl FnOnce(&Self, Command) -> Command,
    ) -> Self {
        // Not below /tmp, where everybody may write.
        let root =
            tempfile::Builder::new().prefix("server-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for directory in ["ws", "home", "outside"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        std::fs::write(root.path().join("home/config.toml"), config).unwrap();
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self { root, way, child: None, arguments, url: String::new() };
        let address = match way {
            Way::Stdio => return server,
            Way::WebSocket => "ws://127.0.0.1:0".to_owned(),
            Way::Unix => format!("unix://{}", server.path("socket").display()),
        };
        let mut child = wrap(&server, server.command(&address)).stdin(Stdio::null()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        server.url = first.trim().to_owned();
        server.child = Some(child);
        server
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn uri(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    fn command(&self, address: &str) -> Command {
        let mut command = Command::new(program());
        command
            .args(["exec-server", "--listen", address])
            .args(&self.arguments)
            .current_dir(self.path("ws"))
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CODEX_HOME", self.path("home"))
            .env("HOME", self.path("outside"))
            .env("SHELL", "/bin/bash")
            .env("API_TOKEN", "secret")
            .stdout(Stdio::piped());
        command
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url.strip_prefix("ws://").unwrap().parse().unwrap()
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Tells the server to end, and returns its exit code.
    pub(crate) fn end(self) -> Option<i32> {
        self.end_by(Signal::SIGTERM).code()
    }

    /// Sends the server a signal that ends it, and says how it has.
    pub(crate) fn end_by(mut self, signal: Signal) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        child.wait().unwrap()
    }

    /// A connection that has said nothing.
    pub(crate) fn connect(&self) -> Raw {
        match self.way {
            Way::Stdio => {
                let mut child = self.command("stdio").stdin(Stdio::piped()).spawn().unwrap();
                let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
                Raw::lines(stdout, stdin, Some(child))
            }
            Way::Unix => {
                let stream = UnixStream::connect(self.path("socket")).unwrap();
                let cut = stream.try_clone().unwrap();
                let mut raw = Raw::lines(stream.try_clone().unwrap(), stream, None);
                raw.cut = Some(cut);
                raw
            }
            Way::WebSocket => Raw::web_socket(self.address()),
        }
    }

    /// A connection over standard streams to a server with further variables.
    pub(crate) fn with_variables(&self, variables: &[(&str, &std::path::Path)]) -> Raw {
        let mut command = self.command("stdio");
        let mut child = command.envs(variables.iter().copied()).stdin(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut raw = Raw::lines(stdout, stdin, Some(child));
        raw.handshake(&json!({"clientName": "test"}));
        raw
    }

    /// A connection to a server that the machine gives no namespaces.
    pub(crate) fn without_namespaces(&self, unshare: &std::path::Path) -> Raw {
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
        let mut command = wrapped(unshare, &["-Ur", "sh", "-c", script, "sh"], &self.command("stdio"));
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut raw = Raw::lines(stdout, stdin, Some(child));
        raw.handshake(&json!({"clientName": "test"}));
        raw
    }

    /// A connection whose handshake is done.
    pub(crate) fn ready(&self) -> Raw {
        let mut raw = self.connect();
        raw.handshake(&json!({"clientName": "test"}));
        raw
    }

    /// A connection that knows what is ours.
    pub(crate) fn extended(&self) -> Raw {
        let mut raw = self.connect();
        let result = raw.handshake(&json!({"clientName": "test", "extensions": {"version": 1}}));
        assert_eq!(result["extensions"], json!({"version": 1}));
        raw
    }

    /// The parameters of a start, under the client's usual sandbox.
    pub(crate) fn start_params(&self, id: &str, argv: &[&str]) -> Value {
        json!({
            "processId": id, "argv": argv, "cwd": self.uri("ws"), "env": {"PATH": "/usr/bin:/bin"}, "tty": false,
            "sandbox": self.sandbox("restricted"),
        })
    }

    /// What `codex exec -s workspace-write` sends.
    pub(crate) fn sandbox(&self, network: &str) -> Value {
        let special = |value: Value, access: &str| json!({"path": {"type": "special", "value": value}, "access": access});
        let roots = |subpath: &str| {
            json!({"path": {"type": "special", "value": {"kind": "project_roots", "subpath": subpath}},
                   "access": "read", "missing_path_behavior": "skip"})
        };
        json!({
            "permissions": {"type": "managed", "network": network, "file_system": {"type": "restricted", "entries": [
                special(json!({"kind": "root"}), "read"),
                special(json!({"kind": "project_roots"}), "write"),
                special(json!({"kind": "slash_tmp"}), "write"),
                special(json!({"kind": "tmpdir"}), "write"),
                roots(".git"), roots(".agents"), roots(".codex"), roots(".aws"),
            ]}},
            "cwd": self.uri("ws"), "workspaceRoots": [self.uri("ws")], "windowsSandboxLevel": "disabled",
            "windowsSandboxProxySettingsMode": "reconcile", "useLegacyLandlock": false,
        })
    }
}

/// A command behind the words of another one.
pub(crate) fn wrapped(program: &std::path::Path, words: &[&str], command: &Command) -> Command {
    let mut wrapper = Command::new(program);
    wrapper
        .args(words)
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdout(Stdio::piped());
    wrapper
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
