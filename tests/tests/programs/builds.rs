//! Programs that build and install: each takes seconds, so that each runs once without the sandbox and once in it.

use codex_tests::harness::{Scene, at_hand, own_rust, require_tool};

use crate::{judge_slow, sockets, writes};

/// What comes from a folder or a file of one's own, installed into the workspace.
#[rustfmt::skip]
pub(crate) fn packages(scene: &Scene) {
    if ["npm", "node", "pip3", "python3"].iter().any(|tool| require_tool(tool).is_none()) { return }
    judge_slow(scene, &[
        writes("npm", "sh", r#"set -e; export npm_config_cache=$PWD/cache npm_config_update_notifier=false npm_config_fund=false
mkdir library app; cd library; echo 'module.exports = () => "from the library"' > index.js
echo '{ "name": "library", "version": "1.0.0", "main": "index.js" }' > package.json; npm pack --silent > /dev/null
cd ../app; echo '{ "name": "app", "version": "1.0.0" }' > package.json
npm install --silent --offline --no-audit ../library/library-1.0.0.tgz > /dev/null
node -e 'console.log(require("library")())'"#, "from the library"),
        writes("pip", "sh", r#"set -e; mkdir home; export HOME=$PWD/home PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python3 - <<'EOF'
import zipfile
with zipfile.ZipFile('library-1.0-py3-none-any.whl', 'w') as z:
    z.writestr('library.py', 'def say(): return "from the wheel"\n')
    z.writestr('library-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: library\nVersion: 1.0\n')
    z.writestr('library-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    z.writestr('library-1.0.dist-info/RECORD', 'library.py,,\nlibrary-1.0.dist-info/METADATA,,\nlibrary-1.0.dist-info/WHEEL,,\nlibrary-1.0.dist-info/RECORD,,\n')
EOF
pip3 install --quiet --no-index --target site --root-user-action ignore ./library-1.0-py3-none-any.whl
PYTHONPATH=site python3 -c 'import library; print(library.say())'"#, "from the wheel"),
    ]);
}

/// Neither is installed for the tests alone; where it is, it has to work.
#[rustfmt::skip]
pub(crate) fn java(scene: &Scene) {
    if !at_hand("javac") { return }
    judge_slow(scene, &[
        writes("javac and java", "sh", r#"set -e
echo 'public class Hello { public static void main(String[] a) throws Exception {
  Thread t = new Thread(() -> System.out.println("from a thread")); t.start(); t.join(); } }' > Hello.java
javac -d . Hello.java && java -XshowSettings:system -version > settings 2>&1 && java -cp . Hello"#, "from a thread"),
        sockets("java, sockets", "sh", r#"set -e
echo 'import java.net.*; public class Talk { public static void main(String[] a) throws Exception {
  ServerSocket s = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
  Socket c = new Socket(s.getInetAddress(), s.getLocalPort()); c.getOutputStream().write(7);
  System.out.println(s.accept().getInputStream().read()); } }' > Talk.java
javac -d . Talk.java && java -cp . Talk"#, "7"),
    ]);
}

pub(crate) fn cargo(scene: &Scene) {
    let Some(path) = own_rust(scene) else { return };
    let script = format!("export PATH='{path}'\n{CARGO}");
    // Rows are of programs that are known when this is compiled; the toolchain's place is not.
    judge_slow(scene, &[writes("cargo, build and test", "sh", script.leak(), "2")]);
}

const CARGO: &str = r#"set -e; export CARGO_HOME=$PWD/cargo-home CARGO_TERM_QUIET=true
mkdir -p src; printf '[package]\nname = "tiny"\nversion = "0.1.0"\nedition = "2021"\n' > Cargo.toml
echo 'fn main() { println!("{}", two()); } fn two() -> i32 { 2 } #[test] fn is_two() { assert_eq!(two(), 2); }' > src/main.rs
cargo build --offline && cargo test --offline > /dev/null && target/debug/tiny"#;
