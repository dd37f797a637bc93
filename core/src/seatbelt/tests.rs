use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{PROGRAM, SeatbeltInput, SeatbeltRoot, WriteAccess, arguments};

mod evaluate;

use evaluate::{Term, allows, parse};

/// Arguments taken apart again, as the program does.
struct Invocation {
    text: String,
    parameters: BTreeMap<String, PathBuf>,
    command: Vec<OsString>,
}

impl Invocation {
    fn of(policy: &SeatbeltInput, command: &[&str]) -> Self {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        let mut arguments = arguments(policy, &command).into_iter();
        assert_eq!(arguments.next().unwrap(), "-p");
        let text = arguments.next().unwrap().into_string().unwrap();
        let mut parameters = BTreeMap::new();
        for definition in arguments.by_ref().take_while(|argument| argument != "--") {
            let definition = definition.into_vec();
            let equals = definition.iter().position(|byte| *byte == b'=').unwrap();
            let name = String::from_utf8(definition[..equals].to_vec()).unwrap();
            let value = PathBuf::from(OsString::from_vec(definition[equals + 1..].to_vec()));
            let name = name.strip_prefix("-D").unwrap().to_owned();
            assert_eq!(parameters.insert(name, value), None, "a parameter is defined once");
        }
        Self { text, parameters, command: arguments.collect() }
    }

    fn rules(&self) -> Vec<Term> {
        parse(&self.text).unwrap()
    }

    fn allows(&self, operation: &str, path: &str) -> bool {
        allows(&self.rules(), &self.parameters, operation, Path::new(path))
    }

    fn allows_writing(&self, path: &str) -> bool {
        let operations = ["file-write-create", "file-write-data", "file-write-unlink", "file-write-mode"];
        let allowed = operations.map(|operation| self.allows(operation, path));
        assert!(allowed.iter().all(|one| *one == allowed[0]), "{path}: {operations:?}: {allowed:?}");
        allowed[0]
    }
}

fn root(root: &str, read_only: &[&str]) -> SeatbeltRoot {
    SeatbeltRoot { root: root.into(), read_only: read_only.iter().map(PathBuf::from).collect() }
}

fn writing(roots: Vec<SeatbeltRoot>) -> SeatbeltInput {
    SeatbeltInput { write: WriteAccess::Roots(roots), network: false, terminal: false }
}

#[test]
fn the_program_has_a_fixed_path() {
    assert_eq!(PROGRAM, "/usr/bin/sandbox-exec");
}

#[test]
fn the_rules_for_a_root_read_like_this() {
    let invocation =
        Invocation::of(&writing(vec![root("/project/", &["/project/a/b"])]), &["make", "-j", "--", "x"]);
    let (_, rules) = invocation.text.split_once("protected paths apart ---\n\n").unwrap();
    let expected = r#"(allow file-write*
  (require-all
    (require-any
      (subpath (param "WRITABLE_ROOT_0")))
    (require-not (regex (string-append "^" (regex-quote (param "WRITABLE_ROOT_0")) "/[.][gG][iI][tT](/|$)")))
    (require-not (regex (string-append "^" (regex-quote (param "WRITABLE_ROOT_0")) "/[.][cC][oO][dD][eE][xX](/|$)")))
    (require-not (literal (param "WRITABLE_ROOT_0_RO_0")))
    (require-not (subpath (param "WRITABLE_ROOT_0_RO_0")))
    (require-not (literal (param "WRITABLE_ROOT_0_RO_1")))
    (require-not (subpath (param "WRITABLE_ROOT_0_RO_1")))
    (require-not (literal (param "WRITABLE_ROOT_0_RO_2")))
    (require-not (subpath (param "WRITABLE_ROOT_0_RO_2")))))

; The directories above them stay where they are.
(deny file-write-create file-write-unlink
  (literal (param "PINNED_0"))
  (literal (param "PINNED_1")))
"#;
    assert_eq!(rules, expected);
    let parameters = [
        ("PINNED_0", "/project"),
        ("PINNED_1", "/project/a"),
        ("WRITABLE_ROOT_0", "/project"),
        ("WRITABLE_ROOT_0_RO_0", "/project/.git"),
        ("WRITABLE_ROOT_0_RO_1", "/project/.codex"),
        ("WRITABLE_ROOT_0_RO_2", "/project/a/b"),
    ];
    let parameters = parameters.map(|(name, path)| (name.to_owned(), PathBuf::from(path)));
    assert_eq!(invocation.parameters, BTreeMap::from(parameters));
    // A trailing slash, which `PathBuf` doesn't compare, would keep the root from matching.
    assert_eq!(invocation.parameters["WRITABLE_ROOT_0"].as_os_str(), "/project");
    assert_eq!(invocation.command, ["make", "-j", "--", "x"]);
}

#[test]
fn without_roots_only_devices_can_be_written() {
    let invocation = Invocation::of(&writing(vec![]), &["true"]);
    assert_eq!(invocation.parameters, BTreeMap::new());
    assert!(!invocation.allows_writing("/project/a"));
    assert!(invocation.allows("file-write-data", "/dev/null"));
    assert!(!invocation.allows("file-write-unlink", "/dev/null"));
    assert!(invocation.allows("file-read-data", "/etc/hosts"));
}

#[test]
fn full_access_writes_everywhere_and_protects_nothing() {
    let policy = SeatbeltInput { write: WriteAccess::Full, network: true, terminal: false };
    let invocation = Invocation::of(&policy, &["true"]);
    assert_eq!(invocation.parameters, BTreeMap::new());
    assert!(invocation.allows_writing("/project/.git/hooks/pre-commit"));
}

#[test]
fn the_network_is_off_unless_asked_for() {
    let off = Invocation::of(&writing(vec![root("/project", &[])]), &["true"]);
    assert!(!off.text.contains("network") && !off.text.contains("socket"));
    for operation in ["network-outbound", "network-inbound", "network-bind", "system-socket"] {
        assert!(!off.allows(operation, "/var/run/socket"));
        let policy = SeatbeltInput { network: true, ..writing(vec![]) };
        assert!(Invocation::of(&policy, &["true"]).allows(operation, "/var/run/socket"));
    }
}

#[test]
fn the_terminal_is_shared_only_on_request() {
    let input = writing(vec![]);
    assert!(!Invocation::of(&input, &["true"]).allows("file-ioctl", "/dev/tty"));
    let invocation = Invocation::of(&SeatbeltInput { terminal: true, ..input }, &["true"]);
    assert!(invocation.allows("file-ioctl", "/dev/tty"));
}

#[test]
fn a_root_can_be_written_but_for_its_metadata() {
    let invocation =
        Invocation::of(&writing(vec![root("/project", &["/project/sub/.git", "deep/down"])]), &["true"]);
    for path in [
        "/project/a",
        "/project/.gitignore",
        "/project/x.git",
        "/project/sub/a",
        "/project/a/.git",
        "/project/deep/other",
    ] {
        assert!(invocation.allows_writing(path), "{path}");
    }
    let protected = [
        "/project/.git",
        "/project/.git/hooks/x",
        "/project/.GIT/config",
        "/project/.Codex",
        "/project/.codex/config.toml",
    ];
    for path in protected {
        assert!(!invocation.allows_writing(path), "{path}");
    }
    for path in [
        "/project/sub/.git",
        "/project/sub/.git/config",
        "/project/deep/down",
        "/",
        "/workshop/a",
        "/etc/hosts",
    ] {
        assert!(!invocation.allows_writing(path), "{path}");
    }
    for path in ["/project", "/project/sub", "/project/deep"] {
        assert!(invocation.allows("file-write-mode", path), "{path}");
        assert!(!invocation.allows("file-write-unlink", path), "{path} could be renamed");
        assert!(!invocation.allows("file-write-create", path), "{path} could be planted");
    }
}

#[test]
fn a_root_around_another_opens_no_way_to_what_that_protects() {
    let roots = vec![root("/private/tmp", &[]), root("/private/tmp/repo", &["/private/tmp/main/.git"])];
    let invocation = Invocation::of(&writing(roots), &["true"]);
    assert!(invocation.allows_writing("/private/tmp/repo/a"));
    assert!(!invocation.allows_writing("/private/tmp/repo/.git/config"));
    assert!(!invocation.allows_writing("/private/tmp/main/.git/config"));
    assert!(!invocation.allows("file-write-unlink", "/private/tmp/repo"));
    assert!(!invocation.allows("file-write-unlink", "/private/tmp/main"));
}

/// Names that would break out of a string, a comment, a list, a definition or UTF-8.
fn paths() -> impl Strategy<Value = PathBuf> {
    let byte = prop_oneof![prop::sample::select(b"\"\\();=# \n|#^$.*-zZ".as_slice()), 1..=255u8];
    prop::collection::vec(byte, 0..12).prop_map(|name| {
        let name: Vec<u8> = [b"/roots/m4rk".as_slice(), &name].concat();
        PathBuf::from(OsString::from_vec(name))
    })
}

fn roots() -> impl Strategy<Value = Vec<SeatbeltRoot>> {
    let root = (paths(), prop::collection::vec(paths(), 0..3));
    prop::collection::vec(root.prop_map(|(root, read_only)| SeatbeltRoot { root, read_only }), 0..5)
}

proptest! {
    #[test]
    fn parameters_carry_the_paths_and_the_text_none(
        roots in roots(),
        network in any::<bool>(),
        terminal in any::<bool>(),
    ) {
        let policy = SeatbeltInput { write: WriteAccess::Roots(roots.clone()), network, terminal };
        let invocation = Invocation::of(&policy, &["true"]);

        let rules = parse(&invocation.text);
        prop_assert!(rules.is_some(), "not a list of balanced terms");
        let referenced: BTreeSet<String> = rules.unwrap().iter().flat_map(Term::parameters).collect();
        let defined: BTreeSet<String> = invocation.parameters.keys().cloned().collect();
        prop_assert_eq!(referenced, defined);

        prop_assert!(!invocation.text.contains("m4rk") && invocation.text.is_ascii());
        prop_assert_eq!(invocation.text.contains("network"), network);
        for (number, root) in roots.iter().enumerate() {
            let defined = &invocation.parameters[&format!("WRITABLE_ROOT_{number}")];
            prop_assert_eq!(defined, &root.root);
            prop_assert!(!defined.as_os_str().as_bytes().ends_with(b"/"));
            for name in [".git", ".GIT/x", ".codex/config.toml"] {
                let path = defined.join(name);
                prop_assert!(!allows(&invocation.rules(), &invocation.parameters, "file-write-create", &path));
            }
        }
    }
}
