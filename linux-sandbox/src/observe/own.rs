//! Names of the kernel's for what a process has open itself, where it is and what its root is: who else looks there finds
//! their own (`proc_pid_fd(5)`).

use std::fs;
use std::path::{Component, Path, PathBuf};

use nix::unistd::Pid;

/// What follows of a path.
type Rest<'p> = std::iter::Peekable<std::path::Components<'p>>;

/// A thread's own name for a path that leads through one of these, or the path as it is. `follow`: whether such a link is
/// followed that stands last.
pub(super) fn own(thread: Pid, path: PathBuf, follow: bool) -> PathBuf {
    resolved(thread, &path, follow).unwrap_or(path)
}

fn resolved(thread: Pid, path: &Path, follow: bool) -> Option<PathBuf> {
    let mut rest = path.components().peekable();
    (rest.next() == Some(Component::RootDir)).then_some(())?;
    let (owner, link) = match name(&mut rest)? {
        "proc" => {
            let owner = match name(&mut rest)? {
                "self" => process(thread, None)?,
                "thread-self" => thread,
                number => process(thread, Some(number.parse().ok()?))?,
            };
            (owner, link_of_a_process(&mut rest)?)
        }
        "dev" => {
            let number = match name(&mut rest)? {
                "fd" => number(&mut rest)?,
                "stdin" => 0,
                "stdout" => 1,
                "stderr" => 2,
                _ => return None,
            };
            (process(thread, None)?, format!("fd/{number}"))
        }
        _ => return None,
    };
    if rest.peek().is_none() && !follow {
        return None;
    }
    // What is open need not have a path: a pipe, or what was removed.
    let place = fs::read_link(format!("/proc/{owner}/{link}")).ok()?;
    (place.is_absolute() && !place.to_string_lossy().ends_with(" (deleted)"))
        .then(|| rest.fold(place, |place, part| place.join(part)))
}

fn link_of_a_process(rest: &mut Rest<'_>) -> Option<String> {
    match name(rest)? {
        "fd" => Some(format!("fd/{}", number(rest)?)),
        link @ ("cwd" | "root") => Some(link.to_owned()),
        _ => None,
    }
}

fn name<'p>(rest: &mut Rest<'p>) -> Option<&'p str> {
    match rest.next()? {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

fn number(rest: &mut Rest<'_>) -> Option<u32> {
    // The kernel knows no other spelling.
    let text = name(rest)?;
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

/// The number, as seen from here, of a thread's process. Nothing where it is another one that has this number for the process.
fn process(thread: Pid, own: Option<i32>) -> Option<Pid> {
    // A program's name is any bytes, and cut anywhere.
    let status = fs::read(format!("/proc/{thread}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let last = |text: &str| text.split_whitespace().next_back()?.parse::<i32>().ok();
    if own.is_some() && own != last(field("NStgid:")?) {
        return None;
    }
    last(field("Tgid:")?).map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use nix::unistd::{gettid, pipe};

    use super::*;

    #[test]
    fn the_kernels_links_lead_where_they_lead_for_their_owner() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        let directory = fs::File::open(&top).unwrap();
        let number = directory.as_raw_fd();
        let (reader, _writer) = pipe().unwrap();
        let here = std::env::current_dir().unwrap();
        let me = std::process::id();
        let removed = tempfile::tempfile_in(&top).unwrap();
        let own = |path: &str| own(gettid(), path.into(), true);
        for (path, expected) in [
            (format!("/proc/self/fd/{number}"), top.clone()),
            (format!("/proc/self/fd/{number}/file"), top.join("file")),
            (format!("/proc/thread-self/fd/{number}/../file"), top.join("../file")),
            (format!("/proc/{me}/fd/{number}"), top.clone()),
            (format!("/dev/fd/{number}/a/b"), top.join("a/b")),
            ("/proc/self/cwd/file".to_owned(), here.join("file")),
            ("/proc/self/root/etc/hosts".to_owned(), "/etc/hosts".into()),
        ] {
            assert_eq!(own(&path), expected, "{path}");
        }
        let stays = [
            format!("/proc/self/fd/{}", reader.as_raw_fd()),
            format!("/proc/self/fd/{}", removed.as_raw_fd()),
            format!("/proc/self/fd/0{number}"),
            format!("/proc/{}/cwd", me + 1),
            "/proc/self/../self/cwd".to_owned(),
            "/proc/self/fd".to_owned(),
            "/proc/self/exe".to_owned(),
            "/proc".to_owned(),
            "/dev/null".to_owned(),
            "/etc/hosts".to_owned(),
            "proc/self/cwd".to_owned(),
        ];
        for path in stays {
            assert_eq!(own(&path), Path::new(&path), "{path}");
        }
    }

    #[test]
    fn a_threads_name_need_be_no_text() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        let directory = fs::File::open(&top).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let named = std::thread::spawn(move || {
            nix::sys::prctl::set_name(c"cut in a \xe6\x97").unwrap();
            own(gettid(), path, true)
        });
        assert_eq!(named.join().unwrap(), top);
    }

    #[test]
    fn a_link_that_is_not_followed_is_itself() {
        let here = std::env::current_dir().unwrap();
        let own = |path: &str| own(gettid(), path.into(), false);
        assert_eq!(own("/proc/self/cwd"), Path::new("/proc/self/cwd"));
        assert_eq!(own("/proc/self/cwd/file"), here.join("file"));
    }
}
