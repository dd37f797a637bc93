//! P5: processes that want to outlive the call, each in its own way. They hold a fifo; its end is theirs.

use codex_tests::harness::{Failures, Level, Policy, Presence, Scene};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A way to stay. `HOLD` is a command that holds the fifo and sleeps for longer than any test.
struct Way {
    name: &'static str,
    script: &'static str,
}

const fn way(name: &'static str, script: &'static str) -> Way {
    Way { name, script }
}

#[rustfmt::skip]
const WAYS: [Way; 11] = [
    way("in the background", "HOLD & wait_for_it"),
    way("without the hang-up signal", "nohup HOLD > /dev/null 2>&1 & wait_for_it"),
    way("in a session of its own", "setsid HOLD & wait_for_it"),
    way("forked twice", "(HOLD &) ; wait_for_it"),
    way("forked twice, in a session of its own", "(setsid HOLD &) ; wait_for_it"),
    way("ignoring every signal that can be", "(trap '' HUP INT QUIT TERM USR1 USR2 PIPE ALRM; setsid HOLD) & wait_for_it"),
    way("stopped", "setsid HOLD & wait_for_it; kill -STOP $!"),
    way("stopped, whole group", "setsid sh -c 'HOLD & sleep 1000' & wait_for_it; kill -STOP -$!"),
    way("without standard streams", "setsid HOLD < /dev/null > /dev/null 2>&1 & wait_for_it"),
    way("with the lowest priority", "setsid nice -n 19 HOLD & wait_for_it"),
    way("many", "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (setsid HOLD &); done; wait_for_it"),
];

/// Killed with `codex`, which has no chance to clean up.
#[rustfmt::skip]
const KILLED: [Way; 3] = [
    way("killed with the caller", "HOLD & wait_for_it"),
    way("killed with the caller, in a session of its own", "(setsid HOLD &) ; wait_for_it"),
    way("killed with the caller, stopped", "setsid HOLD & wait_for_it; kill -STOP $!"),
];

pub(crate) fn names() -> Vec<&'static str> {
    WAYS.iter().chain(&KILLED).map(|way| way.name).collect()
}

/// The script with its words filled in: whoever holds the fifo writes its pid beside it.
fn script(way: &Way, fifo: &Presence) -> String {
    let path = fifo.path().display();
    let hold = format!("sh -c 'exec 9> {path}; echo $$ >> {path}.pids; exec sleep 1000'");
    let way = if way.script.contains("sh -c 'HOLD") {
        way.script.replace("HOLD", &hold.replace('\'', "'\\''"))
    } else {
        way.script.replace("HOLD", &hold)
    };
    // Until somebody holds the fifo, its end would be no proof. The harness reads the streams to their end: whoever lives
    // on outside must not hold them.
    format!(
        "exec > /dev/null 2>&1; wait_for_it() {{ while [ ! -s {path}.pids ]; do sleep 0.01; done; }}; {way}"
    )
}

/// Outside, it lives on when the script has ended: shown, and ended then.
fn control(scene: &Scene, way: &Way) -> bool {
    let presence = Presence::new(scene, "held");
    drop(scene.under(Policy::Bare).shell(&script(way, &presence)).run());
    let lived = presence.is_held();
    end_all_of(scene);
    lived
}

/// Ends whatever the control has left: all that was started by this script, whoever it belongs to by now.
fn end_all_of(scene: &Scene) {
    let mark = scene.workspace().display().to_string();
    let about_it = |pid: &Pid| {
        let shown = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let says = |text: &[u8]| text.windows(mark.len()).any(|window| window == mark.as_bytes());
        let held = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let holds = held.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        says(&shown("cmdline"))
            || holds.into_iter().any(|path| path.starts_with(scene.workspace()))
            || std::fs::read_link(format!("/proc/{pid}/cwd"))
                .is_ok_and(|cwd| cwd.starts_with(scene.workspace()))
    };
    let own = nix::unistd::getpid();
    let program = |name: &str| std::fs::read_link(format!("/proc/{name}/exe")).ok();
    let ours = program("self");
    // What another case is about to start is a copy of this program until it is executed, with all that is open here, the
    // fifo too. Asked first: what is another program by then holds nothing of ours any more.
    let is_a_copy = |pid: &Pid| program(&pid.to_string()) == ours;
    loop {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
        let left: Vec<Pid> = pids.filter(|pid| *pid != own && !is_a_copy(pid) && about_it(pid)).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            // It may have ended by itself meanwhile.
            kill(pid, Signal::SIGKILL).ok();
        }
        std::thread::yield_now();
    }
}

pub(crate) fn judge(scene: &Scene) {
    let mut failures = Failures::new();
    for (number, way) in WAYS.iter().enumerate() {
        let lived = control(&scene.fresh(&format!("{number}-bare")), way);
        failures.check(lived, || format!("{} [Bare]: it ended by itself, which proves nothing", way.name));
        for policy in [Policy::WorkspaceWrite, Policy::WorkspaceWriteNetwork] {
            let stage = scene.fresh(&format!("{number}-{policy:?}"));
            let presence = Presence::new(&stage, "held");
            let run = stage.under(policy).shell(&script(way, &presence)).run();
            failures.check(presence.ended(), || format!("{}: it lives on\n{}", way.name, run.describe()));
        }
    }
    if scene.level() == Level::Namespaces {
        for (number, way) in KILLED.iter().enumerate() {
            let stage = scene.fresh(&format!("{number}-killed"));
            let presence = Presence::new(&stage, "held");
            let script = format!("exec 3>&1; {}; echo ready >&3; exec sleep 1000", script(way, &presence));
            let mut running = stage.under(Policy::WorkspaceWrite).shell(&script).start();
            let ready = running.line();
            running.signal(Signal::SIGKILL);
            let run = running.finish();
            failures.check(ready.as_deref() == Some("ready"), || format!("{}\n{}", way.name, run.describe()));
            failures.check(presence.ended(), || format!("{}: it lives on\n{}", way.name, run.describe()));
        }
    }
    failures.finish();
}
