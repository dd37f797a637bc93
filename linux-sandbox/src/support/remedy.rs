//! What lifts a limit: the exact commands, settings and profiles.

use std::path::Path;

use super::cause::Cause;
use super::container::ContainerKind;
use super::facts::Facts;

/// One way to lift a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Who has to do what, in a few words.
    pub what: String,
    /// The lines to type or to put into a file; none where there is nothing to type.
    pub lines: Vec<String>,
}

impl Remedy {
    fn new<L: Into<String>>(what: impl Into<String>, lines: impl IntoIterator<Item = L>) -> Self {
        Self { what: what.into(), lines: lines.into_iter().map(Into::into).collect() }
    }

    fn words(what: impl Into<String>) -> Self {
        Self::new(what, [""; 0])
    }
}

/// Enough for any use, and below what kernels set by default on machines of some memory.
const NAMESPACES: u32 = 15_000;

/// What a remedy for a container allows, for profiles that are written by hand.
const CALLS: &str = "clone, unshare, mount, mount_setattr, open_tree, move_mount, umount2";

pub(super) fn remedies(cause: &Cause, facts: &Facts, program: &Path) -> Vec<Remedy> {
    match cause {
        Cause::Nested => vec![Remedy::words("nothing to do: the sandbox around it holds as well")],
        Cause::ContainerSeccomp(kind) => container(*kind, facts),
        Cause::SeccompFilter => vec![Remedy::words(format!(
            "start codex from elsewhere, or let that filter allow {CALLS} (systemd: RestrictNamespaces= and \
             SystemCallFilter= of the unit)"
        ))],
        Cause::NamespaceLimit(kinds) => {
            // A kind that has a limit of 0 is named; without one, user namespaces are what runs out first.
            let kinds = if kinds.is_empty() { &["user"][..] } else { kinds };
            let keys = kinds.iter().map(|kind| format!("user.max_{kind}_namespaces"));
            vec![sysctl(keys.map(|key| (key, NAMESPACES)), facts)]
        }
        Cause::UnprivilegedClone => {
            vec![sysctl([("kernel.unprivileged_userns_clone".to_owned(), 1)], facts)]
        }
        Cause::AppArmorRestriction => vec![apparmor(program)],
        Cause::AppArmorProfile(label) => match &facts.container {
            Some(around) => container(around.kind, facts),
            None => vec![Remedy::words(format!(
                "let the profile {} allow `userns,` and `mount,`, or start codex outside of it",
                crate::shown(label)
            ))],
        },
        Cause::Selinux(context) => match &facts.container {
            Some(around) => container(around.kind, facts),
            None => vec![Remedy::words(format!(
                "let the policy allow {} user_namespace create, and mounts",
                crate::shown(context.split(':').nth(2).unwrap_or(context))
            ))],
        },
        Cause::CoveredProc => {
            container(facts.container.as_ref().map_or(ContainerKind::Unknown, |around| around.kind), facts)
        }
        Cause::Chroot => vec![Remedy::words(
            "start codex outside of the chroot, or enter the directory with pivot_root(2) (bwrap, systemd-nspawn)",
        )],
        Cause::KernelWithoutNamespaces(kinds) => {
            let option = |kind: &&str| match *kind {
                "mnt" => "CONFIG_NAMESPACES=y".to_owned(),
                "cgroup" => "CONFIG_CGROUPS=y".to_owned(),
                kind => format!("CONFIG_{}_NS=y", kind.to_uppercase()),
            };
            vec![Remedy::new("a kernel built with", kinds.iter().map(option))]
        }
        Cause::KernelTooOld(version, _) => {
            vec![Remedy::words(format!("a kernel of version {version} or later"))]
        }
        Cause::LandlockOffAtBoot(list) => vec![boot(list.as_deref())],
        Cause::LandlockNotBuilt => {
            vec![Remedy::new("a kernel built with", ["CONFIG_SECURITY_LANDLOCK=y"])]
        }
        Cause::LandlockOld(_) => vec![Remedy::words(
            "a later kernel: 6.2 refuses truncate(2) outside (ABI 3), 6.7 TCP (ABI 4), 6.12 signals (ABI 6)",
        )],
        Cause::SeccompNotBuilt => {
            vec![Remedy::new("a kernel built with", ["CONFIG_SECCOMP=y", "CONFIG_SECCOMP_FILTER=y"])]
        }
        Cause::TimedOut => vec![Remedy::words("try again when the machine has less to do")],
        Cause::Unknown => vec![Remedy::new(
            "the kernel's log may name who refused it",
            ["journalctl --dmesg --since '5 minutes ago' | grep -iE 'audit|apparmor|seccomp|denied'"],
        )],
    }
}

/// Settings of the kernel, for now and for every boot.
fn sysctl(settings: impl IntoIterator<Item = (String, u32)>, facts: &Facts) -> Remedy {
    let settings: Vec<_> = settings.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let file = "/etc/sysctl.d/60-user-namespaces.conf";
    let lines = [
        format!("sysctl -w {}", settings.join(" ")),
        format!("printf '%s\\n' {} > {file}", settings.join(" ")),
    ];
    let what = if facts.container.is_some() {
        "as root, on the host of the container: now, and for every boot"
    } else {
        "as root: now, and for every boot"
    };
    Remedy::new(what, lines)
}

/// The profile that gives this program back what AppArmor takes from programs without one.
fn apparmor(program: &Path) -> Remedy {
    // What a terminal does not show can't be typed either.
    let path = crate::shown(program);
    let file = "/etc/apparmor.d/codex";
    Remedy::new(
        "as root: a profile for this program",
        [
            format!("cat > {file} <<'END'"),
            "abi <abi/4.0>,".to_owned(),
            "include <tunables/global>".to_owned(),
            format!("profile codex {} flags=(unconfined) {{", pattern(&path)),
            "  userns,".to_owned(),
            "  include if exists <local/codex>".to_owned(),
            "}".to_owned(),
            "END".to_owned(),
            format!("apparmor_parser --replace {file}"),
        ],
    )
}

/// A path as AppArmor's patterns write it (`apparmor.d(5)`): what means something else there after a backslash.
fn pattern(path: &str) -> String {
    let special = |character: char| "*?[]{}^\\\"".contains(character);
    let mut quoted = String::with_capacity(path.len() + 2);
    for character in path.chars() {
        if special(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if path.chars().all(plain) { quoted } else { format!("\"{quoted}\"") }
}

/// Options of the container's engine, as many as the facts ask for: lifted one by one, the next would refuse.
fn container(kind: ContainerKind, facts: &Facts) -> Vec<Remedy> {
    let (seccomp, apparmor) = (facts.privileges.filtered(), facts.apparmor.confines());
    let selinux = facts.selinux.as_ref().is_some_and(|context| context.contains(":container_t:"));
    let proc = !facts.proc_covers.is_empty();
    let chosen = |options: &[(bool, &str)]| -> Vec<String> {
        options.iter().filter(|(wanted, _)| *wanted).map(|(_, option)| (*option).to_owned()).collect()
    };
    match kind {
        ContainerKind::Docker | ContainerKind::Podman => {
            let (command, unmask) = match kind {
                ContainerKind::Podman => ("podman", "unmask=ALL"),
                _ => ("docker", "systempaths=unconfined"),
            };
            let options = chosen(&[
                (seccomp, "seccomp=unconfined"),
                (apparmor, "apparmor=unconfined"),
                (selinux, "label=disable"),
                (proc, unmask),
            ]);
            let options: Vec<_> = options.iter().map(|option| format!("--security-opt {option}")).collect();
            let mut remedies = vec![Remedy::new(
                "start the container with",
                [format!("{command} run {} …", options.join(" "))],
            )];
            if seccomp {
                remedies.push(Remedy::words(format!(
                    "or seccomp=PROFILE.json, the engine's own profile with {CALLS} allowed"
                )));
            }
            remedies
        }
        ContainerKind::Kubernetes => {
            let mut lines = vec!["securityContext:".to_owned()];
            lines.extend(chosen(&[
                (seccomp, "  seccompProfile: { type: Unconfined }"),
                (apparmor, "  appArmorProfile: { type: Unconfined }"),
                (selinux, "  seLinuxOptions: { type: spc_t }"),
                (proc, "  procMount: Unmasked  # takes hostUsers: false in the pod"),
            ]));
            vec![Remedy::new("in the container's specification", lines)]
        }
        ContainerKind::Lxc => vec![
            Remedy::new("Incus or LXD, on the host", ["incus config set NAME security.nesting true"]),
            Remedy::new(
                "LXC, in the container's configuration",
                ["lxc.include = /usr/share/lxc/config/nesting.conf"],
            ),
        ],
        ContainerKind::Nspawn | ContainerKind::Unknown => {
            let wanted = chosen(&[
                (seccomp, CALLS),
                (apparmor, "mounts in its AppArmor profile"),
                (selinux, "user namespaces and mounts in its SELinux policy"),
                (proc, "a /proc of which nothing is covered"),
            ]);
            vec![Remedy::words(format!("let the container have {}", wanted.join("; ")))]
        }
    }
}

/// The boot parameter that enables Landlock.
fn boot(list: Option<&str>) -> Remedy {
    let Some(list) = list else {
        return Remedy::new(
            "as root: see the modules in use, then boot with `landlock,` before them in lsm=",
            ["mount -t securityfs securityfs /sys/kernel/security", "cat /sys/kernel/security/lsm"],
        );
    };
    Remedy::new(
        "as root: in /etc/default/grub, then update-grub (or grub2-mkconfig) and reboot",
        [format!("GRUB_CMDLINE_LINUX=\"lsm={list}\"")],
    )
}
