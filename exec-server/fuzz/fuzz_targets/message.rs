//! Arbitrary bytes as a message: answered or understood, and what is understood survives being written.

#![cfg_attr(fuzzing, no_main)]

use codex_exec_server::framing::check_structure;
use codex_exec_server::protocol::{Incoming, encode_reply, encode_request};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if check_structure(bytes).is_err() {
        return;
    }
    match Incoming::parse(bytes) {
        Ok(Incoming::Request { id, method, params }) => {
            let text = encode_request(&id, &method, params).expect("a request has a form in JSON");
            let again = Incoming::parse(text.as_bytes());
            assert!(
                matches!(again, Ok(Incoming::Request { id: read, method: asked, .. }) if read == id && asked == method)
            );
        }
        Ok(Incoming::Answer { id, reply }) => {
            let text = encode_reply(&id, &reply).expect("an answer has a form in JSON");
            assert!(
                matches!(Incoming::parse(text.as_bytes()), Ok(Incoming::Answer { id: read, .. }) if read == id)
            );
        }
        Ok(Incoming::Notification { .. }) => {}
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
