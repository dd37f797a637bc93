//! What `git` reads where it only shows something.

use codex_tests::harness::{Api, Model, Policy, Scene, require_tool};
use serde_json::Value;

use super::{exec_at, run_command, say};

/// A directory that looks like a repository, as one that is cloned can hold it, has a configuration that names programs.
pub(super) fn what_git_shows_unasked_runs_nothing_of_a_planted_repository(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    let ran = scene.path("workspace/ran");
    let configuration = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = ..\n\tfsmonitor = \"echo x > {}; false\"\n",
        ran.display()
    );
    for directory in ["objects", "refs"] {
        scene.directory(&format!("workspace/planted/{directory}"));
    }
    scene.file("workspace/planted/HEAD", "ref: refs/heads/main\n");
    scene.file("workspace/planted/config", configuration);
    scene.directory("workspace/real");
    scene.under(Policy::Bare).shell("git -C real init -q").run().expect_code(0);
    let run = |policy: &str, answers: Vec<Value>, asked: bool| {
        let model = Model::serve(Api::Responses, answers);
        let level = ["--isolation", scene.level().name()];
        let words = ["--json", "-s", "workspace-write", "-a", policy, "x"];
        let run = exec_at(scene, &model, &level, &words).launched_with(["--session", "new"]);
        let run = run.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "user.name");
        let run = run.env("GIT_CONFIG_VALUE_0", "me").run().expect_code(0);
        assert_eq!(run.text().contains("\"approval\""), asked, "{}", run.describe());
        model.outputs()
    };
    let acts = || vec![run_command("cd planted && git status --short"), say("done")];
    let outputs = run("untrusted", acts(), false);
    assert!(outputs[0].contains("cannot use bare repository"), "{outputs:?}");
    assert!(!ran.exists(), "{outputs:?}");
    // One of the user's is shown as ever.
    let outputs = run("untrusted", vec![run_command("cd real && git status --short -b"), say("done")], false);
    assert!(outputs[0].contains("No commits yet"), "{outputs:?}");
    // Where it is no matter of asking, commands find what they find.
    run("never", acts(), false);
    assert!(ran.exists());
    // What does more than that is asked about.
    run("untrusted", vec![run_command("cd planted && git add ."), say("done")], true);
}
