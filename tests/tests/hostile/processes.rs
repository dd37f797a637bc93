//! P3: processes outside, and the sandbox's own init, which is outside as well.

use codex_tests::harness::{Expect, Identity};
use nix::errno::Errno;

use crate::row::{Control, ENOENT, EPERM, ESRCH, Row, call, each};

/// Landlock refuses with EACCES where the file system is asked, with EPERM where the process is.
const REFUSED: Expect = Expect::Fails(&[Errno::EACCES, Errno::EPERM]);

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    // What every user may read of everybody: only a list of processes of its own hides it.
    let mut rows = each(&[
        ("its command line", "read /proc/{pid}/cmdline"),
        ("its name", "read /proc/{pid}/comm"),
        ("its state", "read /proc/{pid}/stat"),
        ("its status", "read /proc/{pid}/status"),
        ("its size", "read /proc/{pid}/statm"),
        ("its control groups", "read /proc/{pid}/cgroup"),
        ("its limits", "read /proc/{pid}/limits"),
        ("its scheduling", "read /proc/{pid}/sched"),
        ("its statistics", "read /proc/{pid}/schedstat"),
        ("its chance to be killed", "read /proc/{pid}/oom_score"),
        ("its directory in the list", "list /proc/{pid}"),
        ("its threads", "list /proc/{pid}/task"),
        ("its mounts", "read /proc/{pid}/mountinfo"),
        ("its descriptors", "list /proc/{pid}/fd"),
        ("its descriptors, by a thread", "list /proc/{pid}/task/{pid}/fd"),
        ("its network", "read /proc/{pid}/net/dev"),
    ], |row| row.namespaces(ENOENT).control(Control::Succeeds).if_present());
    rows.extend(each(&[
        ("its environment", "read /proc/{pid}/environ"),
        ("its memory, to read", "open /proc/{pid}/mem RDONLY"),
        ("its memory, to write", "open /proc/{pid}/mem RDWR"),
        ("its mappings", "read /proc/{pid}/maps"),
        ("its directory", "read-link /proc/{pid}/cwd"),
        ("its root", "list /proc/{pid}/root"),
        ("its program", "read-link /proc/{pid}/exe"),
        ("its descriptor's state", "read /proc/{pid}/fdinfo/0"),
        ("its namespace of mounts", "read-link /proc/{pid}/ns/mnt"),
        ("its namespace of users", "read-link /proc/{pid}/ns/user"),
    ], |row| row.landlock(REFUSED).namespaces(ENOENT).control(Control::Succeeds)));

    // A pipe belongs to whoever made it, which is the harness.
    rows.push(Row::new("its descriptor, opened", "open /proc/{pid}/fd/0 RDONLY,NONBLOCK")
        .landlock(REFUSED).namespaces(ENOENT).control(Control::Succeeds).only(Identity::Root));

    let asks = |name, number, words: &str| {
        Row::new(name, call(number, words)).namespaces(ESRCH).control(Control::Succeeds)
    };
    rows.extend([
        asks("whether it is there", libc::SYS_kill, "{pid} 0").landlock(EPERM),
        asks("whether its thread is there", libc::SYS_tgkill, "{pid} {pid} 0").landlock(EPERM),
        asks("its group", libc::SYS_getpgid, "{pid}"),
        asks("its session", libc::SYS_getsid, "{pid}"),
        asks("its priority", libc::SYS_getpriority, "0 {pid}"),
        asks("its processors", libc::SYS_sched_getaffinity, "{pid} 128 zeros:128"),
        asks("its scheduler", libc::SYS_sched_getscheduler, "{pid}"),
        asks("its scheduler's parameters", libc::SYS_sched_getparam, "{pid} zeros:8"),
        asks("its scheduler's attributes", libc::SYS_sched_getattr, "{pid} zeros:56 56 0"),
        asks("its priority of input and output", libc::SYS_ioprio_get, "1 {pid}"),
        asks("its limits, by number", libc::SYS_prlimit64, "{pid} 7 0 zeros:16"),
        asks("a descriptor of it", libc::SYS_pidfd_open, "{pid} 0"),
        asks("its clock", libc::SYS_clock_gettime, "{clock} zeros:16").namespaces(Expect::Fails(&[Errno::EINVAL])),
    ]);

    let harms = |name, words: String| Row::new(name, words);
    rows.extend([
        harms("end it", call(libc::SYS_kill, "{pid} 9")).landlock(EPERM).namespaces(ESRCH),
        harms("ask it to end", call(libc::SYS_kill, "{pid} 15")).landlock(EPERM).namespaces(ESRCH),
        harms("end its group", call(libc::SYS_kill, "-{pid} 9")).landlock(EPERM).namespaces(ESRCH),
        harms("end its thread", call(libc::SYS_tkill, "{pid} 9")).landlock(EPERM).namespaces(ESRCH),
        harms("end it by a descriptor", "signal-by-pidfd {pid} 9".into()).landlock(EPERM).namespaces(ESRCH),
        harms("lower its priority", call(libc::SYS_setpriority, "0 {pid} 5")).landlock(EPERM).namespaces(ESRCH),
        harms("lower its group's priority", call(libc::SYS_setpriority, "1 {pid} 5")).landlock(EPERM).namespaces(ESRCH),
        // The last word is for the harness: it asks for a victim. Without the sandbox, everybody's priority would be lower.
        harms("lower its user's priority", call(libc::SYS_setpriority, "2 0 5 {pid}"))
            .landlock(EPERM).namespaces(Expect::OkOr(&[Errno::EPERM])).control(Control::None),
        harms("lower its user's priority of input and output", call(libc::SYS_ioprio_set, "3 0 0x4007 {pid}"))
            .landlock(EPERM).namespaces(Expect::OkOr(&[Errno::ESRCH, Errno::EPERM])).control(Control::None),
        harms("pin it", call(libc::SYS_sched_setaffinity, "{pid} 8 bytes:0100000000000000")).landlock(EPERM).namespaces(ESRCH),
        harms("make it a batch", call(libc::SYS_sched_setscheduler, "{pid} 3 zeros:4")).landlock(EPERM).namespaces(ESRCH),
        harms("lower its limits", call(libc::SYS_prlimit64, "{pid} 4 bytes:00000000000000000000000000000000 0")).refused(EPERM),
        harms("offer it to be killed", "write-decimal /proc/{pid}/oom_score_adj 500".into())
            .landlock(Expect::Fails(&[Errno::EACCES])).namespaces(ENOENT),
        harms("trace it", call(libc::SYS_ptrace, "0x4206 {pid} 0 0")).refused(EPERM).control(Control::Succeeds),
        harms("read its memory", call(libc::SYS_process_vm_readv, "{pid} 0 0 0 0 0")).refused(EPERM).control(Control::Succeeds),
        harms("write its memory", call(libc::SYS_process_vm_writev, "{pid} 0 0 0 0 0")).refused(EPERM).control(Control::Succeeds),
        harms("take its descriptor", "descriptor-by-pidfd {pid} 1".into())
            .landlock(EPERM).namespaces(ESRCH).control(Control::Succeeds),
        harms("compare with it", call(libc::SYS_kcmp, "{pid} {pid} 0 0 0")).refused(EPERM).control(Control::Succeeds),
        harms("advise on its memory", call(libc::SYS_process_madvise, "pidfd:{pid} zeros:16 0 20 0"))
            .landlock(EPERM).namespaces(ESRCH).control(Control::Succeeds).only(Identity::Root),
        harms("enter its namespaces", call(libc::SYS_setns, "pidfd:{pid} 0x20000"))
            .landlock(EPERM).namespaces(ESRCH).control(Control::Succeeds).only(Identity::Root),
    ]);

    // The init of the sandbox holds the caller's environment, descriptors and view of the world.
    rows.extend(each(&[
        ("the environment of init", "read /proc/1/environ"),
        ("the memory of init", "open /proc/1/mem RDONLY"),
        ("the mappings of init", "read /proc/1/maps"),
        ("a descriptor of init", "open /proc/1/fd/0 RDONLY,NONBLOCK"),
        ("the directory of init", "list /proc/1/cwd"),
        ("the root of init", "list /proc/1/root"),
        ("the program of init", "read-link /proc/1/exe"),
        ("the mounts of init's namespace, as a handle", "read-link /proc/1/ns/mnt"),
    ], |row| row.namespaces(REFUSED).landlock(REFUSED).control(Control::Succeeds).if_present()));
    rows.extend([
        harms("change the memory of init", "open /proc/1/mem RDWR".into())
            .landlock(REFUSED).namespaces(Expect::Fails(&[Errno::EROFS, Errno::EACCES])).control(Control::None),
        harms("trace init", call(libc::SYS_ptrace, "0x4206 1 0 0")).refused(EPERM).control(Control::None),
        harms("take a descriptor of init", "descriptor-by-pidfd 1 0".into()).refused(EPERM).control(Control::None),
        harms("lower the limits of init", call(libc::SYS_prlimit64, "1 7 zeros:16 0")).refused(EPERM).control(Control::None),
    ]);
    rows
}
