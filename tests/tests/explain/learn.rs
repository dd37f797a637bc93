//! `--learn`: the lines that are printed let the command pass, none of them can go, and nothing is changed by printing them.

use std::fs;

use codex_tests::harness::{Policy, Run, Scene, require_tool};
use serde_json::Value;

/// Runs it under what the configuration says, and learns.
fn learn(scene: &Scene, script: &str) -> (Option<i32>, Value) {
    let run = scene.under(Policy::WorkspaceWrite).options(["--json", "--learn"]).shell(script).run();
    let whole = super::json(&run);
    let code = whole["exit_code"].as_i64().map(|code| i32::try_from(code).expect("a code"));
    (code, whole["learned"].clone())
}

fn configure(scene: &Scene, toml: &str) {
    scene.file("codex-home/config.toml", toml);
}

fn run(scene: &Scene, script: &str) -> Run {
    scene.under(Policy::WorkspaceWrite).shell(script).run()
}

pub(super) fn the_lines_let_it_pass_and_none_can_go(scene: &Scene) {
    if ["make", "gcc", "python3"].iter().any(|tool| require_tool(tool).is_none()) {
        return;
    }
    let [project, data, copies] =
        ["outside/project", "outside/data", "outside/copies"].map(|place| scene.directory(place));
    scene.file("outside/project/main.c", "int main(void) { return 0; }\n");
    scene.file("outside/project/Makefile", "out/main: main.c\n\tmkdir -p out && gcc -o $@ $<\n");
    let script = format!(
        "make -s -C {project} && python3 -c 'import sqlite3; sqlite3.connect(\"{data}/base\").execute(\"create table if not exists t (a)\")' \
         && cp {project}/out/main {copies}/",
        project = project.display(),
        data = data.display(),
        copies = copies.display()
    );
    let results = [project.join("out"), data.join("base"), copies.join("main")];
    let forget = || {
        for result in &results {
            if result.is_dir() {
                fs::remove_dir_all(result).expect("remove what was built");
            } else if result.exists() {
                fs::remove_file(result).expect("remove what was written");
            }
        }
    };
    scene.under(Policy::Bare).shell(&script).run().expect_code(0);
    forget();

    let mut toml = String::new();
    // Each failure is the end of a command that would have gone on, and teaches one directory.
    let mut missing = results.iter();
    loop {
        let (code, learned) = learn(scene, &script);
        assert_eq!(learned["complete"], true, "{learned}");
        let lines = learned["toml"].as_str().expect("lines");
        if code == Some(0) {
            assert_eq!((lines, &learned["withheld"]), ("", &serde_json::json!([])), "{learned}");
            break;
        }
        assert!(missing.next().is_some_and(|result| !result.exists()), "{learned}");
        assert_eq!(fs::read_to_string(scene.path("codex-home/config.toml")).unwrap_or_default(), toml);
        lines.clone_into(&mut toml);
        configure(scene, &toml);
    }
    assert!(missing.next().is_none(), "{toml}");
    forget();
    run(scene, &script).expect_code(0);
    let items: Vec<&str> = toml.lines().filter(|line| line.starts_with("    \"")).collect();
    assert_eq!(items.len(), 3, "{toml}");
    for item in items {
        forget();
        configure(scene, &toml.replace(&format!("{item}\n"), ""));
        let run = run(scene, &script);
        assert_ne!(run.code(), Some(0), "without {item}: {}", run.describe());
    }
}

pub(super) fn secrets_are_not_proposed(scene: &Scene) {
    for place in ["home/.ssh", "home/.config/other", "home/.cache/pip"] {
        scene.directory(place);
    }
    scene.symlink(scene.path("home/.ssh"), "home/link");
    let targets =
        ["home/.ssh/a", "home/link/b", "home/.config/c", "home/.cache/pip/d"].map(|name| scene.path(name));
    let script = targets.iter().map(|path| format!("echo x > {};", path.display())).collect::<String>();
    scene.under(Policy::Bare).shell(&script).run().expect_code(0);
    for target in &targets {
        fs::remove_file(target).expect("remove it");
    }
    let (_, learned) = learn(scene, &script);
    let items: Vec<&str> =
        learned["toml"].as_str().expect("lines").lines().filter(|line| line.starts_with("    \"")).collect();
    assert_eq!(items, [format!("    \"{}\",", scene.path("home/.cache/pip").display())], "{learned}");
    let withheld = learned["withheld"].as_array().expect("lines");
    assert_eq!(withheld.len(), 3, "{learned}");
    assert!(
        withheld.iter().all(|line| line.as_str().is_some_and(|line| line.contains("no grant is proposed")))
    );
}

pub(super) fn a_name_says_no_setting(scene: &Scene) {
    let evil = "outside/\"]\nsandbox_mode = \"danger-full-access\"\n#";
    let directory = scene.directory(evil);
    // What the shell says has the name as it is.
    let script = format!("exec 2>/dev/null; echo x > '{}/new'", directory.display());
    let (code, learned) = learn(scene, &script);
    assert_eq!(code, Some(2), "{learned}");
    let toml = learned["toml"].as_str().expect("lines");
    configure(scene, toml);
    run(scene, &script).expect_code(0);
    let run = run(scene, &format!("echo x > {}", scene.path("outside/new").display()));
    assert_eq!(run.code(), Some(2), "{toml}: {}", run.describe());
    // On a terminal it is one line as well.
    let told = scene.under(Policy::WorkspaceWrite).options(["--learn"]).shell(&script).run().error_text();
    assert!(told.contains("learned: nothing was refused"), "{told}");
    configure(scene, "");
    fs::remove_file(directory.join("new")).expect("remove it");
    let told = scene.under(Policy::WorkspaceWrite).options(["--learn"]).shell(&script).run().error_text();
    assert!(told.contains("# create ") && told.contains("nothing is changed"), "{told}");
    assert!(!told.lines().any(|line| line == "sandbox_mode = \"danger-full-access\""), "{told}");
}

pub(super) fn what_was_typed_is_no_part_of_the_mode(scene: &Scene) {
    let outside = scene.directory("outside/data");
    let script = format!("echo x > {}/new && echo y > here", outside.display());
    let typed = outside.display().to_string();
    let options = ["--json", "--learn", "--add-dir", &typed];
    let run = scene.under(Policy::ReadOnly).options(options).shell(&script).run();
    let learned = super::json(&run)["learned"].clone();
    configure(scene, learned["toml"].as_str().expect("lines"));
    let run = scene.codex(["sandbox", "--json", "--learn", "--", "sh", "-c", &script]).run();
    let learned = super::json(&run)["learned"].clone();
    assert_eq!((&learned["complete"], &learned["toml"]), (&true.into(), &"".into()), "{learned}");
    run.expect_code(0);
}
