//! Records as a kernel (6.18) wrote them of a command that was refused all kinds of things, with other names: `alone.txt`
//! where no account is kept of system calls, `with_calls.txt` where it is.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const ALONE: &str = include_str!("alone.txt");
const WITH_CALLS: &str = include_str!("with_calls.txt");
/// When the recordings begin, and later than their end.
const BEGAN: Duration = Duration::from_secs(1_795_783_312);
const LATER: Duration = Duration::from_secs(1_795_783_400);
/// The processes that took on the domains in the recordings.
const ALONES: i32 = 2641;
const WITH_CALLS_: i32 = 2885;

fn records(text: &str) -> impl Iterator<Item = (u16, &[u8])> {
    text.lines().map(|line| {
        let (kind, text) = line.split_once(' ').unwrap();
        (kind.parse().unwrap(), text.as_bytes())
    })
}

fn call(process: i32) -> LoggedCall {
    let mut call = LoggedCall::new("/usr/bin/codex".into(), BEGAN);
    call.belongs_to(process);
    call
}

fn take(call: &mut LoggedCall, text: &str) {
    records(text).for_each(|(kind, text)| call.take(kind, text));
}

/// What is told, without who it was and when.
fn told(call: LoggedCall) -> (Vec<(Act, String, i32, u64)>, u64) {
    let (attempts, untold) = call.finish(Some(LATER));
    let plain = |attempt: Attempt| {
        let target = attempt.target.to_string_lossy().into_owned();
        (attempt.act, target, attempt.errno as i32, attempt.count)
    };
    (attempts.into_iter().map(plain).collect(), untold)
}

/// What the command was refused, in its order.
fn all() -> Vec<(Act, String, i32, u64)> {
    let denied = libc::EACCES;
    [
        (Act::Write, "/srv/lab/file", denied, 4),
        (Act::Write, "/srv/lab/with space/file", denied, 1),
        (Act::CreateIn, "/srv/lab/…", denied, 1),
        // A file, a directory, what came from another directory, a link, one more name and a pipe.
        (Act::CreateIn, "/srv/lab/dir/…", denied, 5),
        (Act::RemoveIn, "/srv/lab/dir/…", denied, 2),
        (Act::RenameIn, "/srv/lab/…", denied, 1),
        (Act::RenameIn, "/srv/lab/dir/…", denied, 1),
        (Act::CreateIn, "/srv/lab/other/…", denied, 1),
        (Act::Signal, "1", libc::EPERM, 1),
    ]
    .map(|(act, target, errno, count)| (act, target.to_owned(), errno, count))
    .into()
}

#[test]
fn what_was_refused_is_read() {
    for (recording, process) in [(ALONE, ALONES), (WITH_CALLS, WITH_CALLS_)] {
        let mut call = call(process);
        take(&mut call, recording);
        assert_eq!(told(call), (all(), 0));
    }
}

#[test]
fn who_made_the_call_is_known_where_calls_are_kept_account_of() {
    let mut call = call(WITH_CALLS_);
    take(&mut call, WITH_CALLS);
    let (attempts, _) = call.finish(Some(LATER));
    let who = |act| {
        let found = attempts.iter().find(|attempt| attempt.act == act).unwrap();
        (found.process, found.program.to_str().unwrap().to_owned(), found.places[0].clone())
    };
    assert_eq!(who(Act::Write), (2885, "sh".to_owned(), Some("/srv/lab/file".into())));
    assert_eq!(who(Act::RemoveIn), (2887, "rm".to_owned(), Some("/srv/lab/dir".into())));
    assert_eq!(attempts[0].first, 1_074_000_000);
    let mut alone = self::call(ALONES);
    take(&mut alone, ALONE);
    assert!(alone.finish(None).0.iter().all(|attempt| attempt.process == 0 && attempt.program.is_empty()));
}

#[test]
fn only_the_domain_of_the_call_counts() {
    // Of another process; of another program in the same process; of nobody who is known.
    for (process, program) in [(ALONES + 1, "/usr/bin/codex"), (ALONES, "/usr/bin/other")] {
        let mut call = LoggedCall::new(program.into(), BEGAN);
        call.belongs_to(process);
        take(&mut call, ALONE);
        assert_eq!(told(call), (Vec::new(), 0));
    }
    let mut nobodys = LoggedCall::new("/usr/bin/codex".into(), BEGAN);
    take(&mut nobodys, ALONE);
    assert_eq!(told(nobodys), (Vec::new(), 0));
    // Two at once, and each is told its own.
    for (process, other) in [(ALONES, WITH_CALLS), (WITH_CALLS_, ALONE)] {
        let mut call = call(process);
        take(&mut call, other);
        let own = if process == ALONES { ALONE } else { WITH_CALLS };
        take(&mut call, own);
        assert_eq!(told(call), (all(), 0));
    }
}

#[test]
fn whose_it_is_may_be_said_late() {
    let mut call = LoggedCall::new("/usr/bin/codex".into(), BEGAN);
    for (index, (kind, text)) in records(ALONE).enumerate() {
        if index == 5 {
            call.belongs_to(ALONES);
        }
        call.take(kind, text);
    }
    assert_eq!(told(call), (all(), 0));
}

#[test]
fn a_number_that_was_given_again_is_not_trusted() {
    // The process had ended when the domain was first heard of.
    let mut late = call(ALONES);
    take(&mut late, ALONE);
    assert_eq!(late.finish(Some(BEGAN)), (Vec::new(), 18));
    // Two domains of one process.
    let mut two = call(ALONES);
    take(&mut two, ALONE);
    take(
        &mut two,
        &WITH_CALLS.replace("pid=2885 uid=0 exe=\"/usr/bin/codex\"", "pid=2641 uid=0 exe=\"/usr/bin/codex\""),
    );
    assert_eq!(told(two), (Vec::new(), 18));
}

#[test]
fn a_call_that_succeeded_was_refused_nothing() {
    let mut call = call(WITH_CALLS_);
    take(&mut call, &WITH_CALLS.replace("success=no exit=-13", "success=yes exit=3"));
    assert_eq!(told(call), (vec![(Act::Signal, "1".to_owned(), libc::EPERM, 1)], 0));
}

#[test]
fn a_flood_is_counted_and_bounded() {
    let mut call = call(ALONES);
    let head: String = ALONE.lines().take(3).map(|line| line.to_owned() + "\n").collect();
    take(&mut call, &head);
    let refusal = |domain: &str, path: &str, event: usize| {
        format!(
            "audit(1795783312.700:{event}): domain={domain} blockers=fs.make_reg path=\"{path}\" dev=\"sda1\" ino=1"
        )
    };
    for index in 0..10 * MOST_LOGGED {
        call.take(1423, refusal("1cfa31d36", &format!("/{index}"), index).as_bytes());
        call.take(1423, refusal("1cfa31d36", "/same", index).as_bytes());
        // Somebody else's takes no room.
        call.take(1423, refusal("77", "/other", index).as_bytes());
    }
    assert!(call.waiting.len() <= MOST_WAITING);
    let (told, untold) = told(call);
    // The first was known, and so was what came again and again.
    assert_eq!((told.len(), untold), (MOST_LOGGED, 9 * MOST_LOGGED as u64 + 2));
    assert!(told.contains(&(Act::CreateIn, "/same/…".to_owned(), libc::EACCES, 10 * MOST_LOGGED as u64)));

    // Until it is known whose they are, no more is kept either.
    let mut unknown = LoggedCall::new("/usr/bin/codex".into(), BEGAN);
    for index in 0..10 * MOST_DOMAINS {
        unknown.take(1423, refusal(&index.to_string(), "/other", index).as_bytes());
        let domain = format!(
            "audit(1795783312.700:{index}): domain={index} status=allocated mode=enforcing pid=7 uid=0 exe=\"/usr/bin/codex\" comm=\"x\""
        );
        unknown.take(1424, domain.as_bytes());
    }
    assert!(unknown.waiting.len() <= MOST_WAITING && unknown.domains.len() <= MOST_DOMAINS);
}

#[test]
fn what_was_lost_is_counted() {
    // The kernel counts itself.
    let mut counted = call(ALONES);
    counted.gap();
    take(
        &mut counted,
        &ALONE
            .lines()
            .filter(|line| !line.contains(":99"))
            .map(|line| line.to_owned() + "\n")
            .collect::<String>(),
    );
    assert_eq!(counted.finish(Some(LATER)).1, 10);
    // As long as it has not said how many, a gap is one.
    let mut gap = call(ALONES);
    take(&mut gap, ALONE.rsplit_once("1424").unwrap().0);
    gap.gap();
    assert_eq!(gap.finish(Some(LATER)).1, 1);
}

#[test]
fn what_a_command_chooses_is_no_field() {
    // A directory and a program with such names: the kernel writes them in hexadecimal, as soon as there is a blank or a
    // quotation mark.
    let odd = |path: &str| {
        format!("audit(1.002:3): domain=1 blockers=fs.write_file path={path} dev=\"sda1\" ino=1")
    };
    let path = |text: &str| match Record::parse(1423, text.as_bytes())?.body {
        Body::Access { access: Access { object: Object::Path(path), .. }, .. } => Some(path),
        _ => None,
    };
    assert_eq!(path(&odd("2F612220706174683D2F62")), Some("/a\" path=/b".into()));
    assert_eq!(path(&odd("\"/a=b\"")), Some("/a=b".into()));
    for unusable in ["\"<too_long>\"", "\"relative\"", "\"/open", "2F6", "2G", "2F00", "\"\"", "(null)", ""] {
        assert_eq!(path(&odd(unusable)), None, "{unusable}");
    }
    for broken in
        ["", "audit(", "audit(1.2:3)", "audit(1:3): domain=1", "audit(x.y:z): domain=1 blockers=a opid=1"]
    {
        assert_eq!(Record::parse(1423, broken.as_bytes()), None, "{broken}");
    }
    let stamped =
        Record::parse(1424, b"audit(18446744073709551615.999:1): domain=1 status=deallocated denials=1\0");
    assert!(stamped.is_some());
}

proptest! {
    #[test]
    fn anything_can_be_read(
        records in prop::collection::vec(
            (prop::sample::select(vec![1300_u16, 1423, 1424, 1320]), prop::collection::vec(any::<u8>(), 0..120)),
            0..20,
        ),
    ) {
        let mut call = call(1);
        for (kind, text) in &records {
            call.take(*kind, text);
        }
        prop_assert_eq!(call.finish(None), (Vec::new(), 0));
    }

    /// Whatever is lost, cut or comes twice: what is told is among what was refused, and no more often than it was read.
    #[test]
    fn what_is_lost_makes_nothing_up(
        changes in prop::collection::vec((0_usize..63, 0_u8..3, 0_usize..300), 0..20),
    ) {
        let mut lines: Vec<(u16, Vec<u8>)> =
            records(WITH_CALLS).map(|(kind, text)| (kind, text.to_vec())).collect();
        for (index, change, place) in changes {
            let index = index % lines.len();
            match change {
                0 => { lines.remove(index); }
                1 => lines[index].1.truncate(place),
                _ => lines.insert(index, lines[index].clone()),
            }
        }
        let mut call = call(WITH_CALLS_);
        lines.iter().for_each(|(kind, text)| call.take(*kind, text));
        let (told, _) = told(call);
        let known = all();
        for (act, target, ..) in told {
            let is_known = known.iter().any(|(known, ..)| *known == act);
            // A path in hexadecimal that is cut is a shorter one.
            let is_well_formed = target.starts_with('/') || target == "1";
            prop_assert!(is_known && is_well_formed, "{:?} {}", act, target);
        }
    }
}
