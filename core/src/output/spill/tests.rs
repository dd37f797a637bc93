use std::fs;
use std::io::{Error, ErrorKind, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    Spill, SpillDirectory, SpillDirectoryError, SpillOptions, SpillPiece, SpillReport, SpillStop, SpillTap,
    SweepLimits,
};
use crate::output::OutputStream;

const OUT: OutputStream = OutputStream::Stdout;

fn directory() -> (TempDir, Arc<SpillDirectory>) {
    let parent = TempDir::new().unwrap();
    let directory = SpillDirectory::open(&parent.path().join("spill")).unwrap();
    (parent, Arc::new(directory))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Pushes as a supervisor does, and finishes.
fn spill(mut spill: Spill, chunks: &[&[u8]]) -> Option<SpillReport> {
    block_on(async move {
        for chunk in chunks {
            spill.ready(chunk.len()).await;
            spill.push(OUT, chunk);
        }
        spill.finish().await
    })
}

const fn small() -> SpillOptions {
    SpillOptions { max_bytes: 1 << 20, at_least: 0, buffer: 64 * 1024, stall: Duration::from_secs(60) }
}

fn content(report: &SpillReport) -> Vec<u8> {
    fs::read(report.path.as_ref().unwrap()).unwrap()
}

#[test]
fn the_file_has_all_of_it_and_is_private() {
    let (_parent, directory) = directory();
    let chunks: Vec<Vec<u8>> =
        (0..300_u32).map(|number| number.to_string().repeat(1000).into_bytes()).collect();
    let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    let report = spill(Spill::new(Arc::clone(&directory), small()), &chunks).unwrap();
    assert_eq!(content(&report), chunks.concat());
    assert_eq!((report.complete, report.error, report.bytes), (true, None, chunks.concat().len() as u64));
    let mode = fs::metadata(report.path.unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn little_makes_no_file() {
    let (_parent, directory) = directory();
    let options = SpillOptions { at_least: 10, ..small() };
    assert_eq!(spill(Spill::new(Arc::clone(&directory), options), &[b"0123456789"]), None);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let report = spill(Spill::new(directory, options), &[b"0123456789", b"x"]).unwrap();
    assert_eq!(content(&report), b"0123456789x");
}

#[test]
fn the_limit_is_kept_to_the_byte() {
    let (_parent, directory) = directory();
    let options = SpillOptions { max_bytes: 7, ..small() };
    let report = spill(Spill::new(directory, options), &[b"01234", b"56789", b"abc"]).unwrap();
    assert_eq!(content(&report), b"0123456");
    assert_eq!((report.complete, report.bytes, report.error), (false, 7, Some(SpillStop::Full(7))));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["error"], "the file has reached its limit of 7 bytes");
}

#[test]
fn pieces_remember_their_stream() {
    let (_parent, directory) = directory();
    let mut spill = Spill::new(directory, small());
    for (stream, bytes) in [(OUT, "ab"), (OUT, "c"), (OutputStream::Stderr, "de"), (OUT, "f")] {
        spill.push(stream, bytes.as_bytes());
    }
    let report = block_on(spill.finish()).unwrap();
    assert_eq!(content(&report), b"abcdef");
    let runs: Vec<_> = report.streams.runs().iter().map(|run| (run.stream, run.end)).collect();
    assert_eq!(runs, [(OUT, 3), (OutputStream::Stderr, 5), (OUT, 6)]);
}

/// A disk that does what a test says, and remembers what it took.
struct Disk {
    taken: Arc<Mutex<Vec<u8>>>,
    /// How many bytes it takes, and then what it says.
    room: usize,
    error: ErrorKind,
    /// Waits for a word before each write.
    gate: Option<Receiver<()>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        if let Some(gate) = &self.gate {
            gate.recv().map_err(|_| Error::from(ErrorKind::BrokenPipe))?;
        }
        if self.room == 0 && self.error != ErrorKind::WriteZero {
            return Err(match self.error {
                ErrorKind::StorageFull => Error::from_raw_os_error(Errno::ENOSPC as i32),
                _ => Error::from_raw_os_error(Errno::EIO as i32),
            });
        }
        // A short write, as the kernel may make one at any time.
        let count = bytes.len().min(self.room).min(1000);
        self.room -= count;
        self.taken.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn on_disk(room: usize, error: ErrorKind, gate: Option<Receiver<()>>) -> (Spill, Arc<Mutex<Vec<u8>>>) {
    let (_parent, directory) = directory();
    let mut spill = Spill::new(directory, SpillOptions { max_bytes: u64::MAX, ..small() });
    let taken = Arc::new(Mutex::new(Vec::new()));
    let disk = Disk { taken: Arc::clone(&taken), room, error, gate };
    spill.start_with(move || Ok((disk, Some(PathBuf::from("/disk")))));
    (spill, taken)
}

#[test]
fn short_writes_lose_nothing() {
    let (writer, taken) = on_disk(usize::MAX, ErrorKind::Other, None);
    let report = spill(writer, &[&[1; 100_000], &[2; 100_000]]).unwrap();
    assert_eq!((report.complete, report.bytes), (true, 200_000));
    assert_eq!(*taken.lock().unwrap(), [vec![1; 100_000], vec![2; 100_000]].concat());
}

#[test]
fn a_full_or_broken_disk_ends_the_file_and_not_the_call() {
    for (kind, errno) in [
        (ErrorKind::StorageFull, Errno::ENOSPC),
        (ErrorKind::Other, Errno::EIO),
        (ErrorKind::WriteZero, Errno::ENOSPC),
    ] {
        let (writer, taken) = on_disk(70_500, kind, None);
        let report = spill(writer, &[[1; 60_000].as_slice(); 100]).unwrap();
        assert_eq!((report.complete, report.bytes), (false, 70_500));
        assert_eq!(report.error, Some(SpillStop::Refused { call: "write", errno }));
        assert_eq!(taken.lock().unwrap().len(), 70_500);
    }
}

#[test]
fn the_kernel_s_full_device_is_reported() {
    let (_parent, directory) = directory();
    let mut writer = Spill::new(directory, small());
    writer.start_with(|| {
        Ok((fs::OpenOptions::new().write(true).open("/dev/full").unwrap(), Some("/dev/full".into())))
    });
    let report = spill(writer, &[b"x"]).unwrap();
    let error = SpillStop::Refused { call: "write", errno: Errno::ENOSPC };
    assert_eq!((report.bytes, report.complete, report.error), (0, false, Some(error)));
}

#[test]
fn a_file_without_a_name_is_read_by_its_tap_and_goes_with_it() {
    let (_parent, directory) = directory();
    let tap = Arc::new(SpillTap::default());
    assert_eq!(tap.read(0, 10), Ok(SpillPiece::default()));
    let options = SpillOptions { max_bytes: 100_000, ..small() };
    let mut spill = Spill::tapped(Arc::clone(&directory), options, Arc::clone(&tap));
    let report = block_on(async move {
        for turn in 0..5 {
            spill.ready(30_000).await;
            let stream = if turn % 2 == 0 { OUT } else { OutputStream::Stderr };
            spill.push(stream, &[turn; 30_000]);
        }
        spill.finish().await.unwrap()
    });
    let stop = SpillStop::Full(100_000);
    assert_eq!((report.path, report.bytes, report.error), (None, 100_000, Some(stop)));
    let piece = tap.read(29_999, 30_002).unwrap();
    assert_eq!((piece.written, piece.ended, piece.stop), (100_000, true, Some(stop)));
    let of = |stream, turn, length| (Some(stream), vec![turn; length]);
    assert_eq!(piece.chunks, [of(OUT, 0, 1), of(OutputStream::Stderr, 1, 30_000), of(OUT, 2, 1)]);
    // Its last bytes, and what lies beyond them.
    assert_eq!(tap.read(90_000, usize::MAX).unwrap().chunks, [of(OutputStream::Stderr, 3, 10_000)]);
    assert_eq!(tap.read(u64::MAX, usize::MAX).unwrap().chunks, []);
    // Nobody else finds it, and its mode is none of others'.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let file = tap.file.get().unwrap().metadata().unwrap();
    assert_eq!((file.permissions().mode() & 0o7777, file.nlink()), (0o600, 0));
}

#[test]
fn too_little_for_a_file_is_said_by_the_tap() {
    let (_parent, directory) = directory();
    let tap = Arc::new(SpillTap::default());
    let options = SpillOptions { at_least: 1000, ..small() };
    assert_eq!(spill(Spill::tapped(directory, options, Arc::clone(&tap)), &[&[0; 1000]]), None);
    let piece = tap.read(0, 10).unwrap();
    assert!(piece.ended && !tap.has_file() && piece.chunks.is_empty() && piece.stop.is_none());
}

#[test]
fn a_file_that_can_t_be_made_is_reported() {
    let (parent, directory) = directory();
    drop(parent);
    let report = spill(Spill::new(directory, small()), &[b"x"]).unwrap();
    let error = SpillStop::Refused { call: "openat", errno: Errno::ENOENT };
    assert_eq!((report.path, report.bytes, report.error), (None, 0, Some(error)));
}

/// A gate that lets the disk write once a word.
fn gated() -> (Spill, Sender<()>) {
    let (open, gate) = channel();
    let (mut spill, _) = on_disk(usize::MAX, ErrorKind::Other, Some(gate));
    spill.options.stall = Duration::from_secs(3);
    spill.stall = super::Stall::of(spill.options.stall);
    (spill, open)
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stands_still_holds_up_for_a_bounded_time_in_all() {
    let (mut spill, open) = gated();
    let start = tokio::time::Instant::now();
    for _ in 0..20 {
        spill.ready(60_000).await;
        spill.push(OUT, &[0; 60_000]);
    }
    assert_eq!(start.elapsed().as_secs(), 3);
    let report = spill.finish().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!((report.complete, report.error), (false, Some(SpillStop::Behind)));
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_is_not_made_to() {
    let (mut spill, open) = gated();
    for _ in 0..20 {
        spill.push(OUT, &[0; 60_000]);
    }
    assert_eq!(spill.shared.lock().stop, Some(SpillStop::Behind));
    assert!(spill.shared.lock().waiting.len() <= 64 * 1024);
    drop(open);
}

#[test]
fn a_directory_that_others_can_reach_is_refused() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("open");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let error = SpillDirectory::open(&path).unwrap_err();
    assert!(matches!(error, SpillDirectoryError::NotPrivate { mode: 0o750, .. }), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(SpillDirectory::open(&path).is_ok());

    symlink(&path, parent.path().join("link")).unwrap();
    let errno = |path: &Path| match SpillDirectory::open(path).unwrap_err() {
        SpillDirectoryError::Refused { errno, .. } => errno,
        error @ SpillDirectoryError::NotPrivate { .. } => panic!("{error}"),
    };
    // Linux says ENOTDIR of a link where both O_DIRECTORY and O_NOFOLLOW are asked for.
    assert_eq!(errno(&parent.path().join("link")), Errno::ENOTDIR);
    fs::write(parent.path().join("file"), "").unwrap();
    assert_eq!(errno(&parent.path().join("file")), Errno::ENOTDIR);
    assert_eq!(errno(&parent.path().join("no/parent")), Errno::ENOENT);
}

fn file(directory: &SpillDirectory, name: &str, bytes: usize, age: Duration) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, vec![b'x'; bytes]).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
    path
}

#[test]
fn a_sweep_takes_the_old_and_the_oldest_and_leaves_the_rest() {
    let (_parent, directory) = directory();
    let hour = Duration::from_secs(3600);
    let ancient = file(&directory, "1-1-1.out", 10, 30 * hour);
    let old = file(&directory, "1-1-2.out", 100, 3 * hour);
    let newer = file(&directory, "1-1-3.out", 100, 2 * hour);
    let fresh = file(&directory, "1-1-4.out", 1000, Duration::ZERO);
    let foreign = file(&directory, "notes.out.txt", 10, 30 * hour);
    symlink(&foreign, directory.path().join("1-1-5.out")).unwrap();
    let busy = file(&directory, "1-1-6.out", 10, 30 * hour);
    let writer = fs::File::options().write(true).open(&busy).unwrap();
    writer.lock().unwrap();

    let limits = SweepLimits { max_age: 24 * hour, max_bytes: 1110 };
    let swept = directory.sweep(&limits).unwrap();
    assert_eq!((swept.removed, swept.kept, swept.bytes_kept), (2, 3, 1110));
    assert!(!ancient.exists() && !old.exists());
    assert!(newer.exists() && fresh.exists() && foreign.exists() && busy.exists());
    assert!(directory.path().join("1-1-5.out").is_symlink());

    // Closed, it would be locked as long as another test's program has it that is just being started.
    writer.unlock().unwrap();
    let swept = directory.sweep(&SweepLimits { max_age: 24 * hour, max_bytes: 0 }).unwrap();
    assert_eq!((swept.removed, swept.kept, swept.bytes_kept), (2, 1, 1000), "what is fresh stays");
}

#[test]
fn sweeps_at_once_take_each_file_once_or_see_it_gone() {
    let (_parent, directory) = directory();
    for number in 0..200 {
        file(&directory, &format!("1-1-{number}.out"), 10, Duration::from_secs(1_000_000));
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| directory.sweep(&SweepLimits::default()).unwrap());
        }
    });
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_being_written_survives_a_sweep() {
    let (_parent, directory) = directory();
    let (mut file, path) = directory.create().unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(directory.sweep(&SweepLimits::default()).unwrap().removed, 0);
    file.write_all(b"x").unwrap();
    let mut text = String::new();
    fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_pushed_is_in_the_file(sizes in prop::collection::vec(0..150_000usize, 1..12), limit in 0..900_000u64) {
        let (_parent, directory) = directory();
        let chunks: Vec<Vec<u8>> = sizes.iter().zip(b'a'..).map(|(size, letter)| vec![letter; *size]).collect();
        let all = chunks.concat();
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let report = spill(Spill::new(directory, SpillOptions { max_bytes: limit, ..small() }), &chunks);
        if let Some(report) = report {
            let kept = usize::try_from(limit).unwrap().min(all.len());
            prop_assert_eq!(content(&report), &all[..kept]);
            prop_assert_eq!((report.bytes, report.complete), (kept as u64, kept == all.len()));
            prop_assert_eq!(report.lines.bytes(), kept as u64);
        } else {
            prop_assert!(all.is_empty());
        }
    }
}
