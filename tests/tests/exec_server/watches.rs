//! `fs/watchMissing`: what is told of what comes to be.

use serde_json::{Value, json};

use super::raw::{Server, Way, over_all};
use super::sessions::wait_for_children;

fn watch(server: &Server, id: u64, names: &[&str], present: Option<&str>) -> Value {
    let missing: Vec<String> = names.iter().map(|name| server.uri(name)).collect();
    json!({"watchId": id, "missing": missing, "present": present.map(|name| server.uri(name))})
}

#[test]
fn what_comes_to_be_is_told_once() {
    over_all(|server| {
        let mut raw = server.ready();
        std::fs::write(server.path("ws/there"), "").unwrap();
        let watching = |watching: bool| json!({"watching": watching});
        let changed = |id: u64| json!({"method": "fs/missingChanged", "params": {"watchId": id}});
        let mut ask = |id: u64, names: &[&str], present: Option<&str>| {
            raw.result("fs/watchMissing", &watch(server, id, names, present))
        };
        assert_eq!(ask(1, &["ws/there"], None), watching(false));
        assert_eq!(ask(2, &["ws/none"], Some("ws/gone")), watching(false));
        assert_eq!(ask(3, &["ws/a/b", "ws/c"], Some("ws/there")), watching(true));
        assert_eq!(ask(3, &["ws/d"], None), watching(false));
        // The next one takes its place.
        assert_eq!(ask(4, &["ws/a/b", "ws/d"], Some("ws/there")), watching(true));
        std::fs::write(server.path("ws/c"), "").unwrap();
        std::fs::create_dir_all(server.path("ws/a/b")).unwrap();
        assert_eq!(raw.notification(), changed(4));
        // Whatever happens next, it is over.
        std::fs::remove_dir(server.path("ws/a/b")).unwrap();
        std::fs::create_dir(server.path("ws/a/b")).unwrap();
        assert_eq!(
            raw.result("fs/watchMissing", &watch(server, 5, &["ws/e"], Some("ws/there"))),
            watching(true)
        );
        std::fs::remove_file(server.path("ws/there")).unwrap();
        assert_eq!(raw.notification(), changed(5));
        // A command in the sandbox is seen as well.
        assert_eq!(raw.result("fs/watchMissing", &watch(server, 6, &["ws/made"], None)), watching(true));
        raw.result("process/start", &server.start_params("p", &["touch", "made"]));
        while raw.notification() != changed(6) {}
        // One that is cancelled tells nothing, and its worker is gone with it, as with the connection.
        let id = raw.request("fs/watchMissing", &watch(server, 7, &["ws/f"], None));
        assert_eq!(raw.answer(id)["result"], watching(true));
        raw.send(&json!({"method": "request/cancel", "params": {"id": id}}));
        raw.result("fs/watchMissing", &watch(server, 8, &["ws/g"], None));
        for name in ["ws/f", "ws/g"] {
            std::fs::write(server.path(name), "").unwrap();
        }
        loop {
            let told = raw.notification();
            assert_ne!(told, changed(7));
            if told == changed(8) {
                break;
            }
        }
    });
}

#[test]
fn a_watch_ends_with_its_connection() {
    let server = Server::start(Way::Unix);
    let mut raw = server.ready();
    let answer = raw.result("fs/watchMissing", &watch(&server, 1, &["ws/none"], None));
    assert_eq!(answer, json!({"watching": true}));
    drop(raw);
    wait_for_children(&server, 0);
}

#[test]
fn what_is_hidden_is_not_watched() {
    let server = Server::start(Way::Unix);
    std::fs::create_dir_all(server.path("ws/hidden")).unwrap();
    let mut raw = server.ready();
    let mut params = watch(&server, 1, &["ws/hidden/new"], None);
    params["sandbox"] = server.sandbox("restricted");
    assert_eq!(raw.result("fs/watchMissing", &params), json!({"watching": true}));
    params["watchId"] = json!(2);
    let hidden = json!({"path": {"type": "path", "path": server.uri("ws/hidden")}, "access": "deny"});
    params["sandbox"]["permissions"]["file_system"]["entries"].as_array_mut().unwrap().push(hidden);
    assert_eq!(raw.result("fs/watchMissing", &params), json!({"watching": false}));
    let many: Vec<String> = (0..257).map(|name| server.uri(&format!("ws/{name}"))).collect();
    assert_eq!(raw.error("fs/watchMissing", &json!({"watchId": 3, "missing": many})).0, -32600);
}
