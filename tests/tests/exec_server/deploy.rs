//! What is in `deploy/`: manifests by Kubernetes' own schemas, the unit by systemd, the program by an empty root. Each check is seen to
//! fail as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use codex_tests::harness::require_tool;

use super::python_client::packages;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Whether a command succeeds, and what it says.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    (output.status.success(), said)
}

/// A file of `deploy/` with one thing in it changed, under its own name.
fn changed(directory: &Path, file: &Path, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is not in {}", file.display());
    let path = directory.join(file.file_name().unwrap());
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    path
}

#[test]
fn manifests_are_what_kubernetes_takes() {
    let directory = deploy().join("kubernetes");
    let Some(packages) = packages(&directory.join("requirements-check.txt")) else { return };
    // The checker itself, once for every set of files: what it knows of Kubernetes takes seconds to be loaded.
    let each = "
import sys, check
at = [i for i, word in enumerate(sys.argv) if word == '--'] + [len(sys.argv)]
for start, end in zip(at, at[1:]): print('==', int(check.main(sys.argv[start + 1 : end])))";
    let check = |sets: &[[PathBuf; 2]]| -> Vec<(bool, String)> {
        let mut python = Command::new("python3");
        python.args(["-c", each]);
        for files in sets {
            python.arg("--").args(files);
        }
        let paths = std::env::join_paths([&directory, &packages]).unwrap();
        let (ran, said) = run(python.env("PYTHONPATH", paths).env("PYTHONDONTWRITEBYTECODE", "1"));
        assert!(ran, "{said}");
        let (mut verdicts, mut text) = (Vec::new(), String::new());
        for line in said.lines() {
            match line.strip_prefix("== ") {
                Some(verdict) => verdicts.push((verdict == "0", std::mem::take(&mut text))),
                None => text.extend([line, "\n"]),
            }
        }
        assert_eq!(verdicts.len(), sets.len(), "{said}");
        verdicts
    };
    let [server, template] = ["exec-server.yaml", "sandbox-template.yaml"].map(|name| directory.join(name));
    let scratch = tempfile::tempdir().unwrap();
    let mut sets = vec![[server.clone(), template.clone()]];
    let mistakes = [
        (&server, "replicas: 2", "replicas: two", "StatefulSet codex-exec-server"),
        (&server, "readOnlyRootFilesystem", "readonlyRootFilesystem", "readonlyRootFilesystem"),
        (&server, "policyTypes: [Ingress, Egress]", "policyType: [Ingress]", "policyType"),
        (&server, "path: /readyz, port: ws", "path: /readyz, port: web", "no port web"),
        (&server, "name: workspace, mountPath", "name: work, mountPath", "no volume work"),
        (&server, "serviceName: codex-exec-server", "serviceName: other", "no Service other"),
        (
            &server,
            "selector: {app.kubernetes.io/name: codex",
            "selector: {app.kubernetes.io/name: x",
            "selects nothing",
        ),
        (&template, "runAsUser: 65532", "runAsUser: nobody", "SandboxTemplate codex-exec-server"),
        (&template, "v1alpha1\nkind", "v9\nkind", "another SandboxTemplate"),
        (&template, "configMap: {name: codex-exec-server}", "configMap: {name: none}", "no ConfigMap none"),
    ];
    for (number, (file, from, to, _)) in mistakes.iter().enumerate() {
        let place = scratch.path().join(number.to_string());
        fs::create_dir(&place).unwrap();
        let planted = changed(&place, file, from, to);
        sets.push(if *file == &server { [planted, template.clone()] } else { [server.clone(), planted] });
    }
    let mut verdicts = check(&sets).into_iter();
    let (passes, said) = verdicts.next().unwrap();
    assert!(passes && said.ends_with("7 documents, 0 problems\n"), "{said}");
    for ((.., to, expected), (passes, said)) in mistakes.iter().zip(verdicts) {
        assert!(!passes && said.contains(expected), "{to}: {said}");
    }
    // As it is typed, it says so by its end.
    for (files, code) in [(&sets[0], 0), (&sets[1], 1)] {
        let mut python = Command::new("python3");
        let typed = python.arg(directory.join("check.py")).args(files).env("PYTHONPATH", &packages);
        let status = typed.env("PYTHONDONTWRITEBYTECODE", "1").stdout(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(code));
    }
}

#[test]
fn the_unit_is_what_systemd_takes() {
    if require_tool("systemd-analyze").is_none() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let unit = deploy().join("systemd/codex-exec-server.service");
    let codex = env!("CARGO_BIN_EXE_codex-under-test");
    // It looks for the programs, of which ours is not installed here, and for the manual.
    let here =
        changed(scratch.path(), &unit, "ExecStart=/usr/local/bin/codex", &format!("ExecStart={codex}"));
    let manual = "Documentation=file:///usr/local/share/doc/codex/deploy.md\n";
    let here = changed(scratch.path(), &here, manual, "");
    // Each is looked for beside the other.
    let socket = changed(scratch.path(), &deploy().join("systemd/codex-exec-server.socket"), manual, "");
    let verify = |path: &Path| run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path));
    let (passes, said) = verify(&here);
    assert!(passes && !said.contains("codex-exec-server"), "{said}");
    let (passes, said) = verify(&socket);
    assert!(passes && !said.contains("codex-exec-server"), "{said}");
    let wrong = tempfile::tempdir().unwrap();
    changed(wrong.path(), &here, "", "");
    let planted = changed(wrong.path(), &socket, "ListenStream=127", "ListenStream=x127");
    let (_, said) = verify(&planted);
    assert!(said.contains("codex-exec-server"), "{said}");
    changed(wrong.path(), &socket, "", "");
    for (from, to) in [
        ("KillMode=mixed", "KillMode=both"),
        ("NoNewPrivileges", "NoMorePrivileges"),
        (codex, "/nowhere/codex"),
        ("TimeoutStopSec=20", "TimeoutStopSec=soon"),
    ] {
        let planted = changed(wrong.path(), &here, from, to);
        let (_, said) = verify(&planted);
        assert!(said.contains("codex-exec-server"), "{to}: {said}");
    }
    // What it starts is what the program takes.
    let text = fs::read_to_string(&unit).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/codex ")).unwrap();
    let arguments: Vec<&str> = line.split(' ').map(|word| word.split('=').next().unwrap()).skip(1).collect();
    let (_, help) = run(Command::new(codex).args(["exec-server", "--help"]));
    for option in &arguments {
        assert!(help.contains(option), "{option}");
    }
    assert_eq!(arguments.len(), 5, "{arguments:?}");
}

/// What the unit takes from the server, each looked at for what it does to sandboxes: none of them refuses the calls of one, nor
/// covers a part of `/proc`.
const HARDENED: [&str; 11] = [
    "NoNewPrivileges",
    "CapabilityBoundingSet",
    "AmbientCapabilities",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "PrivateDevices",
    "ProtectClock",
    "RestrictRealtime",
    "LockPersonality",
    "UMask",
];

/// The level that commands have where systemd has made `mounts` for the server.
fn level_behind(mounts: &str) -> String {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = format!("set -e\n{mounts}\nexec unshare --user --map-user=1000 --map-group=1000 \"$@\"");
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "--propagation=private", "sh", "-c", &script, "sh"]);
    unshare.arg(env!("CARGO_BIN_EXE_codex-under-test")).args(["sandbox", "--json", "-C"]).arg(home.path());
    let (runs, said) = run(unshare.args(["--", "true"]).env("CODEX_HOME", home.path()));
    assert!(runs, "{mounts}: {said}");
    let result: serde_json::Value = serde_json::from_str(&said).unwrap();
    result["enforcement"]["level"].as_str().unwrap().to_owned()
}

#[test]
fn the_unit_leaves_sandboxes_what_they_need() {
    let text = fs::read_to_string(deploy().join("systemd/codex-exec-server.service")).unwrap();
    let (_, hardened) = text.split_once("# What is the server's alone to lose.").unwrap();
    let hardened = hardened.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let hardened = hardened.take_while(|line| *line != "[Install]");
    assert_eq!(hardened.map(|line| line.split('=').next().unwrap()).collect::<Vec<_>>(), HARDENED);
    if require_tool("unshare").is_none() {
        return;
    }
    // As ProtectHome and PrivateDevices make them; /dev has less in it.
    let harmless = "mount -t tmpfs -o ro,mode=000 none /home
        new=$(mktemp -d); mount -t tmpfs -o mode=755,nosuid,noexec none $new
        for device in null zero full random urandom tty; do
            : >$new/$device; mount --bind /dev/$device $new/$device
        done
        mkdir $new/pts $new/shm; mount --rbind /dev/pts $new/pts; mount --rbind /dev/shm $new/shm
        ln -s pts/ptmx $new/ptmx; mount --move $new /dev; rmdir $new";
    assert_eq!(level_behind(harmless), "namespaces");
    // As ProtectHostname, ProtectKernelTunables and ProtectKernelLogs make them.
    let read_only = |path: &str| {
        format!("mount --bind {path} {path}; mount -o remount,bind,ro,nosuid,nodev,noexec {path}")
    };
    for mounts in [
        read_only("/proc/sys/kernel/hostname"),
        read_only("/proc/sys"),
        "mount --bind /dev/null /proc/kmsg".to_owned(),
    ] {
        assert_eq!(level_behind(&mounts), "landlock", "{mounts}");
    }
}

#[test]
fn the_program_runs_in_an_image_of_nothing_else() {
    if require_tool("unshare").is_none() {
        return;
    }
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_codex-under-test"), root.path().join("codex")).unwrap();
    let inside = |program: &str| {
        let mut unshare = Command::new("unshare");
        run(unshare.args(["--map-root-user", "--root"]).arg(root.path()).args([program, "--version"]))
    };
    let (runs, said) = inside("/codex");
    assert!(runs && said.starts_with("codex"), "{said}");
    // Whatever else is on this machine is not there.
    assert!(!inside("/bin/sh").0);
    let recipe = fs::read_to_string(deploy().join("oci/Containerfile")).unwrap();
    assert!(recipe.contains("FROM scratch AS binary\nCOPY --chmod=0755 codex /codex\n"), "{recipe}");
    // The image with tools in it has what https takes.
    let (_, server) = recipe.split_once("FROM ${BASE} AS server\n").unwrap();
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    assert!(
        server.contains(&format!("COPY --from=certificates {certificates} {certificates}\n")),
        "{recipe}"
    );
    assert!(recipe.contains("AS certificates\nRUN apt-get update && apt-get install"), "{recipe}");
}
