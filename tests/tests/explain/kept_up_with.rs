//! What would get away from an observer, or make it lose its way: processes that want not to be followed, threads without number,
//! thousands of pipelines, its own end.

use std::fs;
use std::path::Path;

use codex_tests::harness::{Identity, Level, Policy, Scene, landlock_abi, require_tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::unnoticed::{alike, compiled};
use super::{denials, furnish, json};

/// As many threads as keep an observer busy that serves first whoever is found first, and one that only wants to end.
const CROWD: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static char **arguments;
static void *spin(void *unused) {
    (void)unused;
    for (;;) { int file = open(arguments[1], O_WRONLY); if (file >= 0) close(file); }
}
int main(int count, char **given) {
    (void)count;
    arguments = given;
    for (int i = 0; i < 64; i++) { pthread_t thread; pthread_create(&thread, 0, spin, 0); }
    long refused = 0;
    for (int i = 0; i < 100; i++) {
        int file = open(arguments[1], O_WRONLY);
        if (file >= 0) close(file); else refused++;
    }
    printf("%ld refused\n", refused);
    fflush(stdout);
    _exit(5);
}
"#;

pub(super) fn one_of_many_threads_gets_its_turn(scene: &Scene) {
    furnish(scene);
    let Some(program) = compiled(scene, "crowd", CROWD, &["-pthread"]) else { return };
    let outside = scene.path("outside/file").display().to_string();
    let [bare, plain, _] = alike(scene, &program, &[&outside]);
    assert_eq!((bare.code(), bare.text().as_str()), (Some(5), "0 refused\n"), "{}", bare.describe());
    assert_eq!(plain.text(), "100 refused\n", "{}", plain.describe());
}

/// A child that a debugger would not get, by itself and by a thread: it opens what it may not, and makes a call that a filter
/// traps.
const UNTRACED: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static const char *path;
static int act(void *unused) {
    (void)unused;
    int file = open(path, O_WRONLY);
    printf("open %s\n", file >= 0 ? "works" : errno == EROFS || errno == EACCES ? "refused" : "otherwise");
    long answer = syscall(SYS_ptrace, 0L, 0L, 0L, 0L);
    printf("trace %s\n", answer == 0 ? "works" : errno == EPERM ? "refused" : "otherwise");
    fflush(stdout);
    return 7;
}
int main(int count, char **arguments) {
    (void)count;
    path = arguments[1];
    int status = 0;
    long child = syscall(SYS_clone, (long)(CLONE_UNTRACED | SIGCHLD), 0L, 0L, 0L, 0L);
    if (child == 0) _exit(act(0));
    waitpid(child, &status, 0);
    printf("exited %d, killed by %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    fflush(stdout);
    char *stack = malloc(1 << 20);
    child = clone(act, stack + (1 << 20), CLONE_UNTRACED | CLONE_VM | SIGCHLD, 0);
    waitpid(child, &status, 0);
    printf("exited %d, killed by %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return 3;
}
"#;

pub(super) fn who_is_not_to_be_followed_is(scene: &Scene) {
    furnish(scene);
    let Some(program) = compiled(scene, "untraced", UNTRACED, &[]) else { return };
    let outside = scene.path("outside/file").display().to_string();
    let [bare, plain, _] = alike(scene, &program, &[&outside]);
    let twice = |word| format!("open {word}\ntrace {word}\nexited 7, killed by 0\n").repeat(2);
    assert_eq!((bare.code(), bare.text()), (Some(3), twice("works")), "{}", bare.describe());
    assert_eq!((plain.code(), plain.text()), (Some(3), twice("refused")), "{}", plain.describe());
    let options = ["--json", "--explain"];
    let run = scene.under(Policy::WorkspaceWrite).options(options).command(&program, [&outside]).run();
    let found = denials(&run);
    let twice = |operation: &str, target: &str| {
        found.iter().any(|denial| {
            denial["operation"] == operation && denial["target"] == target && denial["count"] == 2
        })
    };
    let told = twice("write", &outside) && twice("call", "ptrace") && found.len() == 2;
    assert!(told, "{found:?}\n{}", run.describe());
}

/// Asks three ways whether a process may be signalled.
const SIGNALS: &str = r#"
import ctypes, errno, os, signal, sys
target = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
information = (ctypes.c_int * 32)(0, 0, -1)
def call(*words):
    libc.syscall(*words)
    return errno.errorcode.get(ctypes.get_errno(), "works")
try:
    signal.pidfd_send_signal(os.pidfd_open(target), 0)
    print("works")
except OSError as error:
    print(errno.errorcode[error.errno])
ctypes.set_errno(0)
print(call(129, target, 0, information) if os.uname().machine == "x86_64" else call(138, target, 0, information))
ctypes.set_errno(0)
print(call(297, target, target, 0, information) if os.uname().machine == "x86_64" else call(240, target, target, 0, information))
"#;

pub(super) fn signals_are_seen_whatever_sends_them(scene: &Scene) {
    // Elsewhere a process outside has no number.
    if scene.level() != Level::Landlock || landlock_abi(scene) < 6 {
        return;
    }
    if require_tool("python3").is_none() {
        return;
    }
    let victim = scene.victim();
    let pid = victim.pid().to_string();
    let [bare, plain, _] = alike(scene, "python3", &["-c", SIGNALS, &pid]);
    assert_eq!(bare.text(), "works\n".repeat(3), "{}", bare.describe());
    assert_eq!(plain.text(), "EPERM\n".repeat(3), "{}", plain.describe());
    let run = scene
        .under(Policy::WorkspaceWrite)
        .options(["--json", "--explain"])
        .command("python3", ["-c", SIGNALS, &pid])
        .run();
    let found = denials(&run);
    let [denial] = found.as_slice() else { run.fail(&format!("{found:?}")) };
    let told = (&denial["operation"], &denial["target"], &denial["count"]);
    assert_eq!(told, (&"signal".into(), &pid.as_str().into(), &3.into()), "{}", run.describe());
}

/// Looks at a file without opening it. What the file has nothing of is no refusal.
const LOOKS: &str = r#"
import ctypes, errno, os, sys
path = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
def told(work):
    try:
        work()
        return "works"
    except OSError as error:
        return "works" if error.errno in (errno.ENODATA, errno.EOPNOTSUPP) else errno.errorcode[error.errno]
def called(function, *words):
    if function(*words) < 0:
        raise OSError(ctypes.get_errno(), "")
name = os.fsencode(path)
watch = libc.inotify_init1(0)
handle, mount = (ctypes.c_uint * 64)(128), ctypes.c_int()
for work in [
    lambda: os.getxattr(path, "user.none"),
    lambda: os.getxattr(path, "user.none", follow_symlinks=False),
    lambda: os.listxattr(path),
    lambda: os.listxattr(path, follow_symlinks=False),
    lambda: called(libc.statfs, name, ctypes.create_string_buffer(1024)),
    lambda: called(libc.inotify_add_watch, watch, name, 2),
    lambda: called(libc.name_to_handle_at, -100, name, handle, ctypes.byref(mount), 0),
]:
    print(told(work))
"#;

pub(super) fn looks_are_seen_where_something_is_hidden(scene: &Scene) {
    // Root finds hidden places empty; at level landlock nothing is hidden.
    if scene.level() != Level::Namespaces || scene.identity() == Identity::Root {
        return;
    }
    if require_tool("python3").is_none() {
        return;
    }
    scene.directory("workspace/hidden");
    let file = scene.file("workspace/hidden/file", "x").display().to_string();
    let rule = format!("sandbox.deny_read=['{}']", scene.path("workspace/hidden").display());
    let bare = scene.under(Policy::Bare).command("python3", ["-c", LOOKS, &file]).run();
    assert_eq!(bare.text(), "works\n".repeat(7), "{}", bare.describe());
    let run = scene
        .under(Policy::WorkspaceWrite)
        .options(["--json", "--explain", "-c", &rule])
        .command("python3", ["-c", LOOKS, &file])
        .run();
    let found = denials(&run);
    assert_eq!(json(&run)["stdout"]["text"], "EACCES\n".repeat(7), "{}", run.describe());
    let [denial] = found.as_slice() else { run.fail(&format!("{found:?}")) };
    let told = (&denial["operation"], &denial["target"], &denial["count"]);
    assert_eq!(told, (&"read".into(), &file.as_str().into(), &7.into()), "{}", run.describe());
}

/// How many pipelines each shell runs: `CODEX_TESTS_PIPELINES`, for a long run.
fn pipelines() -> u32 {
    std::env::var("CODEX_TESTS_PIPELINES").map_or(100, |text| text.parse().expect("a number of pipelines"))
}

/// The work of `{}` pipelines, each of which ends by a code of its own that its shell has to see.
const PIPELINES: &str = "\
    i=0; sum=0; wrong=0\n\
    while [ $i -lt {} ]; do\n\
        echo $i | cat | (read n; exit $((n % 100 + 1)))\n\
        code=$?; sum=$((sum + code)); [ $code = $((i % 100 + 1)) ] || wrong=$((wrong + 1))\n\
        i=$((i + 1))\n\
    done\n\
    true > \"$0\"\n\
    echo \"$i pipelines, $wrong wrong, $sum\"; exit 9";

pub(super) fn pipelines_by_the_thousand_end_alike(scene: &Scene) {
    furnish(scene);
    let outside = scene.path("outside/file").display().to_string();
    let count = pipelines();
    for words in [&["sh"][..], &["bash"], &["busybox", "sh"]] {
        let Some(shell) = require_tool(words[0]) else { continue };
        let applets = words.get(1).copied();
        // One at a time: what takes long is not to take longer than a run may.
        for first in (0..count).step_by(500) {
            let some = (count - first).min(500);
            let script = PIPELINES.replace("{}", &some.to_string());
            let arguments = applets.into_iter().chain(["-c", &script, &outside]);
            let run = scene
                .under(Policy::WorkspaceWrite)
                .options(["--json", "--explain"])
                .command(&shell, arguments)
                .run();
            let whole = json(&run);
            let sum: u32 = (0..some).map(|number| number % 100 + 1).sum();
            let text = format!("{some} pipelines, 0 wrong, {sum}\n");
            assert_eq!(whole["stdout"]["text"], text.as_str(), "{words:?} {}", run.describe());
            assert_eq!((&whole["exit_code"], &whole["left_behind"]), (&9.into(), &serde_json::json!([])));
            let found = denials(&run);
            let seen = found.iter().any(|denial| denial["target"] == outside.as_str());
            assert!(seen, "{words:?}: {found:?}\n{}", run.describe());
        }
    }
}

/// Busybox is one program with many names: a shell that does much without starting anything, and else executes itself.
pub(super) fn busybox_ends_alike(scene: &Scene) {
    furnish(scene);
    let Some(busybox) = require_tool("busybox") else { return };
    let busybox = busybox.display().to_string();
    let outside = scene.path("outside/file").display().to_string();
    let script = "
        busybox seq 200 | busybox sort -rn | busybox head -n 1
        busybox mkdir -p tree/a/b; busybox touch tree/a/b/c; busybox find tree | busybox sort | busybox md5sum
        busybox tar -cf - tree | busybox tar -tf - | busybox sort | busybox wc -l
        busybox sh -c 'busybox true && exit 4'; echo \"shell $?\"
        (busybox sleep 100 & busybox kill -TERM $!; wait $!; echo \"killed $?\") 2> /dev/null
        busybox cp tree/a/b/c \"$0\" 2> /dev/null || echo refused
        busybox rm -r tree; exit 6";
    let [bare, plain, _] = alike(scene, &busybox, &["sh", "-c", script, &outside]);
    assert_eq!((bare.code(), plain.code()), (Some(6), Some(6)), "{}", bare.describe());
    assert!(bare.text().ends_with("shell 4\nkilled 143\n"), "{}", bare.describe());
    assert_eq!(plain.text(), bare.text() + "refused\n", "{}", plain.describe());
}

/// The process that observes for a run: a child of this program that was started so.
fn observer_of(codex: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{codex}/task/{codex}/children")).ok()?;
    children.split_whitespace().filter_map(|number| number.parse().ok()).map(Pid::from_raw).find(|child| {
        let line = fs::read(Path::new("/proc").join(child.to_string()).join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"--observe")
    })
}

pub(super) fn the_observers_end_is_the_commands(scene: &Scene) {
    let script = "echo begun; (sleep 1000 & exec sleep 1000); echo went on";
    let said =
        "codex: ended because the process of codex that observed it (--explain) was ended from outside\n";
    for options in [&["--explain"][..], &["--explain", "--grace", "0s"]] {
        let mut running = scene.under(Policy::WorkspaceWrite).options(options).shell(script).start();
        assert_eq!(running.line().as_deref(), Some("begun"));
        let observer = observer_of(running.pid()).expect("somebody observes");
        kill(observer, Signal::SIGKILL).expect("kill the observer");
        let run = running.finish();
        assert_eq!((run.code(), run.text().as_str()), (Some(137), "begun\n"), "{}", run.describe());
        assert_eq!(run.error_text(), said, "{}", run.describe());
    }
    // Captured, nothing is printed before the end: a pipe says that it has begun.
    let fifo = scene.path("workspace/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("make a pipe");
    scene.give_away(&fifo);
    let script = format!("echo begun > {}; sleep 1000; echo went on", fifo.display());
    let running = scene.under(Policy::WorkspaceWrite).options(["--json", "--explain"]).shell(&script).start();
    assert_eq!(fs::read_to_string(&fifo).expect("wait for the command"), "begun\n");
    kill(observer_of(running.pid()).expect("somebody observes"), Signal::SIGKILL).expect("kill the observer");
    let run = running.finish();
    let whole = json(&run);
    let told = (&whole["outcome"], &whole["exit_code"], &whole["signal"], run.code());
    assert_eq!(
        told,
        (&"observer_ended".into(), &serde_json::Value::Null, &serde_json::Value::Null, Some(137))
    );

    // A command that is killed otherwise was killed otherwise, and whoever is not sees it to the end.
    let run = |script| {
        let run = scene.under(Policy::WorkspaceWrite).options(["--json", "--explain"]).shell(script).run();
        let whole = json(&run);
        (whole["outcome"].clone(), whole["exit_code"].clone(), whole["signal"].clone())
    };
    assert_eq!(run("kill -KILL $$"), ("signalled".into(), serde_json::Value::Null, 9.into()));
    assert_eq!(run("echo ended"), ("exited".into(), 0.into(), serde_json::Value::Null));
}
