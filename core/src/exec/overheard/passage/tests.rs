//! What goes in comes out, whoever reads it and however slowly.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Onward, Passage, WHOLE, first_lines};
use crate::exec::spawn::{pipe, status_pipe};

/// A passage, where the command writes, and where the caller reads.
struct Ends {
    passage: Passage,
    writer: File,
    reader: File,
}

/// How what comes out is read.
#[derive(Clone, Copy, Debug)]
enum To {
    Pipe,
    Socket,
}

fn ends(to: To) -> Ends {
    let readers = SigSet::from_iter([Signal::SIGPIPE]);
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&readers), None).expect("a mask");
    let (tap, writer) = status_pipe().expect("a pipe");
    let (reader, onward): (OwnedFd, Onward) = match to {
        To::Pipe => {
            let (reader, writer) = pipe().expect("a pipe");
            fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe that never waits");
            (reader, Onward::Pipe(writer))
        }
        To::Socket => {
            let (reader, writer) = UnixStream::pair().expect("a pair");
            (reader.into(), Onward::Socket(writer.into()))
        }
    };
    let passage = Passage::begin(tap, onward).expect("a passage");
    Ends { passage, writer: writer.into(), reader: reader.into() }
}

/// Runs with a runtime of one thread.
fn run<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(body)
}

/// Writes to the end on a thread, and hands on meanwhile, to a thread that reads so much at a time.
fn through(to: To, pieces: Vec<Vec<u8>>, at_a_time: usize) -> (Vec<u8>, Vec<u8>) {
    run(async {
        let Ends { mut passage, mut writer, mut reader } = ends(to);
        let (done, written) = tokio::sync::oneshot::channel();
        let writing = std::thread::spawn(move || {
            for piece in pieces {
                writer.write_all(&piece).expect("somebody reads");
            }
            // Closed before it is said, as a command's end is.
            drop(writer);
            done.send(()).expect("somebody waits");
        });
        let reading = std::thread::spawn(move || {
            let (mut read, mut piece) = (Vec::new(), vec![0; at_a_time]);
            loop {
                let count = reader.read(&mut piece).expect("a pipe is read");
                if count == 0 {
                    return read;
                }
                read.extend_from_slice(&piece[..count]);
            }
        });
        tokio::pin!(written);
        loop {
            tokio::select! {
                biased;
                _ended = &mut written => break,
                () = passage.tend() => {}
            }
        }
        passage.rest().await;
        let heard = passage.heard();
        drop(passage);
        writing.join().expect("the writer ends");
        (reading.join().expect("the reader ends"), heard)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_of_it_arrives_in_order(
        pieces in vec(vec(any::<u8>(), 0..9000), 0..40),
        at_a_time in 1_usize..5000,
        socket in any::<bool>(),
    ) {
        let whole = pieces.concat();
        let (read, heard) = through(if socket { To::Socket } else { To::Pipe }, pieces, at_a_time);
        prop_assert_eq!(&read, &whole);
        // All of what is short, and of what is long its beginning.
        let beginning = &heard[..heard.len().min(4096)];
        prop_assert!(whole.starts_with(beginning) && heard.len() <= whole.len() + 1);
        prop_assert!(whole.is_empty() || !heard.is_empty());
    }

    #[test]
    fn what_is_written_at_once_ends_with_a_line(bytes in vec(prop_oneof![Just(b'\n'), any::<u8>()], 1..9000)) {
        let first = first_lines(&bytes);
        prop_assert!(bytes.starts_with(first) && !first.is_empty() && first.len() <= WHOLE);
        let no_end_fits = !bytes[..WHOLE.min(bytes.len())].contains(&b'\n');
        prop_assert!(first.ends_with(b"\n") || no_end_fits);
    }
}

/// Waits until nobody has the other end any more: what another test starts just then has all that is open here, until it is executed.
fn other_end_is_gone(end: impl AsFd) {
    let mut ends = [PollFd::new(end.as_fd(), PollFlags::empty())];
    poll(&mut ends, PollTimeout::NONE).expect("an end is waited for");
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    assert!(ends[0].revents().is_some_and(|events| events.intersects(gone)), "{ends:?}");
}

#[test]
fn a_reader_that_has_gone_is_the_commands_business() {
    for to in [To::Pipe, To::Socket] {
        run(async {
            let Ends { mut passage, mut writer, reader } = ends(to);
            writer.write_all(b"heard\n").expect("the passage takes it");
            drop(reader);
            other_end_is_gone(passage.onward.get_ref());
            // As long as it takes to notice, and then nothing more is waited for.
            while passage.tap.is_some() {
                passage.tend().await;
            }
            passage.rest().await;
            other_end_is_gone(&writer);
            let error = writer.write_all(b"not heard\n").expect_err("nobody reads");
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{to:?}");
            assert_eq!(passage.heard(), b"heard\n", "{to:?}");
        });
    }
}

#[test]
fn a_reader_that_waits_holds_up_the_writer_and_loses_nothing() {
    run(async {
        let Ends { mut passage, mut writer, mut reader } = ends(To::Pipe);
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a writer that never waits");
        let mut written = 0;
        // As much as both pipes hold of pieces of 1000 bytes, four in a page. A user who has many gets small ones (`pipe(7)`).
        let pages = |pipe: &File| fcntl(pipe, FcntlArg::F_GETPIPE_SZ).expect("a size") / 4096;
        let full = usize::try_from(pages(&writer) + pages(&reader)).expect("a size") * 4 * 1000;
        // Until nothing moves any more: both pipes are full, and so is what is on its way.
        loop {
            match writer.write(&[b'x'; 1000]) {
                Ok(count) => written += count,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            let before = (passage.waiting.len(), passage.taken);
            tokio::select! {
                biased;
                () = passage.tend() => {}
                () = tokio::task::yield_now() => {}
            }
            if written >= full && before == (passage.waiting.len(), passage.taken) {
                break;
            }
        }
        drop(writer);
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|count| (count, read))
        });
        passage.rest().await;
        drop(passage);
        let (count, read) = reading.join().expect("the reader ends").expect("a pipe is read");
        assert_eq!(count, written);
        assert!(read.iter().all(|byte| *byte == b'x'));
    });
}
