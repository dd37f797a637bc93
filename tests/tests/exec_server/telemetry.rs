//! Spans for a collector, where the environment names one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A server over standard streams that is asked something, and ended when something else is done. Says its exit code, what it has
/// answered and what it has logged.
fn asked(variables: &[(&str, &str)], argv: &[&str], until: impl FnOnce()) -> (Option<i32>, String, String) {
    let root = tempfile::Builder::new().prefix("spans-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cwd = format!("file://{}", root.path().display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_codex-under-test"))
        .args(["exec-server", "--listen", "stdio"])
        .current_dir(root.path())
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("CODEX_HOME", root.path())
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let start = json!({"processId": "a-secret-id", "argv": argv, "cwd": cwd, "tty": false, "env": {},
        "envPolicy": {"inherit": "all", "ignoreDefaultExcludes": true, "exclude": [], "set": {}, "includeOnly": []},
        "sandbox": {"permissions": {"type": "managed", "network": "restricted", "file_system": {"type": "restricted", "entries": [
            {"path": {"type": "special", "value": {"kind": "root"}}, "access": "read"}]}},
            "cwd": cwd, "workspaceRoots": [cwd], "windowsSandboxLevel": "disabled",
            "windowsSandboxProxySettingsMode": "reconcile", "useLegacyLandlock": false}});
    for message in [
        json!({"id": 1, "method": "initialize", "params": {"clientName": "t"}}),
        json!({"method": "initialized"}),
        json!({"id": 2, "method": "process/start", "params": start}),
        json!({"id": 3, "method": "process/read", "params": {"processId": "a-secret-id", "afterSeq": 0, "waitMs": 600_000}}),
        json!({"id": 4, "method": "process/start", "params": {}}),
    ] {
        // One that does not start reads nothing.
        if input.write_all(format!("{message}\n").as_bytes()).is_err() {
            break;
        }
    }
    let mut answers = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let has = |answers: &str, id: u8| answers.contains(&format!("{{\"id\":{id},"));
    while !(has(&answers, 3) && has(&answers, 4)) && lines.read_line(&mut answers).unwrap() > 0 {}
    if has(&answers, 4) {
        until();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), answers, String::from_utf8(output.stderr).unwrap())
}

/// What was posted: the head, and the body. It is answered.
fn post(stream: &mut TcpStream) -> (String, Value) {
    let mut asked = Vec::new();
    let end = loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&asked));
        asked.extend(&piece[..count]);
        let Some(end) = asked.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(asked[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if asked.len() - end - 4 == length.unwrap().parse::<usize>().unwrap() {
            break end;
        }
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").unwrap();
    let body = asked.split_off(end + 4);
    (String::from_utf8(asked).unwrap(), serde_json::from_slice(&body).unwrap())
}

fn spans_of(posted: &[(String, Value)]) -> Vec<Value> {
    let spans = |(_, body): &(String, Value)| {
        body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    };
    posted.iter().flat_map(spans).collect()
}

#[test]
fn a_collector_is_told_of_each_request_and_of_nothing_in_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    // Spans come in as many batches as they like.
    let collector = std::thread::spawn(move || {
        let mut posted = Vec::new();
        while spans_of(&posted).len() < 4 {
            posted.push(post(&mut listener.accept().unwrap().0));
        }
        posted
    });
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector=a%20secret"),
        ("OTEL_SERVICE_NAME", "builds"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        // A machine without certificates, which http: needs none of.
        ("SSL_CERT_FILE", "/nowhere"),
        ("SSL_CERT_DIR", "/nowhere"),
    ];
    let mut posted = Vec::new();
    let argv = ["sh", "-c", "env | grep -c ^OTEL_"];
    let (code, answers, said) = asked(&variables, &argv, || posted = collector.join().unwrap());
    assert_eq!(code, Some(0), "{said}");
    // One of them has a secret in it, which is the server's and no command's: it counts four.
    assert!(answers.contains(&STANDARD.encode("4\n")), "{answers}");
    let (head, body) = &posted[0];
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("x-collector: a secret\r\n") && head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    let told = &body["resourceSpans"][0];
    let attributes = told["resource"]["attributes"].to_string();
    for (key, value) in [("service.name", "builds"), ("deployment.environment", "test")] {
        assert!(
            attributes.contains(&json!({"key": key, "value": {"stringValue": value}}).to_string()),
            "{attributes}"
        );
    }
    let spans = spans_of(&posted);
    let mut names: Vec<(&str, &Value)> =
        spans.iter().map(|span| (span["name"].as_str().unwrap(), &span["status"]["code"])).collect();
    names.sort_by_key(|(name, status)| (*name, status.as_i64()));
    let (ok, failed) = (json!(1), json!(2));
    assert_eq!(
        names,
        [("initialize", &ok), ("process/read", &ok), ("process/start", &ok), ("process/start", &failed)]
    );
    assert!(posted.iter().all(|(_, body)| !body.to_string().contains("a-secret-id")), "{posted:?}");
}

#[test]
fn a_collector_that_is_not_there_changes_nothing() {
    // Nobody listens there any more.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{address}");
    let (code, answers, said) = asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], &["true"], || ());
    assert_eq!((code, answers.contains("\"exited\"")), (Some(0), true), "{answers}{said}");
    for (name, value, words) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "has to be http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317", "has to be an http: or https: URL"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "has to be NAME=VALUE"),
    ] {
        let (code, answers, said) =
            asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), (name, value)], &["true"], || ());
        assert_eq!((code, answers.as_str()), (Some(2), ""), "{name}: {said}");
        assert!(said.contains(name) && said.contains(words) && !said.contains("secret\""), "{name}: {said}");
    }
}
