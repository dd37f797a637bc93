//! What the kernel tells of one process (`proc_pid_stat(5)`, `proc_pid_smaps(5)`).

use std::time::Duration;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// One process's part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Bytes in memory, shared ones included.
    pub(super) resident: u64,
    /// Its own processor time, all threads together.
    pub(super) own: Duration,
    /// That of the children that it has waited for, and of those that they have.
    pub(super) waited_for: Duration,
    /// How many threads it has.
    pub(super) threads: u64,
}

/// What a process uses. Nothing where there is none of that number.
pub(super) fn usage(pid: Pid) -> Option<Usage> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?, ticks(), page())
}

/// Bytes of memory, pages that several processes share counted in parts. Where the kernel won't tell of this process, its
/// anonymous memory.
pub(super) fn proportional_memory(pid: Pid) -> u64 {
    let told = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    let told = told.and_then(|text| proportional(&text));
    told.or_else(|| anonymous(&std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?, page()))
        .unwrap_or(0)
}

fn parse(stat: &[u8], ticks: u64, page: u64) -> Option<Usage> {
    // The name may hold anything, closing brackets too.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    // The third field comes first.
    let field = |number: usize| text.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
    let time = |first, second| {
        let ticked = field(first)?.saturating_add(field(second)?);
        Some(Duration::from_millis(ticked.saturating_mul(1000) / ticks))
    };
    Some(Usage {
        resident: field(24)?.saturating_mul(page),
        own: time(14, 15)?,
        waited_for: time(16, 17)?,
        // One that has ended and was not waited for has none, and still is a process.
        threads: field(20)?.max(1),
    })
}

fn proportional(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn anonymous(statm: &str, page: u64) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    resident.saturating_sub(shared).checked_mul(page)
}

/// How many ticks of `/proc` a second has: 100 on every Linux of today.
fn ticks() -> u64 {
    positive(SysconfVar::CLK_TCK).unwrap_or(100)
}

fn page() -> u64 {
    positive(SysconfVar::PAGE_SIZE).unwrap_or(4096)
}

fn positive(name: SysconfVar) -> Option<u64> {
    sysconf(name).ok().flatten().and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Usage, anonymous, parse, proportional};

    #[test]
    fn the_kernels_line_is_read_whatever_the_name() {
        let line = b"7 (a) R (b)) S 1 7 7 0 -1 4194560 1 2 0 0 150 50 7 3 20 0 5 0 100 4096 12 1 1 1";
        let usage = Usage {
            resident: 12 * 4096,
            own: Duration::from_secs(2),
            waited_for: Duration::from_millis(100),
            threads: 5,
        };
        assert_eq!(parse(line, 100, 4096), Some(usage));
        for broken in [&b""[..], b"7 (a", b"7 (a) S", b"7 (a) S 1 7 7 0 -1 0 0 0 0 0 x 0 0 0 0 0 1 0 0 0 0"] {
            assert_eq!(parse(broken, 100, 4096), None);
        }
    }

    #[test]
    fn shared_pages_count_in_parts() {
        let rollup =
            "5600-7ffc ---p 00 00:00 0 [rollup]\nRss:     1000 kB\nPss:      12 kB\nPss_Dirty: 3 kB\n";
        assert_eq!(proportional(rollup), Some(12 * 1024));
        assert_eq!(proportional("Rss: 1 kB\n"), None);
        assert_eq!(anonymous("100 30 10 1 0 20 0\n", 4096), Some(20 * 4096));
        assert_eq!(anonymous("100", 4096), None);
    }
}
