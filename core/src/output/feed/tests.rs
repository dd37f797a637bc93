use std::time::Duration;

use proptest::prelude::*;

use super::{Feed, FeedOptions, FeedRead, OVERHEAD};
use crate::output::{OutputStream, StreamCounts};

fn feed(retain: usize, chunk: usize) -> Feed {
    Feed::new(FeedOptions { retain, chunk, stall: Duration::ZERO })
}

fn bytes(read: &FeedRead) -> Vec<u8> {
    read.chunks.iter().flat_map(|chunk| chunk.bytes.iter().copied()).collect()
}

#[test]
fn numbers_have_no_gap_and_marks_have_one_each() {
    let feed = feed(10_000, 4);
    feed.push(OutputStream::Stdout, b"abcdef");
    assert_eq!(feed.exited(), 3);
    feed.push(OutputStream::Stderr, b"late");
    assert_eq!((feed.exited(), feed.close(), feed.close()), (3, 5, 5));
    feed.push(OutputStream::Stderr, b"too late");
    assert_eq!(feed.exited(), 3);
    let read = feed.reader().read(usize::MAX);
    let numbers: Vec<_> = read.chunks.iter().map(|chunk| (chunk.seq, chunk.offset, chunk.stream)).collect();
    assert_eq!(
        numbers,
        [(1, 0, OutputStream::Stdout), (2, 4, OutputStream::Stdout), (4, 0, OutputStream::Stderr)]
    );
    assert_eq!((read.next_seq, read.exited, read.closed), (6, Some(3), Some(5)));
}

#[test]
fn a_reading_is_bounded_but_never_empty_for_that() {
    let feed = feed(10_000, 4);
    feed.push(OutputStream::Pty, b"abcdefgh");
    feed.close();
    let mut reader = feed.reader();
    let read = reader.read(1);
    assert_eq!((bytes(&read).as_slice(), read.next_seq, read.closed), (b"abcd".as_slice(), 2, None));
    let read = reader.read(1);
    assert_eq!((bytes(&read).as_slice(), read.next_seq, read.closed), (b"efgh".as_slice(), 4, Some(3)));
    assert_eq!(reader.read(1).chunks, []);
}

#[test]
fn what_was_missed_is_told_exactly() {
    let feed = feed(2 * (4 + OVERHEAD), 4);
    let mut reader = feed.reader();
    feed.push(OutputStream::Stdout, b"aaaa");
    assert_eq!(bytes(&reader.read(9)), b"aaaa");
    feed.push(OutputStream::Stderr, b"bbbb");
    feed.push(OutputStream::Stdout, b"ccccddddeeee");
    let read = reader.read(99);
    let missed = read.missed.unwrap();
    assert_eq!(missed.events, 2);
    assert_eq!(missed.bytes, Some(StreamCounts { stdout: 4, stderr: 4, pty: 0 }));
    assert_eq!((bytes(&read).as_slice(), read.chunks[0].offset), (b"ddddeeee".as_slice(), 8));
    assert_eq!(reader.read(99).missed, None);
    // Who starts at a number that is gone can't be told.
    let missed = feed.reader_after(2).read(99).missed.unwrap();
    assert_eq!((missed.events, missed.bytes), (1, None));
    assert_eq!(bytes(&feed.reader_after(4).read(99)), b"eeee");
    assert_eq!(feed.reader_after(99).read(99).next_seq, 6);
}

#[test]
fn memory_is_bounded_whatever_the_size_of_the_chunks() {
    for size in [1, 100, 100_000] {
        let feed = feed(10_000, 8192);
        for _ in 0..1_000_000 / size {
            feed.push(OutputStream::Stdout, &vec![b'x'; size]);
        }
        let state = feed.shared.lock();
        let held: usize = state.events.iter().map(super::Event::size).sum();
        assert!(held <= 10_000 && held == state.retained, "{held}");
        assert_eq!(state.pushed.stdout, 1_000_000);
    }
}

#[tokio::test]
async fn readers_are_woken_by_output_and_by_the_end() {
    let feed = feed(10_000, 8192);
    let mut reader = feed.reader();
    let waiting = tokio::spawn(async move {
        let first = reader.next(99).await;
        let second = reader.next(99).await;
        let third = reader.next(99).await;
        (bytes(&first), second.closed, third.closed)
    });
    tokio::task::yield_now().await;
    feed.push(OutputStream::Stdout, b"x");
    tokio::task::yield_now().await;
    // Dropping it is an end as well.
    drop(feed);
    assert_eq!(waiting.await.unwrap(), (b"x".to_vec(), Some(2), Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_up_for_a_bounded_time_in_all() {
    let stall = Duration::from_secs(3);
    let feed = Feed::new(FeedOptions { retain: 1000, chunk: 1000, stall });
    let mut reader = feed.reader();
    let start = tokio::time::Instant::now();
    feed.ready(500).await;
    feed.push(OutputStream::Stdout, &[0; 500]);
    assert_eq!(start.elapsed(), Duration::ZERO, "there is room");
    // Room comes when the reader reads.
    tokio::join!(feed.ready(500), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        reader.read(usize::MAX);
    });
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    feed.push(OutputStream::Stdout, &[0; 500]);
    feed.ready(500).await;
    assert_eq!(start.elapsed().as_secs(), 3, "what was left of the time");
    feed.push(OutputStream::Stdout, &[0; 500]);
    feed.ready(500).await;
    assert_eq!(start.elapsed().as_secs(), 3, "no time is left");
    assert!(reader.read(usize::MAX).missed.is_some());
    feed.push(OutputStream::Stdout, &[0; 500]);
    drop(reader);
    feed.ready(900).await;
}

#[derive(Clone, Debug)]
enum Step {
    Push(OutputStream, Vec<u8>),
    Read(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let stream = prop_oneof![Just(OutputStream::Stdout), Just(OutputStream::Stderr)];
    prop_oneof![
        (stream, prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(stream, bytes)| Step::Push(stream, bytes)),
        (0..3usize, 0..80usize).prop_map(|(reader, max)| Step::Read(reader, max)),
    ]
}

proptest! {
    #[test]
    fn every_reader_sees_every_byte_or_is_told(
        steps in prop::collection::vec(step(), 0..80),
        retain in 0..900usize,
        chunk in 1..30usize,
    ) {
        let feed = feed(retain, chunk);
        let mut readers: Vec<_> = (0..3).map(|_| (feed.reader(), StreamCounts::default(), 1)).collect();
        let mut pushed = [Vec::new(), Vec::new(), Vec::new()];
        let index = |stream| OutputStream::ALL.iter().position(|one| *one == stream).unwrap();
        let mut all = steps.clone();
        // In the end everybody reads all.
        all.extend((0..3).map(|reader| Step::Read(reader, usize::MAX)));
        for step in all {
            match step {
                Step::Push(stream, bytes) => {
                    feed.push(stream, &bytes);
                    pushed[index(stream)].extend(bytes);
                }
                Step::Read(reader, max) => {
                    let (reader, counts, next) = &mut readers[reader];
                    let read = reader.read(max);
                    if let Some(missed) = read.missed {
                        *next += missed.events;
                        for stream in OutputStream::ALL {
                            *counts.of_mut(stream) += missed.bytes.unwrap().of(stream);
                        }
                    }
                    for piece in &read.chunks {
                        prop_assert_eq!((piece.seq, piece.offset), (*next, counts.of(piece.stream)));
                        let start = usize::try_from(piece.offset).unwrap();
                        let here = &pushed[index(piece.stream)][start..start + piece.bytes.len()];
                        prop_assert_eq!(here, &*piece.bytes);
                        *counts.of_mut(piece.stream) += piece.bytes.len() as u64;
                        *next += 1;
                    }
                    prop_assert_eq!(read.next_seq, *next);
                    prop_assert!(bytes(&read).len() <= max || read.chunks.len() == 1);
                }
            }
        }
        for (_, counts, _) in &readers {
            for stream in OutputStream::ALL {
                prop_assert_eq!(counts.of(stream), pushed[index(stream)].len() as u64);
            }
        }
    }
}
