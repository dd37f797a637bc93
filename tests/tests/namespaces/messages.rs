//! System V and POSIX messages, semaphores and segments: the host's have no name and no number inside; one's own work.

use codex_tests::harness::{Expect, Failures, Policy, Run, Scene, Verdict};
use nix::errno::Errno;

const ENOENT: Expect = Expect::Fails(&[Errno::ENOENT]);
const EINVAL: Expect = Expect::Fails(&[Errno::EINVAL]);

/// The flags of a call that makes something, for the owner: with `IPC_EXCL` and without.
const MADE_ANEW: &str = "0x780";
const FOUND_OR_MADE: &str = "0x380";

/// Something with a key and a number.
struct Kind {
    name: &'static str,
    get: i64,
    /// What stands between the key and the flags.
    size: &'static [&'static str],
    control: i64,
    /// What asks for its state, and what removes it, after its number.
    ask: &'static [&'static str],
    remove: &'static [&'static str],
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "a segment",
        get: libc::SYS_shmget,
        size: &["4096"],
        control: libc::SYS_shmctl,
        ask: &["2", "zeros:256"],
        remove: &["0", "0"],
    },
    Kind {
        name: "semaphores",
        get: libc::SYS_semget,
        size: &["1"],
        control: libc::SYS_semctl,
        ask: &["0", "2", "zeros:256"],
        remove: &["0", "0"],
    },
    Kind {
        name: "messages",
        get: libc::SYS_msgget,
        size: &[],
        control: libc::SYS_msgctl,
        ask: &["2", "zeros:256"],
        remove: &["0", "0"],
    },
];

fn call(scene: &Scene, policy: Policy, number: i64, words: &[&str]) -> Run {
    let number = number.to_string();
    scene.under(policy).probe(["syscall", &number].iter().chain(words)).run()
}

pub(crate) fn judge(scene: &Scene) {
    let mut failures = Failures::new();
    // A key for each process and each identity: tests run at the same time.
    let number = std::process::id() & 0xfff;
    let key = format!("{:#x}", 0x5eed_0000 | number << 4 | u32::from(scene.identity().uid().is_root()));
    for kind in &KINDS {
        let get = |policy: Policy, flags: &str| {
            let words = [[key.as_str()].as_slice(), kind.size, &[flags]].concat();
            call(scene, policy, kind.get, &words)
        };
        let made = get(Policy::Bare, FOUND_OR_MADE);
        let Verdict::Ok(id) = made.verdict() else { made.fail("the control made nothing") };
        let control = |policy: Policy, words: &[&str]| {
            call(scene, policy, kind.control, &[[id.as_str()].as_slice(), words].concat())
        };
        failures.judge(kind.name, Expect::Ok, &get(Policy::Bare, "0"));
        failures.judge(kind.name, Expect::Ok, &control(Policy::Bare, kind.ask));
        for policy in Policy::RESTRICTED {
            failures.judge(kind.name, ENOENT, &get(policy, "0"));
            failures.judge(&format!("{} by number", kind.name), EINVAL, &control(policy, kind.ask));
            // The same key is free inside.
            failures.judge(&format!("{} of one's own", kind.name), Expect::Ok, &get(policy, MADE_ANEW));
        }
        failures.judge(kind.name, Expect::Ok, &control(Policy::Bare, kind.remove));
    }
    queues(scene, &key, &mut failures);
    failures.finish();
}

/// A queue has a name, and is a file to the kernel.
fn queues(scene: &Scene, key: &str, failures: &mut Failures) {
    // To be made anew, to read and write, for the owner: one message of eight bytes.
    let attributes =
        format!("bytes:{}{}{}{}", "00".repeat(8), "0100000000000000", "0800000000000000", "00".repeat(40));
    let name = format!("text:codex-tests-{key}");
    let make = [&name, "0xc2", "384", &attributes];
    failures.judge("a queue", Expect::Ok, &call(scene, Policy::Bare, libc::SYS_mq_open, &make));
    for policy in Policy::RESTRICTED {
        let theirs = call(scene, policy, libc::SYS_mq_open, &[&name, "0", "0", "0"]);
        failures.judge("a queue", ENOENT, &theirs);
        let own = call(scene, policy, libc::SYS_mq_open, &make);
        failures.judge("a queue of one's own", Expect::Ok, &own);
    }
    failures.judge("a queue", Expect::Ok, &call(scene, Policy::Bare, libc::SYS_mq_unlink, &[&name]));
}
