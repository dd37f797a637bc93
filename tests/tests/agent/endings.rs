//! How runs end, and how they go on.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use codex_tests::harness::{Api, Model, Presence, Scene, with_longer_limits};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{call, events, exec, exec_at, run_command, say};

/// The sessions that a scene has.
pub(super) fn sessions(scene: &Scene) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![scene.path("codex-home/sessions")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

pub(super) fn budgets_end_a_loop(scene: &Scene) {
    let again = || vec![run_command("true")];
    for (options, expected) in [
        (&["--max-turns", "4"][..], "budget of 4 requests"),
        // So many turns that it is the other budget that ends it, however fast they go by.
        (&["--max-turns", "1000000", "--max-tokens", "50"], "budget of 50 tokens"),
        (&["--max-turns", "1000000", "--timeout", "1s"], "the time is up"),
    ] {
        let model = Model::serve(Api::Responses, again());
        let run = exec(scene, &model, &[&["--json"], options, &["x"]].concat()).run().expect_code(1);
        let events = events(&run);
        let last = events.last().unwrap_or_else(|| run.fail("no event"));
        assert_eq!(last["type"], "turn.failed", "{}", run.describe());
        assert!(
            last["error"]["message"].as_str().is_some_and(|it| it.contains(expected)),
            "{}",
            run.describe()
        );
    }
    // A command, or a server, that says nothing is ended as well.
    let ends = |silent: Value, limit: &str| {
        let model = Model::serve(Api::Responses, vec![silent]);
        let run =
            exec(scene, &model, &["--timeout", limit, "-s", "workspace-write", "x"]).run().expect_code(1);
        assert!(run.error_text().contains("the time is up"), "{}", run.describe());
    };
    ends(json!({ "cut": 0, "hang": true }), "1s");
    let presence = with_longer_limits(Duration::from_secs(1), |limit| {
        let limit = format!("{}s", limit.as_secs());
        let presence = Presence::new(scene, &format!("held-{limit}"));
        let held = format!("exec 9>{}; sleep 600", presence.path().display());
        ends(call("shell", &json!({ "command": ["sh", "-c", held] })), &limit);
        presence.was_held().then_some(presence)
    });
    assert!(presence.ended());
}

pub(super) fn an_interrupt_leaves_nothing_behind(scene: &Scene) {
    let level = ["--isolation", scene.level().name()];
    for (signal, answer) in [
        (Signal::SIGINT, "cancelled"),
        (Signal::SIGTERM, "cancelled"),
        // Nobody could say anything any more.
        (Signal::SIGKILL, "the session ended before this call had an answer"),
    ] {
        let presence = Presence::new(scene, signal.as_str());
        let command = format!("exec 9>{}; (setsid sleep 600 &); sleep 600", presence.path().display());
        let model =
            Model::serve(Api::Responses, vec![call("shell", &json!({ "command": ["sh", "-c", command] }))]);
        let mut running = exec_at(scene, &model, &level, &["--json", "-s", "workspace-write", "x"]).start();
        while !running.line().expect("it ended before the command was told of").contains("item.started") {}
        // The command is there when it holds the fifo.
        while !presence.is_held() {
            std::thread::yield_now();
        }
        running.signal(signal);
        let run = running.finish();
        match signal {
            Signal::SIGKILL => assert_eq!(run.signal(), Some(signal), "{}", run.describe()),
            signal => assert_eq!(run.code(), Some(128 + signal as i32), "{}", run.describe()),
        }
        assert!(presence.ended(), "{}", run.describe());

        // The session is whole, and goes on.
        let model = Model::serve(Api::Responses, vec![say("went on")]);
        let run = exec_at(scene, &model, &level, &["resume", "--last", "more"]).run().expect_code(0);
        assert_eq!(run.text(), "went on\n");
        let outputs = model.outputs();
        assert!(outputs.len() == 1 && outputs[0].contains(answer), "{outputs:?}");
    }
}

pub(super) fn a_session_goes_on(scene: &Scene) {
    let model = Model::serve(Api::Responses, vec![run_command("echo first"), say("one")]);
    let run = exec(scene, &model, &["--json", "the first task"]).run().expect_code(0);
    let id = events(&run)[0]["thread_id"].as_str().unwrap_or_default().to_owned();
    let files = sessions(scene);
    assert_eq!(files.len(), 1, "{files:?}");
    let before = fs::read(&files[0]).expect("the session");

    // By its name, over the other API; and what is torn at the end is no matter.
    fs::write(&files[0], [&before[..], b"{\"type\":\"it"].concat()).expect("tear the session");
    scene.give_away(&files[0]);
    let model = Model::serve(Api::Chat, vec![say("two")]);
    let run = exec(scene, &model, &["resume", &id, "the second task"]).run().expect_code(0);
    assert_eq!(run.text(), "two\n");
    let request = model.requests()[0]["messages"].clone();
    let said: Vec<&str> = request
        .as_array()
        .into_iter()
        .flatten()
        .map(|message| message["role"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(said, ["system", "user", "assistant", "tool", "assistant", "user"]);
    assert_eq!(request[1]["content"], "the first task");
    assert_eq!(request[5]["content"], "the second task");
    // Only appended to.
    assert!(fs::read(&files[0]).expect("the session").starts_with(&before));
    assert_eq!(sessions(scene), files);

    let model = Model::serve(Api::Responses, vec![say("three")]);
    let run =
        exec(scene, &model, &["resume", "--last", "--json"]).input("the third task").run().expect_code(0);
    assert_eq!(events(&run)[0]["thread_id"], Value::from(id));
    assert_eq!(model.requests()[0]["input"].as_array().map(Vec::len), Some(7));

    // What is not kept can't be resumed, and leaves nothing.
    let model = Model::serve(Api::Responses, vec![say("gone")]);
    exec(scene, &model, &["--ephemeral", "x"]).run().expect_code(0);
    assert_eq!(sessions(scene), files);
}

pub(super) fn a_message_that_does_not_fit_is_asked_for_again(scene: &Scene) {
    let schema = scene.file(
        "workspace/schema.json",
        r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}"#,
    );
    let schema = schema.display().to_string();
    let words = ["--output-schema", schema.as_str(), "--json", "x"];
    for (answers, code, requests) in [
        (vec![say("{\"n\": 1}")], 0, 1),
        (vec![say("it is 1"), say("{\"n\": 1}")], 0, 2),
        (vec![say("it is 1"), say("{\"n\": \"1\"}")], 3, 2),
    ] {
        let model = Model::serve(Api::Responses, answers);
        let run = exec(scene, &model, &words).run().expect_code(code);
        assert_eq!(model.requests().len(), requests, "{}", run.describe());
        let format = model.requests()[0]["text"]["format"].clone();
        assert_eq!((&format["type"], &format["strict"]), (&json!("json_schema"), &json!(true)));
    }
}

pub(super) fn mistakes_of_the_caller_exit_with_2(scene: &Scene) {
    let model = Model::serve(Api::Responses, vec![say("x")]);
    let broken = scene.file("workspace/broken.json", "{").display().to_string();
    let cases: [(&[&str], &str); 10] = [
        (&["-c", "model_provider=nobody", "x"], "there is no [model_providers.nobody]"),
        (&["-c", "model_providers.scripted.base_url=ftp://x", "x"], "no http or https URL"),
        (&["-c", "model_providers.scripted.env_key=NOT_SET", "x"], "NOT_SET is not set"),
        (&["-c", "approval_policy=always", "x"], "approval_policy"),
        (&["-c", "model_providers.scripted.wire=chat", "x"], "unknown key"),
        (&["--output-schema", &broken, "x"], "not valid JSON"),
        (&["-i", &broken, "x"], "no image"),
        (&["resume", "nonsense", "x"], "no id of a session"),
        (&["resume", "--last", "x"], "no session of this workspace"),
        (&[], "there is no task"),
    ];
    for (words, expected) in cases {
        let run = exec(scene, &model, &[&["--json"], words].concat()).run().expect_code(2);
        assert!(run.error_text().contains(expected), "{expected}: {}", run.describe());
        let events = events(&run);
        assert_eq!((events.len(), &events[0]["type"]), (1, &json!("error")), "{}", run.describe());
    }
    let outside_of_git =
        ["exec", "-s", "workspace-write", "x"].map(str::to_owned).into_iter().chain(model.options());
    let run = scene.codex(outside_of_git).run().expect_code(2);
    assert!(run.error_text().contains("--skip-git-repo-check"), "{}", run.describe());
    let run = scene.codex(["exec", "--json", "--no-such-option"]).run().expect_code(2);
    assert!(
        events(&run)[0]["message"].as_str().is_some_and(|it| it.contains("--no-such-option")),
        "{}",
        run.describe()
    );
    assert!(scene.codex(["exec", "--no-such-option"]).run().expect_code(2).text().is_empty());
    assert_eq!(model.requests().len(), 0);
    assert!(sessions(scene).is_empty());
}

pub(super) fn forbidden_commands_are_declined(scene: &Scene) {
    // A project may forbid more.
    scene.directory("workspace/.codex");
    scene.file("workspace/.codex/config.toml", "approvals.forbid = ['touch b']\n");
    let model = Model::serve(
        Api::Responses,
        vec![
            run_command("true && touch a"),
            call("shell", &json!({ "command": ["touch", "b"] })),
            run_command("touch c"),
            say("done"),
        ],
    );
    let words = ["--json", "-s", "workspace-write", "-c", "approvals.forbid=[\"touch a\"]", "x"];
    let run = exec(scene, &model, &words).run().expect_code(0);
    let outputs = model.outputs();
    for (output, name) in outputs.iter().zip(["a", "b"]) {
        assert!(output.contains(&format!("begin with `touch {name}`")), "{outputs:?}");
        assert!(!scene.workspace().join(name).exists());
    }
    assert!(scene.workspace().join("c").exists(), "{}", run.describe());
    let declined = events(&run).iter().filter(|event| event["item"]["status"] == "declined").count();
    assert_eq!(declined, 2, "{}", run.describe());
}

pub(super) fn secrets_are_not_written_down(scene: &Scene) {
    let model = Model::serve(
        Api::Responses,
        vec![run_command("echo \"key: $MODEL_ACCESS\"; echo 'the-key-itself'"), say("done")],
    );
    let words = ["-c", "model_providers.scripted.env_key=MODEL_ACCESS", "print the-key-itself"];
    let run = exec(scene, &model, &words).env("MODEL_ACCESS", "the-key-itself").run().expect_code(0);
    assert_eq!(model.requests()[0]["_headers"]["authorization"], "Bearer the-key-itself");
    // Commands don't get it, and the file does not have it, whoever says it.
    assert!(model.outputs()[0].contains("key: \n"), "{}", run.describe());
    for path in sessions(scene) {
        let text = fs::read_to_string(&path).expect("the session");
        assert!(!text.contains("the-key-itself") && text.contains("[redacted]"), "{text}");
    }
}

/// The program itself is in no sandbox, and writes this file after commands have run.
pub(super) fn the_last_message_goes_where_no_command_leads_it(scene: &Scene) {
    let level = ["--isolation", scene.level().name()];
    let kept = scene.file("outside/kept", "kept");
    let outside = scene.outside().display().to_string();
    scene.directory("workspace/out");
    let runs = |first: &str, file: &str, code: i32| {
        let model = Model::serve(Api::Responses, vec![run_command(first), say("planted")]);
        let run = exec_at(scene, &model, &level, &["-s", "workspace-write", "-o", file, "x"])
            .run()
            .expect_code(code);
        (run, model)
    };
    let written = |path: &str| fs::read_to_string(scene.path(path)).ok();

    // Links, each made by a command of the run.
    let (run, _) = runs(&format!("ln -s {outside}/kept last"), "last", 1);
    assert!(run.error_text().contains("last is no regular file, and lies where"), "{}", run.describe());
    assert_eq!(run.text(), "planted\n");
    runs(&format!("ln -s {outside}/new new"), "new", 1);
    runs("mkfifo pipe", "pipe", 1);
    runs("echo x > one; ln one two", "two", 1);
    // The directory is the one that there was, under whatever name.
    runs(&format!("mv out moved && ln -s {outside} out"), "out/new", 0);
    assert_eq!(written("workspace/moved/new").as_deref(), Some("planted"));
    // What is left of that when the next run begins is refused before the model is asked.
    for (file, link) in [("last", "last"), ("out/new", "out"), ("moved/../out/../outside/new", "out")] {
        let (run, model) = runs("true", file, 2);
        let expected = format!("leads through the link {}", scene.path("workspace").join(link).display());
        assert!(run.error_text().contains(&expected), "{}", run.describe());
        assert!(model.requests().is_empty());
    }
    assert_eq!(fs::read_to_string(&kept).expect("the file"), "kept");
    assert!(fs::read_dir(scene.outside()).expect("look").count() == 1, "something was made outside");
    assert_eq!(written("workspace/one").as_deref(), Some("x\n"));

    // What commands do to a file of that name is no matter: longer words go, and it is made anew.
    scene.file("workspace/plain", "much longer words than those of the model");
    runs("true", "plain", 0);
    runs("echo x > made", "made", 0);
    runs("true", "fresh", 0);
    for path in ["plain", "made", "fresh"] {
        assert_eq!(written(&format!("workspace/{path}")).as_deref(), Some("planted"), "{path}");
    }
    runs("true", "/dev/null", 0);
    let (run, _) = runs("true", "none/last", 2);
    assert!(run.error_text().contains("none/last: No such file or directory"), "{}", run.describe());
}
