//! `--learn` on projects as people have them, with caches outside of every writable root, and empty: what is printed lets the
//! second run pass, and no line of it can go.

use std::fs;
use std::path::Path;

use codex_tests::harness::{Policy, Scene, own_rust, require_tool};

use super::learn::{configure, none_can_go, run};

/// A project, built in the workspace by a script.
struct Project<'p> {
    prepare: &'p str,
    build: &'p str,
    /// What is granted, relative to the scene, the words for it among them.
    learns: &'p [&'p str],
    words: &'p [&'p str],
    /// What the build makes, relative to the scene.
    results: &'p [&'p str],
}

impl Project<'_> {
    fn judge(&self, scene: &Scene) {
        for word in self.words {
            scene.directory(word);
        }
        scene.under(Policy::Bare).shell(self.prepare).run().expect_code(0);
        scene.under(Policy::Bare).shell(self.build).run().expect_code(0);
        let forget = || {
            for place in self.learns.iter().chain(self.results) {
                empty(&scene.path(place));
            }
        };
        forget();
        let mut options = vec!["--json".to_owned(), "--learn".to_owned()];
        for word in self.words {
            options.extend(["--learn-also".to_owned(), scene.path(word).display().to_string()]);
        }
        let learnt = scene.under(Policy::WorkspaceWrite).options(options).shell(self.build).run();
        let learned = super::json(&learnt)["learned"].clone();
        assert!(
            learned["stopped"] == "passed" && learned["minimal"] == true,
            "{learned}: {}",
            learnt.describe()
        );
        let toml = learned["toml"].as_str().expect("lines");
        for place in self.learns {
            let item = format!("    \"{}\",\n", scene.path(place).display());
            assert!(toml.contains(&item), "{place}: {learned}");
        }
        forget();
        configure(scene, toml);
        run::<[&str; 0]>(scene, [], self.build).expect_code(0);
        // The mode, and what was learnt.
        assert_eq!(none_can_go(scene, toml, self.build, &forget), 1 + self.learns.len(), "{learned}");
    }
}

/// Leaves a directory, and nothing in it.
fn empty(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path).expect("remove a directory");
        } else {
            fs::remove_file(&path).expect("remove a file");
        }
    }
}

/// Sources of a registry that is a folder, and of a repository, are unpacked below `~/.cargo`.
pub(super) fn cargo(scene: &Scene) {
    if require_tool("git").is_none() {
        return;
    }
    let Some(path) = own_rust(scene) else { return };
    scene.directory("home/.cargo");
    let with_rust = |script: &str| format!("export PATH='{path}'\n{script}");
    Project {
        prepare: &with_rust(CARGO),
        build: &with_rust("cargo build --quiet"),
        learns: &["home/.cargo/git", "home/.cargo/registry"],
        words: &[],
        results: &["workspace/target"],
    }
    .judge(scene);
}

const CARGO: &str = r#"set -e; cd ..; export CARGO_TERM_QUIET=true
mkdir -p packed/src registry/index/pa/ck cloned/src workspace/src workspace/.cargo
printf '[package]\nname = "packed"\nversion = "1.0.0"\nedition = "2021"\n' > packed/Cargo.toml
echo 'pub fn one() -> i32 { 1 }' > packed/src/lib.rs
(cd packed && cargo package --quiet --offline --no-verify --allow-dirty && cp target/package/packed-1.0.0.crate ../registry/)
sum=$(sha256sum registry/packed-1.0.0.crate | cut -d' ' -f1)
echo '{"name":"packed","vers":"1.0.0","deps":[],"cksum":"'$sum'","features":{},"yanked":false}' > registry/index/pa/ck/packed
printf '[package]\nname = "cloned"\nversion = "1.0.0"\nedition = "2021"\n' > cloned/Cargo.toml
echo 'pub fn two() -> i32 { 2 }' > cloned/src/lib.rs
(cd cloned && git init -q && git add . && git -c user.name=a -c user.email=a@b commit -qm first)
printf '[source.crates-io]\nreplace-with = "folder"\n[source.folder]\nlocal-registry = "%s/registry"\n' "$PWD" > workspace/.cargo/config.toml
printf '[package]\nname = "app"\nversion = "1.0.0"\nedition = "2021"\n[dependencies]\npacked = "1"\ncloned = { git = "file://%s/cloned" }\n' "$PWD" > workspace/Cargo.toml
echo 'fn main() { println!("{}", packed::one() + cloned::two()); }' > workspace/src/main.rs
cd workspace && cargo generate-lockfile --quiet"#;

/// npm can't go on without its cache.
pub(super) fn npm(scene: &Scene) {
    if ["npm", "node"].iter().any(|tool| require_tool(tool).is_none()) {
        return;
    }
    scene.directory("home/.npm");
    Project {
        prepare: NPM,
        build: NPM_BUILD,
        learns: &["home/.npm/_cacache"],
        words: &[],
        results: &["workspace/node_modules"],
    }
    .judge(scene);
}

const NPM: &str = r#"set -e; mkdir library; cd library
echo 'module.exports = () => "from the library"' > index.js
echo '{ "name": "library", "version": "1.0.0", "main": "index.js" }' > package.json
npm pack --silent > /dev/null; cd ..
echo '{ "name": "app", "version": "1.0.0" }' > package.json"#;
const NPM_BUILD: &str = r#"set -e; export npm_config_update_notifier=false
npm cache add ./library/library-1.0.0.tgz
npm install --silent --offline --no-audit --no-fund ./library/library-1.0.0.tgz
node -e 'console.log(require("library")())'"#;

/// pip can: what it was refused there is not in the lines. Where it installs to is.
pub(super) fn pip(scene: &Scene) {
    if ["pip3", "python3"].iter().any(|tool| require_tool(tool).is_none()) {
        return;
    }
    Project {
        prepare: PIP,
        build: "pip3 install --quiet --disable-pip-version-check --no-index --root-user-action ignore --upgrade \
                --target \"$HOME/site\" ./library-1.0-py3-none-any.whl && PYTHONPATH=\"$HOME/site\" python3 -c 'import library'",
        learns: &["home/site"],
        words: &["home/site"],
        results: &[],
    }
    .judge(scene);
}

const PIP: &str = r#"python3 - <<'END'
import zipfile
with zipfile.ZipFile('library-1.0-py3-none-any.whl', 'w') as z:
    z.writestr('library.py', 'def say(): return "from the wheel"\n')
    z.writestr('library-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: library\nVersion: 1.0\n')
    z.writestr('library-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    z.writestr('library-1.0.dist-info/RECORD', 'library.py,,\nlibrary-1.0.dist-info/METADATA,,\nlibrary-1.0.dist-info/WHEEL,,\nlibrary-1.0.dist-info/RECORD,,\n')
END"#;
