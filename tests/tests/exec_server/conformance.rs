//! What clients of Codex CLI 0.169 find, line by line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::raw::over_all;

/// A message that is wrong, and the answer's id and code.
const MALFORMED: &[(&[u8], i64, i64)] = &[
    (b"nonsense", -1, -32600),
    (b"[]", -1, -32600),
    (b"7", -1, -32600),
    (b"{}", -1, -32600),
    (b"[{\"id\":1,\"method\":\"environment/status\"}]", -1, -32600),
    (b"{\"id\":null,\"method\":\"environment/status\"}", -1, -32600),
    (b"{\"id\":1.5,\"method\":\"environment/status\"}", -1, -32600),
    (b"{\"id\":9,\"method\":7}", -1, -32600),
    (b"{\"id\":9,\"method\":\"environment/status\"", -1, -32600),
    (b"{\"id\":9,\"method\":\"\xff\"}", -1, -32600),
    (b"{\"id\":9,\"method\":\"nothing/such\"}", 9, -32601),
    (b"{\"id\":9,\"method\":\"process/resize\",\"params\":{}}", 9, -32601),
    (b"{\"id\":9,\"method\":\"process/start\"}", 9, -32602),
    (b"{\"id\":9,\"method\":\"process/start\",\"params\":[]}", 9, -32602),
    (b"{\"id\":9,\"method\":\"process/read\",\"params\":{\"processId\":1}}", 9, -32602),
    (b"{\"id\":9,\"method\":\"process/read\",\"params\":{\"processId\":\"a\",\"afterSeq\":-1}}", 9, -32602),
    (b"{\"id\":9,\"method\":\"process/read\",\"params\":{\"processId\":\"none\"}}", 9, -32600),
    (b"{\"id\":9,\"method\":\"process/write\",\"params\":{\"processId\":\"a\",\"chunk\":\"?\",\"writeId\":\"w\"}}", 9, -32602),
    (b"{\"id\":9,\"method\":\"process/write\",\"params\":{\"processId\":\"a\",\"chunk\":\"\"}}", 9, -32602),
    (b"{\"id\":9,\"method\":\"process/signal\",\"params\":{\"processId\":\"a\",\"signal\":\"SIGKILL\"}}", 9, -32602),
    (b"{\"id\":9,\"method\":\"initialize\",\"params\":{\"clientName\":\"again\"}}", 9, -32600),
];

#[test]
fn bad_input_is_answered_and_harms_nobody() {
    over_all(|server| {
        let mut raw = server.ready();
        for (message, id, code) in MALFORMED {
            raw.send_bytes(message);
            let answer = raw.next().unwrap();
            let shown = String::from_utf8_lossy(message);
            assert_eq!(
                (&answer["id"], &answer["error"]["code"]),
                (&json!(id), &json!(code)),
                "{shown}: {answer}"
            );
        }
        let deep = [b"[".repeat(128), b"]".repeat(128)].concat();
        let many = [&b"["[..], &b"0,".repeat(262_144), b"0]"].concat();
        for message in [deep, many] {
            raw.send_bytes(&message);
            let answer = raw.next().unwrap();
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(-1), &json!(-32600)), "{answer}");
        }
        // What means nothing is not answered, and a blank line neither.
        for message in [
            "{\"method\":\"nothing/such\"}",
            "{\"id\":1,\"result\":{}}",
            "{\"id\":77,\"error\":{\"code\":1,\"message\":\"\"}}",
        ] {
            raw.send_bytes(message.as_bytes());
        }
        assert_eq!(raw.result("environment/status", &Value::Null), json!({"status": "ready"}));
    });
}

#[test]
fn the_handshake_comes_first() {
    over_all(|server| {
        let mut raw = server.connect();
        let (code, message) = raw.error("process/read", &json!({"processId": "a"}));
        assert_eq!((code, &*message), (-32600, "client must call initialize before using exec methods"));
        let (code, message) = raw.error("environment/info", &json!({}));
        assert_eq!(
            (code, &*message),
            (-32600, "client must call initialize before using environment methods")
        );
        raw.send(&json!({"method": "initialized"}));
        // One that fails does not use up the connection.
        assert_eq!(raw.error("initialize", &json!({})).0, -32602);
        let unknown = raw.error("initialize", &json!({"clientName": "t", "resumeSessionId": "none"}));
        assert_eq!(unknown, (-32600, "unknown session id none".to_owned()));
        let result =
            raw.result("initialize", &json!({"clientName": "t", "resumeSessionId": null, "more": 1}));
        let (code, message) = raw.error("process/list", &json!({}));
        assert_eq!(code, -32601, "{message}");
        assert_eq!(
            raw.error("process/read", &json!({"processId": "a"})).1,
            "client must send initialized before using exec methods"
        );
        raw.send(&json!({"method": "initialized", "params": {}}));
        let info = raw.result("environment/info", &Value::Null);
        assert_eq!(result["environmentInfo"], info);
        assert_eq!(info["shell"], json!({"name": "bash", "path": "/bin/bash"}));
        assert_eq!(info["cwd"], server.uri("ws"));
        assert_eq!(info["platformOs"], "linux");
        assert_eq!(info["capabilities"], json!({"fsWatchMissing": true}));
        // What is not said to be there is not.
        for method in [
            "environmentConfig/read",
            "capabilities/discoverV2",
            "capabilityRoots/discoverV1",
            "network/policyDecision",
            "process/kill",
            "fs/watch",
            "fs/rename",
            "shutdown",
        ] {
            let expected = (-32601, format!("there is no method `{method}`"));
            assert_eq!(raw.error(method, &json!({})), expected);
        }
        assert!(result.get("extensions").is_none(), "{result}");
    });
}

#[test]
fn output_exit_and_end_come_in_order() {
    over_all(|server| {
        let mut raw = server.ready();
        let result = raw.result(
            "process/start",
            &server.start_params("p", &["sh", "-c", "echo out; echo err >&2; exit 3"]),
        );
        assert_eq!(result, json!({"processId": "p", "sandboxType": "linuxSeccomp"}));
        let heard = raw.hear("p");
        assert_eq!(
            (heard.text().as_str(), &*heard.stderr, heard.exit_code),
            ("out\n", &b"err\n"[..], Some(3))
        );
        assert!(heard.is_whole(), "{heard:?}");
        assert_eq!(&heard.methods[heard.methods.len() - 2..], ["process/exited", "process/closed"]);
        // The id stays taken, the output stays readable, and reading consumes nothing.
        assert_eq!(raw.error("process/start", &server.start_params("p", &["true"])).0, -32600);
        for _ in 0..2 {
            let read = raw.result(
                "process/read",
                &json!({"processId": "p", "afterSeq": null, "maxBytes": null, "waitMs": 0}),
            );
            assert_eq!(
                (&read["exited"], &read["exitCode"], &read["closed"]),
                (&json!(true), &json!(3), &json!(true))
            );
            assert_eq!((&read["failure"], &read["sandboxDenied"]), (&Value::Null, &json!(false)));
            assert_eq!(read["nextSeq"], json!(heard.seqs.len() + 1));
            assert!(read.get("missed").is_none());
        }
        let cut = raw.result("process/read", &json!({"processId": "p", "maxBytes": 1}));
        assert_eq!(cut["chunks"].as_array().unwrap().len(), 1);
        assert_eq!(cut["nextSeq"], 2);
        assert_eq!(raw.result("process/terminate", &json!({"processId": "p"})), json!({"running": false}));
        assert_eq!(raw.result("process/terminate", &json!({"processId": "none"})), json!({"running": false}));
    });
}

#[test]
fn a_start_that_fails_says_why_and_frees_the_id() {
    over_all(|server| {
        let mut raw = server.ready();
        let with = |name: &str, value: Value| {
            let mut params = server.start_params("p", &["true"]);
            params[name] = value;
            params
        };
        for (params, code) in [
            (with("argv", json!([])), -32602),
            (with("processId", json!("x".repeat(1025))), -32602),
            (with("argv", json!([""])), -32603),
            (with("argv", json!(["no-such-program"])), -32603),
            (with("argv", json!(["/etc"])), -32603),
            (with("argv", json!(["true", "\0"])), -32603),
            (with("cwd", json!(server.uri("none"))), -32603),
            (with("cwd", json!("/native")), -32602),
            (with("cwd", json!("relative")), -32602),
            (with("cwd", json!("http://host/a")), -32602),
            (with("cwd", json!("file://host/a")), -32602),
            (with("cwd", json!("file:///a%00b")), -32602),
            (with("env", json!({"A": 1})), -32602),
            (with("env", json!({"A=B": "1"})), -32603),
            (with("envPolicy", json!({"inherit": "all"})), -32602),
            (with("metadata", json!({"threadId": "no uuid"})), -32602),
            (with("networkProxy", json!({"proxy": {}})), -32600),
        ] {
            assert_eq!(raw.error("process/start", &params).0, code, "{params}");
        }
        let heard = raw.run(&with("cwd", json!(format!("{}/..%2Fws", server.uri("ws")))));
        assert_eq!((heard.exit_code, heard.is_whole()), (Some(0), true));
        // Other ids that would be kept.
        let long = "x".repeat(1025);
        let write = json!({"processId": "p", "chunk": "", "writeId": &long});
        assert_eq!(raw.error("process/write", &write).0, -32602);
        let open = |id: &str| json!({"handleId": id, "path": server.uri("home/config.toml"), "mode": "read"});
        assert_eq!(raw.error("fs/open", &open(&long)).0, -32602);
        assert_eq!(raw.result("fs/open", &open(&long[1..]))["handleId"], long[1..]);
    });
}

#[test]
fn input_is_written_once_and_in_order() {
    over_all(|server| {
        let mut raw = server.ready();
        let mut params = server.start_params("p", &["head", "-c", "8"]);
        let write =
            |text: &str, id: &str| json!({"processId": "p", "chunk": STANDARD.encode(text), "writeId": id});
        let status = |name: &str| json!({"status": name});
        assert_eq!(raw.result("process/write", &write("x", "0")), status("unknownProcess"));
        params["pipeStdin"] = json!(true);
        // Not even the start is waited for.
        let start = raw.request("process/start", &params);
        let writes: Vec<i64> = [("ab", "1"), ("cd", "2"), ("ab", "1"), ("efgh", "3")]
            .map(|(text, id)| raw.request("process/write", &write(text, id)))
            .to_vec();
        assert!(raw.answer(start).get("error").is_none());
        for id in writes {
            assert_eq!(raw.answer(id)["result"], status("accepted"));
        }
        let heard = raw.hear("p");
        assert_eq!((heard.text().as_str(), heard.exit_code), ("abcdefgh", Some(0)));
        assert_eq!(raw.result("process/write", &write("x", "4")), status("accepted"));
        // Without an input, there is nothing to write to, and what reads finds its end.
        assert_eq!(raw.run(&server.start_params("q", &["cat"])).exit_code, Some(0));
        let closed = json!({"processId": "q", "chunk": "", "writeId": "1"});
        assert_eq!(raw.result("process/write", &closed), status("stdinClosed"));
    });
}

#[test]
fn a_terminal_is_one() {
    over_all(|server| {
        let mut raw = server.ready();
        let mut params = server.start_params("p", &["sh", "-c", "stty size; read line; echo got $line; cat"]);
        params["tty"] = json!(true);
        raw.result("process/start", &params);
        let write =
            |text: &str, id: &str| json!({"processId": "p", "chunk": STANDARD.encode(text), "writeId": id});
        raw.result("process/write", &write("words\n", "1"));
        raw.result("process/write", &write("more\n", "2"));
        let mut text = String::new();
        // What the terminal echoes, and what `cat` does: it runs by then.
        while !text.contains("got words") || text.matches("more\r\n").count() < 2 {
            let message = raw.notification();
            assert_eq!(message["params"]["stream"], "pty");
            let bytes = STANDARD.decode(message["params"]["chunk"].as_str().unwrap()).unwrap();
            text += std::str::from_utf8(&bytes).unwrap();
        }
        assert!(text.contains("24 80\r\n"), "{text:?}");
        raw.result("process/write", &write("\u{3}", "3"));
        assert_eq!(raw.hear("p").exit_code, Some(130));
    });
}

#[test]
fn interrupts_and_ends_reach_the_whole_group() {
    over_all(|server| {
        let mut raw = server.ready();
        raw.result(
            "process/start",
            &server
                .start_params("p", &["sh", "-c", "trap 'echo caught; exit 7' INT; echo on; sleep 60 & wait"]),
        );
        assert_eq!(raw.notification()["params"]["chunk"], STANDARD.encode("on\n"));
        assert_eq!(
            raw.result("process/signal", &json!({"processId": "p", "signal": "interrupt"})),
            json!({})
        );
        let heard = raw.hear("p");
        assert_eq!((heard.text().as_str(), heard.exit_code), ("caught\n", Some(7)));
        for id in ["p", "none"] {
            assert_eq!(
                raw.result("process/signal", &json!({"processId": id, "signal": "interrupt"})),
                json!({})
            );
        }
        raw.result("process/start", &server.start_params("q", &["sh", "-c", "sleep 60 & sleep 60"]));
        assert_eq!(raw.result("process/terminate", &json!({"processId": "q"})), json!({"running": true}));
        let heard = raw.hear("q");
        assert_eq!((heard.exit_code, heard.is_whole()), (Some(137), true));
    });
}

#[test]
fn the_environment_is_built_and_secrets_of_the_server_stay() {
    over_all(|server| {
        let mut raw = server.ready();
        let environment = |raw: &mut super::raw::Raw, id: &str, policy: Value, env: Value| {
            let mut params = server.start_params(id, &["/usr/bin/env"]);
            (params["envPolicy"], params["env"]) = (policy, env);
            let text = raw.run(&params).text();
            let mut lines: Vec<String> =
                text.lines().filter(|line| !line.starts_with("CODEX_SANDBOX")).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(environment(&mut raw, "a", Value::Null, json!({"B": "2", "A": "1"})), ["A=1", "B=2"]);
        let all = json!({"inherit": "all", "ignoreDefaultExcludes": true, "exclude": ["codex_*", "P*"], "set": {"S": "1"}, "includeOnly": []});
        let found = environment(&mut raw, "b", all, json!({"SHELL": "mine"}));
        let home = format!("HOME={}", server.path("outside").display());
        // The server's own settings have kept API_TOKEN out before the client is asked.
        assert_eq!(found, [home.as_str(), "S=1", "SHELL=mine"]);
        let none = json!({"inherit": "none", "ignoreDefaultExcludes": false, "exclude": [], "set": {"A": "1", "B": "1"}, "includeOnly": ["A"]});
        assert_eq!(environment(&mut raw, "c", none, json!({"C": "1"})), ["A=1", "C=1"]);
    });
}

#[test]
fn a_poll_waits_for_what_comes_and_holds_up_nobody() {
    over_all(|server| {
        let mut raw = server.ready();
        let mut params = server.start_params("p", &["cat"]);
        params["pipeStdin"] = json!(true);
        raw.result("process/start", &params);
        let poll = raw.request("process/read", &json!({"processId": "p", "waitMs": 60_000}));
        // Upstream would answer nothing before the poll.
        assert_eq!(raw.result("environment/status", &Value::Null), json!({"status": "ready"}));
        raw.result("process/write", &json!({"processId": "p", "chunk": "aGkK", "writeId": "1"}));
        let read = raw.answer(poll);
        assert_eq!(read["result"]["chunks"], json!([{"seq": 1, "stream": "stdout", "chunk": "aGkK"}]));
        assert_eq!((&read["result"]["exited"], &read["result"]["exitCode"]), (&json!(false), &Value::Null));
        let poll = raw.request("process/read", &json!({"processId": "p", "afterSeq": 1, "waitMs": 60_000}));
        raw.result("process/terminate", &json!({"processId": "p"}));
        assert_eq!(raw.answer(poll)["result"]["exitCode"], 137);
    });
}
