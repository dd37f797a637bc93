//! Files: where a path leads, which mount or rule that is, and the error it gives.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

use super::super::grant;
use super::super::record::Rule;
use super::{Judge, Operation, Refusal, Verdict, allowed};
use crate::config::Origin;
use crate::enforcement::Level;
use crate::policy::{ResolvedWrites, SandboxMode, resolve_path};

/// Devices that can be written everywhere.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx"];
/// What there is in `/dev` at level namespaces besides.
const IN_DEV: [&str; 8] = ["random", "urandom", "pts", "mqueue", "fd", "stdin", "stdout", "stderr"];
/// What leads to descriptors or state of whoever looks, who would be us.
const OWN: [&str; 5] = ["/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];
const MOVED_AWAY: &str = "a protected name: what is made there is moved away when the command ends";
const CHANGEABLE: &str = "protected, but level landlock can't keep it: what exists can be changed";
const UNPROMISED: &str = "level landlock has no means against it: metadata is not promised there";

pub(super) fn judge(judge: &Judge<'_>, operation: Operation, path: &Path) -> Result<Verdict, Errno> {
    if judge.level == Level::None || OWN.iter().any(|own| path.starts_with(own)) {
        return Ok(allowed());
    }
    Ok(judge_at(judge, operation, locate(path, !acts_on_the_name(operation))?))
}

/// The same where links were followed.
pub(super) fn judge_at(judge: &Judge<'_>, operation: Operation, place: PathBuf) -> Verdict {
    if let Some(verdict) = hidden(judge, operation, &place) {
        return verdict;
    }
    let namespaces = judge.level == Level::Namespaces;
    if let (true, Ok(name)) = (namespaces && judge.confines_files(), place.strip_prefix("/dev"))
        && let Some(first) = name.iter().next()
        && first != "shm"
        && !DEVICES.iter().any(|device| place == Path::new(device))
        && !IN_DEV.iter().any(|there| first == *there)
        && operation != Operation::Create
    {
        // The sandbox has a /dev of its own.
        return judge.refused("P1", None, Errno::ENOENT, place, "devices are not opened");
    }
    if operation == Operation::Read {
        return allowed();
    }
    if !judge.confines_files() {
        return allowed();
    }
    if operation == Operation::Metadata && !namespaces {
        return Verdict::Allowed { note: Some(UNPROMISED) };
    }
    if operation == Operation::Write
        && (DEVICES.iter().any(|device| place == Path::new(device)) || place.starts_with("/dev/pts/"))
    {
        return allowed();
    }
    change(judge, operation, place)
}

/// A change of content, name or metadata at a place that can be seen.
fn change(judge: &Judge<'_>, operation: Operation, place: PathBuf) -> Verdict {
    let namespaces = judge.level == Level::Namespaces;
    // A name belongs to the directory that it stands in.
    let stands_in = match operation {
        Operation::Create | Operation::Remove | Operation::Rename => place.parent().unwrap_or(&place),
        _ => place.as_path(),
    };
    if !judge.is_writable(stands_in) {
        let errno = match (namespaces, operation, std::fs::metadata(&place)) {
            (false, ..) => Errno::EACCES,
            // A read-only mount says nothing about writing to these: what stands behind it does.
            (true, Operation::Write, Ok(status))
                if status.file_type().is_fifo()
                    || status.file_type().is_char_device()
                    || status.file_type().is_block_device() =>
            {
                Errno::EACCES
            }
            (true, ..) => Errno::EROFS,
        };
        let refusal = Refusal {
            promise: Some("P1"),
            rule: Some(judge.rule_on_writes(&place)),
            errno: Some(errno),
            allow: None,
            risk: None,
            resolved: Some(place.clone()),
        };
        return Verdict::Denied(Box::new(grant::for_write(judge, operation, &place, refusal)));
    }
    let Some(protection) = judge.protection else { return allowed() };
    let holds = |paths: &[PathBuf]| paths.iter().any(|kept| place.starts_with(kept));
    let is = |paths: &[PathBuf]| paths.contains(&place);
    let may_not_appear = protection.absent.iter().any(|absent| absent.covers(&place));
    if !namespaces {
        return if holds(&protection.read_only) {
            Verdict::Allowed { note: Some(CHANGEABLE) }
        } else if may_not_appear {
            Verdict::Allowed { note: Some(MOVED_AWAY) }
        } else {
            allowed()
        };
    }
    let on_the_name = matches!(operation, Operation::Remove | Operation::Rename);
    let errno = if protection.read_only.iter().any(|kept| stands_in.starts_with(kept)) {
        Errno::EROFS
    } else if on_the_name && (is(&protection.read_only) || is(&protection.pinned)) {
        Errno::EBUSY
    } else if holds(&protection.read_only) {
        Errno::EROFS
    } else if may_not_appear {
        return Verdict::Allowed { note: Some(MOVED_AWAY) };
    } else {
        return allowed();
    };
    let rule = judge.rule_on_metadata(&place);
    judge.refused("P4", Some(rule), errno, place, "protected: the host runs or trusts it")
}

/// What lies at or below a place that can't be read.
fn hidden(judge: &Judge<'_>, operation: Operation, place: &Path) -> Option<Verdict> {
    if judge.level != Level::Namespaces {
        return None;
    }
    let covers = judge.places.denied.iter().chain(&judge.special);
    let cover =
        covers.filter(|cover| place.starts_with(cover)).max_by_key(|cover| cover.as_os_str().len())?;
    let shown = judge.places.reopened.iter().filter(|shown| shown.starts_with(cover));
    let mut passable = false;
    for shown in shown {
        passable = true;
        if place.starts_with(shown) && shown != cover {
            return match operation {
                Operation::Read => Some(allowed()),
                _ => {
                    Some(judge.refused("P1", judge.rule_on_reads(cover), Errno::EROFS, place.into(), SECRET))
                }
            };
        }
        if shown.starts_with(place) && operation == Operation::Read && shown != place {
            // A directory on the way: it can be passed.
            break;
        }
    }
    let errno = match operation {
        Operation::Remove | Operation::Rename if place == cover => {
            let parent = place.parent().unwrap_or(place);
            Some(if judge.is_writable(parent) { Errno::EBUSY } else { Errno::EROFS })
        }
        Operation::Read if place == cover => (!judge.root).then_some(Errno::EACCES),
        Operation::Metadata if place == cover => Some(Errno::EROFS),
        Operation::Create if judge.root => Some(Errno::EROFS),
        _ if place == cover => Some(if judge.root { Errno::EROFS } else { Errno::EACCES }),
        _ if judge.root || passable => Some(Errno::ENOENT),
        _ => Some(Errno::EACCES),
    };
    Some(Verdict::Denied(Box::new(Refusal {
        promise: Some("P1"),
        rule: judge.rule_on_reads(cover),
        errno,
        resolved: Some(place.to_owned()),
        allow: None,
        risk: Some(SECRET.to_owned()),
    })))
}

const SECRET: &str = "hidden on purpose: sandbox.allow_read would show it again";

impl Judge<'_> {
    /// Whether the policy says anything about what can be written.
    fn confines_files(&self) -> bool {
        matches!(self.policy.writes, ResolvedWrites::Beneath(_))
    }

    /// Whether a place lies in a tree that can be written, protection not counted.
    pub(in super::super) fn is_writable(&self, place: &Path) -> bool {
        let ResolvedWrites::Beneath(roots) = &self.policy.writes else { return true };
        let own = self.level == Level::Namespaces
            && (place.starts_with("/dev/shm") || (self.places.private_tmp && place.starts_with("/tmp")));
        own || roots.iter().any(|root| place.starts_with(&root.path))
    }

    /// The rule by which something outside of the roots can't be written.
    pub(in super::super) fn rule_on_writes(&self, place: &Path) -> Rule {
        let settings = self.settings;
        if self.policy.mode != SandboxMode::WorkspaceWrite {
            return Rule::new("sandbox_mode", &settings.sandbox_mode.origin);
        }
        let workspace = &settings.workspace_write;
        if workspace.exclude_slash_tmp.value && (place.starts_with("/tmp") || place.starts_with("/dev/shm")) {
            let origin = &workspace.exclude_slash_tmp.origin;
            return Rule::new("sandbox_workspace_write.exclude_slash_tmp", origin);
        }
        Rule::new("sandbox_workspace_write.writable_roots", workspace.writable_roots.origin_of_all())
    }

    fn rule_on_metadata(&self, place: &Path) -> Rule {
        let sandbox = &self.settings.sandbox;
        let named =
            sandbox.protect.iter().find(|name| place.ancestors().any(|above| above.ends_with(&name.value)));
        let is_git = place.iter().any(|name| name == ".git" || name == "hooks" || name == "config");
        match named {
            Some(name) => Rule::new("sandbox.protect", &name.origin),
            None if is_git => Rule::new("sandbox.git", &sandbox.git.origin),
            None => Rule::new("sandbox.protect", &Origin::Default),
        }
    }

    /// The rule by which a cover is there. None for what is the kernel's own.
    fn rule_on_reads(&self, cover: &Path) -> Option<Rule> {
        let mut rules = self.settings.sandbox.deny_read.iter();
        let named = rules.find(|rule| resolve_path(&rule.value).is_ok_and(|place| place == cover));
        named.map(|rule| Rule::new("sandbox.deny_read", &rule.origin))
    }

    fn refused(
        &self,
        promise: &'static str,
        rule: Option<Rule>,
        errno: Errno,
        place: PathBuf,
        risk: &str,
    ) -> Verdict {
        Verdict::Denied(Box::new(Refusal {
            promise: Some(promise),
            rule,
            errno: Some(errno),
            resolved: Some(place),
            allow: None,
            risk: Some(risk.to_owned()),
        }))
    }

    /// Whether the user's own permissions let it happen without the sandbox, as far as can be told without trying. What they
    /// refuse is no denial of ours.
    #[must_use]
    pub fn possible_outside(&self, operation: Operation, path: &Path) -> bool {
        locate(path, !acts_on_the_name(operation)).is_ok_and(|place| self.possible_at(operation, &place))
    }

    /// The same of a place.
    pub(in super::super) fn possible_at(&self, operation: Operation, place: &Path) -> bool {
        let may = |place: &Path, how| access(place, how).is_ok();
        let parent = place.parent().unwrap_or(place);
        match operation {
            Operation::Read => may(place, AccessFlags::R_OK),
            Operation::Write => may(place, AccessFlags::W_OK),
            Operation::Metadata => place
                .symlink_metadata()
                .is_ok_and(|status| geteuid().is_root() || status.uid() == geteuid().as_raw()),
            Operation::Create => {
                let there = place.ancestors().skip(1).find(|above| above.exists());
                let into = there.is_some_and(|above| may(above, AccessFlags::W_OK | AccessFlags::X_OK));
                if place.exists() { may(place, AccessFlags::W_OK) || into } else { into }
            }
            Operation::Remove | Operation::Rename => {
                place.symlink_metadata().is_ok() && may(parent, AccessFlags::W_OK | AccessFlags::X_OK)
            }
            Operation::Unix => may(place, AccessFlags::W_OK),
            Operation::Connect | Operation::Signal | Operation::Call | Operation::Use => true,
        }
    }
}

/// Where a path leads as the kernel resolves it: the last link followed, or not.
pub(in super::super) fn locate(path: &Path, follow: bool) -> Result<PathBuf, Errno> {
    if !path.is_absolute() {
        return Err(Errno::EINVAL);
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !follow => Ok(resolve_path(parent)?.join(name)),
        _ => resolve_path(path),
    }
}

const fn acts_on_the_name(operation: Operation) -> bool {
    matches!(operation, Operation::Remove | Operation::Rename)
}
