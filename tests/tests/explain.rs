//! `--explain`: what the kernel refuses to an observed command is told as it was, nothing else is, and the command notices
//! nothing.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a suite reports by failing")]

#[path = "explain/kept_up_with.rs"]
mod kept_up_with;
#[path = "explain/kernel_log.rs"]
mod kernel_log;
#[path = "explain/learn.rs"]
mod learn;
#[path = "explain/other_ways.rs"]
mod other_ways;
#[path = "explain/overheard.rs"]
mod overheard;
#[path = "explain/projects.rs"]
mod projects;
#[path = "explain/unnoticed.rs"]
mod unnoticed;

use codex_tests::harness::{Failures, Identity, Level, Listener, Policy, Run, Scene, landlock_abi};
use codex_tests::{cases, cases_at, cases_by_level};
use kept_up_with::{
    busybox_ends_alike, looks_are_seen_where_something_is_hidden, one_of_many_threads_gets_its_turn,
    pipelines_by_the_thousand_end_alike, signals_are_seen_whatever_sends_them,
    the_observers_end_is_the_commands, who_is_not_to_be_followed_is,
};
use learn::{
    a_name_says_no_setting, a_profile_is_written_beside_the_rest, caches_are_found_where_they_are,
    read_only_is_widened_by_nobody, secrets_and_metadata_are_not_granted_without_a_word,
    the_lines_let_it_pass_and_none_can_go, the_network_and_sockets_take_words,
    what_is_made_does_not_hide_that_it_was_missing, what_nobody_saw_is_not_called_nothing,
    what_was_typed_beside_is_told, without_views_it_takes_a_word,
};
use nix::errno::Errno;
use other_ways::every_way_is_seen;
use overheard::{
    at_a_terminal_arguments_name_the_host, it_arrives_as_it_was_written,
    what_a_command_says_is_told_to_whoever_reads_it, who_can_tell_has_the_stream_itself,
    who_never_reads_is_not_waited_for_without_end,
};
use projects::{cargo, npm, pip};
use serde_json::Value;
use unnoticed::{
    a_stopped_child_is_seen_by_its_parent, a_storm_of_signals_interrupts_nothing,
    pipelines_and_forks_end_alike, threads_race_and_execute,
};

cases_by_level!(
    each_class_has_its_record,
    what_a_filter_refuses_is_told,
    look_alikes_have_none,
    a_flood_is_counted_and_bounded,
    a_storm_of_signals_interrupts_nothing,
    a_stopped_child_is_seen_by_its_parent,
    pipelines_and_forks_end_alike,
    the_observers_end_is_the_commands,
    threads_race_and_execute,
    one_of_many_threads_gets_its_turn,
    who_is_not_to_be_followed_is,
    signals_are_seen_whatever_sends_them,
    looks_are_seen_where_something_is_hidden,
    every_way_is_seen,
    pipelines_by_the_thousand_end_alike,
    busybox_ends_alike,
    the_lines_let_it_pass_and_none_can_go,
    secrets_and_metadata_are_not_granted_without_a_word,
    a_name_says_no_setting,
    read_only_is_widened_by_nobody,
    what_is_made_does_not_hide_that_it_was_missing,
    caches_are_found_where_they_are,
    what_was_typed_beside_is_told,
    what_a_command_says_is_told_to_whoever_reads_it,
    it_arrives_as_it_was_written,
    who_never_reads_is_not_waited_for_without_end,
    who_can_tell_has_the_stream_itself,
);
cases_at!(Namespaces; at_a_terminal_arguments_name_the_host, the_network_and_sockets_take_words, a_profile_is_written_beside_the_rest, cargo, npm, pip);
cases!(
    where_nobody_can_observe_the_report_says_so,
    what_nobody_saw_is_not_called_nothing,
    without_views_it_takes_a_word,
    the_setting_says_when,
);

fn json(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| run.fail(&format!("no JSON on stdout: {error}")))
}

fn denials(run: &Run) -> Vec<Value> {
    json(run)["denials"].as_array().expect("denials are an array").clone()
}

fn furnish(scene: &Scene) {
    for place in ["workspace/.git/objects", "workspace/.git/refs", "workspace/.git/hooks", "outside/dir"] {
        scene.directory(place);
    }
    for file in [
        "workspace/file",
        "workspace/secret",
        "workspace/.git/HEAD",
        "workspace/.git/config",
        "workspace/.git/hooks/pre-commit",
        "outside/file",
        "outside/dir/entry",
    ] {
        scene.file(file, "x\n");
    }
    scene.symlink(scene.path("outside/file"), "workspace/link-out");
    scene.symlink(scene.path("workspace/file"), "outside/link-in");
}

/// An act of the probe, what it is told as, and the errors at the two levels. `{}` is a path in the scene.
struct Row {
    act: &'static [&'static str],
    path: &'static str,
    operation: &'static str,
    promise: &'static str,
    /// At level landlock. Nothing where it holds nothing there.
    landlock: Option<Errno>,
    namespaces: Errno,
}

const fn row(
    act: &'static [&'static str],
    path: &'static str,
    operation: &'static str,
    landlock: Option<Errno>,
    namespaces: Errno,
) -> Row {
    Row { act, path, operation, promise: "P1", landlock, namespaces }
}

const fn protected(
    act: &'static [&'static str],
    path: &'static str,
    operation: &'static str,
    namespaces: Errno,
) -> Row {
    Row { act, path, operation, promise: "P4", landlock: None, namespaces }
}

const EACCES: Option<Errno> = Some(Errno::EACCES);
use Errno::{EBUSY, EROFS, EXDEV};

const ROWS: [Row; 18] = [
    row(&["write", "{}", "WRONLY"], "outside/file", "write", EACCES, EROFS),
    row(&["write", "{}", "WRONLY"], "workspace/link-out", "write", EACCES, EROFS),
    row(&["open", "{}", "RDWR"], "outside/file", "write", EACCES, EROFS),
    row(&["open", "{}", "WRONLY,CREAT"], "outside/new", "create", EACCES, EROFS),
    row(&["open", "{}", "WRONLY,CREAT,EXCL"], "outside/new", "create", EACCES, EROFS),
    row(&["mkdir", "{}"], "outside/new", "create", EACCES, EROFS),
    row(&["unlink", "{}"], "outside/file", "remove", EACCES, EROFS),
    row(&["rename", "{}", "{}-moved"], "outside/file", "rename", EACCES, EROFS),
    row(&["rename", "workspace/file", "{}"], "outside/new", "create", EACCES, EXDEV),
    row(&["syscall", "fchmodat", "-100", "text:{}", "384"], "outside/file", "metadata", None, EROFS),
    // The link itself, wherever it leads.
    row(&["syscall", "utimensat", "-100", "text:{}", "0", "256"], "outside/link-in", "metadata", None, EROFS),
    row(&["syscall", "truncate", "text:{}", "0"], "outside/file", "write", EACCES, EROFS),
    row(&["syscall", "faccessat", "-100", "text:{}", "2"], "outside/file", "write", None, EROFS),
    protected(&["write", "{}", "WRONLY"], "workspace/.git/config", "write", EROFS),
    protected(&["open", "{}", "WRONLY,CREAT,EXCL"], "workspace/.git/hooks/new", "create", EROFS),
    protected(&["rename", "{}", "{}-moved"], "workspace/.git", "rename", EBUSY),
    protected(&["unlink", "{}"], "workspace/.git/hooks/pre-commit", "remove", EROFS),
    row(&["open", "{}", "RDONLY"], "workspace/secret", "read", None, Errno::EACCES),
];

/// The probe's words for an act in a scene.
fn words(scene: &Scene, act: &[&str], path: &str) -> Vec<String> {
    let numbers = [
        ("fchmodat", libc::SYS_fchmodat),
        ("utimensat", libc::SYS_utimensat),
        ("truncate", libc::SYS_truncate),
        ("faccessat", libc::SYS_faccessat),
    ];
    let word = |word: &&str| {
        let number = numbers.iter().find(|(name, _)| name == word);
        match number {
            Some((_, number)) => number.to_string(),
            None if word.starts_with("workspace/") => scene.path(word).display().to_string(),
            None => word.replace("{}", path),
        }
    };
    act.iter().map(word).collect()
}

fn each_class_has_its_record(scene: &Scene) {
    let mut failures = Failures::new();
    for (index, row) in ROWS.iter().enumerate() {
        let Some(errno) = scene.level().choose(row.landlock, Some(row.namespaces)) else { continue };
        // Root finds hidden places empty, and nothing fails.
        if row.operation == "read" && scene.identity() == Identity::Root {
            continue;
        }
        let control = scene.fresh(&format!("bare-{index}"));
        furnish(&control);
        let path = control.path(row.path).display().to_string();
        let run = control.under(Policy::Bare).probe(words(&control, row.act, &path)).run();
        failures.check(run.verdict().is_ok(), || format!("the control fails: {}", run.describe()));

        let scene = scene.fresh(&format!("{index}"));
        furnish(&scene);
        let path = scene.path(row.path).display().to_string();
        let rule = format!("sandbox.deny_read=['{}']", scene.path("workspace/secret").display());
        let mut options = vec!["--json", "--explain"];
        if row.operation == "read" {
            options.extend(["-c", &rule]);
        }
        let run =
            scene.under(Policy::WorkspaceWrite).options(options).probe(words(&scene, row.act, &path)).run();
        let found = denials(&run);
        let kind = json(&run)["enforcement"]["explanation"]["kind"].clone();
        let resolved = if row.path.ends_with("link-out") {
            scene.path("outside/file").display().to_string()
        } else {
            path.clone()
        };
        let exact = found.iter().any(|denial| {
            denial["operation"] == row.operation
                && denial["target"] == path.as_str()
                && denial["resolved_target"] == resolved.as_str()
                && denial["promise"] == row.promise
                && denial["errno"] == errno as i32
                && denial["certainty"] == "exact"
                && denial["program"] == "probe"
                && denial["pid"].as_i64().is_some_and(|pid| pid > 1)
                && denial["count"] == 1
                && denial["first_ms"].as_f64().is_some_and(|first| first > 0.0)
        });
        failures.check(kind == "exact" && exact && found.len() == 1, || {
            format!("{:?} {}: {kind} {found:?}\n{}", row.act, row.path, run.describe())
        });
    }
    failures.finish();
}

fn what_a_filter_refuses_is_told(scene: &Scene) {
    let level = scene.level();
    let mut failures = Failures::new();
    let mut check = |probe: &[&str], operation: &str, target: &str, errno: Errno| {
        let bare = scene.under(Policy::Bare).probe(probe).run();
        failures.check(bare.verdict().is_ok(), || format!("the control fails: {}", bare.describe()));
        let plain = scene.under(Policy::WorkspaceWrite).probe(probe).run();
        let run = scene.under(Policy::WorkspaceWrite).options(["--json", "--explain"]).probe(probe).run();
        let found = denials(&run);
        let told = found.iter().any(|denial| {
            denial["operation"] == operation
                && denial["target"] == target
                && denial["errno"] == errno as i32
                && denial["certainty"] == "exact"
        });
        // The command sees what it sees without.
        let same = json(&run)["stdout"]["text"] == plain.text().as_str();
        failures.check(told && same && found.len() == 1, || {
            format!("{probe:?}: {found:?}\n{}\n{}", plain.describe(), run.describe())
        });
    };
    let (tcp, unix) = (Listener::tcp("127.0.0.1"), Listener::unix_stream(scene));
    match level {
        Level::Namespaces => {
            check(&["tcp", &tcp.address], "connect", &tcp.address, Errno::ECONNREFUSED);
            check(&[unix.probe, &unix.address], "unix", &unix.address, Errno::EACCES);
        }
        Level::Landlock => {
            check(&["tcp", &tcp.address], "connect", "the network", Errno::EPERM);
            check(&[unix.probe, &unix.address], "call", "socket", Errno::EPERM);
            if landlock_abi(scene) >= 6 {
                let victim = scene.victim();
                let pid = victim.pid().to_string();
                check(&["syscall", &libc::SYS_kill.to_string(), &pid, "0"], "signal", &pid, Errno::EPERM);
            }
        }
    }
    // PTRACE_TRACEME, which needs nobody's permission.
    check(&["syscall", &libc::SYS_ptrace.to_string(), "0"], "call", "ptrace", Errno::EPERM);
    failures.finish();
}

fn look_alikes_have_none(scene: &Scene) {
    furnish(scene);
    let locked = scene.file_with_mode("workspace/locked", "x", 0o444).display().to_string();
    let missing = scene.path("workspace/missing/file").display().to_string();
    let outside = scene.path("outside/file").display().to_string();
    let mut failures = Failures::new();
    for script in [
        "exit 3".to_owned(),
        "cat missing; exit 1".to_owned(),
        format!("echo x > {missing}"),
        format!("mkdir {}", scene.path("outside/dir").display()),
        "kill -0 999999".to_owned(),
        "echo 'sh: /etc/passwd: Read-only file system' >&2; exit 1".to_owned(),
        // The kernel, not the sandbox: nobody listens there.
        "exec 3<> /dev/tcp/127.0.0.1/1".to_owned(),
        // Files that its own user may not change, wherever root may.
        format!("echo x > {locked}; exit 1"),
        // A link of the kernel's is changed, and not what it leads to.
        format!("touch -h /dev/fd/3 3< {outside}; exit 1"),
        "rmdir /proc/self; echo > /proc/version; exit 1".to_owned(),
    ] {
        if scene.level() == Level::Landlock && (script.contains("/dev/tcp") || script.contains("/proc/")) {
            continue;
        }
        if scene.identity() == Identity::Root && script.contains("/proc/") {
            continue;
        }
        let run = scene
            .under(Policy::WorkspaceWrite)
            .options(["--json", "--explain"])
            .command("bash", ["-c", &script])
            .run();
        let mut found = denials(&run);
        // Bash asks for its user's name, which may lie with a daemon behind a socket: that is refused in earnest.
        found.retain(|denial| denial["target"] != "socket");
        failures.check(found.is_empty(), || format!("{script}: {found:?}\n{}", run.describe()));
    }
    failures.finish();
}

fn a_flood_is_counted_and_bounded(scene: &Scene) {
    furnish(scene);
    let outside = scene.outside().display().to_string();
    let script = format!(
        "for i in $(seq 150); do true > {outside}/file; done 2> /dev/null\n\
         for i in $(seq 700); do true > {outside}/new-$i; done 2> /dev/null; exit 1"
    );
    let run = scene.under(Policy::WorkspaceWrite).options(["--json", "--explain"]).shell(&script).run();
    let found = denials(&run);
    assert_eq!(found.len(), 64, "{}", run.describe());
    assert_eq!((&found[0]["operation"], &found[0]["count"]), (&"write".into(), &150.into()), "{}", found[0]);
    let told: u64 = found.iter().filter_map(|denial| denial["count"].as_u64()).sum();
    let untold = json(&run)["denials_untold"].as_u64();
    assert_eq!(untold.map(|untold| told + untold), Some(150 + 700), "{}", run.describe());
    // Eight lines, and how many there are beside them.
    let said = run.error_text();
    let last: Vec<&str> = said.lines().rev().take(2).collect();
    let unknown =
        format!("codex: {} more may have been denied, of which no more is known", untold.unwrap_or_default());
    assert_eq!(
        (last, said.lines().count()),
        (vec![unknown.as_str(), "codex: denied: 56 more"], 10),
        "{said}"
    );
}

fn where_nobody_can_observe_the_report_says_so(scene: &Scene) {
    furnish(scene);
    let codex = scene.codex_program().display().to_string();
    let file = scene.path("outside/file").display().to_string();
    let inner = [
        "sandbox",
        "--json",
        "--explain",
        "--full-auto",
        "--isolation",
        "landlock",
        "-c",
        "sandbox_workspace_write.exclude_slash_tmp=true",
        "--",
        "sh",
        "-c",
    ];
    let script = format!("echo x > {file}");
    let words: Vec<&str> = inner.into_iter().chain([script.as_str()]).collect();
    // Inside a sandbox of ours, nobody may follow anybody.
    let run = scene.under(Policy::ExternalSandbox).command(&codex, words).run();
    let whole = json(&run);
    let explanation = &whole["enforcement"]["explanation"];
    assert_eq!(explanation["kind"], "likely", "{}", run.describe());
    assert!(explanation["why"].as_str().is_some_and(|why| why.contains("EPERM")), "{explanation}");
    assert_eq!(whole["exit_code"], 2, "{}", run.describe());
    assert_eq!(whole["denials"][0]["certainty"], "likely", "{}", run.describe());
}

fn the_setting_says_when(scene: &Scene) {
    furnish(scene);
    let file = scene.path("outside/file").display().to_string();
    let run = |value: &str, script: &str| {
        scene.file("codex-home/config.toml", format!("sandbox.explain = \"{value}\"\n"));
        scene.under(Policy::WorkspaceWrite).options(["--json"]).shell(script).run()
    };
    let told = |run: &Run| {
        let whole = json(run);
        let first = whole["denials"][0]["certainty"].as_str().unwrap_or("nothing").to_owned();
        (whole["enforcement"]["explanation"]["kind"].as_str().unwrap_or_default().to_owned(), first)
    };
    let pair = |kind: &str, certainty: &str| (kind.to_owned(), certainty.to_owned());
    let (fails, succeeds) = (format!("echo x > {file}"), format!("echo x > {file} || true"));
    assert_eq!(told(&run("never", &fails)), pair("none", "nothing"));
    assert_eq!(told(&run("on-failure", &fails)), pair("likely", "likely"));
    assert_eq!(told(&run("on-failure", &succeeds)), pair("likely", "nothing"));
    assert_eq!(told(&run("always", &fails)), pair("exact", "exact"));
    assert_eq!(told(&run("always", &succeeds)), pair("exact", "exact"));
    // Whoever sees the command's own output is told as well, and nobody where nobody looked.
    for (options, is_told) in [(&["--explain"][..], true), (&["--explain", "--quiet"], false)] {
        let plain =
            scene.under(Policy::WorkspaceWrite).options(options).shell(&succeeds).run().expect_code(0);
        let line = format!("codex: denied: write {file} (");
        assert_eq!(plain.error_text().contains(&line), is_told, "{}", plain.describe());
    }
}
