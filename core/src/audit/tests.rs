use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::*;

struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit")
    }

    fn log(&self, most_bytes: u64) -> AuditLog {
        AuditLog::open(&self.path(), most_bytes).unwrap()
    }

    fn verified(&self) -> AuditVerified {
        verify(&self.path(), None).unwrap()
    }

    fn broken(&self) -> (PathBuf, Option<u64>) {
        let fault = verify(&self.path(), None).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Broken, "{fault}");
        (fault.file, fault.line)
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.path()).unwrap().lines().map(str::to_owned).collect()
    }
}

fn body(number: u64) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([("number", number)])
}

fn filled(most_bytes: u64, count: u64) -> Scene {
    let scene = Scene::new();
    let log = scene.log(most_bytes);
    (0..count).for_each(|number| log.append("test", &body(number)).unwrap());
    scene
}

#[test]
fn lines_follow_from_one_another() {
    let scene = filled(DEFAULT_AUDIT_BYTES, 3);
    // Another program goes on where this one ended.
    scene.log(DEFAULT_AUDIT_BYTES).append("test", &body(3)).unwrap();
    let verified = scene.verified();
    assert_eq!((verified.lines, verified.torn, verified.from_the_beginning), (4, 0, true));
    let lines = scene.lines();
    let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&first["event"], &first["number"]), (&"test".into(), &0.into()));
    assert_eq!(first["prev"], "0".repeat(64));
    assert_eq!(verified.head, Digest::of(lines[3].as_bytes()));
    assert_eq!(fs::metadata(scene.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

type Change = fn(&mut Vec<String>);

#[test]
fn what_was_changed_shows() {
    let changes: [(&str, Change); 5] = [
        ("a word", |lines| lines[1] = lines[1].replace("\"number\":1", "\"number\":7")),
        ("a time", |lines| lines[1] = lines[1].replacen("\"time_ms\":", "\"time_ms\":1", 1)),
        ("removed", |lines| drop(lines.remove(1))),
        ("put in", |lines| lines.insert(1, lines[1].clone())),
        ("in another order", |lines| lines.swap(1, 2)),
    ];
    for (what, change) in changes {
        let scene = filled(DEFAULT_AUDIT_BYTES, 4);
        scene.verified();
        let mut lines = scene.lines();
        change(&mut lines);
        fs::write(scene.path(), lines.join("\n") + "\n").unwrap();
        let (file, line) = scene.broken();
        assert_eq!((file, line.is_some()), (scene.path(), true), "{what}");
    }
}

#[test]
fn a_cut_end_shows_to_who_kept_a_digest() {
    let scene = filled(DEFAULT_AUDIT_BYTES, 4);
    let head = scene.verified().head;
    assert_eq!(verify(&scene.path(), Some(head)).unwrap().contains, Some(true));
    let lines = scene.lines();
    fs::write(scene.path(), lines[..3].join("\n") + "\n").unwrap();
    assert_eq!(scene.verified().lines, 3);
    assert_eq!(verify(&scene.path(), Some(head)).unwrap().contains, Some(false));
}

#[test]
fn full_files_are_put_aside_and_the_oldest_goes() {
    let scene = filled(1000, 100);
    let verified = scene.verified();
    let names = ["audit.4", "audit.3", "audit.2", "audit.1", "audit"];
    assert_eq!(verified.files, names.map(|name| scene.directory.path().join(name)));
    assert!(!verified.from_the_beginning && verified.lines < 100, "{verified:?}");
    for file in &verified.files {
        assert!(fs::metadata(file).unwrap().len() <= 1000);
    }
    // A file that is gone from between shows.
    fs::remove_file(scene.directory.path().join("audit.2")).unwrap();
    assert_eq!(scene.broken(), (scene.directory.path().join("audit.1"), Some(1)));
}

fn fault(scene: &Scene) -> (PathBuf, Option<u64>, FaultKind) {
    let fault = verify(&scene.path(), None).unwrap_err();
    (fault.file, fault.line, fault.kind)
}

#[test]
fn a_cut_beginning_is_told_from_what_was_full() {
    let full = || filled(1000, 100);
    let cut = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, text.split_once('\n').unwrap().1).unwrap();
    };
    let scene = full();
    assert!(!scene.verified().from_the_beginning);
    let aside = |age| put_aside(&scene.path(), age);
    cut(&aside(4));
    assert_eq!(fault(&scene), (aside(4), Some(1), FaultKind::CutOff));
    fs::remove_file(aside(4)).unwrap();
    assert_eq!(fault(&scene), (aside(3), None, FaultKind::OlderMissing));
    (1..4).for_each(|age| fs::remove_file(aside(age)).unwrap());
    assert_eq!(fault(&scene), (scene.path(), None, FaultKind::OlderMissing));
    cut(&scene.path());
    assert_eq!(fault(&scene), (scene.path(), Some(1), FaultKind::CutOff));

    // Before anything was put aside, and where nothing had to be removed for it.
    let scene = filled(DEFAULT_AUDIT_BYTES, 3);
    cut(&scene.path());
    assert_eq!(fault(&scene), (scene.path(), Some(1), FaultKind::CutOff));
    let scene = filled(10, 5);
    assert!(scene.verified().from_the_beginning);
    fs::remove_file(put_aside(&scene.path(), 4)).unwrap();
    assert_eq!(fault(&scene), (put_aside(&scene.path(), 3), None, FaultKind::OlderMissing));

    // Nor does half of a line hide it.
    let scene = filled(DEFAULT_AUDIT_BYTES, 1);
    let half = |scene: &Scene| {
        let text = fs::read_to_string(scene.path()).unwrap();
        fs::write(scene.path(), format!("{text}{{\"time_ms\":1")).unwrap();
        scene.log(DEFAULT_AUDIT_BYTES).append("test", &body(1)).unwrap();
    };
    half(&scene);
    assert_eq!((scene.verified().torn, scene.verified().from_the_beginning), (1, true));
    cut(&scene.path());
    assert_eq!(fault(&scene), (scene.path(), Some(2), FaultKind::CutOff));
    let scene = Scene::new();
    fs::write(scene.path(), "").unwrap();
    half(&scene);
    assert_eq!((scene.verified().torn, scene.verified().from_the_beginning), (1, true));
}

#[test]
fn whoever_is_ended_while_files_are_put_aside_loses_none() {
    let scene = filled(10, 5);
    fs::rename(put_aside(&scene.path(), 4), scene.directory.path().join("gone")).unwrap();
    for age in (1..4).rev() {
        fs::rename(put_aside(&scene.path(), age), put_aside(&scene.path(), age + 1)).unwrap();
        let verified = scene.verified();
        assert_eq!((verified.files.len(), verified.lines, verified.from_the_beginning), (4, 4, false));
    }
    scene.log(10).append("test", &body(5)).unwrap();
    assert_eq!((scene.verified().files.len(), scene.verified().lines), (5, 5));
}

#[test]
fn a_line_longer_than_a_file_has_one_to_itself() {
    let scene = Scene::new();
    let log = scene.log(10);
    (0..3).for_each(|number| log.append("test", &body(number)).unwrap());
    assert_eq!((scene.verified().files.len(), scene.verified().lines), (3, 3));
}

#[test]
fn many_writers_keep_one_chain() {
    let scene = Scene::new();
    // Each with an open file of its own, as so many programs.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let log = scene.log(20_000);
                (0..100).for_each(|number| log.append("test", &body(number)).unwrap());
            });
        }
    });
    // Every line of some 130 bytes is in one of the files: nothing was written over, or into a file put aside.
    let verified = scene.verified();
    let sizes: u64 = verified.files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(verified.lines > 500 && sizes > 80_000, "{verified:?}");
    assert_eq!(verified.torn, 0);

    let scene = Scene::new();
    let log = &scene.log(DEFAULT_AUDIT_BYTES);
    std::thread::scope(|scope| {
        (0..8).for_each(|number| drop(scope.spawn(move || log.append("test", &body(number)).unwrap())));
    });
    assert_eq!(scene.verified().lines, 8);
}

#[test]
fn half_a_line_is_ended_and_counted() {
    let scene = filled(DEFAULT_AUDIT_BYTES, 2);
    let whole = fs::read(scene.path()).unwrap();
    fs::write(scene.path(), &whole[..whole.len() - 10]).unwrap();
    let cut = scene.verified();
    assert_eq!((cut.lines, cut.torn), (2, 1));
    scene.log(DEFAULT_AUDIT_BYTES).append("test", &body(2)).unwrap();
    let verified = scene.verified();
    assert_eq!((verified.lines, verified.torn), (3, 1));
    // What is half of a line is held as well.
    let text = fs::read_to_string(scene.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(scene.path(), format!("{}\n{}x\n{}\n", lines[0], lines[1], lines[2])).unwrap();
    assert_eq!(scene.broken().1, Some(3));
}

#[test]
fn a_file_that_somebody_moved_away_is_made_anew() {
    let scene = filled(DEFAULT_AUDIT_BYTES, 1);
    let log = scene.log(DEFAULT_AUDIT_BYTES);
    fs::rename(scene.path(), scene.directory.path().join("moved")).unwrap();
    log.append("test", &body(1)).unwrap();
    assert_eq!(scene.lines().len(), 1);
}

#[test]
fn what_can_hold_no_log_is_refused() {
    let scene = Scene::new();
    let open = |path: &Path| AuditLog::open(path, 1).unwrap_err();
    assert_eq!(open(Path::new("/dev/full")), AuditError::NotAFile("/dev/full".into()));
    let directory = scene.directory.path();
    assert!(matches!(open(directory), AuditError::Kernel { errno: Errno::EISDIR, .. }));
    assert!(matches!(open(&directory.join("none/log")), AuditError::Kernel { errno: Errno::ENOENT, .. }));
    let pipe = directory.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(open(&pipe), AuditError::NotAFile(pipe));
    let shared = directory.join("shared");
    fs::write(&shared, "").unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o620)).unwrap();
    assert_eq!(open(&shared), AuditError::Shared { path: shared.clone(), mode: 0o620 });
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).unwrap();
    AuditLog::open(&shared, 1).unwrap();
    let other = directory.join("other name");
    fs::hard_link(&shared, &other).unwrap();
    assert_eq!(open(&shared), AuditError::Linked(shared.clone()));
    fs::remove_file(other).unwrap();
    AuditLog::open(&shared, 1).unwrap();
    // Others give nothing away.
    if geteuid().is_root() {
        chown(&shared, Some(1234), None).unwrap();
        assert_eq!(open(&shared), AuditError::Owned { path: shared, uid: 1234 });
    }
}

#[test]
fn what_was_planted_among_the_files_put_aside_is_refused() {
    type Plant = fn(&Path);
    type Expected = fn(PathBuf) -> AuditError;
    let plants: [(Plant, Expected); 4] = [
        (|path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(), AuditError::NotAFile),
        (
            |path| symlink("/etc/passwd", path).unwrap(),
            |path| AuditError::Kernel { path, call: "open", errno: Errno::ELOOP },
        ),
        (|path| fs::hard_link(path.with_extension("2"), path).unwrap(), AuditError::Linked),
        (
            |path| {
                fs::write(path, "").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o602)).unwrap();
            },
            |path| AuditError::Shared { path, mode: 0o602 },
        ),
    ];
    let scene = Scene::new();
    let log = scene.log(10);
    (0..3).for_each(|number| log.append("test", &body(number)).unwrap());
    let (now, aside) = (scene.path(), put_aside(&scene.path(), 1));
    for (plant, error) in plants {
        fs::remove_file(&now).unwrap();
        fs::remove_file(&aside).unwrap();
        plant(&aside);
        assert_eq!(log.append("test", &body(3)).unwrap_err(), error(aside.clone()));
        assert_eq!(fs::read(&now).unwrap(), b"");
    }
    fs::remove_file(&aside).unwrap();
    nix::unistd::mkfifo(&aside, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fault = verify(&now, None).unwrap_err();
    assert_eq!((fault.file, fault.line, fault.kind), (aside.clone(), None, FaultKind::NotAFile));
    // Its harmless twin.
    fs::remove_file(&aside).unwrap();
    fs::copy(put_aside(&now, 2), &aside).unwrap();
    log.append("test", &body(3)).unwrap();
}

#[test]
fn links_are_followed_once() {
    let scene = Scene::new();
    let link = scene.directory.path().join("link");
    symlink(scene.path(), &link).unwrap();
    // One that leads nowhere would make a file that nobody has looked at.
    assert!(matches!(AuditLog::open(&link, 10), Err(AuditError::Kernel { errno: Errno::ELOOP, .. })));
    fs::write(scene.path(), "").unwrap();
    let log = AuditLog::open(&link, 10).unwrap();
    assert_eq!(log.path(), scene.path());
    fs::remove_file(&link).unwrap();
    symlink("/dev/full", &link).unwrap();
    (0..2).for_each(|number| log.append("test", &body(number)).unwrap());
    assert_eq!((scene.verified().files.len(), scene.verified().lines), (2, 2));
    fs::rename(&link, scene.path()).unwrap();
    assert!(matches!(log.append("test", &body(2)), Err(AuditError::Kernel { errno: Errno::ELOOP, .. })));
}

#[test]
fn what_is_too_long_is_told_without_details() {
    let scene = Scene::new();
    let log = scene.log(DEFAULT_AUDIT_BYTES);
    log.append("long", &BTreeMap::from([("text", "x".repeat(2 << 20))])).unwrap();
    log.append("test", &body(1)).unwrap();
    let lines = scene.lines();
    assert!(
        lines[0].contains("\"event\":\"long\"") && lines[0].contains("\"bytes_omitted\":2097"),
        "{}",
        lines[0]
    );
    assert_eq!(scene.verified().lines, 2);
}

#[test]
fn what_is_long_takes_nothing_short_with_it() {
    let long = "\u{1}".repeat(LONGEST_LINE);
    let denials = vec!["/".repeat(LONGEST_LINE / 32); 64];
    let scene = Scene::new();
    let log = scene.log(DEFAULT_AUDIT_BYTES);
    let call = |client: &str, denials: &[String]| {
        let argv = ["rm", "-r", "/"];
        log.append(
            "start",
            &serde_json::json!({"call": "1-2-3", "client": client, "argv": argv, "denials": denials}),
        )
        .unwrap();
    };
    for (client, denials, omitted) in [
        ("short", &denials[..1], &[][..]),
        (&*long, &denials[..1], &["client"]),
        ("short", &denials, &["denials"]),
        (&*long, &denials, &["denials", "client"]),
    ] {
        call(client, denials);
        let line = scene.lines().pop().unwrap();
        assert!(line.len() < LONGEST_LINE);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["call"], &line["argv"]), (&"1-2-3".into(), &serde_json::json!(["rm", "-r", "/"])));
        assert_eq!(line["omitted"].as_array().map_or(&[][..], Vec::as_slice), omitted);
        assert_eq!(line.get("client").is_some(), client == "short");
        // Of a list, its beginning is there.
        let told = line["denials"].as_array().unwrap();
        assert!(!told.is_empty() && denials.starts_with(&[told[0].as_str().unwrap().to_owned()]));
        assert_eq!(told.len() == denials.len(), !omitted.contains(&"denials"));
    }
    assert_eq!(scene.verified().lines, 4);
}

#[test]
fn a_lock_that_is_let_go_is_waited_for() {
    let scene = filled(DEFAULT_AUDIT_BYTES, 1);
    let held = fs::File::open(scene.path()).unwrap();
    held.lock().unwrap();
    let log = scene.log(DEFAULT_AUDIT_BYTES);
    std::thread::scope(|scope| {
        let (began, begins) = std::sync::mpsc::channel();
        let writer = scope.spawn(move || {
            began.send(()).unwrap();
            log.append("test", &body(1))
        });
        begins.recv().unwrap();
        assert_eq!(scene.lines().len(), 1);
        held.unlock().unwrap();
        writer.join().unwrap().unwrap();
    });
    assert_eq!(scene.lines().len(), 2);
}

#[test]
fn who_has_no_patience_waits_for_nobody() {
    let scene = filled(DEFAULT_AUDIT_BYTES, 1);
    let held = fs::File::open(scene.path()).unwrap();
    held.lock().unwrap();
    let log = scene.log(DEFAULT_AUDIT_BYTES).with_patience(Duration::ZERO);
    assert!(matches!(log.append("test", &body(1)), Err(AuditError::Locked(_))));
    held.unlock().unwrap();
    log.append("test", &body(1)).unwrap();
    assert_eq!(scene.lines().len(), 2);
}

#[test]
fn each_caller_waits_for_itself_alone() {
    let scene = filled(DEFAULT_AUDIT_BYTES, 1);
    let held = fs::File::open(scene.path()).unwrap();
    held.lock().unwrap();
    let log = scene.log(DEFAULT_AUDIT_BYTES);
    std::thread::scope(|scope| {
        let log = &log;
        let writer =
            scope.spawn(|| log.append_until(Instant::now() + Duration::from_hours(1), "test", &body(1)));
        while !log.open.is_taken() {
            std::thread::yield_now();
        }
        // That one waits for the lock; these have no time to wait for it.
        for _ in 0..3 {
            let refused = log.append_until(Instant::now(), "test", &body(2)).unwrap_err();
            assert_eq!(refused, AuditError::Locked(scene.path()));
        }
        held.unlock().unwrap();
        writer.join().unwrap().unwrap();
    });
    log.append_until(Instant::now(), "test", &body(3)).unwrap();
    assert_eq!(scene.lines().len(), 3);
}

#[test]
fn a_digest_is_read_as_it_is_written() {
    let digest = Digest::of(b"x");
    assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
    assert_eq!(Digest::parse(&digest.to_string().to_uppercase()), Some(digest));
    for wrong in ["", "00", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
        assert_eq!(Digest::parse(wrong), None, "{wrong}");
    }
}
