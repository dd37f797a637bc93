//! Ways around a policy through `fs/*`, each with the same act succeeding where the policy allows it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::{Value, json};

use super::raw::{PATIENCE, Raw, Server, Way};

const WIDE: &str = "[exec_server]\nmax_policy = \"danger-full-access\"\n";
/// How often a race is run that must not be won.
const ROUNDS: usize = 60;

fn server(config: &str) -> Server {
    let server = Server::with(Way::Unix, config, &[]);
    fs::write(server.path("outside/secret"), "secret").unwrap();
    server
}

/// A write below the workspace under a sandbox.
fn write(server: &Server, name: &str, sandbox: Value) -> Value {
    json!({"path": server.uri(&format!("ws/{name}")), "dataBase64": STANDARD.encode("new"), "sandbox": sandbox})
}

/// The usual sandbox without the right to read what lies outside.
fn hiding(server: &Server) -> Value {
    let mut sandbox = server.sandbox("restricted");
    let rule = json!({"path": {"type": "path", "path": server.uri("outside")}, "access": "deny"});
    sandbox["permissions"]["file_system"]["entries"].as_array_mut().unwrap().push(rule);
    sandbox
}

fn content(answer: &Value) -> Option<String> {
    let data = answer["result"]["dataBase64"].as_str()?;
    Some(String::from_utf8(STANDARD.decode(data).unwrap()).unwrap())
}

fn codes(raw: &mut Raw, method: &str, params: &Value) -> (i64, String) {
    raw.error(method, params)
}

/// Exchanges two names as fast as it goes while something is tried.
fn racing<T>(one: PathBuf, other: PathBuf, act: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
                std::thread::yield_now();
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A directory and a link out of the workspace that take turns at its name.
fn swapped(server: &Server) -> (PathBuf, PathBuf) {
    let (directory, link) = (server.path("ws/d"), server.path("ws/l"));
    fs::create_dir(&directory).unwrap();
    symlink(server.path("outside"), &link).unwrap();
    (directory, link)
}

#[test]
fn a_link_that_is_swapped_during_a_write_leads_nowhere() {
    // Where the policy lets everything be written, the race is won in the end.
    let wide = server(WIDE);
    let (directory, link) = swapped(&wide);
    let mut raw = wide.ready();
    let made = wide.path("outside/x");
    let deadline = Instant::now() + PATIENCE;
    racing(directory, link, || {
        while !made.exists() {
            raw.call("fs/writeFile", &write(&wide, "d/x", Value::Null));
            assert!(Instant::now() < deadline);
        }
    });

    let narrow = server("");
    let (directory, link) = swapped(&narrow);
    let mut raw = narrow.ready();
    racing(directory, link, || {
        for round in 0..ROUNDS {
            let name = format!("d/{round}");
            let answer = match round % 3 {
                0 => raw.call("fs/writeFile", &write(&narrow, &name, narrow.sandbox("restricted"))),
                1 => {
                    let mut params = write(&narrow, &name, narrow.sandbox("restricted"));
                    params["recursive"] = json!(true);
                    raw.call("fs/createDirectory", &params)
                }
                _ => {
                    let params = json!({"path": narrow.uri("ws/d/secret"), "sandbox": narrow.sandbox("restricted"),
                                        "force": false});
                    raw.call("fs/remove", &params)
                }
            };
            let code = answer["error"]["code"].as_i64();
            // It was the directory, or the kernel said no.
            assert!(matches!(code, None | Some(-32603 | -32004)), "{answer}");
        }
    });
    let outside: Vec<_> =
        fs::read_dir(narrow.path("outside")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["secret"]);
}

#[test]
fn a_link_that_is_swapped_during_a_read_shows_nothing() {
    let server = server("");
    let (plain, link) = (server.path("ws/plain"), server.path("ws/link"));
    fs::write(&plain, "plain").unwrap();
    symlink(server.path("outside/secret"), &link).unwrap();
    let mut raw = server.ready();
    let read = |sandbox: Value| json!({"path": server.uri("ws/plain"), "sandbox": sandbox});
    let deadline = Instant::now() + PATIENCE;
    let mut denied = 0;
    racing(plain, link, || {
        // Where nothing is hidden, the race is won in the end.
        while content(&raw.call("fs/readFile", &read(Value::Null))).as_deref() != Some("secret") {
            assert!(Instant::now() < deadline);
        }
        for _ in 0..ROUNDS {
            let answer = raw.call("fs/readFile", &read(hiding(&server)));
            match content(&answer) {
                Some(content) => assert_eq!(content, "plain"),
                None => denied += 1,
            }
        }
    });
    println!("denied {denied} times of {ROUNDS}");
}

#[test]
fn what_is_hidden_is_hidden_by_every_way_and_method() {
    let server = server("");
    let ws = server.path("ws");
    let outside = server.path("outside");
    symlink(&outside, ws.join("absolute")).unwrap();
    symlink("../outside", ws.join("relative")).unwrap();
    let mut raw = server.ready();
    let server_process = server.process();
    let mut ways = vec![
        server.uri("outside/secret"),
        server.uri("ws/../outside/secret"),
        server.uri("ws/absolute/secret"),
        server.uri("ws/relative/secret"),
        format!("file:///proc/self/root{}/secret", outside.display()),
        format!("file:///proc/thread-self/root{}/secret", outside.display()),
        format!("file:///dev/fd/../root{}/secret", outside.display()),
    ];
    for way in &ways {
        let answer = raw.call("fs/readFile", &json!({"path": way}));
        assert_eq!(content(&answer).as_deref(), Some("secret"), "{way}: {answer}");
        let (code, message) =
            codes(&mut raw, "fs/readFile", &json!({"path": way, "sandbox": hiding(&server)}));
        assert!(matches!(code, -32600 | -32004), "{way}: {code} {message}");
    }
    // Processes of the machine are not there, whatever is read.
    for leads in ["root", "cwd"] {
        ways.push(format!("file:///proc/{server_process}/{leads}/../outside/secret"));
    }
    for way in &ways {
        for method in ["fs/readFile", "fs/open"] {
            let params = json!({"path": way, "sandbox": hiding(&server), "handleId": "h"});
            assert!(raw.call(method, &params).get("result").is_none(), "{method} {way}");
        }
    }
    let hidden = json!({"path": server.uri("outside"), "sandbox": hiding(&server)});
    assert_eq!(
        codes(&mut raw, "fs/readDirectory", &hidden),
        (-32600, format!("{}: Permission denied (os error 13)", outside.display()))
    );
    let copy = |sandbox: Value| {
        json!({"sourcePath": server.uri("outside/secret"), "destinationPath": server.uri("ws/copy"),
               "recursive": true, "sandbox": sandbox})
    };
    assert!(raw.call("fs/copy", &copy(hiding(&server))).get("error").is_some());
    assert!(!ws.join("copy").exists());
    raw.result("fs/copy", &copy(server.sandbox("restricted")));
    assert_eq!(fs::read_to_string(ws.join("copy")).unwrap(), "secret");
}

#[test]
fn what_the_servers_configuration_hides_no_request_shows() {
    let server = server("");
    let config = format!("[sandbox]\ndeny_read = [{:?}]\n", server.path("outside/secret"));
    let hiding = self::server(&config);
    let secret = json!({"path": server.uri("outside/secret")});
    assert_eq!(content(&server.ready().call("fs/readFile", &secret)).as_deref(), Some("secret"));
    let mut raw = hiding.ready();
    for sandbox in [Value::Null, hiding.sandbox("restricted"), json!({"permissions": {"type": "disabled"}})] {
        let params = json!({"path": server.uri("outside/secret"), "sandbox": sandbox});
        assert_eq!(codes(&mut raw, "fs/readFile", &params).0, -32600);
    }
}

#[test]
fn a_directory_that_becomes_a_link_between_two_requests_leads_to_what_may_be_read() {
    let server = server("");
    fs::create_dir(server.path("ws/d")).unwrap();
    fs::write(server.path("ws/d/secret"), "harmless").unwrap();
    let mut raw = server.ready();
    let listed =
        raw.result("fs/readDirectory", &json!({"path": server.uri("ws/d"), "sandbox": hiding(&server)}));
    assert_eq!(listed["entries"][0]["fileName"], "secret");
    fs::rename(server.path("ws/d"), server.path("ws/away")).unwrap();
    symlink("../outside", server.path("ws/d")).unwrap();
    let read = |sandbox: Value| json!({"path": server.uri("ws/d/secret"), "sandbox": sandbox});
    assert_eq!(codes(&mut raw, "fs/readFile", &read(hiding(&server))).0, -32004);
    assert_eq!(content(&raw.call("fs/readFile", &read(Value::Null))).as_deref(), Some("secret"));
}

#[test]
fn policies_hold_for_changes() {
    let server = server("");
    let wide = self::server(WIDE);
    let mut raw = server.ready();
    let read_only = json!({"permissions": {"type": "managed", "network": "restricted", "file_system": {"type": "restricted",
        "entries": [{"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"}]}},
        "windowsSandboxLevel": "disabled"});
    assert_eq!(codes(&mut raw, "fs/writeFile", &write(&server, "x", read_only)).0, -32603);
    for wider in
        [Value::Null, json!({"permissions": {"type": "disabled"}, "windowsSandboxLevel": "disabled"})]
    {
        for method in ["fs/writeFile", "fs/createDirectory", "fs/remove", "fs/open"] {
            let mut params = write(&server, "x", wider.clone());
            (params["handleId"], params["mode"]) = (json!("h"), json!("replace"));
            let (code, message) = codes(&mut raw, method, &params);
            assert_eq!(code, -32600);
            assert!(message.contains("exec_server.max_policy"), "{message}");
        }
    }
    let mut elsewhere = server.sandbox("restricted");
    elsewhere["workspaceRoots"] = json!([server.uri("outside")]);
    let (_, message) = codes(&mut raw, "fs/writeFile", &write(&server, "x", elsewhere));
    assert!(message.contains("exec_server.writable_roots"), "{message}");
    assert!(!server.path("ws/x").exists());
    raw.result("fs/writeFile", &write(&server, "x", server.sandbox("restricted")));
    wide.ready().result("fs/writeFile", &write(&wide, "../outside/x", Value::Null));
    assert!(server.path("ws/x").exists() && wide.path("outside/x").exists());
}

#[test]
fn protected_metadata_is_protected() {
    for (config, sandboxed) in [("", true), (WIDE, false)] {
        let server = server(config);
        let ws = server.path("ws");
        for directory in ["hooks", "objects", "refs"] {
            fs::create_dir_all(ws.join("repository/.git").join(directory)).unwrap();
        }
        fs::write(ws.join("repository/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(ws.join("repository/.git/config"), "[core]\n").unwrap();
        let mut raw = server.ready();
        let mut usual = server.sandbox("restricted");
        // Without the client's own rules about `.git` and others: what is protected anyway is left.
        usual["permissions"]["file_system"]["entries"].as_array_mut().unwrap().truncate(4);
        let sandbox = || if sandboxed { usual.clone() } else { Value::Null };
        for (name, reason) in
            [("repository/.git/hooks/post-commit", "os error 30"), ("repository/.git/config", "os error 30")]
        {
            let answer = raw.call("fs/writeFile", &write(&server, name, sandbox()));
            assert_eq!(answer.get("error").is_some(), sandboxed, "{answer}");
            assert!(!sandboxed || answer["error"]["message"].as_str().unwrap().contains(reason), "{answer}");
        }
        // What git itself writes in every commit is not protected.
        raw.result("fs/writeFile", &write(&server, "repository/.git/COMMIT_EDITMSG", sandbox()));
        // A name that nothing has yet is taken away again, and the answer says so.
        let made = ws.join(".vscode");
        let answer = raw.call("fs/createDirectory", &write(&server, ".vscode", sandbox()));
        assert_eq!(answer.get("error").is_some(), sandboxed, "{answer}");
        assert_eq!(made.exists(), !sandboxed);
        let open = |name: &str| {
            let mut params = write(&server, name, sandbox());
            (params["handleId"], params["mode"]) = (json!("h"), json!("replace"));
            params
        };
        fs::remove_dir(&made).ok();
        let opened = raw.call("fs/open", &open(".mcp.json"));
        assert!(opened.get("error").is_none(), "{opened}");
        let closed = raw.call("fs/close", &json!({"handleId": "h"}));
        assert_eq!(closed.get("error").is_some(), sandboxed, "{closed}");
        assert_eq!(ws.join(".mcp.json").exists(), !sandboxed);
        let removed = json!({"path": server.uri("ws/repository/.git/hooks"), "sandbox": sandbox()});
        assert_eq!(raw.call("fs/remove", &removed).get("error").is_some(), sandboxed);
        assert_eq!(ws.join("repository/.git/hooks").exists(), sandboxed);
    }
}

#[test]
fn a_file_with_a_name_outside_keeps_its_content_there() {
    let server = server("");
    fs::hard_link(server.path("outside/secret"), server.path("ws/name")).unwrap();
    let mut raw = server.ready();
    raw.result("fs/writeFile", &write(&server, "name", server.sandbox("restricted")));
    assert_eq!(fs::read_to_string(server.path("ws/name")).unwrap(), "new");
    assert_eq!(fs::read_to_string(server.path("outside/secret")).unwrap(), "secret");
}

#[test]
fn what_is_no_file_holds_up_nobody_whenever_it_comes() {
    let server = server("");
    let (file, fifo) = (server.path("ws/file"), server.path("ws/fifo"));
    fs::write(&file, "text").unwrap();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut raw = server.ready();
    let (mut read, mut refused) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    racing(file, fifo.clone(), || {
        // Both are seen, and nothing waits for a writer that never comes.
        while read < 20 || refused < 20 {
            let answer = raw.call("fs/readFile", &json!({"path": server.uri("ws/file")}));
            match content(&answer) {
                Some(content) => {
                    assert_eq!(content, "text");
                    read += 1;
                }
                None => {
                    assert!(
                        answer["error"]["message"].as_str().unwrap().contains("no regular file"),
                        "{answer}"
                    );
                    refused += 1;
                }
            }
            assert!(Instant::now() < deadline);
        }
    });
    // Nobody was ever at the other end: an opening for writing finds no reader, and found none before.
    let open = nix::fcntl::open(
        Path::new(&fifo),
        nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_NONBLOCK,
        nix::sys::stat::Mode::empty(),
    );
    let is_fifo = fs::metadata(&fifo).is_ok_and(|status| !status.is_file());
    assert_eq!(open.err(), is_fifo.then_some(nix::errno::Errno::ENXIO));
}

#[test]
fn changes_are_in_the_audit_log_or_are_not_made() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = directory.path().join("log");
    let server = server(&format!("[audit]\nfile = {log:?}\n"));
    let sandbox = server.sandbox("restricted");
    let mut raw = server.ready();
    raw.result("fs/writeFile", &write(&server, "x", sandbox.clone()));
    codes(&mut raw, "fs/writeFile", &write(&server, "y", Value::Null));
    raw.result("fs/readFile", &json!({"path": server.uri("ws/x")}));
    let mut lines: Vec<Value> = Vec::new();
    // The end of a worker is noted behind the answer.
    while lines.len() < 3 {
        std::thread::yield_now();
        let text = fs::read_to_string(&log).unwrap();
        lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    }
    let place = |line: &Value| ["start", "end", "refused"].iter().position(|event| line["event"] == *event);
    lines.sort_by_key(place);
    assert_eq!(lines.iter().map(place).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)], "{lines:?}");
    assert_eq!(lines[0]["argv"].as_array().unwrap()[1..], [json!("fs/writeFile"), json!(server.uri("ws/x"))]);
    assert_eq!((&lines[0]["client"], &lines[0]["mode"]), (&json!("test"), &json!("workspace-write")));
    assert!(lines[2]["refused"].as_str().unwrap().contains("danger-full-access"));
    // A log that can't be written any more.
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let (code, message) = codes(&mut raw, "fs/writeFile", &write(&server, "z", sandbox));
    assert!(code == -32603 && message.contains("the audit log"), "{code} {message}");
    assert!(!server.path("ws/z").exists());
}
