//! What surrounds a run in a pipeline: readers that go or do not read, homes that can't be written, proxies, certificates, servers.

use std::fs;
use std::time::Duration;

use codex_tests::harness::{Api, Model, Policy, Scene, require_tool, with_longer_limits};
use serde_json::{Value, json};

use super::{call, events, exec, run_command, say};

/// Where a model is, as `model_providers.NAME.base_url` has it.
pub(super) fn base_url(model: &Model) -> String {
    let options = model.options();
    let found = options.iter().find_map(|option| option.strip_prefix("model_providers.scripted.base_url="));
    found.expect("the model's address").to_owned()
}

pub(super) fn a_reader_that_goes_does_not_stop_the_work(scene: &Scene) {
    let waits = "until test -e gone; do sleep 0.02; done";
    let model =
        Model::serve(Api::Responses, vec![run_command(waits), run_command("echo x >> ran"), say("done")]);
    let line = exec(scene, &model, &["--json", "-s", "workspace-write", "x"]).shell_line();
    let script = format!("({line}; echo $? > code) | {{ head -n 1; exec 0<&-; touch gone; }}");
    let run = scene.under(Policy::Bare).shell(&script).run().expect_code(0);
    assert_eq!(events(&run).len(), 1, "{}", run.describe());
    let left = |name: &str| fs::read_to_string(scene.workspace().join(name)).unwrap_or_default();
    assert_eq!((left("code"), left("ran")), ("0\n".into(), "x\n".into()), "{}", run.describe());
    assert!(run.error_text().contains("nobody reads the events any more"), "{}", run.describe());
    let session = super::endings::sessions(scene).pop().expect("a session");
    assert!(fs::read_to_string(session).expect("the session").contains("done"));
    // Without events, what it does not take is the last message.
    for (reads, code) in [("exec 0<&-; touch gone", "1\n"), ("touch gone; head -n 1 > taken", "0\n")] {
        drop(fs::remove_file(scene.workspace().join("gone")));
        let model = Model::serve(Api::Responses, vec![run_command(waits), say("done")]);
        let line = exec(scene, &model, &["-s", "workspace-write", "x"]).shell_line();
        let script = format!("({line}; echo $? > code) | {{ {reads}; }}");
        let run = scene.under(Policy::Bare).shell(&script).run().expect_code(0);
        assert_eq!(left("code"), code, "{}", run.describe());
        let told = run.error_text().contains("not all of the last message was written");
        assert_eq!(told, code == "1\n", "{}", run.describe());
    }
    assert_eq!(left("taken"), "done\n");
    // What can't be written at all is no success.
    for (words, why) in [(&["--json"][..], "events are lost"), (&[], "No space left on device")] {
        let model = Model::serve(Api::Responses, vec![say("done")]);
        let line = exec(scene, &model, &[words, &["x"]].concat()).shell_line();
        let run = scene.under(Policy::Bare).shell(&format!("{line} > /dev/full")).run().expect_code(1);
        assert!(run.error_text().contains(why), "{}", run.describe());
    }
}

/// A pipe that somebody holds and nobody reads takes 64 KiB, and then nothing.
pub(super) fn who_does_not_read_keeps_nobody(scene: &Scene) {
    let much = json!({ "text": "much ".repeat(40_000), "calls": [{ "name": "exec_command", "arguments": { "cmd": "touch started" } }] });
    let silent = json!({ "cut": 0, "hang": true });
    let held = "mkfifo held 2>/dev/null; exec 3<>held";
    for words in [&["--json"][..], &[]] {
        let model = Model::serve(Api::Responses, vec![much.clone(), silent.clone()]);
        let words = [words, &["-s", "workspace-write", "--timeout", "2s", "x"]].concat();
        let line = exec(scene, &model, &words).shell_line();
        let run = scene.under(Policy::Bare).shell(&format!("{held}; {line} >held 2>&1")).run();
        assert_eq!(run.code(), Some(1), "{}", run.describe());

        let model = Model::serve(Api::Responses, vec![much.clone(), silent.clone()]);
        let words = [&words[..words.len() - 3], &["x"]].concat();
        let line = exec(scene, &model, &words).shell_line();
        let script = format!(
            "{held}; rm -f started; {line} >held 2>&1 & until test -e started; do sleep 0.02; done; kill -TERM $!; wait $!"
        );
        let run = scene.under(Policy::Bare).shell(&script).run();
        assert_eq!(run.code(), Some(143), "{}", run.describe());
    }
    a_last_message_keeps_nobody(scene, &much["text"]);
    // A last message for a pipe that nobody reads is refused before anything is asked.
    let model = Model::serve(Api::Responses, vec![say("x")]);
    let run = scene.under(Policy::Bare).shell("mkfifo \"$HOME/unread\"").run().expect_code(0);
    drop(run);
    let unread = scene.path("home/unread").display().to_string();
    let run = exec(scene, &model, &["-o", &unread, "x"]).run().expect_code(2);
    assert!(run.error_text().contains("is a pipe that nobody reads"), "{}", run.describe());
    // A socket is no pipe, however many listen there.
    let socket = scene.path("home/socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("listen");
    let run = exec(scene, &model, &["-o", &socket.display().to_string(), "x"]).run().expect_code(2);
    assert!(run.error_text().contains("is a socket"), "{}", run.describe());
    assert!(!run.error_text().contains("pipe"), "{}", run.describe());
    drop(listener);
    assert!(model.requests().is_empty());
}

/// Nor does the place of the last message, and what is shown does not keep it from there.
fn a_last_message_keeps_nobody(scene: &Scene, text: &Value) {
    let much = text.as_str().expect("a text");
    let shell = |words: &[&str], script: &str| {
        let model = Model::serve(Api::Responses, vec![say(much)]);
        let line = exec(scene, &model, &[words, &["x"]].concat()).shell_line();
        let begin = "rm -f \"$HOME/pipe\" shown taken; mkfifo \"$HOME/pipe\"; exec 3<>\"$HOME/pipe\"";
        scene.under(Policy::Bare).shell(&format!("{begin}; {}", script.replace("LINE", &line))).run()
    };
    let (pipe, file) = (scene.path("home/pipe").display().to_string(), scene.path("home/file"));
    let shown = |name: &str| fs::read_to_string(scene.workspace().join(name)).unwrap_or_default();
    let run = shell(&["--timeout", "2s", "-o", &pipe], "LINE > shown");
    assert_eq!((run.code(), shown("shown")), (Some(1), format!("{much}\n")), "{}", run.describe());
    let until = format!("until test \"$(wc -c < shown)\" = {}; do sleep 0.02; done", much.len() + 1);
    let run = shell(&["-o", &pipe], &format!("LINE > shown & {until}; kill -TERM $!; wait $!"));
    assert_eq!(run.code(), Some(143), "{}", run.describe());
    // Somebody who reads has all of it.
    let run = shell(&["-o", &pipe], &format!("head -c {} <&3 > taken & LINE 3<&- && wait $!", much.len()));
    assert_eq!((run.code(), shown("taken")), (Some(0), much.to_owned()), "{}", run.describe());
    for words in [&["--json"][..], &[]] {
        drop(fs::remove_file(&file));
        let place = file.display().to_string();
        let until = format!("until test \"$(wc -c < '{place}')\" = {}; do sleep 0.02; done", much.len());
        let script = format!("LINE >&3 & {until}; kill -TERM $!; wait $!");
        let run = shell(&[words, &["-o", &place]].concat(), &script);
        let written = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!((run.code(), written.as_str()), (Some(143), much), "{}", run.describe());
    }
}

pub(super) fn something_moves_on_a_terminal_only(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/person.py");
    let transcript = scene.path("tmp/transcript");
    let moved = |options: &[&str], pause: Duration| {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let model =
            Model::serve(Api::Responses, vec![json!({ "text": "done", "pieces": 100, "pause_ms": pause })]);
        let line = exec(scene, &model, &[options, &["x"]].concat()).shell_line();
        let arguments =
            [script.to_owned(), transcript.display().to_string(), "[]".to_owned(), "sh".to_owned()];
        let command = ["-c".to_owned(), format!("exec {line} 2>/dev/tty")];
        let run = scene.under(Policy::Bare).command(&python, arguments.into_iter().chain(command)).run();
        let run = run.expect_code(0);
        assert!(options.contains(&"--json") || run.text() == "done\n", "{}", run.describe());
        let shown = fs::read_to_string(&transcript).unwrap_or_default();
        ["\r| ", "\r/ ", "\r- ", "\r\\ "].iter().any(|frame| shown.contains(frame))
    };
    let pause = with_longer_limits(Duration::from_millis(250), |pause| moved(&[], pause).then_some(pause));
    assert!(!moved(&["--json"], pause) && !moved(&["-a", "on-request"], pause));
    // Elsewhere nothing does.
    let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let model =
        Model::serve(Api::Responses, vec![json!({ "text": "done", "pieces": 100, "pause_ms": pause })]);
    let run = exec(scene, &model, &["x"]).run().expect_code(0);
    assert!(!run.error_text().contains('\r'), "{}", run.describe());
}

pub(super) fn homes_that_can_not_be_written_and_sessions_in_use(scene: &Scene) {
    let model = Model::serve(Api::Responses, vec![say("done")]);
    scene.file("codex-home/sessions", "no directory");
    let run = exec(scene, &model, &["x"]).run().expect_code(2);
    assert!(run.error_text().contains("--ephemeral keeps none"), "{}", run.describe());
    assert!(model.requests().is_empty());
    exec(scene, &model, &["--ephemeral", "x"]).run().expect_code(0);
    fs::remove_file(scene.path("codex-home/sessions")).expect("make room");

    exec(scene, &model, &["x"]).run().expect_code(0);
    let waits = "echo x > started; until test -e go; do sleep 0.02; done";
    let other = Model::serve(Api::Responses, vec![run_command(waits), say("went on")]);
    let mut first =
        exec(scene, &other, &["resume", "--last", "--json", "-s", "workspace-write", "x"]).start();
    while !first.line().expect("it ended early").contains("item.started") {}
    let run = exec(scene, &model, &["resume", "--last", "y"]).run().expect_code(2);
    assert!(run.error_text().contains("is in use by another process"), "{}", run.describe());
    // Another one beside it is no matter.
    exec(scene, &model, &["z"]).run().expect_code(0);
    scene.file("workspace/go", "");
    drop(first.finish().expect_code(0));
    assert_eq!(super::endings::sessions(scene).len(), 2);
}

pub(super) fn a_server_is_asked_as_it_is_configured(scene: &Scene) {
    // Headers, parameters, a key by a variable.
    let model = Model::serve(Api::Responses, vec![say("ok")]);
    let set = [
        "model_providers.scripted.http_headers.X-One=first",
        "model_providers.scripted.env_http_headers.X-Two=SECOND",
        "model_providers.scripted.env_http_headers.X-Three=NOT_SET",
        "model_providers.scripted.query_params.api-version=2 3",
    ];
    let words: Vec<&str> = set.iter().flat_map(|setting| ["-c", setting]).chain(["x"]).collect();
    exec(scene, &model, &words).env("SECOND", "the-second-one").run().expect_code(0);
    let request = &model.requests()[0];
    let headers = &request["_headers"];
    assert_eq!((&headers["x-one"], &headers["x-two"]), (&json!("first"), &json!("the-second-one")));
    assert!(headers["x-three"].is_null());
    assert_eq!(request["_path"], "/v1/responses?api-version=2+3");

    // `--oss`, and a profile.
    let local = Model::serve(Api::Chat, vec![say("ok")]);
    let place = format!("model_providers.oss.base_url={}", base_url(&local));
    scene.file("codex-home/config.toml", "[profiles.p]\nsandbox_mode = 'workspace-write'\n");
    exec(scene, &local, &["--oss", "-c", &place, "-m", "small", "-p", "p", "x"]).run().expect_code(0);
    let request = &local.requests()[0];
    assert_eq!((&request["_path"], &request["model"]), (&json!("/v1/chat/completions"), &json!("small")));
    assert!(
        request["messages"][0]["content"].as_str().is_some_and(|it| it.contains("Policy: workspace-write"))
    );

    // Images.
    let image = scene.file("home/image", b"\x89PNG\r\n\x1a\n").display().to_string();
    for (api, place) in
        [(Api::Responses, "/input/0/content/1/image_url"), (Api::Chat, "/messages/1/content/1/image_url/url")]
    {
        let model = Model::serve(api, vec![say("ok")]);
        exec(scene, &model, &["-i", &image, "x"]).run().expect_code(0);
        let sent = model.requests()[0].pointer(place).cloned().unwrap_or_default();
        assert_eq!(sent, "data:image/png;base64,iVBORw0KGgo=");
    }

    // A proxy, and what is not asked through it.
    let model = Model::serve(Api::Responses, vec![say("ok")]);
    let set = [
        "-c",
        "model_providers.scripted.base_url=http://model.invalid/v1",
        "-c",
        "model_providers.scripted.request_max_retries=0",
        "x",
    ];
    let proxy = base_url(&model).replace("/v1", "");
    exec(scene, &model, &set).env("HTTP_PROXY", &proxy).run().expect_code(0);
    assert_eq!(model.requests()[0]["_path"], "http://model.invalid/v1/responses");
    // By its number: nobody is asked for a name.
    let near = set.map(|word| word.replace("model.invalid", "127.0.0.1:1"));
    let near = near.each_ref().map(String::as_str);
    exec(scene, &model, &near).env("HTTP_PROXY", &proxy).env("NO_PROXY", "127.0.0.1").run().expect_code(1);
    assert_eq!(model.requests().len(), 1);
}

/// A machine without certificates, as small images are, asks a server nearby all the same.
pub(super) fn without_certificates_http_goes_on(scene: &Scene) {
    let model = Model::serve(Api::Responses, vec![say("ok")]);
    let nothing = scene.path("nothing");
    let bare = |words: &[&str]| {
        exec(scene, &model, words).env("SSL_CERT_FILE", &nothing).env("SSL_CERT_DIR", &nothing)
    };
    bare(&["x"]).run().expect_code(0);
    let run = bare(&["--json", "-c", "model_providers.scripted.base_url=https://127.0.0.1:1/v1", "x"])
        .run()
        .expect_code(2);
    assert!(run.error_text().contains("ca-certificates"), "{}", run.describe());
    assert_eq!(events(&run).len(), 1, "{}", run.describe());
}

/// Calls that come a byte at a time, and a server that fails many times in a row.
pub(super) fn calls_in_pieces_and_storms_are_outlasted(scene: &Scene) {
    for api in Api::ALL {
        let mut drip =
            call("exec_command", &json!({ "cmd": "printf '%s' 'gr\u{fc}n \"q\" \\ \u{1f980}' > out" }));
        drip["pieces"] = 1.into();
        let storm = |status: u16| json!({ "status": status, "headers": { "retry-after-ms": "1" } });
        let storms = vec![storm(429), storm(500), storm(503), storm(429)];
        let model = Model::serve(api, [storms.clone(), vec![drip], storms, vec![say("done")]].concat());
        let run = exec(scene, &model, &["-s", "workspace-write", "x"]).run().expect_code(0);
        let out = fs::read_to_string(scene.path("workspace/out")).unwrap_or_default();
        assert_eq!(out, "gr\u{fc}n \"q\" \\ \u{1f980}", "{}", run.describe());
        assert_eq!(model.requests().len(), 10);
    }
}
