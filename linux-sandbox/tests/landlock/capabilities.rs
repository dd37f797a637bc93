//! P6: what a command holds, and that without restrictions it is what the caller holds.

use std::fs;

use crate::runs::{read_only, request, succeed, unrestricted};

/// The lines of a status file that tell of privileges and restrictions.
fn privileges(status: &str) -> Vec<String> {
    let names = ["Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups"];
    let lines = status.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    lines.map(str::to_owned).collect()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

#[test]
fn p6_danger_full_access_takes_nothing_away() {
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let inside = succeed(request(["cat", "/proc/self/status"]), &unrestricted());
    assert_eq!(privileges(&inside), privileges(&own));
}

#[test]
fn p6_a_restricted_command_can_gain_nothing() {
    let status = succeed(request(["cat", "/proc/self/status"]), &read_only());
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    // 2 stands for a filter.
    assert_eq!(field(&status, "Seccomp:"), "2");
    // chown, dac_override, fowner and fsetid, and only for root.
    let kept = if nix::unistd::geteuid().is_root() { 0b1_1011 } else { 0 };
    for set in ["CapPrm:", "CapEff:"] {
        let held = u64::from_str_radix(field(&status, set), 16).unwrap();
        assert_eq!(held & !kept, 0, "{set} {held:x}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(field(&status, set), 16), Ok(0), "{set}");
    }
}
