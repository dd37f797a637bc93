//! Somebody outside with a unix socket, and commands at level namespaces.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use codex_tests::harness::{Invocation, Policy, Scene, missing};

/// Whether this machine gives namespaces and notifications; says so where it does not.
pub(crate) fn brokered(scene: &Scene) -> bool {
    let run =
        scene.under(Policy::WorkspaceWrite).options(["--isolation", "namespaces", "--json"]).shell(":").run();
    let brokered = run.text().contains(r#""unix_sockets":"broker""#);
    if !brokered {
        missing("namespaces and seccomp notifications");
    }
    brokered
}

/// A command at level namespaces, or without a sandbox.
pub(crate) fn under(
    scene: &Scene,
    policy: Policy,
    options: &[&str],
    program: impl AsRef<Path>,
    arguments: &[&str],
) -> Invocation {
    let level: &[&str] = if policy == Policy::Bare { &[] } else { &["--isolation", "namespaces"] };
    let options = if policy == Policy::Bare { &[] } else { options };
    scene.under(policy).options(level.iter().chain(options)).command(program.as_ref(), arguments)
}

/// A listener outside.
pub(crate) struct Host {
    listener: UnixListener,
    path: PathBuf,
}

impl Host {
    pub(crate) fn at(scene: &Scene, relative: &str) -> Self {
        let path = scene.path(relative);
        let listener = UnixListener::bind(&path).expect("listen outside");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        scene.give_away(&path);
        Self { listener, path }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.to_str().expect("a path in UTF-8")
    }

    /// How many have come since.
    pub(crate) fn heard(&self) -> usize {
        std::iter::from_fn(|| match self.listener.accept() {
            Ok(_) => Some(()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "accept outside: {error}");
                None
            }
        })
        .count()
    }
}

/// A program in C.
pub(crate) fn built(scene: &Scene, gcc: &Path, name: &str, source: &str) -> PathBuf {
    let (source, program) = (scene.file(&format!("{name}.c"), source), scene.path(name));
    let built = Command::new(gcc).args(["-O2", "-pthread", "-o"]).args([&program, &source]).status();
    assert!(built.expect("run gcc").success(), "{name}.c does not compile");
    program
}
