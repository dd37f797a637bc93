//! Limits of a sandbox and of a single call: the tighter one holds, and both levels say what they set.

use std::num::NonZeroU64;
use std::path::Path;

use codex_core::enforcement::Hold;
use codex_core::exec::Outcome;
use codex_core::limits::{Limit, ResourceLimits};

use crate::runs::{READ_ONLY, options, prepare, run, shell, succeed};

fn open_files(count: u64) -> ResourceLimits {
    ResourceLimits::NONE.with(Limit::OpenFiles, NonZeroU64::new(count).unwrap())
}

#[test]
fn p9_a_call_can_tighten_what_the_sandbox_has_and_not_loosen_it() {
    for (sandbox, call, both) in [(64, None, 64), (64, Some(32), 32), (64, Some(128), 64)] {
        let mut options = options();
        options.limits = open_files(sandbox);
        let sandbox = prepare(&READ_ONLY, Path::new("/"), options).unwrap();
        let mut request = shell("ulimit -Sn; ulimit -Hn");
        request.resources = call.map_or(ResourceLimits::NONE, open_files);
        assert_eq!(succeed(request, &sandbox), format!("{both}\n{both}\n"));
    }
}

#[test]
fn p8_the_result_tells_of_the_calls_own_limits() {
    let sandbox = prepare(&READ_ONLY, Path::new("/"), options()).unwrap();
    assert_eq!(sandbox.expected().limits, []);
    let mut request = shell("exit 0");
    request.resources = open_files(64).with(Limit::CpuTime, NonZeroU64::new(1500).unwrap());
    let limits = run(request, &sandbox).enforcement.limits;
    let told: Vec<_> = limits.iter().map(|limit| (limit.limit, limit.amount, limit.hold)).collect();
    assert_eq!(told, [(Limit::CpuTime, 1500, Hold::Partial), (Limit::OpenFiles, 64, Hold::Enforced)]);
}

#[test]
fn p8_a_limit_that_leaves_no_room_is_the_commands_own_trouble() {
    // The loader can't open a library: the sandbox stands, and the command ends by itself.
    let sandbox = prepare(&READ_ONLY, Path::new("/"), options()).unwrap();
    let mut request = shell("exit 0");
    request.resources = open_files(1);
    assert!(matches!(run(request, &sandbox).outcome, Outcome::Exited { code } if code != 0));
}
