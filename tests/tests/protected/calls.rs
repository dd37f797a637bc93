//! Two calls and a host: what the first makes, the second changes, and git on the host comes across.

use codex_tests::harness::{Failures, Policy, Scene, require_tool};

/// An attack in two calls; `INIT` makes a repository, `EVIL` is a configuration that runs something, `HOOK` a program.
struct Attack {
    name: &'static str,
    first: &'static str,
    second: &'static str,
    /// Where the host uses git afterwards.
    place: &'static str,
}

const fn attack(
    name: &'static str,
    first: &'static str,
    second: &'static str,
    place: &'static str,
) -> Attack {
    Attack { name, first, second, place }
}

#[rustfmt::skip]
const ATTACKS: [Attack; 17] = [
    attack("a configuration", "INIT sub; EVIL >> sub/.git/config", "true", "sub"),
    attack("a hook", "INIT sub; mkdir -p sub/.git/hooks; HOOK > sub/.git/hooks/post-checkout; chmod +x sub/.git/hooks/*", "true", "sub"),
    attack("the workspace's own", "INIT .; mkdir -p .git/hooks; EVIL >> .git/config; HOOK > .git/hooks/post-checkout; chmod +x .git/hooks/*", "true", "."),
    attack("the workspace's own, later", "INIT .", "EVIL >> .git/config; mkdir -p .git/hooks; HOOK > .git/hooks/post-checkout; chmod +x .git/hooks/*", "."),
    attack("deep down", "mkdir -p a/b/c/d/e/f/g/h/i/j/k/l; INIT a/b/c/d/e/f/g/h/i/j/k/l; EVIL >> a/b/c/d/e/f/g/h/i/j/k/l/.git/config", "true", "a/b/c/d/e/f/g/h/i/j/k/l"),
    attack("among many", "for n in $(seq 300); do mkdir -p many/$n; done; INIT many/299/sub; EVIL >> many/299/sub/.git/config", "true", "many/299/sub"),
    attack("a second name of the configuration", "INIT sub; ln sub/.git/config sub/other", "EVIL >> sub/other", "sub"),
    attack("a second name of a hook", "INIT sub; mkdir -p sub/.git/hooks; HOOK > sub/other; chmod +x sub/other; ln sub/other sub/.git/hooks/post-checkout", "true", "sub"),
    attack("a second name of a sample", "INIT sub; mkdir -p sub/.git/hooks; echo > sub/other; chmod +x sub/other; ln sub/other sub/.git/hooks/post-checkout.sample",
        "mv sub/.git/hooks/post-checkout.sample sub/.git/hooks/post-checkout; HOOK > sub/other", "sub"),
    attack("hooks that are a link", "INIT sub; rm -rf sub/.git/hooks; mkdir sub/other; ln -s ../other sub/.git/hooks", "HOOK > sub/other/post-checkout; chmod +x sub/other/*", "sub"),
    attack("a configuration that is a link", "INIT sub; mv sub/.git/config sub/other; ln -s ../other sub/.git/config", "EVIL >> sub/other", "sub"),
    attack("a repository that is a link", "INIT sub; mv sub/.git store; ln -s ../store sub/.git", "EVIL >> store/config", "sub"),
    attack("a pointer", "INIT sub; mv sub/.git store; echo 'gitdir: ../store' > sub/.git", "EVIL >> store/config", "sub"),
    attack("a common directory", "INIT sub; cp -r sub/.git store; echo ../../store > sub/.git/commondir", "EVIL >> store/config", "sub"),
    attack("an included file", "INIT sub; printf '[include]\\n\\tpath = ../other\\n' >> sub/.git/config", "EVIL >> sub/other", "sub"),
    attack("an ancestor that is moved", "INIT above/sub", "mv above away; EVIL >> away/sub/.git/config; mv away above; EVIL >> above/sub/.git/config", "above/sub"),
    attack("a worktree's configuration", "INIT sub; cd sub; GIT commit -q --allow-empty -m First; GIT worktree add -q ../tree",
        "EVIL >> sub/.git/worktrees/tree/config.worktree; printf '[extensions]\\n\\tworktreeConfig = true\\n' >> sub/.git/config", "tree"),
];

/// Each attack works where nothing stops it, and the host runs nothing where the calls were confined.
pub(crate) fn judge(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    let mut failures = Failures::new();
    for (number, attack) in ATTACKS.iter().enumerate() {
        for policy in [Policy::Bare, Policy::WorkspaceWrite] {
            let stage = scene.fresh(&format!("{number}-{policy:?}"));
            let trace = stage.outside().join("trace");
            let runs = format!("echo ran >> {}", trace.display());
            let fill = |words: &str| {
                words
                    .replace("INIT", "git -c init.defaultBranch=main init -q")
                    .replace("GIT", "git -c user.name=Test -c user.email=test@example.org")
                    .replace("EVIL", &format!("printf '[core]\\n\\tfsmonitor = \"{runs}; false\"\\n'"))
                    .replace("HOOK", &format!("printf '#!/bin/sh\\n{runs}\\n'"))
            };
            let calls =
                [attack.first, attack.second].map(|call| stage.under(policy).shell(&fill(call)).run());
            // The calls may have come across it themselves.
            drop(std::fs::remove_file(&trace));
            let used =
                fill("GIT status --short; GIT commit -q --allow-empty -m Used; GIT checkout -q -b another");
            let directory = stage.workspace().join(attack.place);
            if directory.is_dir() {
                drop(stage.under(Policy::Bare).shell(&used).directory(&directory).run());
            }
            failures.check(trace.exists() == (policy == Policy::Bare), || {
                let told: String = calls.iter().map(codex_tests::harness::Run::describe).collect();
                format!("{} [{policy:?}]: the host ran something: {}\n{told}", attack.name, trace.exists())
            });
        }
    }
    failures.finish();
}
