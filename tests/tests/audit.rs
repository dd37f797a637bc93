//! The audit log, written by `codex` as its users run it.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a suite reports by failing")]

use std::fs;
use std::path::PathBuf;

use codex_tests::cases_by_level;
use codex_tests::harness::{Level, Policy, Run, Scene};
use serde_json::{Value, json};

cases_by_level!(
    each_call_has_a_start_and_an_end,
    what_cannot_be_noted_is_not_run,
    no_command_can_write_the_log,
    changes_show,
);

fn log(scene: &Scene) -> PathBuf {
    scene.path("codex-home/audit.jsonl")
}

fn named(path: &std::path::Path) -> [String; 2] {
    ["-c".to_owned(), format!("audit.file={}", path.display())]
}

fn errors(run: &Run) -> String {
    String::from_utf8_lossy(&run.stderr).into_owned()
}

fn records(scene: &Scene) -> Vec<Value> {
    let text = fs::read_to_string(log(scene)).expect("the log");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn each_call_has_a_start_and_an_end(scene: &Scene) {
    let run = |policy, options: &[&str], script: &str| {
        scene.under(policy).options(named(&log(scene))).options(options).shell(script).run()
    };
    // Single hosts take namespaces.
    let (host, hosts) = match scene.level() {
        Level::Namespaces => (&["--allow-host", "A.example:443"][..], json!(["a.example:443"])),
        Level::Landlock => (&[][..], Value::Null),
    };
    run(Policy::WorkspaceWrite, host, "exit 3").expect_code(3);
    let target = scene.outside().join("new");
    let script = format!("echo x > {}", target.display());
    // Outside of the sandbox, it can be made.
    scene.under(Policy::Bare).shell(&script).run().expect_code(0);
    fs::remove_file(&target).expect("remove it");
    let failed = run(Policy::WorkspaceWrite, &["--json"], &script);
    failed.expect_code(2);
    run(Policy::DangerFullAccess, &[], "kill -9 $$").expect_code(137);
    scene
        .under(Policy::ReadOnly)
        .options(named(&log(scene)))
        .command("/none/such", ["argument"])
        .run()
        .expect_code(127);

    let records = records(scene);
    let events: Vec<&str> = records.iter().filter_map(|record| record["event"].as_str()).collect();
    assert_eq!(events, ["start", "end"].repeat(4));
    for pair in records.chunks(2) {
        assert_eq!(pair[0]["call"], pair[1]["call"]);
        assert_eq!(pair[0]["by"], "sandbox");
    }
    assert_eq!(records[0]["mode"], "workspace-write");
    assert_eq!(records[0]["argv"].as_array().map(Vec::len), Some(3), "{}", records[0]);
    assert_eq!(records[0]["level"], scene.level().name());
    assert_eq!((&records[0]["hosts"], &records[2]["hosts"]), (&hosts, &Value::Null));
    let roots = records[0]["writable_roots"].as_array().expect("roots");
    assert!(roots.contains(&json!(scene.workspace())), "{roots:?}");
    assert_eq!((&records[1]["outcome"], &records[1]["exit_code"]), (&json!("exited"), &json!(3)));
    let denial = &records[3]["denials"][0];
    assert_eq!(
        (&denial["operation"], &denial["target"]),
        (&json!("create"), &json!(target)),
        "{}",
        records[3]
    );
    assert_eq!(
        (&records[4]["mode"], &records[4]["writable_roots"]),
        (&json!("danger-full-access"), &Value::Null)
    );
    assert_eq!((&records[5]["outcome"], &records[5]["signal"]), (&json!("signalled"), &json!(9)));
    assert_eq!(
        (&records[7]["outcome"], &records[7]["failure"]["errno"]),
        (&json!("not_executed"), &json!(2))
    );
    let file = log(scene);
    let verified =
        scene.codex(["debug", "audit", "verify", "--json"].map(Into::into).into_iter().chain(named(&file)));
    let verified = verified.run();
    let verified: Value = serde_json::from_str(&verified.text()).expect("JSON");
    assert_eq!((&verified["lines"], &verified["from_the_beginning"]), (&json!(8), &json!(true)));
}

fn what_cannot_be_noted_is_not_run(scene: &Scene) {
    let made = scene.workspace().join("made");
    let script = format!("echo x > {}", made.display());
    let under =
        |file: PathBuf| scene.under(Policy::WorkspaceWrite).options(named(&file)).shell(&script).run();
    for (file, why) in [
        (scene.path("codex-home/none/log"), "No such file or directory"),
        (scene.path("codex-home"), "Is a directory"),
        (PathBuf::from("/dev/full"), "is no regular file"),
        (scene.file_with_mode("codex-home/shared", "", 0o666), "chmod go-w it"),
    ] {
        let run = under(file).expect_code(125);
        assert!(errors(&run).starts_with("codex: nothing is run: the audit log"), "{}", run.describe());
        assert!(errors(&run).contains(why), "{}", run.describe());
        assert!(!made.exists(), "{}", run.describe());
    }
    under(log(scene)).expect_code(0);
    assert!(made.exists());
}

fn no_command_can_write_the_log(scene: &Scene) {
    let log = scene.path("workspace/audit");
    let run = scene.under(Policy::WorkspaceWrite).options(named(&log)).shell(":").run().expect_code(125);
    assert!(errors(&run).contains("lies where a command may write"), "{}", run.describe());
    scene.under(Policy::ReadOnly).options(named(&log)).shell(":").run().expect_code(0);
    // In a writable root, and protected there.
    scene.directory("workspace/.codex");
    let log = scene.path("workspace/.codex/audit");
    let script = format!("echo x >> {0} || mv {0} {0}.old", log.display());
    let run = scene.under(Policy::WorkspaceWrite).options(named(&log)).shell(&script).run();
    let text = fs::read_to_string(&log).unwrap_or_default();
    if scene.level().name() == "namespaces" {
        assert_ne!(run.code(), Some(0), "{}", run.describe());
        assert_eq!(text.lines().count(), 2, "{text}");
    } else {
        // Rules of this level can't express it.
        run.expect_code(125);
    }
    // Protected alone, where it would be put aside to a name that is not.
    let log = scene.file_with_mode("workspace/alone", "", 0o600);
    let protect = ["-c", "sandbox.protect=[\"alone\"]"];
    let run = scene.under(Policy::WorkspaceWrite).options(named(&log)).options(protect).shell(":").run();
    let run = run.expect_code(125);
    assert!(errors(&run).contains("lies where a command may write"), "{}", run.describe());
}

fn changes_show(scene: &Scene) {
    for _ in 0..2 {
        scene.under(Policy::ReadOnly).options(named(&log(scene))).shell(":").run().expect_code(0);
    }
    let verify = |words: &[&str]| {
        let words = ["debug", "audit", "verify"].iter().chain(words).map(|word| (*word).to_owned());
        scene.codex(words.chain([log(scene).display().to_string()])).run()
    };
    let whole = verify(&[]).expect_code(0);
    assert!(whole.text().contains("4 lines, each follows from the one before"), "{}", whole.describe());
    let digest = whole.text().lines().last().and_then(|line| line.split(' ').next_back()).map(str::to_owned);
    let digest = digest.expect("a digest");
    verify(&["--contains", &digest]).expect_code(0);

    let text = fs::read_to_string(log(scene)).expect("the log");
    fs::write(log(scene), text.replacen("read-only", "workspace-write", 1)).expect("change the log");
    let changed = verify(&[]).expect_code(1);
    assert!(
        errors(&changed).contains("audit.jsonl:2: does not follow from the line before"),
        "{}",
        changed.describe()
    );
    let cut: String = text.split_inclusive('\n').take(3).collect();
    fs::write(log(scene), cut).expect("cut the log");
    verify(&[]).expect_code(0);
    verify(&["--contains", &digest]).expect_code(1);
    verify(&["--contains", "1"]).expect_code(2);
    let (_, rest) = text.split_once('\n').expect("lines");
    fs::write(log(scene), rest).expect("cut the log");
    let cut = verify(&[]).expect_code(1);
    assert!(
        errors(&cut)
            .contains("audit.jsonl:1: is not the first line of its file: what came before it was removed"),
        "{}",
        cut.describe()
    );
    fs::remove_file(log(scene)).expect("remove the log");
    verify(&[]).expect_code(125);
}
