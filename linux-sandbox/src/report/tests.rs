use proptest::prelude::*;

use super::{
    Act, Attempt, Capabilities, Ending, Enforced, Errno, MAX_RECORD, Observation, PathBuf, Record, Step,
    UnixSockets,
};

fn round_trip(record: &Record) -> Option<Record> {
    let line = record.to_line();
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    Record::parse(line.strip_suffix(b"\n").unwrap())
}

#[test]
fn enforced_survives_the_pipe() {
    for (capabilities, unix_sockets, observation, logged) in [
        (Capabilities::Untouched, UnixSockets::Refused, Observation::NotAsked, None),
        (Capabilities::Empty, UnixSockets::Broker, Observation::Exact, Some(4_194_304)),
        (Capabilities::Ownership, UnixSockets::Landlock, Observation::Refused(Errno::EPERM), Some(1)),
    ] {
        let record = Record::Enforced(Enforced {
            namespaces: 0x7e02_0000,
            landlock_abi: 7,
            landlock_fs: u64::MAX,
            landlock_net: 3,
            landlock_scopes: 1,
            seccomp_calls: 90,
            unix_sockets,
            capabilities,
            limits: 0x3f,
            observation,
            logged,
        });
        assert_eq!(round_trip(&record), Some(record));
    }
}

#[test]
fn an_ending_survives_the_pipe() {
    for ending in [
        Ending::Exited { code: 255 },
        Ending::Signalled { signal: 64, core_dumped: false },
        Ending::Signalled { signal: 11, core_dumped: true },
    ] {
        for others in [false, true] {
            let record = Record::Ended { ending, others };
            assert_eq!(round_trip(&record), Some(record));
        }
    }
    for record in
        [Record::Executed, Record::Full, Record::Stopped, Record::Continued, Record::Untold { count: 7 }]
    {
        assert_eq!(round_trip(&record), Some(record));
    }
}

#[test]
fn a_refusal_survives_the_pipe() {
    let record = Record::Refused(Attempt {
        act: Act::Unix,
        target: "/run/a socket\n".into(),
        second: None,
        places: [None, None],
        errno: Errno::EACCES,
        process: 0,
        program: "curl".into(),
        count: 3,
        first: 12,
    });
    assert_eq!(round_trip(&record), Some(record));
}

#[test]
fn an_over_long_path_shortens_the_message_and_nothing_else() {
    let record = Record::Failed {
        step: Step::Landlock,
        call: "openat2".to_owned(),
        target: Some(PathBuf::from("/a")),
        errno: Some(Errno::ELOOP),
        message: "\n".repeat(2 * MAX_RECORD),
    };
    assert_eq!(record.to_line().len(), MAX_RECORD);
    let Some(Record::Failed { step, errno, message, .. }) = round_trip(&record) else { panic!() };
    assert_eq!((step, errno), (Step::Landlock, Some(Errno::ELOOP)));
    assert!(message.bytes().all(|byte| byte == b'\n'));
}

proptest! {
    #[test]
    fn failures_survive_the_pipe(
        step in prop::sample::select(Step::ALL.to_vec()),
        call in "[a-z_]{1,20}",
        target in prop::option::of("[^\u{0}]{0,40}"),
        errno in prop::option::of(1..40),
        message in ".{0,60}",
    ) {
        let errno = errno.map(Errno::from_raw);
        let target = target.map(PathBuf::from);
        let record = Record::Failed { step, call, target, errno, message: message.clone() };
        prop_assert_eq!(round_trip(&record), Some(record));
        let record = Record::Exec { errno, exit_code: 127, message };
        prop_assert_eq!(round_trip(&record), Some(record));
    }

    #[test]
    fn arbitrary_lines_never_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _record = Record::parse(&line);
    }
}
