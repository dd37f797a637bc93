//! `codex debug explain`: a command runs once more in views of what it may write; it is refused what it would be, and nothing
//! changes here.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a suite reports by failing")]

#[path = "replay/at_once.rs"]
mod at_once;
#[path = "replay/beneath.rs"]
mod beneath;
#[path = "replay/left.rs"]
mod left;
#[path = "replay/links.rs"]
mod links;
#[path = "replay/remembered.rs"]
mod remembered;

use std::fs;

use at_once::a_person_who_typed_it_is_told_at_once;
use beneath::nobody_reaches_what_lies_beneath;
use codex_tests::cases_at;
use codex_tests::harness::{
    Failures, Identity, Invocation, Listener, Policy, Run, Scene, Snapshot, require_tool,
};
use left::nothing_is_left_and_an_interrupt_ends_it;
use links::what_a_link_of_the_commands_own_leads_to_is_denied;
use nix::errno::Errno;
use remembered::the_last_command_that_failed_is_remembered;
use serde_json::Value;

cases_at!(
    Namespaces;
    nothing_here_changes,
    the_denials_are_those_of_an_observed_run,
    a_denial_has_its_error_and_the_line_that_would_allow_it,
    what_a_link_of_the_commands_own_leads_to_is_denied,
    nobody_reaches_what_lies_beneath,
    what_is_not_undone_is_asked_about,
    where_no_view_can_be_had_nothing_runs,
    what_only_a_view_refuses_is_told_apart,
    a_view_that_is_full_is_told,
    nothing_is_left_and_an_interrupt_ends_it,
    the_last_command_that_failed_is_remembered,
    a_person_who_typed_it_is_told_at_once,
);

const NO_SLASH_TMP: &str = "sandbox_workspace_write.exclude_slash_tmp=true";

/// The verb under `workspace-write`, in the workspace.
fn explain(scene: &Scene, options: &[&str], command: &[&str]) -> Invocation {
    let words = ["debug", "explain", "--json", "--full-auto", "-c", NO_SLASH_TMP];
    let command = (!command.is_empty()).then_some("--").into_iter().chain(command.iter().copied());
    scene.codex(words.into_iter().chain(options.iter().copied()).chain(command))
}

fn json(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| run.fail(&format!("no JSON on stdout: {error}")))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn furnish(scene: &Scene) {
    for place in [
        "workspace/.git/objects",
        "workspace/.git/refs",
        "workspace/.git/hooks",
        "workspace/tree/deep",
        "workspace/emptied",
        "outside/dir",
    ] {
        scene.directory(place);
    }
    for file in [
        "workspace/file",
        "workspace/other",
        "workspace/removed",
        "workspace/moved",
        "workspace/secret",
        "workspace/tree/deep/leaf",
        "workspace/emptied/leaf",
        "workspace/.git/HEAD",
        "workspace/.git/config",
        "workspace/.git/hooks/pre-commit",
        "outside/file",
        "outside/dir/entry",
        "tmp/file",
    ] {
        scene.file(file, "x\n");
    }
    scene.symlink("file", "workspace/link");
    scene.symlink(scene.path("outside/file"), "workspace/link-out");
    fs::hard_link(scene.path("workspace/file"), scene.path("workspace/second")).expect("link a file");
}

/// Every kind of change. `$1` is the probe, `$2` a directory for temporary files.
const CHANGES: &str = r#"
set -e
echo more >> file
echo other > other
rm removed link
ln -s other link
mv moved moved-away
ln other linked
mkfifo pipe
mkdir new new/deep
echo x > new/deep/leaf
chmod 700 moved-away tree
touch -d 2001-01-01 tree/deep tree/deep/leaf
rm -r emptied
mkdir emptied
echo y > emptied/another
chown "$(id -u):$(id -g)" tree/deep/leaf
echo x > "$2/new"
rm "$2/file"
"$1" syscall SETXATTR text:file text:user.note text:second 6 0 > /dev/null
if [ "$(id -u)" = 0 ]; then chown 7:8 tree/deep/leaf; fi
find . "$2" ! -path './.git*' -printf '%P %y %m %U:%G %l\n' | sort
cat file other emptied/another tree/deep/leaf
"#;

fn changes(scene: &Scene) -> [String; 5] {
    let script = CHANGES.replace("SETXATTR", &libc::SYS_setxattr.to_string());
    let (probe, tmp) = (scene.probe_program(), scene.path("tmp"));
    let script = script.replace("$2", &tmp.display().to_string());
    ["sh", "-c", &script, "sh", &probe.display().to_string()].map(str::to_owned)
}

fn trees(scene: &Scene) -> [Snapshot; 3] {
    ["workspace", "tmp", "outside"].map(|place| Snapshot::with_metadata(&scene.path(place)))
}

fn nothing_here_changes(scene: &Scene) {
    let note = |scene: &Scene| {
        let file = scene.path("workspace/file").display().to_string();
        let words = ["syscall", &libc::SYS_setxattr.to_string(), &format!("text:{file}"), "text:user.note"];
        let words = words.into_iter().chain(["text:first", "5", "0"]);
        let run = scene.under(Policy::Bare).probe(words).run();
        assert!(run.verdict().is_ok(), "{}", run.describe());
    };
    furnish(scene);
    note(scene);
    let words = changes(scene);
    let before = trees(scene);
    let run = explain(scene, &[], &words.each_ref().map(String::as_str)).run();
    let after = trees(scene);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after, "{}\n{}", before.difference(after), run.describe());
    }
    let whole = json(&run);
    assert_eq!((run.code(), &whole["exit_code"]), (Some(0), &0.into()), "{}", run.describe());
    assert_eq!(whole["replay"]["only_here"], Value::Array(Vec::new()), "{}", run.describe());

    // The same without a view: it comes to the same for the command, and changes both trees.
    let control = scene.fresh("control");
    furnish(&control);
    note(&control);
    let words = changes(&control);
    let before = trees(&control);
    let plain = control.under(Policy::WorkspaceWrite).command("sh", &words[1..]).run().expect_code(0);
    let after = trees(&control);
    assert!(before[0] != after[0] && before[1] != after[1], "{}", plain.describe());
    let told = text(&whole["stdout"]["text"]).replace(&scene.root().display().to_string(), "@");
    let plainly = plain.text().replace(&control.root().display().to_string(), "@");
    assert_eq!(
        told,
        plainly,
        "{}
{}",
        run.describe(),
        plain.describe()
    );
}

/// What is refused, each in its own way; one after the other, whatever comes of it. `@` is the scene's directory.
const REFUSED: &str = r#"
exec 2> /dev/null
echo x > @/outside/file
echo x > @/outside/new
mkdir @/outside/made
rm @/outside/dir/entry
mv @/outside/file @/outside/moved
chmod 600 @/outside/file
ln file @/outside/linked
echo x > link-out
echo x > .git/config
echo x > .git/hooks/new
rm .git/hooks/pre-commit
"$1" rename .git .git-moved
"$1" rename file @/outside/renamed
echo x > made-here
"$1" rename made-here @/outside/renamed-too
"$1" tcp "$2"
"$1" "$3" "$4"
cat secret
"$1" syscall PTRACE 0
exit 3
"#;

fn the_denials_are_those_of_an_observed_run(scene: &Scene) {
    // A socket of the host in the workspace is one of the host all the same.
    let tcp = Listener::tcp("127.0.0.1");
    let told = |scene: &Scene, replay: bool| {
        furnish(scene);
        let unix = Listener::unix_stream(scene);
        let root = scene.root().display().to_string();
        let script = REFUSED.replace('@', &root).replace("PTRACE", &libc::SYS_ptrace.to_string());
        let probe = scene.probe_program().display().to_string();
        let rule = format!("sandbox.deny_read=['{}']", scene.path("workspace/secret").display());
        let words =
            ["sh", "-c", &script, "sh", &probe, &tcp.address, unix.probe, &unix.address].map(str::to_owned);
        let run = if replay {
            explain(scene, &["-c", &rule], &words.each_ref().map(String::as_str)).run()
        } else {
            let sandbox = scene.under(Policy::WorkspaceWrite).options(["--json", "--explain", "-c", &rule]);
            sandbox.command("sh", &words[1..]).run()
        };
        let whole = json(&run);
        assert_eq!(whole["exit_code"], 3, "{}", run.describe());
        assert_eq!(whole["enforcement"]["explanation"]["kind"], "exact", "{}", run.describe());
        let mut denials = whole["denials"].as_array().expect("denials are an array").clone();
        for denial in &mut denials {
            // Who it was and when is another matter.
            (denial["pid"], denial["first_ms"]) = (Value::Null, Value::Null);
        }
        let said = serde_json::to_string_pretty(&denials).expect("JSON").replace(&root, "@");
        (said, denials.len(), run)
    };
    let (there, count, plain) = told(&scene.fresh("observed"), false);
    let (here, _, run) = told(&scene.fresh("replayed"), true);
    // Root finds what is hidden empty, and nothing fails.
    let expected = if scene.identity() == Identity::Root { 16 } else { 17 };
    assert_eq!(count, expected, "{there}\n{}", plain.describe());
    assert_eq!(here, there, "{}\n{}", run.describe(), plain.describe());
    assert_eq!(run.code(), Some(1));
}

fn a_denial_has_its_error_and_the_line_that_would_allow_it(scene: &Scene) {
    let registry = scene.directory("home/.cargo/registry");
    let script = format!("echo x > {}/new", registry.display());
    let run = explain(scene, &[], &["sh", "-c", &script]).run();
    let denial = json(&run)["denials"][0].clone();
    let expected = [
        ("operation", Value::from("create")),
        ("errno", (Errno::EROFS as i32).into()),
        ("promise", "P1".into()),
        ("certainty", "exact".into()),
    ];
    for (field, value) in expected {
        assert_eq!(denial[field], value, "{field}: {}", run.describe());
    }
    let flag = format!("--add-dir {}", registry.display());
    assert_eq!(denial["allow"]["flag"], flag.as_str(), "{}", run.describe());
    assert_eq!(run.code(), Some(1), "{}", run.describe());
    // With that line nothing is refused, and nothing is written either.
    let directory = registry.display().to_string();
    let run = explain(scene, &["--add-dir", &directory], &["sh", "-c", &script]).run();
    assert_eq!(
        (run.code(), &json(&run)["denials"]),
        (Some(0), &Value::Array(Vec::new())),
        "{}",
        run.describe()
    );
    assert!(!registry.join("new").exists());
    // A person sees the same.
    let words = ["debug", "explain", "--full-auto", "-c", NO_SLASH_TMP, "--", "sh", "-c", &script];
    let run = scene.codex(words).run();
    for line in [
        format!("denied: create {}/new\n", registry.display()),
        "  error    Read-only file system (EROFS)\n".to_owned(),
        format!("  allow    {flag}\n"),
        "  nothing was changed here: it wrote to views, which are gone\n".to_owned(),
    ] {
        assert!(run.text().contains(&line), "{line}\n{}", run.describe());
    }
}

fn what_is_not_undone_is_asked_about(scene: &Scene) {
    furnish(scene);
    let unix = Listener::unix_stream(scene);
    let probe = scene.probe_program().display().to_string();
    let sockets = format!("sandbox.allow_unix_sockets=['{}']", unix.address);
    let mut failures = Failures::new();
    let open: [(&[&str], &str); 2] =
        [(&["--network"], "the network"), (&["-c", sockets.as_str()], "sockets of the host")];
    for (options, what) in open {
        let words = [probe.as_str(), "write", "file", "WRONLY"];
        let run = explain(scene, options, &words).run();
        let said = format!(
            "codex: the policy opens {what}, and what a command sends there is not undone: nothing is run without \
             --effects-outside\n"
        );
        failures.check(run.code() == Some(125) && run.error_text() == said, || run.describe());
        let options: Vec<&str> = options.iter().copied().chain(["--effects-outside"]).collect();
        let run = explain(scene, &options, &words).run();
        failures.check(run.code() == Some(0) && json(&run)["effects_outside"] == what, || run.describe());
    }
    // With the word, the network is what the policy says.
    let tcp = Listener::tcp("127.0.0.1");
    let words = [probe.as_str(), "tcp", &tcp.address];
    let run = explain(scene, &["--network", "--effects-outside"], &words).run();
    failures.check(text(&json(&run)["stdout"]["text"]).starts_with("ok"), || run.describe());
    let run = explain(scene, &[], &words).run();
    failures.check(json(&run)["denials"][0]["operation"] == "connect", || run.describe());
    failures.finish();
}

fn where_no_view_can_be_had_nothing_runs(scene: &Scene) {
    furnish(scene);
    let mut failures = Failures::new();
    let mut refused = |options: &[&str], why: &str| {
        let before = trees(scene);
        let words = ["debug", "explain", "-c", NO_SLASH_TMP];
        let words = words.iter().chain(options).chain(&["--", "touch", "file"]);
        let run = scene.codex(words).run();
        let said = run.error_text();
        let one_line = said.lines().count() == 1 && said.contains(why);
        failures.check(run.code() == Some(125) && one_line && run.text().is_empty(), || {
            format!("{options:?}: not {why:?}\n{}", run.describe())
        });
        failures.check(trees(scene) == before, || format!("{options:?} ran:\n{}", run.describe()));
    };
    refused(&["-s", "danger-full-access"], "the policy danger-full-access lets everything be written");
    refused(&["-s", "external-sandbox"], "the policy external-sandbox lets everything be written");
    refused(&["--full-auto", "--isolation", "landlock"], "need namespaces: sandbox.isolation (--isolation)");
    failures.finish();
    if scene.identity() == Identity::Root && require_tool("unshare").is_some() {
        // A view shows one file system, and not what is mounted in the tree.
        let codex = scene.codex_program().display().to_string();
        let script = "mount -t tmpfs none tree && exec \"$@\"";
        let verb = ["debug", "explain", "--full-auto", "-c", NO_SLASH_TMP, "--", "touch", "file"];
        let all = ["-m", "sh", "-c", script, "sh", codex.as_str()];
        let run = scene.under(Policy::Bare).command("unshare", all.iter().chain(&verb)).run();
        let said = format!("codex: {} is a mount in a writable root", scene.path("workspace/tree").display());
        assert!(run.code() == Some(125) && run.error_text().starts_with(&said), "{}", run.describe());
    }
    // Nor in a sandbox of ours, where there are no namespaces to be had, and nobody can be followed.
    let run = scene
        .under(Policy::ExternalSandbox)
        .command(
            scene.codex_program(),
            ["debug", "explain", "--full-auto", "-c", NO_SLASH_TMP, "--", "touch", "x"],
        )
        .run();
    assert_eq!(run.code(), Some(125), "{}", run.describe());
    assert!(!scene.path("workspace/x").exists());
}

fn what_only_a_view_refuses_is_told_apart(scene: &Scene) {
    furnish(scene);
    let probe = scene.probe_program().display().to_string();
    let path = |name: &str| scene.path(name).display().to_string();
    let (from, to) = (path("workspace/tree"), path("workspace/elsewhere"));
    let run = explain(scene, &[], &[&probe, "rename", &from, &to]).run();
    let whole = json(&run);
    let only = &whole["replay"]["only_here"][0];
    assert_eq!((run.code(), &whole["denials"]), (Some(0), &Value::Array(Vec::new())), "{}", run.describe());
    let told = (text(&only["operation"]), text(&only["target"]), &only["errno"]);
    assert_eq!(told, ("rename", from.as_str(), &(Errno::EXDEV as i32).into()), "{}", run.describe());
    // What the command itself made is renamed as ever, and so is a file.
    let script = "mkdir -p made/deep && mv made made-too && mv tree/deep/leaf leaf && ls made-too leaf";
    let run = explain(scene, &[], &["sh", "-c", script]).run();
    assert_eq!(json(&run)["replay"]["only_here"], Value::Array(Vec::new()), "{}", run.describe());
    assert_eq!(json(&run)["exit_code"], 0, "{}", run.describe());

    if scene.identity() == Identity::User && Identity::Root.available() {
        // A file that anybody may write, of somebody else.
        let file = scene.file_with_mode("workspace/theirs", "x", 0o666);
        std::os::unix::fs::chown(&file, Some(0), Some(0)).expect("give a file away");
        let words = [probe.as_str(), "write", &file.display().to_string(), "WRONLY"].map(str::to_owned);
        let run = explain(scene, &[], &words.each_ref().map(String::as_str)).run();
        let whole = json(&run);
        assert_eq!(whole["replay"]["only_here"][0]["errno"], Errno::EOVERFLOW as i32, "{}", run.describe());
        assert_eq!(whole["denials"], Value::Array(Vec::new()), "{}", run.describe());
        let plain = scene.under(Policy::WorkspaceWrite).command(&words[0], &words[1..]).run();
        assert!(plain.verdict().is_ok(), "{}", plain.describe());
    }
}

fn a_view_that_is_full_is_told(scene: &Scene) {
    furnish(scene);
    let script = "head -c 2000000 /dev/zero > large";
    let full = |size: &str| {
        let run = explain(scene, &["--view-size", size], &["sh", "-c", script]).run();
        let whole = json(&run);
        (whole["replay"]["full"].clone(), whole["exit_code"].clone(), whole["denials"].clone())
    };
    let none = Value::Array(Vec::new());
    assert_eq!(full("1MiB"), (true.into(), 1.into(), none.clone()));
    assert_eq!(full("8MiB"), (false.into(), 0.into(), none));
    assert!(!scene.path("workspace/large").exists());
}
