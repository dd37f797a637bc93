//! Making a policy's paths real: each root looked up once, its symbolic links followed, the result checked.

mod error;

use std::collections::HashSet;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;

use super::model::{NetworkAccess, SandboxMode, SandboxPolicy};
use super::trace::{Known, Trace, trace};
pub use error::PolicyError;

/// What a policy is resolved against. The library reads none of it by itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The workspace that the user chose. Absolute.
    pub policy_cwd: &'a Path,
    /// The value of `$TMPDIR`, where it is set.
    pub tmpdir: Option<&'a Path>,
    /// The directory of the configuration, whether it exists or not. No command may write it, whatever the roots.
    pub codex_home: Option<&'a Path>,
    /// Roots that a file names, and when that file was last written.
    pub named_in_files: &'a [(PathBuf, SystemTime)],
}

/// Why a directory is a writable root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootOrigin {
    /// It is the workspace.
    PolicyCwd,
    /// The configuration or a flag names it.
    Configured,
    /// It is `/tmp`.
    SlashTmp,
    /// It is `/dev/shm`, where POSIX shared memory and semaphores live.
    DevShm,
    /// `$TMPDIR` names it.
    TmpdirVariable,
}

impl RootOrigin {
    /// Whether the user named this root; the others are conveniences, and left out where they can't be had.
    #[must_use]
    pub const fn is_explicit(self) -> bool {
        matches!(self, Self::PolicyCwd | Self::Configured)
    }
}

impl fmt::Display for RootOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PolicyCwd => "workspace",
            Self::Configured => "configured",
            Self::SlashTmp => "/tmp",
            Self::DevShm => "/dev/shm",
            Self::TmpdirVariable => "$TMPDIR",
        })
    }
}

/// A directory tree that commands may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableRoot {
    /// Without any symbolic link in it.
    pub path: PathBuf,
    /// As it was asked for.
    pub asked: PathBuf,
    /// Why it is a root.
    pub origin: RootOrigin,
}

/// What can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedWrites {
    /// Everything that the user's own permissions allow.
    Everywhere,
    /// What is below these roots, none of which lies below another.
    Beneath(Vec<WritableRoot>),
}

/// A root that was asked for and is not in the list, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootNote {
    /// As it was asked for.
    pub asked: PathBuf,
    /// Why it would have been a root.
    pub origin: RootOrigin,
    /// Why it is none.
    pub why: String,
}

/// A policy whose paths are real.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPolicy {
    /// The mode it came from.
    pub mode: SandboxMode,
    /// What can be written.
    pub writes: ResolvedWrites,
    /// Whether commands may reach the network.
    pub network: NetworkAccess,
    /// Roots that were left out or folded into another.
    pub notes: Vec<RootNote>,
    /// Where those are that the user chose and that lie in one that is only implied (`/tmp`), without any symbolic link: what is
    /// protected at the top of a root is so there too. One that lies in a root that the user chose is a part of that, as any other.
    pub folded: Vec<PathBuf>,
}

/// Makes a policy's paths real.
///
/// A command's own working directory plays no part: what is writable depends on what the user chose alone.
///
/// # Errors
///
/// [`PolicyError`] for the first root that the user named and that can't be a root. One that was only implied (`/tmp`,
/// `/dev/shm`, `$TMPDIR`) is left out instead, with a note.
pub fn resolve(
    policy: &SandboxPolicy,
    surroundings: Surroundings<'_>,
) -> Result<ResolvedPolicy, PolicyError> {
    let network =
        if policy.has_full_network_access() { NetworkAccess::Enabled } else { NetworkAccess::Restricted };
    let mut resolved = ResolvedPolicy {
        mode: policy.mode(),
        writes: ResolvedWrites::Everywhere,
        network,
        notes: Vec::new(),
        folded: Vec::new(),
    };
    if policy.has_full_disk_write_access() {
        return Ok(resolved);
    }
    let mut known = Known::default();
    let codex_home = surroundings.codex_home;
    let configuration = codex_home.map(|path| Configuration::look_up(path, &mut known)).transpose()?;
    let mut found: Vec<(WritableRoot, Vec<PathBuf>)> = Vec::new();
    for (asked, origin) in policy.writable_roots(surroundings.policy_cwd, surroundings.tmpdir) {
        match look_up(&asked, configuration.as_ref(), &mut known) {
            Ok(Trace { resolved: path, links, .. }) => {
                refuse_newer_links(&asked, &links, surroundings.named_in_files)?;
                found.push((WritableRoot { path, asked, origin }, links));
            }
            Err(error) if origin.is_explicit() => return Err(error),
            Err(error) => resolved.notes.push(RootNote { asked, origin, why: reason(&error) }),
        }
    }
    refuse_links_in_roots(&mut found, &mut resolved.notes)?;
    let roots = fold(found.into_iter().map(|(root, _)| root).collect(), &mut resolved);
    resolved.writes = ResolvedWrites::Beneath(roots);
    Ok(resolved)
}

/// Where the configuration is.
struct Configuration<'a> {
    asked: &'a Path,
    way: Trace,
}

impl<'a> Configuration<'a> {
    fn look_up(asked: &'a Path, known: &mut Known) -> Result<Self, PolicyError> {
        let unreadable = |errno| PolicyError::UnreadableConfiguration { path: asked.to_owned(), errno };
        Ok(Self { asked, way: trace(asked, known).map_err(unreadable)? })
    }

    /// Whether who writes below a directory could write the configuration, or put another one in its place.
    fn is_exposed_by(&self, root: &Path) -> bool {
        // The links on the way to the configuration count as well: who can turn one, can replace what is behind it.
        let mut places = self.way.links.iter().chain([&self.way.resolved]);
        places.any(|place| place.starts_with(root)) || root.starts_with(&self.way.resolved)
    }
}

fn look_up(
    asked: &Path,
    configuration: Option<&Configuration<'_>>,
    known: &mut Known,
) -> Result<Trace, PolicyError> {
    if !asked.is_absolute() {
        return Err(PolicyError::Relative(asked.to_owned()));
    }
    let unreadable = |errno| match errno {
        Errno::ENOENT => PolicyError::Missing(asked.to_owned()),
        Errno::ENOTDIR => PolicyError::NotADirectory(asked.to_owned()),
        errno => PolicyError::Unreadable { path: asked.to_owned(), errno },
    };
    if asked.as_os_str().as_bytes().contains(&0) {
        return Err(unreadable(Errno::EINVAL));
    }
    let traced = trace(asked, known).map_err(unreadable)?;
    if !traced.exists {
        return Err(PolicyError::Missing(asked.to_owned()));
    }
    if let Some(why) = forbidden(&traced.resolved).map_err(unreadable)? {
        return Err(PolicyError::Forbidden { path: asked.to_owned(), place: traced.resolved, why });
    }
    if let Some(configuration) = configuration.filter(|it| it.is_exposed_by(&traced.resolved)) {
        let (path, codex_home) = (asked.to_owned(), configuration.asked.to_owned());
        return Err(PolicyError::Configuration { path, codex_home });
    }
    Ok(traced)
}

/// Kernel interfaces that look like files, by the magic number of their file system (`statfs(2)`, `linux/magic.h`).
const KERNEL_INTERFACES: [(i64, &str); 11] = [
    (0x9fa0, "it shows the kernel and its processes (procfs)"),
    (0x6265_6572, "it shows the kernel's devices (sysfs)"),
    (0x1cd1, "it holds terminals (devpts)"),
    (0x0027_e0eb, "it holds control groups (cgroup)"),
    (0x6367_7270, "it holds control groups (cgroup2)"),
    (0x6462_6720, "it is for debugging the kernel (debugfs)"),
    (0x7472_6163, "it is for tracing the kernel (tracefs)"),
    (0x7363_6673, "it administers security modules (securityfs)"),
    (0xcafe_4a11, "it holds programs in the kernel (bpf)"),
    (0x6265_6570, "it configures the kernel (configfs)"),
    (0xde5e_81e4, "it holds the firmware's variables (efivarfs)"),
];

fn forbidden(place: &Path) -> Result<Option<&'static str>, Errno> {
    if place == Path::new("/") {
        return Ok(Some("it is everything; danger-full-access says so in plain words"));
    }
    for (tree, why) in
        [("/proc", "it shows the kernel and its processes"), ("/sys", "it shows the kernel's devices")]
    {
        if place.starts_with(tree) {
            return Ok(Some(why));
        }
    }
    if place.starts_with("/dev") && !place.starts_with("/dev/shm") {
        return Ok(Some("it holds devices; the harmless ones are writable anyway"));
    }
    let directory = open(
        place,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let kind = fstatfs(&directory)?.filesystem_type().0;
    Ok(KERNEL_INTERFACES.iter().find(|(magic, _)| *magic == kind).map(|(_, why)| *why))
}

/// A file names a root by what stood there when it was written. Where a link has come to stand on the way since, a command
/// of an earlier call may have put it there, in a workspace of that time, to move the root of this one. The change time of
/// a link can't be set back.
fn refuse_newer_links(
    asked: &Path,
    links: &[PathBuf],
    named_in_files: &[(PathBuf, SystemTime)],
) -> Result<(), PolicyError> {
    let written = named_in_files.iter().filter(|(root, _)| root == asked).map(|(_, written)| *written).max();
    let Some(written) = written else { return Ok(()) };
    let changed = |link: &Path| {
        let status = link.symlink_metadata().ok()?;
        let since_epoch =
            Duration::new(u64::try_from(status.ctime()).ok()?, u32::try_from(status.ctime_nsec()).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since_epoch)
    };
    // A link whose time can't be told may be any.
    match links.iter().find(|link| changed(link).is_none_or(|changed| changed > written)) {
        None => Ok(()),
        Some(link) => Err(PolicyError::NewerLink { path: asked.to_owned(), link: link.clone() }),
    }
}

/// A link inside a root can be turned by a command, so that the next call would resolve to wherever it then leads.
fn refuse_links_in_roots(
    found: &mut Vec<(WritableRoot, Vec<PathBuf>)>,
    notes: &mut Vec<RootNote>,
) -> Result<(), PolicyError> {
    let roots: HashSet<PathBuf> = found.iter().map(|(root, _)| root.path.clone()).collect();
    let turned = |links: &[PathBuf]| {
        links.iter().find_map(|link| {
            let root = link.ancestors().find(|above| roots.contains(*above))?;
            Some((link.clone(), root.to_owned()))
        })
    };
    let mut kept = Vec::with_capacity(found.len());
    for (root, links) in found.drain(..) {
        match turned(&links) {
            None => kept.push((root, links)),
            Some((link, holder)) => {
                let error = PolicyError::WritableLink { path: root.asked.clone(), link, root: holder };
                if root.origin.is_explicit() {
                    return Err(error);
                }
                notes.push(RootNote { asked: root.asked, origin: root.origin, why: reason(&error) });
            }
        }
    }
    *found = kept;
    Ok(())
}

/// Drops roots that lie below another one, or stand twice.
fn fold(roots: Vec<WritableRoot>, resolved: &mut ResolvedPolicy) -> Vec<WritableRoot> {
    let mut by_path: Vec<(usize, WritableRoot)> = roots.into_iter().enumerate().collect();
    // By components, so that whatever lies below a root follows it at once; equals stay in the order of asking.
    by_path.sort_by(|(_, one), (_, other)| one.path.cmp(&other.path));
    let mut kept: Vec<(usize, WritableRoot)> = Vec::with_capacity(by_path.len());
    for (index, root) in by_path {
        match kept.last().filter(|(_, above)| root.path.starts_with(&above.path)) {
            None => kept.push((index, root)),
            Some((_, above)) => {
                let why = format!("already writable as a part of {}", shown(&above.path));
                let chosen = root.origin.is_explicit() && !above.origin.is_explicit();
                if chosen && root.path != above.path && resolved.folded.last() != Some(&root.path) {
                    resolved.folded.push(root.path);
                }
                resolved.notes.push(RootNote { asked: root.asked, origin: root.origin, why });
            }
        }
    }
    kept.sort_by_key(|(index, _)| *index);
    kept.into_iter().map(|(_, root)| root).collect()
}

/// The error without the words that a note says anyway.
fn reason(error: &PolicyError) -> String {
    let text = error.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, why)| why.to_owned())
}

#[cfg(test)]
mod tests;
