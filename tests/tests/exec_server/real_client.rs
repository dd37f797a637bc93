//! Codex CLI itself as the client: run as a program, driven by a model that says what a script tells it to.
//!
//! It is installed from the npm registry into the directory of the tests. Where there is no npm the test is skipped, and
//! fails in CI.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_tests::harness::require_tool;
use serde_json::{Value, json};

use super::raw::{Server, Way};

/// The version whose wire was observed.
const PACKAGE: &str = "@openai/codex@0.169.0";

/// The client's program.
fn client() -> Option<PathBuf> {
    if !["npm", "node", "python3"].iter().all(|tool| require_tool(tool).is_some()) {
        return None;
    }
    // Two tests want it, and one installs it.
    static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = INSTALLING.lock().unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-client");
    let program = directory.join("node_modules/.bin/codex");
    if !program.exists() {
        fs::create_dir_all(&directory).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&directory).arg(PACKAGE);
        let output = npm.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Some(program)
}

/// A scripted model, gone with the test.
struct Model {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Model {
    fn start(directory: &Path, turns: &Value) -> Self {
        let (script, log) = (directory.join("script.json"), directory.join("log.jsonl"));
        fs::write(&script, turns.to_string()).unwrap();
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/server.py");
        let mut python = Command::new("python3");
        python.arg(server).arg(&script).arg(&log).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, port: port.trim().parse().unwrap(), log }
    }

    /// What the model was told, the newest request's history.
    fn input(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        let mut last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        serde_json::from_value(last["input"].take()).unwrap()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What the tools have answered.
fn outputs(input: &[Value]) -> Vec<String> {
    let outputs = input.iter().filter(|item| {
        ["function_call_output", "custom_tool_call_output"]
            .contains(&item["type"].as_str().unwrap_or_default())
    });
    outputs.map(|item| item["output"].to_string()).collect()
}

/// Runs the client against a server whose workspace was prepared, and returns what the model was told.
fn turns(client: &Path, way: Way, prepare: impl Fn(&Server), turns: &Value) -> (Server, Vec<Value>) {
    let server = Server::start(way);
    prepare(&server);
    let home = server.path("client-home");
    fs::create_dir(&home).unwrap();
    let model = Model::start(server.root.path(), turns);
    let config = format!(
        "model = \"scripted\"\nmodel_provider = \"test\"\n[features]\nunified_exec = true\n[model_providers.test]\n\
         name = \"test\"\nbase_url = \"http://127.0.0.1:{}/v1\"\nwire_api = \"responses\"\nenv_key = \"TEST_KEY\"\n",
        model.port
    );
    fs::write(home.join("config.toml"), config).unwrap();
    let environment = match way {
        Way::WebSocket => format!("url = \"ws://{}\"\n", server.address()),
        _ => format!(
            "program = {:?}\nargs = [\"exec-server\", \"--listen\", \"stdio\"]\ncwd = {:?}\nenv = {{ CODEX_HOME = {:?} }}\n",
            env!("CARGO_BIN_EXE_codex-under-test"),
            server.path("ws"),
            server.path("home")
        ),
    };
    let environments =
        format!("default = \"dev\"\ninclude_local = false\n[[environments]]\nid = \"dev\"\n{environment}");
    fs::write(home.join("environments.toml"), environments).unwrap();
    let output = Command::new(client)
        .args(["exec", "--skip-git-repo-check", "-s", "workspace-write", "--json", "go"])
        .current_dir(server.path("ws"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", server.path("outside"))
        .env("CODEX_HOME", &home)
        .env("TEST_KEY", "none")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told:?}");
    let input = model.input();
    (server, input)
}

#[test]
fn codex_cli_completes_its_turns() {
    let Some(client) = client() else { return };
    let session = json!({"$session": true});
    let script = json!([
        [{"call": "exec_command", "arguments": {"cmd": "echo hello; touch made; touch ../outside/no; exit 3", "login": false}}],
        [{"call": "exec_command", "arguments": {"cmd": "cat", "tty": true, "yield_time_ms": 250, "login": false}}],
        [{"call": "write_stdin", "arguments": {"session_id": session, "chars": "typed\n", "yield_time_ms": 500}}],
        [{"call": "write_stdin", "arguments": {"session_id": session, "chars": "\u{3}", "yield_time_ms": 2000}}],
        [{"call": "exec_command", "arguments": {"cmd": "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done", "yield_time_ms": 500, "login": false}}],
        [{"call": "write_stdin", "arguments": {"session_id": session, "chars": "\u{3}", "yield_time_ms": 2000}}],
        [{"call": "exec_command", "arguments": {"cmd": "seq 200000 | sha256sum; exec 3<>/dev/tcp/127.0.0.1/9", "login": false}}],
        [{"text": "done"}],
    ]);
    for way in [Way::Stdio, Way::WebSocket] {
        let (server, input) = turns(&client, way, |_server| {}, &script);
        let outputs = outputs(&input);
        assert_eq!(outputs.len(), 7);
        assert!(outputs[0].contains("hello") && outputs[0].contains("code 3"), "{}", outputs[0]);
        assert!(outputs[0].contains("Read-only file system"), "{}", outputs[0]);
        assert!(server.path("ws/made").exists() && !server.path("outside/no").exists());
        assert!(outputs[2].contains("typed"), "{}", outputs[2]);
        assert!(outputs[3].contains("code 130"), "{}", outputs[3]);
        assert!(outputs[4].contains("ready") && outputs[5].contains("caught"), "{outputs:?}");
        assert!(outputs[5].contains("code 5"), "{}", outputs[5]);
        // `seq 200000 | sha256sum`, whole; and nothing listens inside.
        assert!(
            outputs[6].contains("5af7b95208fdcff454bab3f5eddf567a688a3796c703d4fef91072e38645c062"),
            "{}",
            outputs[6]
        );
        assert!(outputs[6].contains("code 1"), "{}", outputs[6]);
    }
}

#[test]
fn codex_cli_reads_and_changes_files() {
    let Some(client) = client() else { return };
    let patch = |text: &str| json!([{"call": "exec_command", "arguments": {"cmd": format!("apply_patch <<'EOF'\n*** Begin Patch\n{text}*** End Patch\nEOF"), "login": false}}]);
    let script = json!([
        patch("*** Update File: kept\n@@\n one\n-two\n+second\n three\n*** Add File: deep/new\n+made\n"),
        patch("*** Delete File: gone\n*** Update File: old\n*** Move to: moved\n@@\n-before\n+after\n"),
        patch("*** Add File: out/it\n+no\n"),
        patch("*** Add File: repository/.git/hooks/post-commit\n+no\n"),
        [{"call": "view_image", "arguments": {"path": "picture.png"}}],
        [{"call": "exec_command", "arguments": {"cmd": "cat kept", "login": false}}],
        [{"text": "done"}],
    ]);
    let prepare = |server: &Server| {
        let ws = server.path("ws");
        fs::write(ws.join("AGENTS.md"), "Always say please.\n").unwrap();
        fs::write(ws.join("kept"), "one\ntwo\nthree\n").unwrap();
        fs::write(ws.join("gone"), "gone\n").unwrap();
        fs::write(ws.join("old"), "before\n").unwrap();
        fs::write(ws.join("picture.png"), STANDARD.decode(PICTURE).unwrap()).unwrap();
        std::os::unix::fs::symlink("../outside", ws.join("out")).unwrap();
        // A repository, as far as anybody looks at it.
        for directory in ["hooks", "objects", "refs"] {
            fs::create_dir_all(ws.join("repository/.git").join(directory)).unwrap();
        }
        fs::write(ws.join("repository/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
    };
    for way in [Way::Stdio, Way::WebSocket] {
        let (server, input) = turns(&client, way, prepare, &script);
        let ws = server.path("ws");
        let read = |name: &str| fs::read_to_string(ws.join(name)).ok();
        let told = json!(input).to_string();
        assert!(told.contains("Always say please."), "{told}");
        let outputs = outputs(&input);
        assert_eq!(outputs.len(), 6, "{outputs:?}");
        assert_eq!(read("kept").as_deref(), Some("one\nsecond\nthree\n"), "{}", outputs[0]);
        assert_eq!(read("deep/new").as_deref(), Some("made\n"), "{}", outputs[0]);
        assert_eq!((read("gone"), read("old")), (None, None), "{}", outputs[1]);
        assert_eq!(read("moved").as_deref(), Some("after\n"), "{}", outputs[1]);
        // The client's own words for what the server refuses.
        assert!(outputs[2].contains("Failed to write file"), "{}", outputs[2]);
        assert_eq!(fs::read_dir(server.path("outside")).unwrap().count(), 0);
        assert!(outputs[3].contains("Failed to write file"), "{}", outputs[3]);
        assert!(read("repository/.git/hooks/post-commit").is_none());
        assert!(outputs[5].contains("second"), "{}", outputs[5]);
        assert!(outputs[4].contains("data:image/png;base64,"), "{}", outputs[4]);
    }
}

/// One pixel, in base64.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
