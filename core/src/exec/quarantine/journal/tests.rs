use super::{
    AbsentNames, Arc, Duration, Duties, GitProtection, Interval, Journal, Kept, PathBuf, SystemTime,
    WatchedLink, decode, directory, encode, fs, left,
};

fn absent() -> Vec<AbsentNames> {
    let shared: Arc<[PathBuf]> = [".vscode".into(), ".github/hooks".into()].into();
    let names = |directory: &str, names: &Arc<[PathBuf]>| AbsentNames {
        directory: directory.into(),
        names: Arc::clone(names),
    };
    vec![names("/w", &shared), names("/t\n", &shared), names("/w/.git", &[PathBuf::from("config")].into())]
}

fn duties() -> Duties {
    Duties {
        git: GitProtection::ReadOnly,
        roots: vec!["/w".into(), "/t\n".into()],
        absent: absent(),
        links: vec![WatchedLink { path: "/w/.git".into(), target: PathBuf::from("../x") }],
        kept: vec![Kept { path: "/w/.envrc".into(), device: 1, inode: u64::MAX, born: None }],
    }
}

#[test]
fn a_stamp_of_whole_seconds_may_be_of_any_time_in_them() {
    let second = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    let interval = Interval { from: second(10) + Duration::from_millis(1), until: None };
    assert!(interval.holds(second(9)) && interval.holds(second(10)) && !interval.holds(second(8)));
    assert!(!interval.holds(second(10) + Duration::from_nanos(1)));
}

#[test]
fn what_is_written_is_read_and_half_of_it_is_nothing() {
    let whole = encode(&duties());
    assert_eq!(decode(&whole), Some(duties()));
    for length in 0..whole.len() - 1 {
        assert_eq!(decode(&whole[..length]), None, "{length}");
    }
}

#[test]
fn a_running_call_is_left_alone_and_a_killed_one_found() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(left(home.path(), false).len(), 0);
    let journal = Journal::begin(home.path(), SystemTime::now(), &Arc::new(duties())).unwrap();
    assert_eq!(left(home.path(), false).len(), 0);
    let seen = left(home.path(), true);
    assert!(matches!(&seen[..], [one] if one.interval.until.is_none() && *one.duties == duties()));
    // The kernel drops the lock of a process that was killed.
    drop(journal);
    let seen = left(home.path(), false);
    assert!(matches!(&seen[..], [one] if *one.duties == duties()));
    seen[0].done().unwrap();
    assert_eq!(left(home.path(), true).len(), 0);
}

#[test]
fn unsearched_calls_of_the_same_roots_become_one() {
    let home = tempfile::tempdir().unwrap();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for second in [5, 1, 9] {
        let from = start + Duration::from_secs(second);
        let journal = Journal::begin(home.path(), from, &Arc::new(duties())).unwrap();
        let interval = Interval { from, until: Some(from + Duration::from_secs(1)) };
        journal.unsearched(home.path(), interval, &duties()).unwrap();
    }
    let seen = left(home.path(), true);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let (from, until) = (start + Duration::from_secs(1), start + Duration::from_secs(10));
    assert_eq!(seen[0].interval, Interval { from, until: Some(until) });
    let holds = |time| seen[0].interval.holds(time);
    assert!(
        !holds(start + Duration::from_nanos(1)) && holds(until) && !holds(until + Duration::from_nanos(1))
    );
    assert_eq!(left(home.path(), false).len(), 0);
    assert_eq!(fs::read_dir(directory(home.path())).unwrap().count(), 1);
}
