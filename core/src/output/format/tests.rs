use proptest::prelude::*;

use super::*;
use crate::output::{Capture, OutputBudget};

fn text_of(bytes: &[u8], budget: OutputBudget) -> StreamText {
    let mut capture = Capture::new(budget);
    capture.push(bytes);
    capture.finish().text()
}

fn report<'a>(ending: &'a str, streams: CallStreams<'a>) -> CallReport<'a> {
    CallReport {
        ending,
        exit_code: Some(1),
        limit: None,
        duration: Duration::from_micros(12_345),
        denials: &[],
        still_running: &[],
        streams_left_open: false,
        spill: None,
        streams,
    }
}

#[test]
fn names_ending_duration_and_both_streams() {
    let stdout = text_of(b"", OutputBudget::default());
    let stderr = text_of(b"no such file", OutputBudget::default());
    let report = report("exited with code 1", CallStreams::Separate { stdout: &stdout, stderr: &stderr });
    assert_eq!(
        model_text(&report, &TextBudget::default()),
        "exited with code 1\nduration: 0.012 s\nstdout: empty\nstderr (12 bytes, 1 line):\nno such file\n"
    );
}

#[test]
fn says_what_is_missing_and_what_was_not_text() {
    let output = text_of(b"a\xff\nb\nc\nd\n", OutputBudget { bytes: 100, lines: 2 });
    let report = report("timed out after 10 s", CallStreams::Combined(&output));
    assert_eq!(
        model_text(&report, &TextBudget::default()),
        "timed out after 10 s\nduration: 0.012 s\noutput (9 bytes, 4 lines, 4 bytes omitted, not all of it UTF-8):\n\
         a\u{fffd}\n[… 4 bytes and 2 lines omitted …]\nd\n"
    );
}

#[test]
fn says_all_that_is_known_before_the_output() {
    let output = StreamText::whole(b"out\n");
    let denials: Vec<String> = (0..22).map(|number| format!("write to /{number}\nforged: line")).collect();
    let mut report = report("ended", CallStreams::Combined(&output));
    report.limit = Some("256 MiB of memory");
    report.denials = &denials;
    let running = ["7 sleep".to_owned()];
    report.still_running = &running;
    report.streams_left_open = true;
    let text = model_text(&report, &TextBudget::default());
    assert!(text.starts_with(
        "ended\nduration: 0.012 s\nlimit: 256 MiB of memory\ndenied by the sandbox:\n- write to /0\n- write to /1\n"
    ));
    assert!(text.ends_with(
        "- write to /19\n- and 2 more\nstill running:\n- 7 sleep\n\
         a process still holds the output open: more can have come\noutput (4 bytes, 1 line):\nout\n"
    ));
}

#[test]
fn the_json_has_the_same() {
    let output = StreamText::whole(b"out\n");
    let json = serde_json::to_value(report("exited with code 1", CallStreams::Combined(&output))).unwrap();
    assert_eq!((&json["duration_ms"], &json["exit_code"]), (&12.345.into(), &1.into()));
    assert_eq!((&json["output"]["text"], &json["spill"]), (&"out\n".into(), &serde_json::Value::Null));
    assert_eq!(json["denials"], serde_json::json!([]));
}

proptest! {
    #[test]
    fn both_streams_share_the_budget(one in "[a-zé\n]{0,400}", other in "[a-z\n]{0,400}", bytes in 150..900usize) {
        let (stdout, stderr) = (StreamText::whole(one.as_bytes()), StreamText::whole(other.as_bytes()));
        let report = report("exited with code 1", CallStreams::Separate { stdout: &stdout, stderr: &stderr });
        let budget = TextBudget { bytes, tokens: bytes / 3, ..TextBudget::UNBOUNDED };
        let text = model_text(&report, &budget);
        prop_assert!(budget.holds(&text), "{} bytes of {bytes}: {text}", text.len());
        // A short one is never cut for the long one's sake, as long as half is more than it takes.
        if one.len() * 2 + 200 < bytes / 3 * 2 {
            prop_assert!(text.contains(&one));
        }
    }
}
