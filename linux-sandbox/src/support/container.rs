//! The container around us, by the marks that engines leave.

use super::tree::Tree;

/// Who runs a container: each takes its options in another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerKind {
    /// Docker, and what behaves like it.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes.
    Kubernetes,
    /// LXC, LXD, Incus, Proxmox.
    Lxc,
    /// `systemd-nspawn`.
    Nspawn,
    /// An engine that we don't know.
    Unknown,
}

impl ContainerKind {
    /// The name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Kubernetes => "kubernetes",
            Self::Lxc => "lxc",
            Self::Nspawn => "systemd-nspawn",
            Self::Unknown => "unknown",
        }
    }

    /// The engine by what it calls itself in the variable `container` of its first process.
    fn called(name: &str) -> Self {
        match name {
            "docker" => Self::Docker,
            "podman" => Self::Podman,
            "lxc" | "lxc-libvirt" => Self::Lxc,
            "systemd-nspawn" => Self::Nspawn,
            _ => Self::Unknown,
        }
    }
}

/// A container, and how we know.
///
/// A mark is no proof: an image of a container may run as a machine of its own. It only ever words a remedy, for
/// something that was tried and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Who runs it.
    pub kind: ContainerKind,
    /// The mark that was found.
    pub mark: &'static str,
}

/// Marks that are there or not, the most telling first: a pod's containers have those of the engine below as well.
const MARKS: [(&str, ContainerKind); 4] = [
    ("/var/run/secrets/kubernetes.io", ContainerKind::Kubernetes),
    ("/run/secrets/kubernetes.io", ContainerKind::Kubernetes),
    ("/run/.containerenv", ContainerKind::Podman),
    ("/.dockerenv", ContainerKind::Docker),
];

impl Container {
    pub(super) fn read(tree: &Tree, proc_is_covered: bool) -> Option<Self> {
        if let Some((mark, kind)) = MARKS.into_iter().find(|(mark, _)| tree.exists(mark)) {
            return Some(Self { kind, mark });
        }
        if let Some(name) = tree.text("/run/systemd/container") {
            return Some(Self { kind: ContainerKind::called(&name), mark: "/run/systemd/container" });
        }
        // Readable for root of the container, as a rule.
        let environment = tree.text("/proc/1/environ").unwrap_or_default();
        if let Some(name) = environment.split('\0').find_map(|entry| entry.strip_prefix("container=")) {
            return Some(Self {
                kind: ContainerKind::called(name),
                mark: "container= in the environment of process 1",
            });
        }
        proc_is_covered.then_some(Self { kind: ContainerKind::Unknown, mark: "mounts over parts of /proc" })
    }
}
