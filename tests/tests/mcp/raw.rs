//! A server over standard streams, and a client that sends what it is told to.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test fails. Nothing waits for it otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The places of one test: `ws` is the workspace, `home` the configuration, `outside` neither.
pub(crate) struct Place {
    root: TempDir,
}

impl Place {
    pub(crate) fn new(config: &str) -> Self {
        // Not below /tmp, where everybody may write.
        let root = tempfile::Builder::new().prefix("mcp-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for directory in ["ws", "home", "outside"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        std::fs::write(root.path().join("home/config.toml"), config).unwrap();
        Self { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The server's command line.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codex-under-test"));
        command.arg("exec-server").args(arguments);
        self.surround(&mut command);
        command
    }

    /// Where a server finds itself.
    pub(crate) fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.path("ws"))
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CODEX_HOME", self.path("home"))
            .env("HOME", self.path("outside"))
            .env("API_TOKEN", "secret");
    }

    /// A session whose handshake is done, with a client that declares these capabilities.
    pub(crate) fn session(&self, arguments: &[&str], capabilities: &Value) -> Mcp {
        Self::greeted(self.connect(arguments), capabilities)
    }

    /// A session with a server whose machine refuses it user namespaces: its first command's set-up begins twice.
    pub(crate) fn session_without_namespaces(&self, unshare: &Path) -> Mcp {
        self.session_beneath(unshare, &["-Ur"], "echo 0 >/proc/sys/user/max_user_namespaces")
    }

    /// One with a server in namespaces of its own, in which something is done first.
    pub(crate) fn session_beneath(&self, unshare: &Path, namespaces: &[&str], first: &str) -> Mcp {
        let server = env!("CARGO_BIN_EXE_codex-under-test");
        let script = format!("{first} && exec '{server}' exec-server --mcp -s workspace-write");
        let mut command = Command::new(unshare);
        command.args(namespaces).args(["sh", "-c", &script]);
        self.surround(&mut command);
        Self::greeted(Self::begun(command), &json!({}))
    }

    fn greeted(mut mcp: Mcp, capabilities: &Value) -> Mcp {
        let result = mcp.result(
            "initialize",
            &json!({"protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}}),
        );
        assert_eq!(result["protocolVersion"], "2025-06-18");
        mcp.notify("notifications/initialized", &json!({}));
        mcp
    }

    /// A server that nobody has said anything to.
    pub(crate) fn connect(&self, arguments: &[&str]) -> Mcp {
        Self::begun(self.command(&[&["--mcp"], arguments].concat()))
    }

    fn begun(mut command: Command) -> Mcp {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, received) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Mcp { child, input: Some(input), received, others: VecDeque::new(), answers: Vec::new(), next: 1 }
    }
}

/// A session.
pub(crate) struct Mcp {
    child: Child,
    input: Option<ChildStdin>,
    received: Receiver<Value>,
    /// Notifications and requests of the server that nobody has looked at.
    others: VecDeque<Value>,
    /// Answers that nobody has asked for yet.
    answers: Vec<Value>,
    next: i64,
}

impl Mcp {
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(&[bytes, b"\n"].concat()).and_then(|()| input.flush()).unwrap();
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.send_bytes(message.to_string().as_bytes());
    }

    pub(crate) fn notify(&mut self, method: &str, params: &Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Sends a request, and returns its id.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> i64 {
        let id = self.next;
        self.next += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// The next message, whatever it is. Nothing at the end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        match self.received.recv_timeout(PATIENCE) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing has come"),
        }
    }

    /// The answer of this id; what comes before is kept.
    pub(crate) fn answer(&mut self, id: i64) -> Value {
        let is_it =
            |message: &Value| message.get("method").is_none() && message.get("id") == Some(&json!(id));
        if let Some(index) = self.answers.iter().position(is_it) {
            return self.answers.swap_remove(index);
        }
        loop {
            let message = self.next().expect("an answer before the end");
            if is_it(&message) {
                return message;
            }
            let kept = message.get("method").is_some();
            if kept { self.others.push_back(message) } else { self.answers.push(message) }
        }
    }

    /// The next notification or request of the server.
    pub(crate) fn other(&mut self) -> Value {
        loop {
            if let Some(message) = self.others.pop_front() {
                return message;
            }
            let message = self.next().expect("a message before the end");
            let kept = message.get("method").is_some();
            if kept { self.others.push_back(message) } else { self.answers.push(message) }
        }
    }

    /// Whether the server has said anything by itself.
    pub(crate) fn has_others(&self) -> bool {
        !self.others.is_empty()
    }

    /// The result of a request that succeeds.
    pub(crate) fn result(&mut self, method: &str, params: &Value) -> Value {
        let id = self.request(method, params);
        let mut answer = self.answer(id);
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// The code and the message of one that does not.
    pub(crate) fn error(&mut self, method: &str, params: &Value) -> (i64, String) {
        let id = self.request(method, params);
        let answer = self.answer(id);
        let error = answer.get("error").unwrap_or_else(|| panic!("{method} {params}: {answer}"));
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// A call's result as data.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let mut result = self.result("tools/call", &json!({"name": tool, "arguments": arguments}));
        assert!(result["content"][0]["text"].is_string(), "{result}");
        result["structuredContent"].take()
    }

    /// Waits until a session has said something, from what it has said before, and gives all of it.
    pub(crate) fn hears(&mut self, begun: &Value, what: &str) -> String {
        let mut heard = begun["output"]["text"].as_str().unwrap().to_owned();
        while !heard.contains(what) {
            let wait = json!({"session_id": begun["session_id"], "yield_time_ms": 250});
            let more = self.call("write_stdin", &wait);
            assert_eq!(more["outcome"], "running", "{heard}{more}");
            heard += more["output"]["text"].as_str().unwrap();
        }
        heard
    }

    /// Waits for the end of a session, where `last` has not seen it, and gives what is known of it.
    pub(crate) fn over(&mut self, session: &Value, mut last: Value) -> Value {
        while last["outcome"] == "running" {
            let wait = json!({"session_id": session, "yield_time_ms": 20_000});
            last = self.call("write_stdin", &wait);
        }
        last
    }

    /// Ends the input, and returns the server's exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.input = None;
        self.child.wait().unwrap().code()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        self.input = None;
        self.child.wait().unwrap();
    }
}

/// A fifo that commands hold open as long as they are there.
pub(crate) struct Presence {
    reader: File,
}

impl Presence {
    pub(crate) fn new(path: &Path) -> Self {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
        Self { reader }
    }

    fn waits_for(&self, what: PollFlags) -> bool {
        let mut waiting = [PollFd::new(self.reader.as_fd(), what)];
        let ready = poll(&mut waiting, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        ready > 0 && waiting[0].revents().unwrap().intersects(what)
    }

    /// Waits until a command has written to it.
    pub(crate) fn began(&self) {
        assert!(self.waits_for(PollFlags::POLLIN), "nobody came");
    }

    /// Waits until everybody has gone who was there.
    pub(crate) fn ended(&self) {
        assert!(self.waits_for(PollFlags::POLLHUP), "somebody is still there");
    }
}

/// A command that holds a fifo open, with a child that ignores being asked to end.
pub(crate) const HOLDS: &str =
    "exec 3>held; echo here >&3; (trap '' TERM; while :; do sleep 1000; done) & while :; do sleep 1000; done";
