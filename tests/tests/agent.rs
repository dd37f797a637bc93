//! `codex exec` against a scripted model.

#![expect(clippy::expect_used, reason = "a suite reports by failing")]

use std::ffi::OsString;
use std::fs;

use codex_tests::harness::{Api, Invocation, Model, Run, Scene};
use codex_tests::{cases, cases_by_level};
use serde_json::{Value, json};

#[path = "agent/approvals.rs"]
mod approvals;
#[path = "agent/calls.rs"]
mod calls;
#[path = "agent/certificates.rs"]
mod certificates;
#[path = "agent/endings.rs"]
mod endings;
#[path = "agent/faults.rs"]
mod faults;
#[path = "agent/hosts.rs"]
mod hosts;
#[path = "agent/interrupts.rs"]
mod interrupts;
#[path = "agent/questions.rs"]
mod questions;
#[path = "agent/repositories.rs"]
mod repositories;
#[path = "agent/rules.rs"]
mod rules;
#[path = "agent/scenarios.rs"]
mod scenarios;
#[path = "agent/surroundings.rs"]
mod surroundings;
#[path = "agent/work.rs"]
mod work;

use approvals::{
    a_grant_opens_just_what_was_given, after_a_failure_it_runs_once_more_with_what_was_refused,
    an_answer_for_the_session_holds_for_the_very_same, only_the_user_gives,
    questions_come_one_at_a_time_and_end_with_the_run, the_network_and_nothing_else_is_given,
    without_a_sandbox_it_is_once_and_takes_no_input,
};
use calls::{
    a_patch_keeps_what_is_no_text, a_patch_reads_no_more_than_a_command, calls_run_at_once_but_for_patches,
    long_output_is_kept_and_can_be_looked_up, no_more_sessions_start_than_there_is_room_for,
    of_what_is_hidden_nothing_is_told,
};
use certificates::a_server_is_trusted_by_the_certificates_that_are_named;
use endings::{
    a_message_that_does_not_fit_is_asked_for_again, a_session_goes_on, an_interrupt_leaves_nothing_behind,
    budgets_end_a_loop, forbidden_commands_are_declined, mistakes_of_the_caller_exit_with_2,
    secrets_are_not_written_down, the_last_message_goes_where_no_command_leads_it,
};
use faults::{
    a_conversation_that_is_too_long_loses_its_oldest_outputs, a_server_that_recovers_is_asked_again,
    a_server_that_stays_broken_fails_the_turn, a_window_is_kept_before_the_server_says_so,
    an_answer_that_breaks_off_runs_nothing_twice, wrong_calls_are_answered_in_words,
};
use hosts::one_host_and_no_other_is_given;
use interrupts::{
    a_display_that_can_not_start_begins_nothing, a_signal_ends_a_run_that_waits_for_its_server,
};
use questions::{
    a_question_is_nothing_that_a_model_says, a_terminal_that_stands_still_keeps_nobody,
    a_terminal_that_stood_still_before_keeps_nobody,
};
use repositories::what_git_shows_unasked_runs_nothing_of_a_planted_repository;
use rules::{
    rules_of_the_users_give_and_the_strictest_counts, what_is_not_trusted_is_asked_about,
    what_is_refused_is_noted,
};
use scenarios::what_is_told_of_scenarios_is_as_written;
use surroundings::{
    a_reader_that_goes_does_not_stop_the_work, a_server_is_asked_as_it_is_configured,
    calls_in_pieces_and_storms_are_outlasted, homes_that_can_not_be_written_and_sessions_in_use,
    something_moves_on_a_terminal_only, who_does_not_read_keeps_nobody, without_certificates_http_goes_on,
};
use work::{
    a_failing_test_is_fixed_in_a_crate, a_failing_test_is_fixed_in_a_python_project,
    a_server_in_a_session_is_talked_to, a_sessions_end_is_the_runs_end,
};

cases!(
    a_task_is_done_over_both_apis,
    the_last_message_alone_is_on_stdout,
    what_is_piped_in_is_a_block,
    the_model_is_told_where_it_is,
    budgets_end_a_loop,
    a_message_that_does_not_fit_is_asked_for_again,
    a_session_goes_on,
    mistakes_of_the_caller_exit_with_2,
    secrets_are_not_written_down,
    forbidden_commands_are_declined,
    a_server_that_recovers_is_asked_again,
    a_server_that_stays_broken_fails_the_turn,
    an_answer_that_breaks_off_runs_nothing_twice,
    wrong_calls_are_answered_in_words,
    a_conversation_that_is_too_long_loses_its_oldest_outputs,
    a_window_is_kept_before_the_server_says_so,
    a_failing_test_is_fixed_in_a_crate,
    a_sessions_end_is_the_runs_end,
    calls_run_at_once_but_for_patches,
    long_output_is_kept_and_can_be_looked_up,
    no_more_sessions_start_than_there_is_room_for,
    a_reader_that_goes_does_not_stop_the_work,
    who_does_not_read_keeps_nobody,
    something_moves_on_a_terminal_only,
    homes_that_can_not_be_written_and_sessions_in_use,
    a_server_is_asked_as_it_is_configured,
    without_certificates_http_goes_on,
    a_server_is_trusted_by_the_certificates_that_are_named,
    calls_in_pieces_and_storms_are_outlasted,
    a_terminal_that_stood_still_before_keeps_nobody,
    a_patch_keeps_what_is_no_text,
    a_signal_ends_a_run_that_waits_for_its_server,
    a_display_that_can_not_start_begins_nothing,
);

cases_by_level!(
    a_grant_opens_just_what_was_given,
    the_network_and_nothing_else_is_given,
    one_host_and_no_other_is_given,
    without_a_sandbox_it_is_once_and_takes_no_input,
    an_answer_for_the_session_holds_for_the_very_same,
    only_the_user_gives,
    rules_of_the_users_give_and_the_strictest_counts,
    what_is_not_trusted_is_asked_about,
    what_is_refused_is_noted,
    after_a_failure_it_runs_once_more_with_what_was_refused,
    questions_come_one_at_a_time_and_end_with_the_run,
    a_question_is_nothing_that_a_model_says,
    a_terminal_that_stands_still_keeps_nobody,
    a_failing_test_is_fixed_in_a_python_project,
    an_interrupt_leaves_nothing_behind,
    nothing_leads_out,
    the_last_message_goes_where_no_command_leads_it,
    what_git_shows_unasked_runs_nothing_of_a_planted_repository,
);

codex_tests::cases_at!(
    Namespaces;
    a_server_in_a_session_is_talked_to,
    a_patch_reads_no_more_than_a_command,
    of_what_is_hidden_nothing_is_told,
    what_is_told_of_scenarios_is_as_written,
);

/// `codex exec` in a scene, asking a model.
fn exec(scene: &Scene, model: &Model, words: &[&str]) -> Invocation {
    exec_at(scene, model, &[], words)
}

fn exec_at(scene: &Scene, model: &Model, level: &[&str], words: &[&str]) -> Invocation {
    let options = ["exec".to_owned(), "--skip-git-repo-check".to_owned()].into_iter().chain(model.options());
    let words = level.iter().chain(words).map(|word| (*word).to_owned());
    scene.codex(options.chain(words).map(OsString::from))
}

/// The events of a run, one a line. Each of them is as the published schema says.
fn events(run: &Run) -> Vec<Value> {
    let schema = include_str!("../../docs/exec-events.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema of events is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema of events is a schema");
    let read = |line: &str| {
        let event: Value =
            serde_json::from_str(line).unwrap_or_else(|error| run.fail(&format!("no JSON: {line}: {error}")));
        if let Err(error) = validator.validate(&event) {
            run.fail(&format!("not as the schema says: {line}: {error}"));
        }
        event
    };
    run.text().lines().map(read).collect()
}

/// The kinds of events, those of things with the things' own.
fn kinds(events: &[Value]) -> Vec<String> {
    let kind = |event: &Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        match event["item"]["type"].as_str() {
            Some(item) => format!("{kind} {item}"),
            None => kind.to_owned(),
        }
    };
    events.iter().map(kind).collect()
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({ "calls": [{ "name": name, "arguments": arguments }] })
}

fn run_command(command: &str) -> Value {
    call("exec_command", &json!({ "cmd": command }))
}

fn say(text: &str) -> Value {
    json!({ "text": text })
}

fn a_task_is_done_over_both_apis(scene: &Scene) {
    for api in Api::ALL {
        let both = json!({
            "reasoning": "look first",
            "text": "I will look.",
            "calls": [
                { "name": "exec_command", "arguments": { "cmd": "echo out; echo err >&2; exit 3" } },
                { "name": "update_plan", "arguments": { "plan": [{ "step": "look", "status": "completed" }] } },
            ],
        });
        let model = Model::serve(api, vec![both, say("It is done.")]);
        let run = exec(scene, &model, &["--json", "--ephemeral", "look around"]).run().expect_code(0);
        let events = events(&run);
        assert_eq!(
            kinds(&events),
            [
                "thread.started",
                "turn.started",
                "item.completed reasoning",
                "item.completed agent_message",
                "item.started command_execution",
                "item.started todo_list",
                "item.completed command_execution",
                "item.completed agent_message",
                "item.completed todo_list",
                "turn.completed",
            ],
            "{}",
            run.describe()
        );
        let command = &events[6]["item"];
        assert_eq!(command["id"], events[4]["item"]["id"]);
        assert_eq!(command["command"], "bash -c 'echo out; echo err >&2; exit 3'");
        assert_eq!(command["aggregated_output"], "out\nerr\n");
        assert_eq!((&command["exit_code"], &command["status"]), (&json!(3), &json!("failed")));
        assert_eq!(command["cwd"], json!(scene.workspace()));
        let usage = &events[9]["usage"];
        assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(20), &json!(10)));

        let outputs = model.outputs();
        assert!(outputs[0].starts_with("Process exited with code 3\n"), "{outputs:?}");
        assert!(outputs[0].ends_with("out\nerr\n"), "{outputs:?}");
        assert_eq!(outputs[1], "Plan updated");
    }
}

fn the_last_message_alone_is_on_stdout(scene: &Scene) {
    let model = Model::serve(
        Api::Responses,
        vec![
            json!({ "text": "First I look.", "calls": [{ "name": "exec_command", "arguments": { "cmd": "echo there" } }] }),
            say("All\nis well."),
        ],
    );
    let file = scene.path("tmp/last");
    let run = exec(scene, &model, &["-o", &file.display().to_string(), "look"]).run().expect_code(0);
    assert_eq!(run.text(), "All\nis well.\n", "{}", run.describe());
    assert_eq!(fs::read_to_string(file).expect("the last message"), "All\nis well.");
    let told = run.error_text();
    for expected in ["First I look.", "$ bash -c 'echo there'", "  | there", "exit code 0", "tokens: 20 read"]
    {
        assert!(told.contains(expected), "{expected}: {}", run.describe());
    }
    assert!(!told.contains("is well") && !told.contains('\u{1b}'), "{}", run.describe());

    // A failure of the last command is one of the run only where somebody asks for it.
    for (options, code) in [(&[][..], 0), (&["--fail-on-command-error"], 4)] {
        let model = Model::serve(Api::Responses, vec![run_command("false"), say("so be it")]);
        exec(scene, &model, &[options, &["x"]].concat()).run().expect_code(code);
    }
}

fn what_is_piped_in_is_a_block(scene: &Scene) {
    let said = |words: &[&str], input: &str| {
        let model = Model::serve(Api::Responses, vec![say("ok")]);
        exec(scene, &model, words).input(input).run().expect_code(0);
        model.requests()[0]["input"][0]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(said(&["the task"], "the data"), "the task\n\n<stdin>\nthe data\n</stdin>");
    assert_eq!(said(&["the task"], ""), "the task");
    assert_eq!(said(&["-"], "all of it\n"), "all of it\n");
    assert_eq!(said(&[], "all of it"), "all of it");
}

fn the_model_is_told_where_it_is(scene: &Scene) {
    scene.directory("workspace/.git");
    scene.directory("workspace/sub");
    scene.file("workspace/AGENTS.md", "Use tabs.");
    scene.file("workspace/sub/AGENTS.md", "Use spaces here.");
    let model = Model::serve(Api::Chat, vec![say("ok")]);
    let sub = scene.path("workspace/sub").display().to_string();
    exec(scene, &model, &["-s", "workspace-write", "-C", &sub, "go"]).run().expect_code(0);
    let request = &model.requests()[0];
    let system = request["messages"][0]["content"].as_str().unwrap_or_default();
    for expected in ["Policy: workspace-write", &sub, "Network: off", "read-only file system"] {
        assert!(system.contains(expected), "{expected}: {system}");
    }
    let project = request["messages"][1]["content"].as_str().unwrap_or_default();
    let (tabs, spaces) = (project.find("Use tabs."), project.find("Use spaces here."));
    assert!(tabs.is_some() && tabs < spaces, "{project}");
    assert_eq!(request["messages"][2]["content"], "go");
    let tools: Vec<&str> = request["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| tool["function"]["name"].as_str())
        .collect();
    assert_eq!(tools, ["exec_command", "write_stdin", "shell", "apply_patch", "update_plan"]);
}

fn nothing_leads_out(scene: &Scene) {
    let outside = scene.outside().display().to_string();
    scene.file("outside/kept", "kept");
    scene.directory("workspace/.git/hooks");
    scene.symlink(scene.outside(), "workspace/link");
    let patch = |path: &str| {
        let input = format!("*** Begin Patch\n*** Add File: {path}\n+planted\n*** End Patch");
        call("apply_patch", &json!({ "input": input }))
    };
    let heredoc =
        format!("apply_patch <<'E'\n*** Begin Patch\n*** Add File: {outside}/h\n+x\n*** End Patch\nE");
    let as_a_program =
        format!("true; apply_patch '*** Begin Patch\n*** Add File: {outside}/p\n+x\n*** End Patch'");
    let acts = vec![
        run_command(&format!("echo x > {outside}/a")),
        run_command(&format!("cd {outside} && echo x > b")),
        call("exec_command", &json!({ "cmd": "echo x > c", "workdir": outside })),
        call(
            "exec_command",
            &json!({ "cmd": format!("echo x > {outside}/d"), "sandbox_permissions": "require_escalated" }),
        ),
        call(
            "shell",
            &json!({ "command": ["sh", "-c", format!("echo x > {outside}/e")], "with_escalated_permissions": true }),
        ),
        call("shell", &json!({ "command": ["tee", format!("{outside}/f")] })),
        run_command("ln -s ../outside w; echo x > w/g; echo x > link/g"),
        patch(&format!("{outside}/i")),
        patch("../outside/j"),
        patch("link/k"),
        patch(".git/hooks/pre-commit"),
        patch(".git/config"),
        patch(".codex/config.toml"),
        run_command(&heredoc),
        run_command(&as_a_program),
        run_command(&format!(
            "(setsid sh -c 'sleep 1; echo x > {outside}/l; sleep 600' >/dev/null 2>&1 &); true"
        )),
        run_command("curl -s -m 2 http://127.0.0.1:1/ || (exec 3<>/dev/tcp/127.0.0.1/1)"),
    ];
    let count = acts.len();
    let model = Model::serve(Api::Responses, [acts, vec![say("nothing worked")]].concat());
    let level = ["--isolation", scene.level().name()];
    let run = exec_at(scene, &model, &level, &["--json", "-s", "workspace-write", "break out"])
        .run()
        .expect_code(0);
    assert_eq!(model.outputs().len(), count, "{}", run.describe());
    let names: Vec<_> = fs::read_dir(scene.outside())
        .expect("look outside")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["kept"], "{}", run.describe());
    for planted in [".git/hooks/pre-commit", ".git/config", ".codex"] {
        assert!(!scene.workspace().join(planted).exists(), "{planted}: {}", run.describe());
    }
    let declined = events(&run).iter().filter(|event| event["item"]["status"] == "declined").count();
    // Those that ask for more.
    assert!(declined == 2, "{}", run.describe());
    // A command that can write inside: the sandbox was no brick.
    let model =
        Model::serve(Api::Responses, vec![patch("inside"), run_command("cat inside > too"), say("ok")]);
    exec_at(scene, &model, &level, &["-s", "workspace-write", "work"]).run().expect_code(0);
    assert_eq!(
        fs::read_to_string(scene.path("workspace/too")).expect("what was written inside"),
        "planted\n"
    );
}
