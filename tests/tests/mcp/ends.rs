//! Nothing outlives its call, its session or its server.

use serde_json::json;

use super::raw::{HOLDS, Place, Presence};

const WRITES: [&str; 2] = ["-s", "workspace-write"];

#[test]
fn a_call_that_is_given_up_ends_all_that_it_has_started() {
    let place = Place::new("");
    let mut mcp = place.session(&WRITES, &json!({}));
    for (tool, arguments) in [
        ("shell", json!({"command": ["bash", "-c", HOLDS]})),
        ("exec_command", json!({"cmd": HOLDS, "yield_time_ms": 30_000})),
    ] {
        let held = Presence::new(&place.path("ws/held"));
        let id = mcp.request("tools/call", &json!({"name": tool, "arguments": arguments}));
        held.began();
        mcp.notify("notifications/cancelled", &json!({"requestId": id, "reason": "enough"}));
        held.ended();
        std::fs::remove_file(place.path("ws/held")).unwrap();
        // It has no answer, and the next one has.
        assert_eq!(mcp.call("shell", &json!({"command": ["true"]}))["exit_code"], 0);
    }
    assert!(!mcp.has_others());
}

#[test]
fn a_wait_that_is_given_up_leaves_the_command() {
    let place = Place::new("");
    let mut mcp = place.session(&WRITES, &json!({}));
    let begun = mcp.call("exec_command", &json!({"cmd": "cat", "tty": true, "yield_time_ms": 250}));
    let session = &begun["session_id"];
    let wait = json!({"name": "write_stdin", "arguments": {"session_id": session, "yield_time_ms": 300_000}});
    let id = mcp.request("tools/call", &wait);
    mcp.notify("notifications/cancelled", &json!({"requestId": id}));
    let said = mcp.call("write_stdin", &json!({"session_id": session, "chars": "there\n"}));
    mcp.hears(&said, "there\nthere\n");
}

#[test]
fn the_end_of_the_input_is_the_end_of_everything() {
    for killed in [false, true] {
        let place = Place::new("");
        let mut mcp = place.session(&WRITES, &json!({}));
        let held = Presence::new(&place.path("ws/held"));
        let begun = mcp.call("exec_command", &json!({"cmd": HOLDS, "yield_time_ms": 250}));
        assert_eq!(begun["outcome"], "running", "{begun}");
        held.began();
        // A call under way as well.
        let waited = Presence::new(&place.path("ws/waited"));
        let holds = HOLDS.replace("held", "waited");
        mcp.request("tools/call", &json!({"name": "shell", "arguments": {"command": ["bash", "-c", holds]}}));
        waited.began();
        if killed {
            mcp.kill()
        } else {
            assert_eq!(mcp.end(), Some(0))
        }
        held.ended();
        waited.ended();
    }
}
