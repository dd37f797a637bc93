//! What is ours, for clients that ask for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_tests::harness::require_tool;
use serde_json::{Value, json};

use super::http::Site;
use super::raw::{Server, Way, over_all};

#[test]
fn input_can_be_closed_terminals_resized_and_any_signal_sent() {
    over_all(|server| {
        let mut raw = server.extended();
        let mut params = server.start_params("p", &["cat"]);
        params["pipeStdin"] = json!(true);
        raw.result("process/start", &params);
        raw.result("process/write", &json!({"processId": "p", "chunk": "aGkK", "writeId": "1"}));
        assert_eq!(
            raw.result("process/closeStdin", &json!({"processId": "p"})),
            json!({"status": "accepted"})
        );
        let heard = raw.hear("p");
        assert_eq!((heard.text().as_str(), heard.exit_code), ("hi\n", Some(0)));
        assert_eq!(heard.closed["result"]["outcome"], "exited");
        assert!(heard.closed["result"]["enforcement"]["promises"].is_array());
        assert!(heard.closed["result"].get("stdout").is_none());

        let mut params = server.start_params(
            "q",
            &["sh", "-c", "trap 'stty size' WINCH; stty size; while :; do read line; done"],
        );
        (params["tty"], params["size"]) = (json!(true), json!({"rows": 5, "columns": 6}));
        raw.result("process/start", &params);
        let first = raw.notification();
        assert_eq!(first["params"]["chunk"], STANDARD.encode("5 6\r\n"));
        assert_eq!(
            raw.result("process/resize", &json!({"processId": "q", "size": {"rows": 7, "columns": 8}})),
            json!({})
        );
        assert_eq!(raw.notification()["params"]["chunk"], STANDARD.encode("7 8\r\n"));
        assert_eq!(raw.error("process/signal", &json!({"processId": "q", "signal": "SIGNONE"})).0, -32602);
        assert_eq!(raw.error("process/signal", &json!({"processId": "q", "signal": 0})).0, -32602);
        raw.result("process/signal", &json!({"processId": "q", "signal": "kill"}));
        assert_eq!(raw.hear("q").exit_code, Some(137));

        let listed = raw.result("process/list", &Value::Null);
        let ids: Vec<_> = listed["processes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|process| (process["processId"].clone(), process["exitCode"].clone()))
            .collect();
        assert_eq!(ids, [(json!("p"), json!(0)), (json!("q"), json!(137))]);
    });
}

#[test]
fn limits_end_a_process_and_say_which() {
    let server = Server::start(Way::Unix);
    let mut raw = server.extended();
    for (id, limits, outcome) in [
        ("deadline", json!({"deadlineMs": 50}), "timed_out"),
        ("idle", json!({"idleMs": 50}), "idle_timed_out"),
        ("output", json!({"outputBytes": 10}), "output_exceeded"),
    ] {
        let mut params = server.start_params(id, &["sh", "-c", "head -c 20 /dev/zero; sleep 600"]);
        params["limits"] = limits;
        let heard = raw.run(&params);
        assert_eq!(heard.closed["result"]["outcome"], outcome, "{id}");
    }
    let mut params = server.start_params("typo", &["true"]);
    params["limits"] = json!({"deadline": 50});
    assert_eq!(raw.error("process/start", &params).0, -32602);
    // Who asks for time to end in could have a process for ever, beyond its session.
    params["limits"] = json!({"graceMs": 60_001});
    let (code, message) = raw.error("process/start", &params);
    assert_eq!((code, &*message), (-32602, "limits.graceMs is 60001, where 60000 are the most"));
    params["limits"] = json!({"graceMs": 60_000});
    assert_eq!(raw.run(&params).exit_code, Some(0));
}

#[test]
fn what_was_refused_is_told_with_the_end() {
    over_all(|server| {
        let mut raw = server.extended();
        for (id, tty, pipe, flood) in [
            ("plain", false, false, 0),
            ("terminal", true, false, 0),
            ("piped", false, true, 0),
            ("long", false, false, 3_000_000),
        ] {
            let script =
                format!("head -c {flood} /dev/zero; head -c {flood} /dev/zero >&2; touch ../outside/x");
            let mut params = server.start_params(id, &["sh", "-c", &script]);
            (params["tty"], params["pipeStdin"]) = (json!(tty), json!(pipe));
            let heard = raw.run(&params);
            assert_eq!(heard.exit_code, Some(1), "{id}");
            let denials = &heard.closed["result"]["denials"];
            let [denial] = denials.as_array().unwrap().as_slice() else { panic!("{id}: {}", heard.closed) };
            assert_eq!((&denial["operation"], &denial["promise"]), (&json!("create"), &json!("P1")), "{id}");
            assert_eq!(denial["resolved_target"], json!(server.path("outside/x")), "{id}");
        }
        let heard = raw.run(&server.start_params("allowed", &["touch", "x"]));
        assert_eq!(heard.closed["result"]["denials"], json!([]));
    });
}

/// What the manual says of a command that leaves something behind that is to go on.
#[test]
fn where_something_goes_on_nobody_has_looked_for_denials() {
    let server = Server::start(Way::Unix);
    let mut raw = server.extended();
    let mut params = server.start_params("p", &["sh", "-c", "sleep 600 & touch ../outside/x"]);
    params["detach"] = json!(true);
    raw.result("process/start", &params);
    let exited = loop {
        let told = raw.notification();
        if told["method"] == "process/exited" {
            break told;
        }
    };
    assert_eq!(exited["params"]["exitCode"], 1);
    raw.result("process/terminate", &json!({"processId": "p"}));
    let closed = raw.notification();
    assert_eq!(closed["method"], "process/closed");
    let result = &closed["params"]["result"];
    assert_eq!((&result["outcome"], &result["denials"]), (&json!("exited"), &json!([])), "{result}");
    assert_ne!(result["left_behind"], json!([]));
}

#[test]
fn another_connection_can_follow() {
    let server = Server::start(Way::WebSocket);
    let mut owner = server.connect();
    let session = owner.handshake(&json!({"clientName": "owner"}))["sessionId"].clone();
    let mut params = server.start_params("p", &["cat"]);
    params["pipeStdin"] = json!(true);
    owner.result("process/start", &params);
    owner.result("process/write", &json!({"processId": "p", "chunk": "aGkK", "writeId": "1"}));
    owner.notification();
    let mut guest = server.extended();
    let state = guest.result("process/attach", &json!({"sessionId": session, "processId": "p"}));
    assert_eq!(state["exited"], false);
    owner.result("process/terminate", &json!({"processId": "p"}));
    let heard = guest.hear("p");
    assert_eq!((heard.text().as_str(), heard.exit_code, heard.is_whole()), ("hi\n", Some(137), true));
    assert_eq!(heard.closed["sessionId"], session);
    assert_eq!(guest.error("process/attach", &json!({"sessionId": "none", "processId": "p"})).0, -32600);
}

#[test]
fn a_request_can_be_cancelled() {
    let server = Server::start(Way::Unix);
    let mut raw = server.extended();
    let mut params = server.start_params("p", &["cat"]);
    params["pipeStdin"] = json!(true);
    raw.result("process/start", &params);
    let poll = raw.request("process/read", &json!({"processId": "p", "waitMs": 600_000}));
    raw.send(&json!({"method": "request/cancel", "params": {"id": poll}}));
    assert_eq!(raw.answer(poll)["error"]["code"], -32800);
}

#[test]
fn policies_have_names_and_are_explained() {
    let server = Server::start(Way::Unix);
    let mut raw = server.extended();
    let run = |raw: &mut super::raw::Raw, id: &str, policy: Value, act: &str| {
        let mut params = server.start_params(id, &["sh", "-c", act]);
        params.as_object_mut().unwrap().remove("sandbox");
        params["policy"] = policy;
        raw.run(&params).exit_code
    };
    assert_eq!(run(&mut raw, "a", json!("read-only"), "touch x"), Some(1));
    assert_eq!(run(&mut raw, "b", json!("workspace-write"), "touch x"), Some(0));
    let value = json!({"mode": "workspace-write", "writableRoots": [server.uri("ws")]});
    assert_eq!(run(&mut raw, "c", value, "touch y"), Some(0));
    let granted = raw.result("policy/explain", &json!({"policy": "read-only"}));
    assert_eq!(
        (&granted["allowed"], &granted["mode"], &granted["writableRoots"]),
        (&json!(true), &json!("read-only"), &json!([]))
    );
    let refused = raw.result("policy/explain", &json!({}));
    assert_eq!(refused["allowed"], false);
    assert!(refused["reason"].as_str().unwrap().contains("max_policy"));
    let (code, message) = {
        let mut params = server.start_params("d", &["true"]);
        params["policy"] = json!("read-only");
        raw.error("process/start", &params)
    };
    assert_eq!(code, -32600, "{message}");
    // To a client that has not asked for it, the member means nothing.
    let mut params = server.start_params("e", &["touch", "z"]);
    params["policy"] = json!("read-only");
    assert_eq!(server.ready().run(&params).exit_code, Some(0));
}

#[test]
fn single_hosts_are_those_of_the_configuration_or_fewer() {
    let Some(curl) = require_tool("curl") else { return };
    let site = Site::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let (granted, other) = (site.address, Site::start(|_| Vec::new()));
    let server = Server::with(Way::Unix, &format!("sandbox.allow_hosts = [\"{granted}\"]\n"), &[]);
    let mut raw = server.extended();
    let mut number = 0;
    let mut run = |policy: Value| {
        number += 1;
        let url = format!("http://{granted}/");
        // Asked at the proxy, although it is an address of loopback.
        let argv = [curl.to_str().unwrap(), "-sS", "-f", "--noproxy", "", &url];
        let mut params = server.start_params(&number.to_string(), &argv);
        params.as_object_mut().unwrap().remove("sandbox");
        params["policy"] = policy;
        let ended = raw.run(&params);
        (ended.exit_code, ended.stdout)
    };
    let by_value = |hosts: Value| json!({"mode": "workspace-write", "hosts": hosts});
    // The second has a helper that waits for it.
    for policy in [json!("read-only"), json!("read-only"), by_value(json!([granted.to_string()]))] {
        assert_eq!(run(policy.clone()), (Some(0), b"ok".to_vec()), "{policy}");
    }
    assert_eq!(site.asked().len(), 3);
    let (code, _) = run(by_value(json!([])));
    assert!(code != Some(0) && site.asked().len() == 3);
    let wider = by_value(json!([other.address.to_string()]));
    let explained = raw.result("policy/explain", &json!({ "policy": wider }));
    assert_eq!(explained["allowed"], false, "{explained}");
    assert!(explained["reason"].as_str().unwrap().contains("sandbox.allow_hosts"), "{explained}");
}
