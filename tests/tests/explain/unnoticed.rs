//! An observed command behaves as one that is not: signals, stops, threads, forks.

use codex_tests::harness::{Policy, Run, Scene, require_tool};

use super::{denials, furnish};

/// Runs the same without the sandbox, in it, and observed. The last two are told apart by nothing.
pub(super) fn alike(scene: &Scene, program: &str, arguments: &[&str]) -> [Run; 3] {
    let run =
        |policy, options: &[&str]| scene.under(policy).options(options).command(program, arguments).run();
    let bare = run(Policy::Bare, &[]);
    let plain = run(Policy::WorkspaceWrite, &[]);
    let seen = run(Policy::WorkspaceWrite, &["--explain", "--quiet"]);
    assert_eq!(seen.code(), plain.code(), "{}\n{}", plain.describe(), seen.describe());
    assert_eq!(seen.text(), plain.text(), "{}\n{}", plain.describe(), seen.describe());
    assert_eq!(seen.error_text(), plain.error_text(), "{}\n{}", plain.describe(), seen.describe());
    [bare, plain, seen]
}

/// Opens, a thousand times for each file, under a timer of 1 kHz whose handler lets calls fail with `EINTR`.
const STORM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>
static volatile long ticks;
static void tick(int signal) { (void)signal; ticks++; }
int main(int count, char **arguments) {
    struct sigaction action = { .sa_handler = tick };
    sigaction(SIGALRM, &action, 0);
    struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
    setitimer(ITIMER_REAL, &often, 0);
    long opened = 0, refused = 0, others = 0, rounds = 0;
    while (rounds < 1000 || ticks < 100) {
        for (int which = 1; which < count; which++) {
            int file = open(arguments[which], O_WRONLY);
            if (file >= 0) { opened += rounds < 1000; close(file); }
            else if (errno == EROFS || errno == EACCES) refused += rounds < 1000;
            else others++;
        }
        rounds++;
    }
    printf("%ld opened, %ld refused, %ld otherwise\n", opened, refused, others);
}
"#;

pub(super) fn compiled(scene: &Scene, name: &str, source: &str, options: &[&str]) -> Option<String> {
    let compiler = require_tool("gcc")?;
    let file = scene.file(&format!("workspace/{name}.c"), source);
    let program = scene.path(&format!("workspace/{name}"));
    let words = [file.display().to_string(), "-o".to_owned(), program.display().to_string()];
    let all = words.iter().map(String::as_str).chain(options.iter().copied());
    scene.under(Policy::Bare).command(compiler.display().to_string().as_str(), all).run().expect_code(0);
    Some(program.display().to_string())
}

pub(super) fn a_storm_of_signals_interrupts_nothing(scene: &Scene) {
    furnish(scene);
    let Some(program) = compiled(scene, "storm", STORM, &[]) else { return };
    let (inside, outside) = (scene.path("workspace/file"), scene.path("outside/file"));
    let [bare, plain, _] =
        alike(scene, &program, &[&inside.display().to_string(), &outside.display().to_string()]);
    assert_eq!(bare.text(), "2000 opened, 0 refused, 0 otherwise\n");
    assert_eq!(plain.text(), "1000 opened, 1000 refused, 0 otherwise\n");
}

const STOPS: &str = r#"
import os, signal
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.kill(os.getpid(), signal.SIGSTOP)
    open("went-on", "w").close()
    os.read(reading, 1)
    os._exit(7)
_, status = os.waitpid(child, os.WUNTRACED)
print("stopped", os.WIFSTOPPED(status) and os.WSTOPSIG(status))
print("still there", os.waitpid(child, os.WNOHANG))
print("did not go on", not os.path.exists("went-on"))
os.kill(child, signal.SIGCONT)
_, status = os.waitpid(child, os.WCONTINUED)
print("goes on", os.WIFCONTINUED(status))
os.write(writing, b"x")
_, status = os.waitpid(child, 0)
print("ended", os.WEXITSTATUS(status))
os.remove("went-on")
"#;

pub(super) fn a_stopped_child_is_seen_by_its_parent(scene: &Scene) {
    if require_tool("python3").is_none() {
        return;
    }
    let [bare, ..] = alike(scene, "python3", &["-c", STOPS]);
    assert!(bare.text().ends_with("goes on True\nended 7\n"), "{}", bare.describe());
}

pub(super) fn pipelines_and_forks_end_alike(scene: &Scene) {
    furnish(scene);
    let outside = scene.path("outside/file").display().to_string();
    let script = format!(
        "for i in $(seq 40); do seq 50 | sort -n | tail -n 1 | while read n; do echo $n; done; done | sort | uniq -c\n\
         for i in $(seq 60); do (exit $i) & done; wait; echo forked\n\
         yes | head -n 1; echo x 2> /dev/null > {outside}; trap 'echo trapped' USR1; kill -USR1 $$; exit 5"
    );
    for shell in ["bash", "sh"] {
        let [bare, plain, seen] = alike(scene, shell, &["-c", &script]);
        assert_eq!((bare.code(), bare.text()), (Some(5), seen.text()), "{}", bare.describe());
        assert_eq!(plain.code(), Some(5));
    }
}

const RACE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static char **arguments;
static void *open_all(void *unused) {
    long *failed = calloc(1, sizeof *failed);
    (void)unused;
    for (int round = 0; round < 500; round++) {
        int file = open(arguments[1], O_WRONLY);
        if (file >= 0) close(file); else ++*failed;
    }
    return failed;
}
static void *execute(void *unused) {
    (void)unused;
    execl("/bin/echo", "echo", "executed by a thread", (char *)0);
    return 0;
}
int main(int count, char **given) {
    (void)count;
    arguments = given;
    pthread_t threads[8];
    long all = 0;
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, open_all, 0);
    for (int i = 0; i < 8; i++) { void *failed; pthread_join(threads[i], &failed); all += *(long *)failed; }
    printf("%ld failed\n", all);
    fflush(stdout);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, open_all, 0);
    pthread_create(&threads[4], 0, execute, 0);
    for (;;) pause();
}
"#;

pub(super) fn threads_race_and_execute(scene: &Scene) {
    furnish(scene);
    let Some(program) = compiled(scene, "race", RACE, &["-pthread"]) else { return };
    let outside = scene.path("outside/file").display().to_string();
    let [bare, plain, _] = alike(scene, &program, &[&outside]);
    assert_eq!(bare.text(), "0 failed\nexecuted by a thread\n");
    assert_eq!(plain.text(), "4000 failed\nexecuted by a thread\n");
    let options = ["--json", "--explain"];
    let run = scene.under(Policy::WorkspaceWrite).options(options).command(&program, [&outside]).run();
    let found = denials(&run);
    // Those that the thread cut short by executing something are counted as far as they came.
    let count = found.first().and_then(|denial| denial["count"].as_i64());
    assert!(found.len() == 1 && count.is_some_and(|count| count >= 4000), "{found:?}\n{}", run.describe());
}
