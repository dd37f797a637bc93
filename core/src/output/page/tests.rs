use std::ffi::OsStr;
use std::fs;

use nix::errno::Errno;
use proptest::prelude::*;
use tempfile::TempDir;

use super::SpillReader;
use crate::output::SpillDirectory;

fn reader(content: &[u8]) -> (TempDir, SpillReader) {
    let parent = TempDir::new().unwrap();
    let directory = SpillDirectory::open(&parent.path().join("spill")).unwrap();
    fs::write(directory.path().join("1-2-3.out"), content).unwrap();
    let reader = SpillReader::open_name(&directory, OsStr::new("1-2-3.out")).unwrap();
    (parent, reader)
}

#[test]
fn pages_by_offset_end_with_lines_where_that_is_cheap() {
    let (_parent, reader) = reader(b"one\ntwo\nthree\n");
    let page = reader.bytes(0, 9).unwrap();
    assert_eq!((page.text.text.as_str(), page.start, page.end, page.next), ("one\ntwo\n", 0, 8, Some(8)));
    let page = reader.bytes(8, 9).unwrap();
    assert_eq!((page.text.text.as_str(), page.next, page.file_bytes), ("three\n", None, 14));
    assert_eq!(reader.bytes(99, 9).unwrap().text.text, "");
}

#[test]
fn pages_keep_characters_whole_but_always_get_on() {
    let (_parent, reader) = reader("😀😀".as_bytes());
    let page = reader.bytes(0, 6).unwrap();
    assert_eq!((page.text.text.as_str(), page.text.lossy_utf8, page.next), ("😀", false, Some(4)));
    let page = reader.bytes(0, 1).unwrap();
    assert_eq!((page.text.lossy_utf8, page.next), (true, Some(1)));
    assert_eq!(reader.bytes(0, 0).unwrap().next, Some(1));
}

#[test]
fn pages_by_lines_know_their_place() {
    let (_parent, mut reader) = reader(b"one\ntwo\nthree\nfour");
    let page = reader.lines(2, 2, 99).unwrap();
    assert_eq!((page.text.text.as_str(), page.first_line, page.next), ("two\nthree\n", Some(2), Some(14)));
    assert_eq!((page.file_lines, page.start, page.text.lines_total), (Some(4), 4, 2));
    assert_eq!(reader.lines(4, 9, 99).unwrap().text.text, "four");
    assert_eq!(reader.lines(0, 1, 99).unwrap().text.text, "one\n");
    let beyond = reader.lines(5, 1, 99).unwrap();
    assert_eq!((beyond.text.text.as_str(), beyond.first_line, beyond.next), ("", None, None));
    let cut = reader.lines(3, 1, 2).unwrap();
    assert_eq!((cut.text.text.as_str(), cut.next), ("th", Some(10)));
}

#[test]
fn only_spills_can_be_opened() {
    let parent = TempDir::new().unwrap();
    let directory = SpillDirectory::open(&parent.path().join("spill")).unwrap();
    fs::write(parent.path().join("1.out"), "secret").unwrap();
    fs::write(directory.path().join("secret"), "").unwrap();
    std::os::unix::fs::symlink(parent.path().join("1.out"), directory.path().join("2.out")).unwrap();
    let errno = |name: &str| SpillReader::open_name(&directory, OsStr::new(name)).unwrap_err();
    assert_eq!(errno("../1.out"), Errno::ENOENT);
    assert_eq!(errno("secret"), Errno::ENOENT);
    assert_eq!(errno("3.out"), Errno::ENOENT);
    assert_eq!(errno("2.out"), Errno::ELOOP);
    fs::create_dir(directory.path().join("4.out")).unwrap();
    assert_eq!(errno("4.out"), Errno::EINVAL);
}

#[test]
fn a_big_file_is_found_through_by_its_index() {
    let content: Vec<u8> = (0..200_000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    let (_parent, mut reader) = reader(&content);
    for line in [1_u64, 2, 30_000, 100_001, 199_999, 200_000] {
        let page = reader.lines(line, 1, 1000).unwrap();
        assert_eq!(page.text.text, format!("line {}\n", line - 1));
    }
    assert!(content.len() > 8 * 256 * 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_pages_together_are_the_file(
        content in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n')], 0..3000),
        size in 1..500usize,
    ) {
        let (_parent, reader) = reader(&content);
        let mut at = 0;
        let mut pages = 0;
        while let Some(next) = Some(reader.bytes(at, size).unwrap()).and_then(|page| page.next) {
            prop_assert!(next > at && next - at <= size as u64);
            at = next;
            pages += 1;
        }
        let end = reader.bytes(at, size).unwrap().end;
        prop_assert_eq!(end, content.len() as u64);
        // Cutting at lines costs less than half of each.
        prop_assert!(pages <= 2 * content.len() / size + 1);
    }

    #[test]
    fn lines_are_those_of_the_file(
        content in prop::collection::vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n')], 0..600),
        first in 1..200u64,
        count in 1..50u64,
    ) {
        let (_parent, mut reader) = reader(&content);
        let page = reader.lines(first, count, 10_000).unwrap();
        let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
        let start = usize::try_from(first - 1).unwrap().min(lines.len());
        let end = (start + usize::try_from(count).unwrap()).min(lines.len());
        prop_assert_eq!(page.text.text.as_bytes(), lines[start..end].concat());
        prop_assert_eq!(page.file_lines, Some(lines.len() as u64));
    }
}
