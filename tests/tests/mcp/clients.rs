//! The official clients, as programs: Python, TypeScript, and the inspector's command line.
//!
//! They are installed from their registries into the directory of the tests, once. Where the tools for that are missing the
//! tests are skipped, and fail in CI.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use codex_tests::harness::require_tool;
use serde_json::Value;

use super::http::Server;
use super::raw::Place;

const PYTHON: &str = "mcp==2.3.0";
const SDK: &str = "@modelcontextprotocol/sdk@1.32.2";
const INSPECTOR: &str = "@modelcontextprotocol/inspector@2.12.0";

/// Tests of one program install one after the other.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A directory with what `install` puts into it. It has its name only once it is whole.
fn installed(name: &str, tools: &[&str], install: impl Fn(&Path) -> Command) -> Option<PathBuf> {
    if !tools.iter().all(|tool| require_tool(tool).is_some()) {
        return None;
    }
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let above = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = above.join(name.replace(['@', '/', '='], "-"));
    if !directory.exists() {
        let new = tempfile::Builder::new().prefix("installing-").tempdir_in(above).unwrap();
        let output = install(new.path()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(new.keep(), &directory).unwrap();
    }
    Some(directory)
}

pub(crate) fn python() -> Option<PathBuf> {
    installed(PYTHON, &["python3", "pip3"], |directory| {
        let mut pip = Command::new("pip3");
        pip.args(["install", "--quiet", "--no-input", "--disable-pip-version-check", "--target"])
            .arg(directory)
            .arg(PYTHON);
        pip
    })
}

fn npm(package: &str) -> Option<PathBuf> {
    installed(package, &["node", "npm"], |directory| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(directory)
            .arg(package);
        npm
    })
}

/// A client's program, with the arguments that lead it to a server.
fn run(place: &Place, mut client: Command, packages: (&str, &Path), server: &[&str]) -> String {
    client.args(server);
    place.surround(&mut client);
    client.env(packages.0, packages.1).stdin(Stdio::null());
    let Output { status, stdout, stderr } = client.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{stdout}{stderr}");
    stdout
}

pub(crate) fn script(program: &str, name: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name));
    command
}

const SERVER: [&str; 3] = [env!("CARGO_BIN_EXE_codex-under-test"), "exec-server", "--mcp"];

/// The same, over HTTP, against a server that is there already.
fn run_over_http(client: Command, packages: (&str, &Path)) {
    let server = Server::start("", &[]);
    let said = run(&server.place, client, packages, &["--http", &server.url]);
    assert_eq!(said, "done\n");
}

#[test]
fn the_python_client_works() {
    let Some(packages) = python() else { return };
    let place = Place::new("");
    let said = run(&place, script("python3", "mcp_client.py"), ("PYTHONPATH", &packages), &SERVER);
    assert_eq!(said, "done\n");
    run_over_http(script("python3", "mcp_client.py"), ("PYTHONPATH", &packages));
}

#[test]
fn the_typescript_client_works() {
    let Some(packages) = npm(SDK) else { return };
    let place = Place::new("");
    let said = run(&place, script("node", "mcp_client.mjs"), ("PACKAGES", &packages), &SERVER);
    assert_eq!(said, "done\n");
    assert!(place.path("ws/from-typescript").exists());
    run_over_http(script("node", "mcp_client.mjs"), ("PACKAGES", &packages));
}

#[test]
fn the_inspector_works() {
    let Some(packages) = npm(INSPECTOR) else { return };
    let place = Place::new("");
    let inspect = |method: &[&str]| -> Value {
        let inspector = Command::new(packages.join("node_modules/.bin/mcp-inspector"));
        let said =
            run(&place, inspector, ("PACKAGES", &packages), &[&["--cli"], &SERVER[..], method].concat());
        serde_json::from_str(&said).unwrap()
    };
    assert_eq!(inspect(&["--method", "tools/list"])["tools"].as_array().unwrap().len(), 6);
    let call = ["--method", "tools/call", "--tool-name", "exec_command", "--tool-arg", "cmd=echo $((6*7))"];
    let called = inspect(&call);
    assert_eq!(called["structuredContent"]["output"]["text"], "42\n", "{called}");
}
