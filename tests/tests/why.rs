//! `codex debug why`: its answer is what a probe then experiences. And what is told of a command that failed.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a suite reports by failing")]

use codex_tests::harness::{
    Failures, Identity, Level, Listener, Policy, Run, Scene, Verdict, landlock_abi, require_tool,
};
use codex_tests::{cases, cases_by_level};
use nix::errno::Errno;
use serde_json::Value;

cases_by_level!(
    the_answer_is_what_a_probe_experiences,
    a_failed_command_names_what_was_refused,
    what_is_said_without_reason_is_no_denial,
    a_closed_call_is_named_where_a_program_names_it,
);
cases!(
    the_rule_names_its_line,
    mistakes_exit_with_2,
    a_home_behind_a_link_is_the_home,
    what_the_mode_opens_takes_no_more_than_the_mode,
);

/// `chmod`, without the library's detours.
const FCHMODAT: i64 = libc::SYS_fchmodat;

fn json(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| run.fail(&format!("no JSON on stdout: {error}")))
}

/// What there is in each scene.
fn furnish(scene: &Scene) {
    for place in [
        "workspace/.git/objects",
        "workspace/.git/refs",
        "workspace/.git/hooks",
        "workspace/.vscode",
        "outside/dir",
    ] {
        scene.directory(place);
    }
    for file in [
        "workspace/file",
        "workspace/.git/HEAD",
        "workspace/.git/config",
        "workspace/.git/hooks/pre-commit",
        "workspace/.vscode/tasks.json",
        "workspace/secret",
        "outside/file",
        "outside/dir/entry",
    ] {
        scene.file(file, "x\n");
    }
    scene.symlink(scene.path("outside/file"), "workspace/link-out");
    scene.symlink(scene.path("workspace/file"), "outside/link-in");
    scene.symlink(scene.path("outside/dir"), "workspace/link-dir");
}

/// An operation of the judge, and the probe that does it.
const ACTS: [(&str, &[&str]); 8] = [
    ("write", &["write", "{}", "WRONLY"]),
    ("create", &["open", "{}", "WRONLY,CREAT,EXCL"]),
    ("create", &["mkdir", "{}"]),
    ("remove", &["unlink", "{}"]),
    ("rename", &["rename", "{}", "{}-moved"]),
    ("metadata", &["syscall", "fchmodat", "-100", "text:{}", "384"]),
    ("read", &["open", "{}", "RDONLY"]),
    ("remove", &["rmdir", "{}"]),
];

/// Objects, and the acts that can be done to them without the sandbox.
const OBJECTS: [(&str, &[usize]); 22] = [
    ("workspace/file", &[0, 3, 4, 5, 6]),
    ("workspace/new", &[1, 2]),
    ("workspace/link-out", &[0, 3, 4, 6]),
    ("workspace/link-dir/entry", &[0, 3, 4, 5, 6]),
    ("workspace/link-dir/new", &[1, 2]),
    ("workspace/../outside/file", &[0, 3]),
    ("workspace/.git", &[4, 5, 6]),
    ("workspace/.git/HEAD", &[0, 6]),
    ("workspace/.git/config", &[0, 3, 4, 5, 6]),
    ("workspace/.git/hooks", &[4, 5]),
    ("workspace/.git/hooks/pre-commit", &[0, 3, 4, 5, 6]),
    ("workspace/.git/hooks/new", &[1, 2]),
    ("workspace/.git/objects/new", &[1, 2]),
    ("workspace/.vscode/tasks.json", &[0, 3, 4, 5, 6]),
    ("workspace/.vscode/new", &[1, 2]),
    ("workspace/secret", &[0, 3, 4, 5, 6]),
    ("outside/file", &[0, 3, 4, 5, 6]),
    ("outside/new", &[1, 2]),
    ("outside/dir/entry", &[0, 3, 4, 5, 6]),
    ("outside/dir", &[4, 5, 6]),
    ("outside/link-in", &[0, 3, 4, 6]),
    ("outside", &[5, 6]),
];

fn the_answer_is_what_a_probe_experiences(scene: &Scene) {
    let mut failures = Failures::new();
    let level = scene.level();
    for (name, policy) in
        [("ro", Policy::ReadOnly), ("ww", Policy::WorkspaceWrite), ("ext", Policy::ExternalSandbox)]
    {
        let mut count = 0;
        let mut next = || {
            count += 1;
            let fresh = scene.fresh(&format!("{name}-{count}"));
            furnish(&fresh);
            fresh
        };
        for (object, acts) in OBJECTS {
            for act in acts {
                let (operation, words) = ACTS[*act];
                let scene = next();
                let path = scene.path(object).display().to_string();
                let probe: Vec<String> = words
                    .iter()
                    .map(|word| word.replace("fchmodat", &FCHMODAT.to_string()).replace("{}", &path))
                    .collect();
                compare(&mut failures, &scene, policy, operation, &path, &probe);
            }
        }
        let scene = next();
        for (device, operation) in [
            ("/dev/null", "write"),
            ("/dev/zero", "write"),
            ("/dev/urandom", "read"),
            ("/dev/codex-new", "create"),
        ] {
            if device == "/dev/codex-new"
                && (scene.identity() != Identity::Root || policy == Policy::ExternalSandbox)
            {
                continue;
            }
            let flags = match operation {
                "read" => "RDONLY",
                "write" => "WRONLY",
                _ => "WRONLY,CREAT,EXCL",
            };
            let probe = ["open", device, flags].map(str::to_owned);
            compare(&mut failures, &scene, policy, operation, device, &probe);
        }
        let tcp = Listener::tcp("127.0.0.1");
        compare(&mut failures, &scene, policy, "connect", &tcp.address, &["tcp".into(), tcp.address.clone()]);
        let far = "192.0.2.1:80".to_owned();
        compare(&mut failures, &scene, policy, "connect", &far, &["tcp".into(), far.clone()]);
        let unix = Listener::unix_stream(&scene);
        compare(
            &mut failures,
            &scene,
            policy,
            "unix",
            &unix.address,
            &[unix.probe.into(), unix.address.clone()],
        );
        // Before ABI 6, signals get out at level landlock, as the report says.
        if level == Level::Namespaces || landlock_abi(&scene) >= 6 {
            let victim = scene.victim();
            let pid = victim.pid().to_string();
            let probe = ["syscall".to_owned(), libc::SYS_kill.to_string(), pid.clone(), "0".to_owned()];
            compare(&mut failures, &scene, policy, "signal", &pid, &probe);
        }
    }
    failures.finish();
}

/// Asks, then tries.
fn compare(
    failures: &mut Failures,
    scene: &Scene,
    policy: Policy,
    operation: &str,
    object: &str,
    probe: &[String],
) {
    let level = scene.level();
    let secret = scene.path("workspace/secret").display().to_string();
    let rule = format!("sandbox.deny_read=['{secret}']");
    let mut options = vec![];
    if level == Level::Namespaces {
        options.extend(["-c", rule.as_str()]);
    }
    let asked = {
        let mut words = vec!["debug", "why", "--json", "--isolation", level.name()];
        words.extend(["-c", "sandbox_workspace_write.exclude_slash_tmp=true", "-s"]);
        words.push(match policy {
            Policy::ReadOnly => "read-only",
            Policy::WorkspaceWrite => "workspace-write",
            _ => "external-sandbox",
        });
        words.extend(options.iter().copied());
        words.extend([operation, object]);
        scene.codex(words).run()
    };
    let answer = json(&asked);
    let allowed = answer["allowed"] == true;
    let tried = scene.under(policy).options(&options).probe(probe).run();
    let agrees = match (tried.verdict(), answer["errno"].as_i64()) {
        (Verdict::Ok(_), _) if allowed => true,
        // Root finds hidden places empty.
        (Verdict::Ok(_), None) => scene.identity() == Identity::Root && operation == "read",
        (Verdict::Errno(errno), Some(number)) => !allowed && errno as i64 == number,
        _ => false,
    };
    let code = if allowed { 0 } else { 1 };
    failures.check(agrees && asked.code() == Some(code), || {
        format!("{policy:?} {operation} {object}: {answer}, yet {}\n{}", tried.verdict(), tried.describe())
    });
}

/// The denials of a captured command.
fn denials(scene: &Scene, script: &str) -> (Vec<Value>, Run) {
    let run = scene.under(Policy::WorkspaceWrite).options(["--json"]).shell(script).run();
    let all = json(&run)["denials"].as_array().expect("denials are an array").clone();
    (all, run)
}

fn a_failed_command_names_what_was_refused(scene: &Scene) {
    furnish(scene);
    let file = scene.path("outside/file").display().to_string();
    let (found, run) = denials(scene, &format!("echo x > {file}"));
    let errno = if scene.level() == Level::Namespaces { Errno::EROFS } else { Errno::EACCES };
    assert_eq!(found.len(), 1, "{}", run.describe());
    assert_eq!(found[0]["operation"], "write");
    assert_eq!(found[0]["resolved_target"], file.as_str());
    assert_eq!(found[0]["promise"], "P1");
    assert_eq!(found[0]["errno"], errno as i32);
    assert_eq!(found[0]["certainty"], "likely");
    let flag = format!("--add-dir {}", scene.outside().display());
    assert_eq!(found[0]["allow"]["flag"], flag.as_str());
    assert!(run.error_text().contains(&format!("denied: write {file}")), "{}", run.describe());

    // With the grant that it names, the same command succeeds, and nothing is told.
    let outside = scene.outside().display().to_string();
    let allowed = scene
        .under(Policy::WorkspaceWrite)
        .options(["--json", "--add-dir", &outside])
        .shell(&format!("echo x > {file}"))
        .run()
        .expect_code(0);
    assert_eq!(json(&allowed)["denials"], Value::Array(Vec::new()));

    let quiet = scene.under(Policy::WorkspaceWrite).options(["--json", "--quiet"]);
    assert_eq!(quiet.shell(&format!("echo x > {file}")).run().error_text(), "");

    // What is moved away is no guess, whether the command succeeded or not.
    let (found, run) = denials(scene, "mkdir .cursor");
    assert_eq!(found.len(), 1, "{}", run.describe());
    assert_eq!(found[0]["certainty"], "exact");
    assert_eq!(found[0]["promise"], "P4");
}

fn what_is_said_without_reason_is_no_denial(scene: &Scene) {
    furnish(scene);
    let locked = scene.file_with_mode("workspace/locked", "x", 0o000).display().to_string();
    let inside = scene.path("workspace/file").display().to_string();
    let mut failures = Failures::new();
    for script in [
        "exit 3".to_owned(),
        "cat missing".to_owned(),
        format!("cat {locked}; echo x > {locked}; exit 1"),
        format!("echo 'sh: {inside}: Permission denied' >&2; exit 1"),
        format!("echo 'sh: {inside}: Read-only file system' >&2; exit 1"),
        "echo 'sandbox seccomp landlock: Operation not permitted' >&2; exit 1".to_owned(),
        "echo 'git@host: Permission denied (publickey).' >&2; exit 255".to_owned(),
        "echo 'cannot create /outside/of/everything: No space left on device' >&2; exit 1".to_owned(),
    ] {
        let (found, run) = denials(scene, &script);
        failures.check(found.is_empty(), || format!("{script}: {found:?}\n{}", run.describe()));
    }
    failures.finish();
}

fn a_closed_call_is_named_where_a_program_names_it(scene: &Scene) {
    furnish(scene);
    let mut failures = Failures::new();
    // What would not work outside either was not refused by us. At level landlock, nobody knows of a user's namespaces.
    for (script, call, promise, of_a_user) in [
        ("busybox unshare -r true", "unshare", "P6", scene.level() == Level::Namespaces),
        ("dmesg", "syslog", "P6", false),
        ("umount .", "umount2", "P6", false),
    ] {
        let tool = script.split(' ').next().unwrap_or_default();
        if require_tool(tool).is_none() {
            continue;
        }
        // What is not mounted can't be unmounted by anybody, and yet the sandbox answers first.
        let control = scene.under(Policy::Bare).shell(script).run();
        let works_outside = tool == "umount" || control.code() == Some(0);
        let is_told =
            if scene.identity() == Identity::Root { works_outside } else { of_a_user && works_outside };
        let (found, run) = denials(scene, script);
        let of_calls: Vec<_> = found
            .iter()
            .map(|denial| {
                let text = |field: &str| denial[field].as_str().unwrap_or_default().to_owned();
                (text("operation"), text("target"), text("promise"), text("certainty"))
            })
            .collect();
        let expected = ["call", call, promise, "likely"].map(str::to_owned);
        let [operation, target, promise, certainty] = expected;
        let expected = if is_told { vec![(operation, target, promise, certainty)] } else { Vec::new() };
        failures.check(of_calls == expected, || {
            format!("{script}: {of_calls:?}, not {expected:?}\n{}\n{}", control.describe(), run.describe())
        });
    }
    failures.finish();
}

fn the_rule_names_its_line(scene: &Scene) {
    furnish(scene);
    let file = scene.file("codex-home/config.toml", "# first\nsandbox_mode = \"read-only\"\n");
    let run = scene.codex(["debug", "why", "--json", "write", "file"]).run().expect_code(1);
    let answer = json(&run);
    assert_eq!(answer["rule"]["setting"], "sandbox_mode");
    assert_eq!(answer["rule"]["file"], file.display().to_string().as_str());
    assert_eq!(answer["rule"]["line"], 2);
    let text = scene.codex(["debug", "why", "write", "file"]).run().expect_code(1).text();
    assert!(text.starts_with("denied: write file\n") && text.contains("config.toml:2"), "{text}");
    let outside = scene.outside().display().to_string();
    let words = ["debug", "why", "--json", "--full-auto", "--add-dir", &outside, "create", "/usr/file"];
    assert_eq!(json(&scene.codex(words).run().expect_code(1))["rule"]["origin"], "--add-dir");
    let allowed = scene.codex(["debug", "why", "read", "file"]).run().expect_code(0).text();
    assert!(allowed.starts_with("allowed: read file\n"), "{allowed}");
}

fn mistakes_exit_with_2(scene: &Scene) {
    for words in [&["connect", "nobody"][..], &["signal", "x"], &["fly", "/"], &["write"]] {
        let all = ["debug", "why"].iter().chain(words);
        scene.codex(all).run().expect_code(2);
    }
}

fn a_home_behind_a_link_is_the_home(scene: &Scene) {
    scene.directory("home/.ssh");
    scene.directory("home/plain");
    let link = scene.symlink(scene.path("home"), "outside/home");
    let answer = |home: &std::path::Path, place: &str| {
        let place = scene.path("home").join(place).display().to_string();
        let words = ["debug", "why", "--json", "-s", "workspace-write", "create", &place];
        json(&scene.codex(words).env("HOME", home).run().expect_code(1))
    };
    let secret = answer(&link, ".ssh/config");
    assert_eq!(secret, answer(&scene.path("home"), ".ssh/config"));
    // What is no secret is proposed.
    assert!(secret["allow"].is_null() && !answer(&link, "plain/file")["allow"].is_null(), "{secret}");
}

fn what_the_mode_opens_takes_no_more_than_the_mode(scene: &Scene) {
    furnish(scene);
    let answer = |options: &[&str], place: &str, code| {
        let words = [&["debug", "why", "--json"], options, &["create", place]].concat();
        json(&scene.codex(words).run().expect_code(code))
    };
    let refused = answer(&["-s", "read-only"], "new", 1);
    assert_eq!(refused["allow"]["flag"], "--full-auto", "{refused}");
    assert_eq!(refused["allow"]["toml"], "sandbox_mode = \"workspace-write\"", "{refused}");
    assert_eq!(answer(&["--full-auto"], "new", 0)["allowed"], true);
    // What that keeps closed is not said to be opened by it.
    let hook = ".git/hooks/pre-push";
    assert!(answer(&["-s", "read-only"], hook, 1)["allow"].is_null());
    assert_eq!(answer(&["--full-auto"], hook, 1)["promise"], "P4");
}
