//! The scenario files: each is played over both APIs, and what is told of it is compared with what stands beside it.
//!
//! `tests/scenarios/NAME.json` has what happens:
//!
//! | key | is |
//! |---|---|
//! | `about` | what it shows |
//! | `words` | the words behind `codex exec --json` |
//! | `files` | what is in the workspace before, by name |
//! | `answers` | what the model says, as [`Model`] takes it |
//! | `exit` | the exit code |
//! | `left` | what is in the workspace afterwards, by name; `null` for what is not there any more |
//!
//! `NAME.events` has what is told: the events, one a line, and last the answers to the calls. What differs from run to run is a
//! word in braces there. With `CODEX_TESTS_WRITE_EVENTS` set these files are written anew instead, to be read before they are kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use codex_tests::harness::{Api, Model, Run, Scene};
use serde_json::{Value, json};

use super::{events, exec_at};

/// Writes what is told anew.
const WRITE_VARIABLE: &str = "CODEX_TESTS_WRITE_EVENTS";

/// All scenarios, by name.
fn scenarios() -> BTreeMap<String, (PathBuf, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = fs::read_dir(directory).expect("the directory of scenarios");
    let paths = files.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a scenario");
            let scenario = serde_json::from_str(&text).expect("a scenario is JSON");
            let name = path.file_stem().expect("a scenario has a name").to_string_lossy().into_owned();
            (name, (path.with_extension("events"), scenario))
        })
        .collect()
}

pub(super) fn what_is_told_of_scenarios_is_as_written(scene: &Scene) {
    let scenarios = scenarios();
    assert!(!scenarios.is_empty());
    for (name, (golden, scenario)) in scenarios {
        for api in Api::ALL {
            let told = play(&scene.fresh(&format!("{name}-{}", api.name())), api, &name, &scenario);
            if std::env::var_os(WRITE_VARIABLE).is_some() {
                fs::write(&golden, &told).expect("write what is told");
            }
            let expected = fs::read_to_string(&golden).unwrap_or_default();
            assert!(
                told == expected,
                "{name} over {}: {golden:?} has\n{expected}\nand this was told:\n{told}",
                api.name()
            );
        }
    }
}

/// What is told of a scenario.
fn play(scene: &Scene, api: Api, name: &str, scenario: &Value) -> String {
    let entries = |key: &str| scenario[key].as_object().into_iter().flatten();
    for (file, content) in entries("files") {
        scene.file(&format!("workspace/{file}"), content.as_str().expect("a file is text"));
    }
    let answers = scenario["answers"].as_array().expect("a scenario has answers").clone();
    let model = Model::serve(api, answers);
    let words = scenario["words"].as_array().expect("a scenario has words");
    let words: Vec<&str> =
        ["--json"].into_iter().chain(words.iter().map(|word| word.as_str().expect("a word"))).collect();
    let level = ["--isolation", scene.level().name()];
    let code = scenario["exit"].as_i64().and_then(|code| i32::try_from(code).ok()).expect("an exit code");
    let run = exec_at(scene, &model, &level, &words).run().expect_code(code);
    for (file, content) in entries("left") {
        let found = fs::read_to_string(scene.workspace().join(file)).ok();
        assert_eq!(found.as_deref(), content.as_str(), "{name}: {file}: {}", run.describe());
    }
    let outside = fs::read_dir(scene.outside()).expect("look outside").count();
    assert_eq!(outside, 0, "{name}: {}", run.describe());
    told(scene, &run, &model)
}

/// The events of a run and the answers to its calls, with words in the place of what differs from run to run.
fn told(scene: &Scene, run: &Run, model: &Model) -> String {
    let mut lines = events(run);
    let mut outputs = model.outputs();
    outputs.iter_mut().for_each(|output| *output = without_times(output));
    lines.push(json!({ "outputs": outputs }));
    let mut text = String::new();
    for line in &mut lines {
        if let Some(thread) = line.get_mut("thread_id") {
            *thread = json!("{thread}");
        }
        if let Some(duration) = line.pointer_mut("/item/duration_ms").filter(|it| it.is_number()) {
            *duration = json!("{time}");
        }
        if let Some(Value::String(message)) = line.pointer_mut("/item/message") {
            *message = without_times(message);
        }
        text += &line.to_string();
        text.push('\n');
    }
    text.replace(&scene.root().display().to_string(), "{scene}")
}

/// A text without what a clock says: `duration: 0.012 s`, `asking again in 0.2 s`, `Wall time: 0.0120 seconds`.
fn without_times(text: &str) -> String {
    let mut text = text.to_owned();
    for before in ["duration: ", "asking again in ", "Wall time: "] {
        let mut parts = text.split(before).map(str::to_owned).collect::<Vec<_>>();
        for part in &mut parts[1..] {
            let digits = part.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(part.len());
            part.replace_range(..digits, "{time}");
        }
        text = parts.join(before);
    }
    text
}
