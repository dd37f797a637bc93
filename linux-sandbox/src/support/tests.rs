//! Machines of every kind, as files below a directory: what is found out about them, and what is said to lift a limit.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::tree::Tree;
use super::{Facts, Finding, Support, findings};
use crate::error::{SetupError, Step};

const PROGRAM: &str = "/usr/local/bin/codex";

/// A healthy machine: a user without privileges, nothing around us.
const HEALTHY: [(&str, &str); 12] = [
    ("proc/sys/kernel/osrelease", "6.8.0-45-generic\n"),
    (
        "proc/self/status",
        "Name:\tcodex\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n",
    ),
    ("proc/self/mountinfo", "27 1 254:0 / / rw - ext4 /dev/vda rw\n22 27 0:21 / /proc rw - proc proc rw\n"),
    ("proc/self/ns/user", ""),
    ("proc/self/ns/mnt", ""),
    ("proc/self/ns/pid", ""),
    ("proc/self/ns/ipc", ""),
    ("proc/self/ns/uts", ""),
    ("proc/self/ns/cgroup", ""),
    ("proc/self/ns/net", ""),
    ("proc/sys/user/max_user_namespaces", "96365\n"),
    ("sys/kernel/security/lsm", "lockdown,capability,landlock,yama,apparmor\n"),
];

const FILTERED: (&str, &str) =
    ("proc/self/status", "CapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n");
const DOCKER: (&str, &str) = (".dockerenv", "");
const DOCKER_MOUNTS: (&str, &str) = (
    "proc/self/mountinfo",
    "10 1 0:9 / / rw - overlay overlay rw\n11 10 0:21 / /proc rw - proc proc rw\n\
     12 11 0:22 / /proc/asound ro - tmpfs tmpfs ro\n13 11 0:21 /bus /proc/bus ro - proc proc rw\n",
);
const DOCKER_LABEL: (&str, &str) = ("proc/self/attr/apparmor/current", "docker-default (enforce)\n");
const RESTRICTED: (&str, &str) = ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
const UNCONFINED: (&str, &str) = ("proc/self/attr/apparmor/current", "unconfined\n");

struct Machine {
    changes: Vec<(&'static str, &'static str)>,
    support: Support,
    nested: bool,
}

/// A healthy machine with these files instead or besides.
fn machine(changes: &[(&'static str, &'static str)]) -> Machine {
    Machine {
        changes: changes.to_vec(),
        support: Support { landlock: Ok(7), seccomp: Ok(()) },
        nested: false,
    }
}

impl Machine {
    fn landlock(mut self, answer: Result<u8, Errno>) -> Self {
        self.support.landlock = answer;
        self
    }

    fn nested(mut self) -> Self {
        self.nested = true;
        self
    }

    fn facts(&self) -> Facts {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in HEALTHY.iter().chain(&self.changes) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Facts::below(&Tree::new(root.path()), self.support, self.nested)
    }

    fn findings(&self, namespaces: &Result<(), SetupError>) -> Vec<Finding> {
        findings(&self.facts(), namespaces, Path::new(PROGRAM))
    }

    /// The one finding about a refused call.
    fn refused(&self, call: &'static str, target: &str, errno: Errno) -> Finding {
        let mut error = SetupError::call(Step::Privileges, call, errno);
        if !target.is_empty() {
            error = error.on(target);
        }
        let mut findings = self.findings(&Err(error));
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }
}

/// The lines of a finding's remedies, one after the other.
fn lines(finding: &Finding) -> Vec<&str> {
    finding.remedies.iter().flat_map(|remedy| &remedy.lines).map(String::as_str).collect()
}

#[test]
fn a_healthy_machine_has_no_findings() {
    assert_eq!(machine(&[]).findings(&Ok(())), []);
    // What others can't get is no limit of what we got.
    assert_eq!(machine(&[RESTRICTED, FILTERED, DOCKER, DOCKER_MOUNTS]).findings(&Ok(())), []);
}

#[test]
fn each_refusal_has_its_cause() {
    let clone_off = ("proc/sys/kernel/unprivileged_userns_clone", "0\n");
    let root = ("proc/self/status", "CapEff:\t000001ffffffffff\nSeccomp:\t0\n");
    let none_left = ("proc/sys/user/max_user_namespaces", "0\n");
    let chroot = ("proc/self/mountinfo", "22 27 0:21 / /proc rw - proc proc rw\n");
    let selinux = ("proc/self/attr/current", "system_u:system_r:container_t:s0:c1,c2\n");
    let ubuntu = ("proc/self/attr/apparmor/current", "unprivileged_userns (enforce)\n");
    let own = ("proc/self/attr/apparmor/current", "codex (unconfined)\n");
    let (eperm, eacces) = (Errno::EPERM, Errno::EACCES);
    let rows = [
        (machine(&[none_left]), "unshare", "", Errno::ENOSPC, "namespace_limit"),
        (machine(&[]), "clone3", "", Errno::ENOSPC, "namespace_limit"),
        (machine(&[clone_off]), "clone", "", eperm, "unprivileged_userns_clone"),
        (machine(&[clone_off, root]), "clone", "", eperm, "unknown"),
        (machine(&[FILTERED]), "unshare", "", eperm, "seccomp_filter"),
        (machine(&[FILTERED, DOCKER]), "unshare", "", eperm, "container_seccomp"),
        (machine(&[FILTERED, DOCKER]), "clone3", "", Errno::ENOSYS, "container_seccomp"),
        (machine(&[FILTERED, DOCKER]), "mount_setattr", "/", eperm, "container_seccomp"),
        // The mark of a container alone refuses nothing.
        (machine(&[DOCKER]), "unshare", "", eperm, "unknown"),
        (machine(&[FILTERED]).nested(), "clone", "", eperm, "nested"),
        (machine(&[FILTERED, clone_off]).nested(), "clone", "", eperm, "nested"),
        (machine(&[FILTERED, DOCKER]).nested(), "mount", "/proc", eperm, "nested"),
        (machine(&[RESTRICTED, UNCONFINED]), "open", "/proc/self/uid_map", eacces, "apparmor_restriction"),
        (machine(&[RESTRICTED, UNCONFINED]), "write", "/proc/9/uid_map", eperm, "apparmor_restriction"),
        (machine(&[RESTRICTED, ubuntu]), "mount", "/", eacces, "apparmor_restriction"),
        (machine(&[RESTRICTED, own]), "mount_setattr", "/", eperm, "apparmor_restriction"),
        (machine(&[RESTRICTED, UNCONFINED]), "clone", "", eacces, "apparmor_restriction"),
        (machine(&[RESTRICTED, UNCONFINED, root]), "mount", "/", eperm, "unknown"),
        (machine(&[DOCKER, DOCKER_LABEL, RESTRICTED]), "mount_setattr", "/", eacces, "apparmor_profile"),
        (machine(&[selinux]), "mount", "/dev", eacces, "selinux"),
        (machine(&[DOCKER, DOCKER_MOUNTS]), "mount", "/proc", eperm, "covered_proc"),
        (machine(&[DOCKER, DOCKER_MOUNTS]), "fsmount", "/proc", eperm, "covered_proc"),
        (machine(&[DOCKER_MOUNTS]), "mount", "/dev", eperm, "unknown"),
        (machine(&[chroot]), "clone", "", eperm, "chroot"),
        (machine(&[]), "clone", "", Errno::EINVAL, "kernel_without_namespaces"),
        (machine(&[]), "unshare", "", Errno::ENOSYS, "kernel_without_namespaces"),
        (machine(&[]), "mount_setattr", "/", Errno::ENOSYS, "kernel_too_old"),
        (machine(&[]), "unshare", "", Errno::ETIME, "timed_out"),
        (machine(&[]), "fork", "", Errno::EAGAIN, "unknown"),
    ];
    for (machine, call, target, errno, expected) in rows {
        let finding = machine.refused(call, target, errno);
        let facts = machine.facts();
        assert_eq!(finding.cause.name(), expected, "{call} on {target:?}: {errno:?} with {facts:#?}");
        assert!(!finding.remedies.is_empty(), "{expected} has no remedy");
        assert!(!finding.cause.to_string().contains('\n'));
    }
}

#[test]
fn an_attempt_that_was_killed_met_a_filter() {
    let killed = SetupError::condition(Step::Privileges, "unshare", "the process that tried was killed");
    let findings = machine(&[FILTERED]).findings(&Err(killed.clone()));
    assert_eq!(findings[0].cause.name(), "seccomp_filter");
    assert_eq!(machine(&[]).findings(&Err(killed))[0].cause.name(), "unknown");
}

#[test]
fn limits_of_the_kernel_are_raised_by_name() {
    let none_left = [
        ("proc/sys/user/max_user_namespaces", "7\n"),
        ("proc/sys/user/max_net_namespaces", "0\n"),
        ("proc/sys/user/max_pid_namespaces", "0\n"),
    ];
    let finding = machine(&none_left).refused("unshare", "", Errno::ENOSPC);
    assert_eq!(lines(&finding)[0], "sysctl -w user.max_pid_namespaces=15000 user.max_net_namespaces=15000");
    let finding = machine(&[]).refused("unshare", "", Errno::ENOSPC);
    assert_eq!(lines(&finding)[0], "sysctl -w user.max_user_namespaces=15000");
    assert!(finding.cause.to_string().contains("outer"), "{}", finding.cause);
    let clone_off = ("proc/sys/kernel/unprivileged_userns_clone", "0\n");
    let finding = machine(&[clone_off]).refused("unshare", "", Errno::EPERM);
    assert_eq!(
        lines(&finding),
        [
            "sysctl -w kernel.unprivileged_userns_clone=1",
            "printf '%s\\n' kernel.unprivileged_userns_clone=1 > /etc/sysctl.d/60-user-namespaces.conf",
        ]
    );
}

#[test]
fn apparmor_gets_a_profile_for_this_very_program() {
    let machine = machine(&[RESTRICTED, UNCONFINED]);
    assert_eq!(
        lines(&machine.refused("write", "/proc/self/uid_map", Errno::EPERM)),
        [
            "cat > /etc/apparmor.d/codex <<'END'",
            "abi <abi/4.0>,",
            "include <tunables/global>",
            "profile codex /usr/local/bin/codex flags=(unconfined) {",
            "  userns,",
            "  include if exists <local/codex>",
            "}",
            "END",
            "apparmor_parser --replace /etc/apparmor.d/codex",
        ]
    );
    let refused = Err(SetupError::call(Step::Privileges, "write", Errno::EPERM).on("/proc/self/uid_map"));
    let finding = findings(&machine.facts(), &refused, Path::new("/home/me/my apps/co*dex")).remove(0);
    assert_eq!(lines(&finding)[3], "profile codex \"/home/me/my apps/co\\*dex\" flags=(unconfined) {");
}

#[test]
fn a_container_is_told_all_its_options_at_once() {
    let in_docker = machine(&[FILTERED, DOCKER, DOCKER_MOUNTS, DOCKER_LABEL]);
    let all = "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
               --security-opt systempaths=unconfined …";
    assert_eq!(lines(&in_docker.refused("unshare", "", Errno::EPERM)), [all]);
    let proc_only = machine(&[DOCKER, DOCKER_MOUNTS]).refused("mount", "/proc", Errno::EPERM);
    assert_eq!(lines(&proc_only), ["docker run --security-opt systempaths=unconfined …"]);

    let selinux = ("proc/self/attr/current", "system_u:system_r:container_t:s0:c1,c2\n");
    let in_podman = machine(&[FILTERED, DOCKER_MOUNTS, selinux, ("run/.containerenv", "")]);
    assert_eq!(
        lines(&in_podman.refused("unshare", "", Errno::EPERM)),
        [
            "podman run --security-opt seccomp=unconfined --security-opt label=disable --security-opt unmask=ALL …"
        ]
    );

    let pod = ("var/run/secrets/kubernetes.io/serviceaccount/token", "");
    let in_pod = machine(&[FILTERED, DOCKER, pod]).refused("unshare", "", Errno::EPERM);
    assert_eq!(lines(&in_pod), ["securityContext:", "  seccompProfile: { type: Unconfined }"]);

    let lxc = ("proc/1/environ", "PATH=/bin\0container=lxc\0TOKEN=secret\0");
    let in_lxc = machine(&[FILTERED, lxc]).refused("unshare", "", Errno::EPERM);
    assert_eq!(lines(&in_lxc)[0], "incus config set NAME security.nesting true");
}

#[test]
fn a_missing_landlock_has_its_cause() {
    let old = ("proc/sys/kernel/osrelease", "5.10.0-30-amd64\n");
    let without = ("sys/kernel/security/lsm", "lockdown,capability,yama,apparmor,bpf,ima\n");
    let cause = |machine: Machine| {
        let findings = machine.findings(&Ok(()));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].mechanism.name(), "landlock");
        (findings[0].cause.name(), findings[0].remedies[0].lines.clone())
    };
    let (name, lines) = cause(machine(&[without]).landlock(Err(Errno::EOPNOTSUPP)));
    assert_eq!(name, "landlock_off_at_boot");
    assert_eq!(lines, ["GRUB_CMDLINE_LINUX=\"lsm=landlock,lockdown,yama,apparmor,bpf\""]);
    assert_eq!(cause(machine(&[old]).landlock(Err(Errno::ENOSYS))).0, "kernel_too_old");
    assert_eq!(cause(machine(&[without]).landlock(Err(Errno::ENOSYS))).0, "landlock_not_built");
    // The kernel has it, so that somebody else must have answered.
    let filtered = machine(&[FILTERED, DOCKER]).landlock(Err(Errno::ENOSYS));
    assert_eq!(cause(filtered).0, "container_seccomp");
    assert_eq!(cause(machine(&[FILTERED]).landlock(Err(Errno::EPERM))).0, "seccomp_filter");
    assert_eq!(cause(machine(&[]).landlock(Ok(5))).0, "landlock_old");
}

#[test]
fn the_facts_are_read_as_the_kernel_writes_them() {
    let mounts = (
        "proc/self/mountinfo",
        "1 0 8:1 / / rw shared:1 master:2 - ext4 /dev/sda1 rw\n2 1 0:5 / /proc rw - proc proc rw\n\
         3 2 0:6 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n\
         4 2 0:7 / /proc/a\\040b\\134c ro - tmpfs tmpfs ro\n\
         5 1 0:8 /kubepods/pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\nnonsense\n",
    );
    let cgroup = ("proc/self/cgroup", "1:name=systemd:/x\n0::/kubepods/pod1/box\n");
    let facts = machine(&[mounts, cgroup, ("proc/sys/kernel/yama/ptrace_scope", "1\n")]).facts();
    assert_eq!(facts.version(), Some((6, 8)));
    assert_eq!(facts.proc_covers, [Path::new("/proc/a b\\c")]);
    assert!(!facts.chroot);
    assert!(facts.cgroup.unified && facts.cgroup.legacy && !facts.cgroup.delegated);
    assert_eq!(facts.cgroup.directory.as_deref(), Some(Path::new("/sys/fs/cgroup/box")));
    assert_eq!(facts.ptrace_scope, Some(1));
    assert_eq!(facts.user_namespaces.missing(), [""; 0]);
    assert_eq!(facts.user_namespaces.limits, [("user", 96365)]);
    assert_eq!(facts.privileges.no_new_privs, Some(false));
}

#[test]
fn a_machine_that_tells_nothing_is_no_reason_to_fail() {
    let empty = tempfile::tempdir().unwrap();
    let support = Support { landlock: Err(Errno::ENOSYS), seccomp: Err(Errno::EINVAL) };
    let facts = Facts::below(&Tree::new(empty.path()), support, false);
    assert_eq!((facts.version(), facts.container.is_some(), facts.chroot), (None, false, false));
    let refused = Err(SetupError::call(Step::Privileges, "unshare", Errno::EPERM));
    let names: Vec<_> =
        findings(&facts, &refused, Path::new(PROGRAM)).iter().map(|finding| finding.cause.name()).collect();
    assert_eq!(names, ["unknown", "landlock_not_built", "seccomp_not_built"]);
}

#[test]
fn a_release_begins_with_its_version() {
    for (release, version) in [
        ("6.14.0", Some((6, 14))),
        ("5.14-rc1", Some((5, 14))),
        ("6.18.44-fc-v657", Some((6, 18))),
        ("6.8+", Some((6, 8))),
        ("6", None),
        ("", None),
        ("v6.1", None),
    ] {
        assert_eq!(super::version(release), version, "{release}");
    }
}
