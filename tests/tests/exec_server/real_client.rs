//! Codex CLI itself as the client: run as a program, driven by a model that says what a script tells it to.
//!
//! It is installed from the npm registry into the directory of the tests. Where there is no npm the test is skipped, and
//! fails in CI.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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

    /// What the tools have answered, the newest request's history.
    fn outputs(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let outputs =
            last["input"].as_array().unwrap().iter().filter(|item| item["type"] == "function_call_output");
        outputs.map(|item| item["output"].to_string()).collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs the client against a server, and returns what the tools have answered.
fn turns(client: &Path, way: Way, turns: &Value) -> (Server, Vec<String>) {
    let server = Server::start(way);
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
    let outputs = model.outputs();
    (server, outputs)
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
        let (server, outputs) = turns(&client, way, &script);
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
