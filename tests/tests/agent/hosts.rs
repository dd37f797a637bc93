//! Single hosts, given to one call.

use codex_tests::harness::{Api, Level, Listener, Model, Run, Scene};
use serde_json::json;

use super::approvals::{asks, with_a_person};
use super::{exec_at, run_command, say};

pub(super) fn one_host_and_no_other_is_given(scene: &Scene) {
    let (one, other) = (Listener::tcp("127.0.0.1"), Listener::tcp("127.0.0.1"));
    // What the proxy answers, where there is one.
    let ask = |listener: &Listener| {
        let port = listener.port();
        format!(
            "{{ exec 3<>/dev/tcp/127.0.0.1/3128; }} 2>/dev/null || exit 0; printf 'CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n' >&3; \
             head -n 1 <&3"
        )
    };
    let host = |listener: &Listener| format!("127.0.0.1:{}", listener.port());
    let more = |listener: &Listener| {
        json!({
            "sandbox_permissions": "with_additional_permissions",
            "additional_permissions": { "network": { "hosts": [host(listener)] } },
        })
    };
    let acts = || {
        vec![
            run_command(&ask(&one)),
            asks(&ask(&one), &more(&one)),
            asks(&ask(&other), &more(&one)),
            asks(&ask(&other), &more(&other)),
            asks(
                &ask(&other),
                &json!({ "sandbox_permissions": "with_additional_permissions",
                "additional_permissions": { "network": { "hosts": ["169.254.169.254:80"] } } }),
            ),
            say("done"),
        ]
    };
    let namespaces = scene.level() == Level::Namespaces;
    let judge = |model: &Model, run: &Run| {
        let answers: Vec<bool> =
            model.outputs().iter().map(|output| output.contains("HTTP/1.1 200")).collect();
        assert_eq!(answers, [false, namespaces, false, false, false], "{}", run.describe());
        let heard = if namespaces { one.hears() } else { one.heard() };
        assert!(heard == namespaces && !other.heard(), "{}", run.describe());
        let outputs = model.outputs();
        if namespaces {
            assert!(outputs[2].contains("HTTP/1.1 403"), "{outputs:?}");
            assert!(outputs[4].contains("clouds give out credentials"), "{outputs:?}");
        } else {
            assert!(outputs[1].contains("single hosts take namespaces"), "{outputs:?}");
        }
    };
    // By a rule of the user's, whoever asks.
    let model = Model::serve(Api::Responses, acts());
    let rule = format!("approvals.hosts=[\"{}\"]", host(&one));
    let level = ["--isolation", scene.level().name()];
    let words = ["--json", "-s", "workspace-write", "-a", "never", "-c", &rule, "x"];
    let run = exec_at(scene, &model, &level, &words).run().expect_code(0);
    judge(&model, &run);
    // By somebody who says so.
    let model = Model::serve(Api::Responses, acts());
    let words = ["-s", "workspace-write", "-a", "on-request", "x"];
    let answers = json!(["once", "once", "d"]);
    let Some((run, shown)) = with_a_person(scene, &model, &words, &answers) else { return };
    judge(&model, &run.expect_code(0));
    assert_eq!(shown.contains(&format!("opens: the host {}", host(&one))), namespaces, "{shown}");
}
