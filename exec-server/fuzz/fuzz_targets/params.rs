//! Arbitrary text as the parameters of each method, and as a `file:` URI.

#![cfg_attr(fuzzing, no_main)]

use codex_exec_server::protocol::{
    AttachParams, CancelParams, ChangeParams, CopyParams, ExplainParams, FileUri, HandleParams,
    InitializeParams, OpenParams, PathParams, ProcessParams, ReadBlockParams, ReadParams, ReadSpillParams,
    ResizeParams, SignalParams, StartParams, WalkParams, WatchParams, WriteBlockParams, WriteFileParams,
    WriteParams,
};

fn read<T: serde::de::DeserializeOwned + serde::Serialize>(text: &str) {
    if let Ok(params) = serde_json::from_str::<T>(text) {
        let written = serde_json::to_string(&params).expect("parameters have a form in JSON");
        serde_json::from_str::<T>(&written).expect("what was written can be read");
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    read::<InitializeParams>(text);
    read::<StartParams>(text);
    read::<ReadParams>(text);
    read::<WriteParams>(text);
    read::<SignalParams>(text);
    read::<ProcessParams>(text);
    read::<ResizeParams>(text);
    read::<AttachParams>(text);
    read::<CancelParams>(text);
    read::<ReadSpillParams>(text);
    read::<ExplainParams>(text);
    read::<PathParams>(text);
    read::<WriteFileParams>(text);
    read::<ChangeParams>(text);
    read::<CopyParams>(text);
    read::<WalkParams>(text);
    read::<OpenParams>(text);
    read::<WatchParams>(text);
    read::<HandleParams>(text);
    read::<ReadBlockParams>(text);
    read::<WriteBlockParams>(text);
    if let Ok(uri) = FileUri::parse(text) {
        assert!(uri.path().is_absolute());
        assert_eq!(FileUri::parse(&uri.to_string()).as_ref(), Ok(&uri));
    }
});

/// Where nobody fuzzes, the target is only checked.
#[cfg(not(fuzzing))]
fn main() {}
