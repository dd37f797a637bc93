//! What clients may ask for, and that no more comes of it.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::raw::{Server, Way};

fn refused(server: &Server, params: &Value) -> String {
    let (code, message) = server.ready().error("process/start", params);
    assert_eq!(code, -32600, "{message}");
    message
}

#[test]
fn a_wider_policy_is_refused_and_named() {
    let server = Server::start(Way::Unix);
    let with = |sandbox: Value| {
        let mut params = server.start_params("p", &["true"]);
        params["sandbox"] = sandbox;
        params
    };
    for wider in [
        Value::Null,
        json!({"permissions": {"type": "disabled"}}),
        json!({"permissions": {"type": "external", "network": "restricted"}}),
        json!({"permissions": {"type": "managed", "file_system": {"type": "unrestricted"}, "network": "restricted"}}),
    ] {
        assert!(refused(&server, &with(wider)).contains("exec_server.max_policy"));
    }
    assert!(refused(&server, &with(server.sandbox("enabled"))).contains("exec_server.network_access"));
    let mut elsewhere = server.sandbox("restricted");
    elsewhere["workspaceRoots"] = json!([server.uri("outside")]);
    assert!(refused(&server, &with(elsewhere.clone())).contains("exec_server.writable_roots"));
    // By a link inside the workspace as well.
    symlink(server.path("outside"), server.path("ws/link")).unwrap();
    elsewhere["workspaceRoots"] = json!([server.uri("ws/link")]);
    assert!(refused(&server, &with(elsewhere)).contains("exec_server.writable_roots"));
    // Words about the sandbox that would turn it off change nothing.
    let mut bypass = server.sandbox("restricted");
    bypass["sandboxOverride"] = json!("bypassSandboxFirstAttempt");
    let mut params = with(bypass);
    let outside = server.path("outside/made");
    params["argv"] = json!(["touch", outside]);
    assert_eq!(server.ready().run(&params).exit_code, Some(1));
    assert!(!outside.exists());
}

/// Each member that could widen something, by itself.
#[test]
fn no_member_of_a_request_passes_the_ceiling() {
    let server = Server::start(Way::Unix);
    symlink(server.path("outside"), server.path("ws/link")).unwrap();
    let outside = server.path("outside/made");
    let mut raw = server.extended();
    let entry = |path: Value| json!({"path": path, "access": "write"});
    let path = |uri: String| entry(json!({"type": "path", "path": uri}));
    let place = |kind: &str, subpath: Value| {
        entry(json!({"type": "special", "value": {"kind": kind, "subpath": subpath}}))
    };
    let entries = "/sandbox/permissions/file_system/entries/-";
    let by_value = |roots: Value| json!({"mode": "workspace-write", "writableRoots": roots});
    let at = |name: &str| server.uri(name);
    // Refused, whatever the words.
    for (member, value) in [
        (entries, entry(json!({"type": "special", "value": {"kind": "root"}}))),
        (entries, path(at("outside"))),
        (entries, path(at("ws/../outside"))),
        (entries, path(at("ws/%2e%2e/outside"))),
        (entries, path(at("ws/link"))),
        (entries, path(at("home"))),
        (entries, path("file:///".to_owned())),
        (entries, path("file:///proc/self/root".to_owned())),
        (entries, path("file:///proc/1/root".to_owned())),
        (entries, path("file:///dev".to_owned())),
        (entries, path("file:///sys".to_owned())),
        (entries, place("project_roots", json!("../outside"))),
        (entries, place("project_roots", json!(server.path("outside")))),
        (entries, place("project_roots", json!("link"))),
        (entries, place("current_working_directory", json!("link"))),
        ("/sandbox/workspaceRoots/-", json!(at("outside"))),
        ("/sandbox/temporaryDirectories", json!([at("outside")])),
        ("/sandbox/permissions/network", json!("enabled")),
        ("/sandbox/permissions/type", json!("disabled")),
        ("/sandbox", Value::Null),
        ("/policy", json!("danger-full-access")),
        ("/policy", json!("read-only")),
        ("", json!("danger-full-access")),
        ("", json!("external-sandbox")),
        ("", by_value(json!([at("outside")]))),
        ("", by_value(json!([at("ws"), at("ws/link")]))),
        ("", json!({"mode": "workspace-write", "network": true})),
        ("", json!({"mode": "workspace-write", "hosts": ["127.0.0.1:1"]})),
        ("", json!({"mode": "workspace-write", "hosts": ["*"]})),
    ] {
        let mut params = server.start_params("p", &["touch", outside.to_str().unwrap()]);
        if member.is_empty() {
            // In place of the sandbox, and not beside it.
            (params["sandbox"], params["policy"]) = (Value::Null, value.clone());
        } else if let Some(list) = member.strip_suffix("/-") {
            params.pointer_mut(list).unwrap().as_array_mut().unwrap().push(value.clone());
        } else {
            let (above, name) = member.rsplit_once('/').unwrap();
            params.pointer_mut(above).unwrap()[name] = value.clone();
        }
        let (code, message) = raw.error("process/start", &params);
        assert!(code == -32600 || code == -32603, "{member} {value}: {code} {message}");
        assert!(!outside.exists(), "{member} {value}");
    }
    // Taken, and of no effect on what can be written.
    for (number, (member, value)) in [
        ("/sandbox/sandboxOverride", json!("bypassSandboxFirstAttempt")),
        ("/sandbox/useLegacyLandlock", json!(true)),
        ("/sandbox/policyContext", json!({"cwd": "file:///", "workspaceRoots": ["file:///"]})),
        ("/sandbox/userHomeDir", json!("file:///")),
        ("/managedNetwork", json!({"allowLocalBinding": true})),
        ("/cwd", json!(at("outside"))),
        ("/arg0", json!("codex-linux-sandbox")),
        ("/detach", json!(true)),
        ("/env", json!({"PATH": "/usr/bin:/bin", "CODEX_SANDBOX": "off", "CODEX_HOME": server.path("ws")})),
    ]
    .into_iter()
    .enumerate()
    {
        let mut params = server.start_params(&number.to_string(), &["touch", outside.to_str().unwrap()]);
        let (above, name) = member.rsplit_once('/').unwrap();
        params.pointer_mut(above).unwrap()[name] = value.clone();
        assert_eq!(raw.run(&params).exit_code, Some(1), "{member} {value}");
        assert!(!outside.exists(), "{member} {value}");
    }
    // What stands in the way is the sandbox, and nothing else.
    std::fs::write(&outside, "").unwrap();
}

#[test]
fn the_configuration_widens_what_may_be_asked_for() {
    let server = Server::with(Way::Stdio, "[exec_server]\nmax_policy = \"danger-full-access\"\n", &[]);
    let mut raw = server.ready();
    let outside = server.path("outside/made");
    let mut params = server.start_params("p", &["touch", outside.to_str().unwrap()]);
    assert_eq!(raw.run(&params).exit_code, Some(1));
    (params["processId"], params["sandbox"]) = (json!("q"), Value::Null);
    let result = raw.result("process/start", &params);
    assert_eq!(result["sandboxType"], "none");
    assert_eq!(raw.hear("q").exit_code, Some(0));
    assert!(outside.exists());

    let server = Server::with(Way::Stdio, "[exec_server]\nmax_policy = \"read-only\"\n", &[]);
    let (_, message) = server.ready().error("process/start", &server.start_params("p", &["true"]));
    assert!(message.contains("at most read-only"), "{message}");
}

#[test]
fn rules_hold_or_are_refused() {
    let server = Server::start(Way::Unix);
    for name in [".git", ".aws", "kept", "open"] {
        std::fs::create_dir(server.path("ws").join(name)).unwrap();
    }
    std::fs::write(server.path("outside/secret"), "secret").unwrap();
    let entry = |path: Value, access: &str| json!({"path": path, "access": access});
    let path = |name: &str| json!({"type": "path", "path": server.uri(name)});
    let with = |id: &str, more: &[Value], script: &str| {
        let mut params = server.start_params(id, &["sh", "-c", script]);
        let entries = params["sandbox"]["permissions"]["file_system"]["entries"].as_array_mut().unwrap();
        entries.extend(more.iter().cloned());
        params
    };
    let mut raw = server.ready();
    let rules = [entry(path("ws/kept"), "read"), entry(path("outside/secret"), "deny")];
    for (index, (act, succeeds)) in [
        ("touch open/x", true),
        ("touch .git/x", false),
        ("touch .aws/x", false),
        ("touch kept/x", false),
        // What can't be read is empty.
        ("test -s ../outside/secret", false),
        ("cat /etc/hostname", true),
    ]
    .into_iter()
    .enumerate()
    {
        let heard = raw.run(&with(&index.to_string(), &rules, act));
        assert_eq!(heard.exit_code == Some(0), succeeds, "{act}: {}", String::from_utf8_lossy(&heard.stderr));
    }
    for rule in [
        entry(json!({"type": "glob_pattern", "pattern": "codex-project-roots://**/*.env"}), "deny"),
        entry(json!({"type": "special", "value": {"kind": "unknown"}}), "read"),
        entry(json!({"type": "special", "value": {"kind": "root"}}), "deny"),
        entry(
            json!({"type": "special", "value": {"kind": "project_roots", "subpath": "../outside"}}),
            "write",
        ),
        entry(
            json!({"type": "special", "value": {"kind": "project_roots", "subpath": ".git/objects"}}),
            "write",
        ),
        entry(path("ws"), "read"),
    ] {
        let message = refused(&server, &with("p", std::slice::from_ref(&rule), "true"));
        assert!(message.contains("no form here"), "{rule}: {message}");
    }
}

#[test]
fn nothing_is_started_without_a_line_in_the_audit_log() {
    // No writable root lies there, as `/tmp` is one.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = directory.path().join("log");
    let server = Server::with(Way::Stdio, &format!("[audit]\nfile = {log:?}\n"), &[]);
    let mut raw = server.ready();
    raw.run(&server.start_params("p", &["echo", "a\nb"]));
    let mut params = server.start_params("q", &["true"]);
    params["sandbox"] = Value::Null;
    raw.error("process/start", &params);
    let records = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // A client hears of the command's end, and the log of everybody's.
    let mut lines = records();
    while lines.len() < 3 {
        std::thread::yield_now();
        lines = records();
    }
    lines.sort_by_key(|line| ["start", "end", "refused"].iter().position(|event| line["event"] == *event));
    assert_eq!((&lines[0]["argv"], &lines[0]["mode"]), (&json!(["echo", "a\nb"]), &json!("workspace-write")));
    for line in [&lines[0], &lines[2]] {
        assert_eq!((&line["client"], &line["peer"]), (&json!("test"), &json!("stdio")));
    }
    assert_eq!((&lines[0]["process"], &lines[2]["process"]), (&json!("p"), &json!("q")));
    assert_eq!(lines[1]["outcome"], "exited");
    assert!(lines[2]["refused"].as_str().unwrap().contains("danger-full-access"));

    // What runs when the server ends is ended with it, and told.
    raw.result("process/start", &server.start_params("s", &["sleep", "1000"]));
    drop(raw);
    let last = records().pop().unwrap();
    assert_eq!((&last["event"], &last["outcome"]), (&json!("end"), &json!("cancelled")), "{last}");

    // Somebody puts something else in its place.
    let mut raw = server.ready();
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let (code, message) = raw.error("process/start", &server.start_params("r", &["true"]));
    assert_eq!(code, -32603);
    assert!(message.starts_with("nothing is started: the audit log"), "{message}");
}

#[test]
fn long_names_take_nothing_out_of_the_audit_log() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let log = directory.path().join("log");
    let server = Server::with(Way::Stdio, &format!("[audit]\nfile = {log:?}\n"), &[]);
    let long = "x".repeat(2 << 20);
    let lines = |event: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == event).collect()
    };
    // An id is no longer than this, and so always there; the name of a client may be.
    let longest = "x".repeat(1024);
    for (client, process) in [("short", "p"), (&*long, "p"), ("short", &*longest), (&*long, &*longest)] {
        let mut raw = server.connect();
        raw.handshake(&json!({"clientName": client}));
        let (code, message) =
            raw.error("process/start", &server.start_params(&format!("{longest}x"), &["echo"]));
        assert_eq!((code, &*message), (-32602, "processId has 1025 bytes, where 1024 are the most"));
        raw.result("process/start", &server.start_params(process, &["echo", "a"]));
        let line = lines("start").pop().unwrap();
        assert_eq!((&line["argv"], &line["mode"]), (&json!(["echo", "a"]), &json!("workspace-write")));
        assert!(line["call"].is_string() && line["session"].is_string() && line["peer"] == "stdio");
        assert_eq!((line.get("client").is_some(), &line["process"]), (client == "short", &json!(process)));
        // What is refused is told in the same way, of a long command line the beginning.
        let mut argv = vec!["rm".to_owned(), "-r".to_owned()];
        argv.extend(std::iter::repeat_n(String::new(), 250_000));
        let mut params = server.start_params("q", &[]);
        (params["argv"], params["sandbox"]) = (json!(argv), Value::Null);
        raw.error("process/start", &params);
        let line = lines("refused").pop().unwrap();
        assert_eq!((&line["argv"][0], &line["argv"][1]), (&json!("rm"), &json!("-r")));
        assert!(line["refused"].as_str().unwrap().contains("danger-full-access"));
        assert_eq!(
            line["argv"].as_array().unwrap().len() as u64 + line["argv_omitted"].as_u64().unwrap(),
            250_002
        );
    }
}
