//! `--learn`: the lines that are printed let the command pass, none of them can go, and nothing is changed by finding them; what is
//! not a cache takes a word.

use std::ffi::OsStr;
use std::fs;

use codex_tests::harness::{Level, Listener, Policy, Run, Scene, require_tool};
use serde_json::Value;

const NO_SLASH_TMP: &str = "sandbox_workspace_write.exclude_slash_tmp=true";

/// Learns under `workspace-write`: in views where there are any, else in place.
fn learn_run(scene: &Scene, options: &[&str], script: &str) -> Run {
    let place: &[&str] = if scene.level() == Level::Landlock { &["--in-place"] } else { &[] };
    scene
        .under(Policy::WorkspaceWrite)
        .options(["--learn"])
        .options(place)
        .options(options)
        .shell(script)
        .run()
}

fn learn(scene: &Scene, options: &[&str], script: &str) -> Value {
    let options: Vec<&str> = ["--json"].into_iter().chain(options.iter().copied()).collect();
    super::json(&learn_run(scene, &options, script))["learned"].clone()
}

pub(super) fn configure(scene: &Scene, toml: &str) {
    scene.file("codex-home/config.toml", toml);
}

/// Runs it as the configuration says.
pub(super) fn run<I: IntoIterator<Item: AsRef<OsStr>>>(scene: &Scene, options: I, script: &str) -> Run {
    let workspace = scene.workspace().display().to_string();
    let isolation = scene.level().name();
    let words = ["sandbox", "-C", &workspace, "-c", NO_SLASH_TMP, "--isolation", isolation];
    let words = words.iter().map(|word| OsStr::new(word).to_owned());
    let options = options.into_iter().map(|option| option.as_ref().to_owned());
    let command = ["--", "sh", "-c", script].map(|word| OsStr::new(word).to_owned());
    scene.codex(words.chain(options).chain(command)).run()
}

/// Without each line that says something, the command fails.
pub(super) fn none_can_go(scene: &Scene, toml: &str, script: &str, forget: &dyn Fn()) -> usize {
    let is_one = |line: &&str| {
        let line = line.trim();
        line.starts_with('"') || (line.contains(" = ") && !line.ends_with('[') && !line.starts_with('#'))
    };
    let lines: Vec<&str> = toml.lines().filter(is_one).collect();
    for line in &lines {
        forget();
        configure(scene, &toml.replace(&format!("{line}\n"), ""));
        let run = run::<[&str; 0]>(scene, [], script);
        // By itself, and not because nothing ran.
        let complains = |line: &str| line.starts_with("codex: ") && !line.starts_with("codex: denied: ");
        let failed = run.code().is_some_and(|code| code != 0) && !run.error_text().lines().any(complains);
        assert!(failed, "without {line}: {}", run.describe());
    }
    lines.len()
}

pub(super) fn the_lines_let_it_pass_and_none_can_go(scene: &Scene) {
    if ["make", "gcc", "python3"].iter().any(|tool| require_tool(tool).is_none()) {
        return;
    }
    let [project, data, copies, unused] =
        ["outside/project", "outside/data", "outside/copies", "outside/unused"]
            .map(|place| scene.directory(place));
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

    // Without a word, it is said which one it takes.
    let learned = learn(scene, &[], &script);
    assert_eq!((&learned["stopped"], &learned["runs"]), (&"only_withheld".into(), &1.into()), "{learned}");
    let word = format!("; takes --learn-also {}", project.display());
    assert!(learned["withheld"][0].as_str().is_some_and(|line| line.ends_with(&word)), "{learned}");

    let places = [&project, &data, &copies, &unused].map(|place| place.display().to_string());
    let mut options = vec!["--add-dir", &places[3]];
    options.extend(places[..3].iter().flat_map(|place| ["--learn-also", place]));
    let learned = learn(scene, &options, &script);
    assert_eq!((&learned["stopped"], &learned["runs"]), (&"passed".into(), &4.into()), "{learned}");
    assert_eq!(learned["complete"], true, "{learned}");
    let in_views = scene.level() == Level::Namespaces;
    assert_eq!(
        (&learned["minimal"], &learned["in_place"]),
        (&in_views.into(), &(!in_views).into()),
        "{learned}"
    );
    assert!(results.iter().all(|result| result.exists() != in_views), "{results:?}");
    assert!(!scene.path("codex-home/config.toml").exists());
    let toml = learned["toml"].as_str().expect("lines");
    if in_views {
        let unused = format!("writing below {} (--add-dir)", unused.display());
        assert_eq!(learned["unused"], serde_json::json!([unused]), "{learned}");
    } else {
        // Nobody knows whether it can go.
        assert!(toml.contains("# not tried without (--add-dir)"), "{toml}");
    }
    let toml = toml.replace(&format!("    \"{}\",\n", places[3]), "");

    forget();
    configure(scene, &toml);
    run::<[&str; 0]>(scene, [], &script).expect_code(0);
    assert_eq!(none_can_go(scene, &toml, &script, &forget), 4, "{toml}");
}

pub(super) fn secrets_and_metadata_are_not_granted_without_a_word(scene: &Scene) {
    for place in ["home/.ssh", "home/.cache/pip", "home/.cache/pre-commit", "workspace/.git/hooks"] {
        scene.directory(place);
    }
    scene.symlink(scene.path("home/.ssh"), "home/link");
    let ssh = scene.path("home/.ssh").display().to_string();
    for place in ["home/.ssh/a", "home/link/b", "home/.cache/pre-commit/c", "workspace/.git/hooks/pre-commit"]
    {
        // There, what is made is moved away when the command has ended.
        if scene.level() == Level::Landlock && place.starts_with("workspace") {
            continue;
        }
        let (cache, target) = (scene.path("home/.cache/pip/d"), scene.path(place));
        let script = format!("echo x > {} && echo x > {}", cache.display(), target.display());
        scene.under(Policy::Bare).shell(&script).run().expect_code(0);
        fs::remove_file(&target).expect("remove it");
        let learned = learn(scene, &[], &script);
        assert_eq!(
            (&learned["stopped"], &learned["runs"]),
            (&"only_withheld".into(), &2.into()),
            "{place}: {learned}"
        );
        let toml = learned["toml"].as_str().expect("lines");
        let items: Vec<&str> = toml.lines().filter(|line| line.starts_with("    \"")).collect();
        let pip = format!("    \"{}\",", scene.path("home/.cache/pip").display());
        assert_eq!(items, [pip.as_str()], "{place}: {learned}");
        let withheld = learned["withheld"].as_array().expect("lines");
        assert!(withheld.len() == 1 && !target.exists(), "{place}: {learned}");
        assert_eq!(
            withheld[0].as_str().is_some_and(|line| line.contains("takes --learn-also")),
            place.ends_with('c'),
            "{learned}"
        );
        // The word of the user opens what no grant is proposed for.
        if place.contains("home/.ssh") {
            let learned = learn(scene, &["--learn-also", &ssh], &script);
            assert_eq!(learned["stopped"], "passed", "{learned}");
            assert!(
                learned["toml"].as_str().is_some_and(|toml| toml.contains(&format!("\"{ssh}\""))),
                "{learned}"
            );
        }
    }
}

/// A root has to be there, and so it is made; but not for a trial, nor for good where nothing came of it.
pub(super) fn what_is_made_does_not_hide_that_it_was_missing(scene: &Scene) {
    scene.directory("home/.cache");
    let cache = scene.path("home/.cache/pip");
    let script = "mkdir -p ~/.cache/pip";
    assert_ne!(run(scene, ["--full-auto"], script).code(), Some(0));
    let learned = learn(scene, &[], &format!("{script}; exit 3"));
    assert_eq!(
        (&learned["stopped"], &learned["made"]),
        (&"nothing_refused".into(), &serde_json::json!([])),
        "{learned}"
    );
    assert!(!cache.exists());

    let learned = learn(scene, &[], script);
    assert_eq!(learned["stopped"], "passed", "{learned}");
    assert_eq!(learned["made"], serde_json::json!([cache]), "{learned}");
    let toml = learned["toml"].as_str().expect("lines");
    assert!(toml.contains(&format!("\"{}\"", cache.display())), "{toml}");
    configure(scene, toml);
    run::<[&str; 0]>(scene, [], script).expect_code(0);
}

/// A cache whose way is missing, by whoever's command it is, and one that a variable has put elsewhere: each is made, granted and enough.
pub(super) fn caches_are_found_where_they_are(scene: &Scene) {
    let Some(pip) = require_tool("pip3") else { return };
    // What pip does first, without what it takes from elsewhere.
    let makes = "mkdir -p \"${PIP_CACHE_DIR:-$HOME/.cache/pip}\" && echo x > \"${PIP_CACHE_DIR:-$HOME/.cache/pip}/new\"";
    let script = format!("{makes} && {} --version > /dev/null", pip.display());
    let usual = scene.path("home/.cache/pip");
    let moved = scene.path("outside/caches/pip");
    scene.directory("outside/caches");
    for (place, made) in
        [(&usual, vec![usual.clone(), scene.path("home/.cache")]), (&moved, vec![moved.clone()])]
    {
        let variable = (place == &moved)
            .then(|| format!("shell_environment_policy.set.PIP_CACHE_DIR={}", place.display()));
        let set: Vec<&str> = variable.iter().flat_map(|set| ["-c", set]).collect();
        let learned = learn(scene, &set, &script);
        assert_eq!(learned["stopped"], "passed", "{learned}");
        assert_eq!(learned["made"], serde_json::json!(made), "{learned}");
        let toml = learned["toml"].as_str().expect("lines");
        assert!(toml.contains(&format!("    \"{}\",\n", place.display())), "{toml}");
        assert!(!toml.contains("mkdir") && toml.contains("opens: pip: pip's cache of packages\n"), "{toml}");
        configure(scene, toml);
        run(scene, set, &script).expect_code(0);
        configure(scene, "");
        fs::remove_dir_all(made.last().expect("one")).expect("forget it");
    }
    // What is no tool's says which way is missing, and takes a word.
    let learned = learn(scene, &[], "mkdir ~/.cache");
    assert_eq!(learned["stopped"], "only_withheld", "{learned}");
    let way = format!("mkdir -p {}", scene.path("home/.cache").display());
    assert!(learned["withheld"][0].as_str().is_some_and(|line| line.contains(&way)), "{learned}");
}

/// What was typed and is no setting of what is learnt is told: without it, the next run is another.
pub(super) fn what_was_typed_beside_is_told(scene: &Scene) {
    let limits = ["--limit", "open-files=500", "--limit", "memory=1GiB"];
    let learned = learn(scene, &limits, "true");
    let expected =
        [&format!("--isolation {}", scene.level().name()), "--limit open_files=500", "--limit memory=1GiB"];
    let typed: Vec<&str> =
        learned["typed_beside"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(expected.iter().all(|option| typed.contains(option)), "{learned}");
    let told = learn_run(scene, &limits, "true").error_text();
    assert!(expected.iter().all(|option| told.contains(&format!("it ran with {option} as well"))), "{told}");
}

pub(super) fn the_network_and_sockets_take_words(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    let (tcp, unix) = (Listener::tcp("127.0.0.1"), Listener::unix_stream(scene));
    let port = tcp.address.rsplit(':').next().expect("a port").to_owned();
    let script = "import socket, sys\nsocket.socket().connect(('127.0.0.1', int(sys.argv[1])))\n\
                  socket.socket(socket.AF_UNIX).connect(sys.argv[2])";
    let learn = |words: &[&str]| {
        let options = words.iter().flat_map(|word| ["--learn-also", word]);
        let options = ["--json", "--learn"].into_iter().chain(options);
        let sandbox = scene.under(Policy::WorkspaceWrite).options(options);
        let run = sandbox.command(&python, ["-c", script, &port, &unix.address]).run();
        super::json(&run)["learned"].clone()
    };
    let socket = unix.address.as_str();
    for (words, word) in [(&[][..], "network"), (&[socket], "network")] {
        let learned = learn(words);
        assert_eq!(learned["stopped"], "only_withheld", "{words:?}: {learned}");
        let takes = format!("; takes --learn-also {word}");
        let says = |line: &Value| line.as_str().is_some_and(|line| line.contains(&takes));
        assert!(
            learned["withheld"].as_array().is_some_and(|lines| lines.iter().any(says)),
            "{words:?}: {learned}"
        );
    }
    // Where the network is open, a unix socket is refused before it has a name, of which nobody is reminded.
    assert_eq!(learn(&["network"])["stopped"], "only_withheld");
    let learned = learn(&["network", socket]);
    let toml = learned["toml"].as_str().expect("lines");
    assert!(learned["stopped"] == "passed" && learned["minimal"] == true, "{learned}");
    assert!(toml.contains("sandbox_workspace_write.network_access = true\n"), "{toml}");
    assert!(toml.contains(&format!("    \"{socket}\",\n")), "{toml}");
}

pub(super) fn a_name_says_no_setting(scene: &Scene) {
    let evil = "outside/\"]\nsandbox_mode = \"danger-full-access\"\n#";
    let directory = scene.directory(evil);
    let also = directory.display().to_string();
    // What the shell says has the name as it is.
    let script = format!("exec 2>/dev/null; echo x > '{}/new'", directory.display());
    let learned = learn(scene, &["--learn-also", &also], &script);
    assert_eq!(learned["stopped"], "passed", "{learned}");
    let toml = learned["toml"].as_str().expect("lines");
    configure(scene, toml);
    run::<[&str; 0]>(scene, [], &script).expect_code(0);
    let other = run::<[&str; 0]>(scene, [], &format!("echo x > {}", scene.path("outside/new").display()));
    assert_eq!(other.code(), Some(2), "{toml}: {}", other.describe());
    // On a terminal it is one line as well.
    configure(scene, "");
    for options in [&["--learn-also", also.as_str()][..], &[]] {
        let told = learn_run(scene, options, &script).error_text();
        assert!(told.contains("outside/\"]\\nsandbox_mode"), "{told}");
        assert!(!told.lines().any(|line| line == "sandbox_mode = \"danger-full-access\""), "{told}");
    }
}

pub(super) fn read_only_is_widened_by_nobody(scene: &Scene) {
    scene.directory("home/.cache/pip");
    let script = format!("echo x > {}", scene.path("home/.cache/pip/new").display());
    let place: &[&str] = if scene.level() == Level::Landlock { &["--in-place"] } else { &[] };
    let options = ["--json", "--learn"];
    let run = scene.under(Policy::ReadOnly).options(options).options(place).shell(&script).run();
    let learned = &super::json(&run)["learned"];
    assert_eq!((&learned["stopped"], &learned["toml"]), (&"only_withheld".into(), &"".into()), "{learned}");
    assert!(
        learned["withheld"][0].as_str().is_some_and(|line| line.ends_with("takes --full-auto")),
        "{learned}"
    );
    // And what is not needed of a wider one is said.
    let learned = learn(scene, &[], "true");
    let (unused, toml) = match scene.level() {
        Level::Namespaces => {
            (serde_json::json!(["workspace-write: it passes under read-only (--sandbox)"]), "")
        }
        Level::Landlock => (serde_json::json!([]), "sandbox_mode = \"workspace-write\"\n"),
    };
    assert_eq!(learned["unused"], unused, "{learned}");
    assert!(learned["toml"].as_str().is_some_and(|lines| lines.ends_with(toml)), "{learned}");
}

pub(super) fn a_profile_is_written_beside_the_rest(scene: &Scene) {
    let data = scene.directory("outside/data");
    let also = data.display().to_string();
    let script = format!("echo x > {}/new", data.display());
    let before = "# mine\nsandbox.explain = \"never\" # stays\n\n[profiles.other]\n# of the other\nsandbox_mode = \"read-only\"\n";
    configure(scene, before);
    let file = scene.path("codex-home/config.toml");
    let text = || fs::read_to_string(&file).expect("read the configuration");
    let options = ["--learn-also", &also, "--write-profile", "made"];
    // What does not pass is no profile.
    let refused = learn_run(scene, &options[2..], &script);
    assert!(
        refused.error_text().contains("no profile is written: the command did not pass"),
        "{}",
        refused.describe()
    );
    assert_eq!((refused.code(), text().as_str()), (Some(2), before));

    learn_run(scene, &options, &script).expect_code(0);
    let written = text();
    assert!(written.starts_with(&format!("{before}\n[profiles.made]\n# ")), "{written}");
    run(scene, ["-p", "made"], &script).expect_code(0);
    let other = run(scene, ["-p", "other"], &script);
    assert_eq!(other.code(), Some(2), "{}", other.describe());

    let again = learn_run(scene, &options, &script);
    assert!(again.error_text().contains("has a profile made already"), "{}", again.describe());
    assert_eq!((again.code(), text()), (Some(125), written.clone()));
    fs::remove_file(data.join("new")).expect("remove it");
    let replaced = [&options[..], &["--replace-profile"]].concat();
    learn_run(scene, &replaced, &script).expect_code(0);
    assert_eq!(text(), written);

    // Through a link, nothing is written.
    let elsewhere = scene.path("codex-home/elsewhere.toml");
    fs::rename(&file, &elsewhere).expect("move the configuration");
    scene.symlink(&elsewhere, "codex-home/config.toml");
    let linked = learn_run(scene, &["--learn-also", &also, "--write-profile", "linked"], &script);
    assert!(linked.error_text().contains("is a symbolic link"), "{}", linked.describe());
    assert_eq!((linked.code(), fs::read_to_string(&elsewhere).expect("read it")), (Some(125), written));
}

pub(super) fn what_nobody_saw_is_not_called_nothing(scene: &Scene) {
    let codex = scene.codex_program().display().to_string();
    let file = scene.path("outside/file").display().to_string();
    let inner =
        ["sandbox", "--learn", "--in-place", "--full-auto", "--isolation", "landlock", "-c", NO_SLASH_TMP];
    for (script, code, says) in [
        (format!("echo x > {file}"), 2, "nobody could observe it"),
        (format!("echo x > {file} || true"), 0, "it passes"),
    ] {
        let words = inner.into_iter().chain(["--", "sh", "-c", script.as_str()]);
        // Inside a sandbox of ours, nobody may follow anybody.
        let run = scene.under(Policy::ExternalSandbox).command(&codex, words).run();
        let told = run.error_text();
        assert!(
            told.contains(says) && told.contains("not all that was refused is known"),
            "{}",
            run.describe()
        );
        assert!(!told.contains("nothing was refused"), "{}", run.describe());
        run.expect_code(code);
    }
}

pub(super) fn without_views_it_takes_a_word(scene: &Scene) {
    for options in [&["--learn", "--isolation", "landlock"][..], &["--learn", "-s", "danger-full-access"]] {
        let marker = scene.path("workspace/marker");
        let workspace = scene.workspace().display().to_string();
        let words =
            ["sandbox", "-C", &workspace, "-c", NO_SLASH_TMP].into_iter().chain(options.iter().copied());
        let run = scene.codex(words.chain(["--", "touch", "marker"])).run();
        assert!(run.code() == Some(125) && !marker.exists(), "{}", run.describe());
        let says = if options.contains(&"landlock") { "--in-place" } else { "refuses nothing" };
        assert!(run.error_text().contains(says), "{}", run.describe());
    }
}
