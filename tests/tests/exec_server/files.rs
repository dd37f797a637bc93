//! `fs/*` as clients of Codex CLI 0.169 find it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_tests::harness::require_tool;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::raw::{Raw, Server, Way, over_all};

const INVALID: i64 = -32600;
const PARAMS: i64 = -32602;
const INTERNAL: i64 = -32603;
const NOT_FOUND: i64 = -32004;

/// Parameters about a path in the workspace, without a sandbox.
fn at(server: &Server, name: &str) -> Value {
    json!({"path": server.uri(&format!("ws/{name}"))})
}

/// The same under the client's usual sandbox, with further members.
fn under(server: &Server, name: &str, more: &Value) -> Value {
    let mut params = at(server, name);
    params["sandbox"] = server.sandbox("restricted");
    let members = params.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    params
}

fn text(result: &Value, member: &str) -> String {
    String::from_utf8(STANDARD.decode(result[member].as_str().unwrap()).unwrap()).unwrap()
}

/// Writes a file by the protocol.
fn write(raw: &mut Raw, server: &Server, name: &str, content: &str) {
    let params = under(server, name, &json!({"dataBase64": STANDARD.encode(content)}));
    assert_eq!(raw.result("fs/writeFile", &params), json!({}));
}

#[test]
fn what_is_written_can_be_read() {
    over_all(|server| {
        let mut raw = server.ready();
        write(&mut raw, server, "made", "first");
        assert_eq!(text(&raw.result("fs/readFile", &at(server, "made")), "dataBase64"), "first");
        // A mode and other names are kept, and a link is written through.
        let path = server.path("ws/made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
        symlink("made", server.path("ws/link")).unwrap();
        write(&mut raw, server, "link", "second");
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o751);
        assert!(server.path("ws/link").is_symlink());
        // One that comes to be where a link leads.
        symlink("later", server.path("ws/dangling")).unwrap();
        write(&mut raw, server, "dangling", "third");
        assert_eq!(fs::read_to_string(server.path("ws/later")).unwrap(), "third");
        // Another name of the same file keeps what it had: a new content is a new file.
        fs::hard_link(&path, server.path("ws/other")).unwrap();
        write(&mut raw, server, "made", "fourth");
        assert_eq!(fs::read_to_string(server.path("ws/other")).unwrap(), "second");
        let large = "x".repeat(3_000_000);
        write(&mut raw, server, "large", &large);
        assert_eq!(text(&raw.result("fs/readFile", &at(server, "large")), "dataBase64"), large);
        let left = fs::read_dir(server.path("ws")).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_str().unwrap().starts_with('.')).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn errors_have_the_codes_that_clients_know() {
    let server = Server::start(Way::Unix);
    let mut raw = server.ready();
    let ws = server.path("ws");
    fs::create_dir(ws.join("directory")).unwrap();
    fs::write(ws.join("file"), "text").unwrap();
    fs::write(ws.join("directory/inside"), "").unwrap();
    mkfifo(&ws.join("fifo"), Mode::S_IRWXU).unwrap();
    symlink("nowhere", ws.join("dangling")).unwrap();
    symlink("file", ws.join("link")).unwrap();
    fs::File::create(ws.join("huge")).unwrap().set_len(600 << 20).unwrap();
    let data = |name: &str| under(&server, name, &json!({"dataBase64": "aGk="}));
    let walk = |name: &str, depth: u64| {
        let mut params = at(&server, name);
        params["options"] =
            json!({"maxDepth": depth, "maxDirectories": 1, "maxEntries": 1, "followDirectorySymlinks": true});
        params
    };
    let copy = |source: &str, destination: &str, recursive: bool| {
        json!({"sourcePath": server.uri(&format!("ws/{source}")), "destinationPath": server.uri(&format!("ws/{destination}")),
               "recursive": recursive, "sandbox": server.sandbox("restricted")})
    };
    let strict = json!({"recursive": false, "force": false});
    for (method, params, code, words) in [
        ("fs/readFile", at(&server, "none"), NOT_FOUND, "No such file or directory (os error 2)"),
        ("fs/readFile", at(&server, "directory"), INVALID, "is a directory"),
        ("fs/readFile", at(&server, "fifo"), INVALID, "is no regular file"),
        ("fs/readFile", at(&server, "huge"), INVALID, "fs/readBlock"),
        ("fs/readFile", json!({"path": "/native"}), PARAMS, "file:"),
        ("fs/readFile", json!({}), PARAMS, "path"),
        ("fs/readFile", json!({"path": "file:///dev/zero"}), INVALID, "is no regular file"),
        ("fs/readFile", under(&server, "link", &json!({"followSymlinks": false})), INVALID, "symbolic links"),
        ("fs/getMetadata", at(&server, "none"), NOT_FOUND, "os error 2"),
        ("fs/getMetadata", at(&server, "dangling"), NOT_FOUND, "os error 2"),
        ("fs/getMetadata", at(&server, "file/below"), INTERNAL, "Not a directory (os error 20)"),
        ("fs/canonicalize", at(&server, "none"), NOT_FOUND, "os error 2"),
        ("fs/readDirectory", at(&server, "file"), INVALID, "is no directory"),
        ("fs/readDirectory", at(&server, "none"), NOT_FOUND, "os error 2"),
        ("fs/walk", walk("none", 1), NOT_FOUND, "os error 2"),
        ("fs/walk", walk("", 0), INVALID, "maxDepth has to be between 1 and 64"),
        ("fs/walk", walk("", 65), INVALID, "maxDepth has to be between 1 and 64"),
        ("fs/walk", at(&server, ""), PARAMS, "options"),
        ("fs/writeFile", data("none/new"), NOT_FOUND, "os error 2"),
        ("fs/writeFile", data("directory"), INTERNAL, "Is a directory (os error 21)"),
        ("fs/writeFile", data("fifo"), INVALID, "is no regular file"),
        ("fs/writeFile", data("link/below"), INTERNAL, "Not a directory"),
        ("fs/writeFile", under(&server, "new", &json!({"dataBase64": "?"})), INVALID, "base64"),
        ("fs/writeFile", under(&server, "new", &json!({})), PARAMS, "dataBase64"),
        ("fs/writeFile", data("../outside/new"), INTERNAL, "Read-only file system (os error 30)"),
        (
            "fs/createDirectory",
            under(&server, "directory", &json!({"recursive": false})),
            INTERNAL,
            "File exists (os error 17)",
        ),
        ("fs/createDirectory", under(&server, "file", &json!({})), INTERNAL, "Not a directory"),
        ("fs/createDirectory", under(&server, "a/b", &json!({"recursive": false})), NOT_FOUND, "os error 2"),
        ("fs/remove", under(&server, "none", &strict), NOT_FOUND, "os error 2"),
        ("fs/remove", under(&server, "directory", &strict), INTERNAL, "Directory not empty (os error 39)"),
        ("fs/copy", copy("none", "x", false), NOT_FOUND, "os error 2"),
        ("fs/copy", copy("directory", "x", false), INVALID, "`recursive`"),
        ("fs/copy", copy("directory", "directory/x", true), INVALID, "into itself"),
        ("fs/copy", copy("fifo", "x", false), INVALID, "neither file"),
        ("fs/copy", copy("file", "link", false), INVALID, "is the same file"),
        ("fs/copy", copy("file", "directory", false), INTERNAL, "Is a directory"),
        ("fs/open", json!({"handleId": "h", "path": server.uri("ws/none")}), NOT_FOUND, "os error 2"),
        ("fs/open", json!({"handleId": "h", "path": server.uri("ws/fifo")}), INVALID, "is no regular file"),
        (
            "fs/open",
            under(&server, "fifo", &json!({"handleId": "h", "mode": "replace"})),
            INVALID,
            "is no regular file",
        ),
        ("fs/open", under(&server, "x", &json!({"handleId": "h", "mode": "append"})), PARAMS, "append"),
        ("fs/readBlock", json!({"handleId": "h", "offset": 0, "len": 1}), NOT_FOUND, "unknown file handle h"),
        ("fs/readBlock", json!({"handleId": "h", "offset": 0, "len": 0}), INVALID, "between 1 and 1048576"),
        (
            "fs/readBlock",
            json!({"handleId": "h", "offset": 0, "len": 1_048_577}),
            INVALID,
            "between 1 and 1048576",
        ),
        (
            "fs/writeBlock",
            json!({"handleId": "h", "offset": 0, "chunk": ""}),
            NOT_FOUND,
            "unknown file handle h",
        ),
        ("fs/watch", json!({}), -32601, "no method"),
    ] {
        let found = raw.error(method, &params);
        assert_eq!(found.0, code, "{method} {params}: {}", found.1);
        assert!(found.1.contains(words), "{method} {params}: {}", found.1);
    }
    // What is no file has not been changed or waited for, and nothing has come to be.
    let names: Vec<_> = raw.result("fs/readDirectory", &at(&server, ""))["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["fileName"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["directory", "fifo", "file", "huge", "link"]);
}

#[test]
fn facts_are_told() {
    over_all(|server| {
        let mut raw = server.ready();
        let ws = server.path("ws");
        fs::create_dir_all(ws.join("a/deep")).unwrap();
        fs::write(ws.join("a/file"), "12345").unwrap();
        symlink("a/file", ws.join("link")).unwrap();
        symlink("nowhere", ws.join("dangling")).unwrap();
        let facts = raw.result("fs/getMetadata", &at(server, "link"));
        let modified = fs::metadata(ws.join("a/file")).unwrap().modified().unwrap();
        let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert_eq!(
            [
                &facts["isDirectory"],
                &facts["isFile"],
                &facts["isSymlink"],
                &facts["size"],
                &facts["modifiedAtMs"]
            ],
            [&json!(false), &json!(true), &json!(true), &json!(5), &json!(modified)]
        );
        assert!(facts["createdAtMs"].is_i64());
        let mut itself = at(server, "dangling");
        itself["followSymlinks"] = json!(false);
        let facts = raw.result("fs/getMetadata", &itself);
        assert_eq!((&facts["isSymlink"], &facts["isFile"]), (&json!(true), &json!(false)));
        let root = raw.result("fs/getMetadata", &json!({"path": "file:///"}));
        assert_eq!(root["isDirectory"], true);
        assert_eq!(
            raw.result("fs/canonicalize", &at(server, "a/../link")),
            json!({"path": server.uri("ws/a/file")})
        );
        let entry = |name: &str, directory: bool| json!({"fileName": name, "isDirectory": directory, "isFile": !directory});
        assert_eq!(
            raw.result("fs/readDirectory", &at(server, ""))["entries"],
            json!([entry("a", true), entry("link", false)])
        );
        let mut walk = at(server, "");
        walk["options"] = json!({"maxDepth": 6, "maxDirectories": 2000, "maxEntries": 20000,
                                 "followDirectorySymlinks": true, "pruneHiddenDirectories": true});
        let found = |name: &str, kind: &str| json!({"path": server.uri(&format!("ws/{name}")), "kind": kind});
        assert_eq!(
            raw.result("fs/walk", &walk),
            json!({"entries": [found("a", "directory"), found("a/deep", "directory"), found("a/file", "file")],
                   "errors": [], "truncated": false})
        );
    });
}

#[test]
fn names_come_and_go() {
    over_all(|server| {
        let mut raw = server.ready();
        let ws = server.path("ws");
        let done = json!({});
        assert_eq!(raw.result("fs/createDirectory", &under(server, "a/b/c", &done)), done);
        assert_eq!(raw.result("fs/createDirectory", &under(server, "a/b/c", &done)), done);
        write(&mut raw, server, "a/b/file", "text");
        symlink("../../outside", ws.join("a/b/link")).unwrap();
        fs::write(server.path("outside/kept"), "kept").unwrap();
        let copy = |from: &str, to: &str| {
            json!({"sourcePath": server.uri(from), "destinationPath": server.uri(to), "recursive": true,
                   "sandbox": server.sandbox("restricted")})
        };
        assert_eq!(raw.result("fs/copy", &copy("ws/a", "ws/z")), done);
        assert_eq!(fs::read_to_string(ws.join("z/b/file")).unwrap(), "text");
        assert_eq!(fs::read_link(ws.join("z/b/link")).unwrap().to_str(), Some("../../outside"));
        assert_eq!(raw.result("fs/copy", &copy("outside/kept", "ws/z/b/kept")), done);
        assert_eq!(raw.error("fs/copy", &copy("ws/z", "outside/z")).0, INTERNAL);
        // What a link leads to stays.
        assert_eq!(raw.result("fs/remove", &under(server, "z", &done)), done);
        assert_eq!(raw.result("fs/remove", &under(server, "z", &done)), done);
        assert_eq!(raw.result("fs/remove", &under(server, "a/b/link", &done)), done);
        assert!(!ws.join("z").exists() && !ws.join("a/b/link").is_symlink());
        assert_eq!(fs::read_to_string(server.path("outside/kept")).unwrap(), "kept");
        let strict = json!({"recursive": false, "force": false});
        assert_eq!(raw.result("fs/remove", &under(server, "a/b/c", &strict)), done);
        assert_eq!(raw.result("fs/remove", &under(server, "a/b/file", &strict)), done);
        assert_eq!(fs::read_dir(ws.join("a/b")).unwrap().count(), 0);
    });
}

/// The way out that the refusal names leads to every byte.
#[test]
fn what_is_too_large_to_be_read_at_once_is_read_in_pieces() {
    const MOST: u64 = 47 << 20;
    let server = Server::start(Way::Unix);
    let file = fs::File::create(server.path("ws/large")).unwrap();
    file.set_len(MOST).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", MOST - 2).unwrap();
    let mut raw = server.ready();
    let (code, message) = raw.error("fs/readFile", &at(&server, "large"));
    let path = server.path("ws/large");
    let expected = format!(
        "{} has {} bytes or more, and {MOST} are the most that are read at once; fs/open and fs/readBlock read a file in pieces",
        path.display(),
        MOST + 1
    );
    assert_eq!((code, message), (INVALID, expected));
    raw.result("fs/open", &under(&server, "large", &json!({"handleId": "r", "mode": "read"})));
    let mut offset = 0;
    let last = loop {
        let asked = json!({"handleId": "r", "offset": offset, "len": 1 << 20});
        let read = raw.result("fs/readBlock", &asked);
        let chunk = STANDARD.decode(read["chunk"].as_str().unwrap()).unwrap();
        offset += chunk.len() as u64;
        if read["eof"] == true {
            break chunk;
        }
    };
    assert_eq!(offset, MOST + 1);
    assert!(last.ends_with(b"d"));
    // One byte less, and it is read whole.
    file.set_len(MOST).unwrap();
    let read = raw.result("fs/readFile", &at(&server, "large"));
    assert_eq!(STANDARD.decode(read["dataBase64"].as_str().unwrap()).unwrap().len() as u64, MOST);
}

#[test]
fn open_files_are_read_and_written_in_pieces() {
    over_all(|server| {
        let mut raw = server.ready();
        let open = |id: &str, mode: &str| under(server, "file", &json!({"handleId": id, "mode": mode}));
        let block = |id: &str, offset: u64, len: u64| json!({"handleId": id, "offset": offset, "len": len});
        let put = |id: &str, offset: u64, text: &str| json!({"handleId": id, "offset": offset, "chunk": STANDARD.encode(text)});
        fs::write(server.path("ws/file"), "longer than what follows").unwrap();
        // Nothing is waited for, and each finds what came before.
        let requests = [
            raw.request("fs/open", &open("w", "replace")),
            raw.request("fs/writeBlock", &put("w", 0, "one ")),
            raw.request("fs/writeBlock", &put("w", 4, "two")),
            raw.request("fs/close", &json!({"handleId": "w"})),
        ];
        for id in requests {
            assert!(raw.answer(id).get("error").is_none());
        }
        assert_eq!(fs::read_to_string(server.path("ws/file")).unwrap(), "one two");
        assert_eq!(raw.error("fs/writeBlock", &put("w", 0, "x")).0, NOT_FOUND);

        assert_eq!(raw.result("fs/open", &open("r", "read")), json!({"handleId": "r"}));
        assert_eq!(raw.error("fs/open", &open("r", "read")).0, INVALID);
        assert_eq!(
            raw.result("fs/open", &under(server, "file", &json!({"handleId": "again"})))["handleId"],
            "again"
        );
        assert_eq!(raw.error("fs/writeBlock", &put("r", 0, "x")).0, INVALID);
        let read = raw.result("fs/readBlock", &block("r", 4, 2));
        assert_eq!((text(&read, "chunk"), &read["eof"]), ("tw".to_owned(), &json!(false)));
        let read = raw.result("fs/readBlock", &block("r", 4, 1_048_576));
        assert_eq!((text(&read, "chunk"), &read["eof"]), ("two".to_owned(), &json!(true)));
        // The file itself, whatever has become of its name.
        fs::rename(server.path("ws/file"), server.path("ws/away")).unwrap();
        fs::write(server.path("ws/file"), "another").unwrap();
        assert_eq!(text(&raw.result("fs/readBlock", &block("r", 0, 3)), "chunk"), "one");
        for _ in 0..2 {
            assert_eq!(raw.result("fs/close", &json!({"handleId": "r"})), json!({}));
        }
        assert_eq!(text(&raw.result("fs/readBlock", &block("again", 0, 3)), "chunk"), "one");
        // Handles are the connection's own.
        if server.way() == Way::Unix {
            assert_eq!(server.ready().error("fs/readBlock", &block("again", 0, 1)).0, NOT_FOUND);
        }
        // An error closes what is written: a write beyond what any file may hold.
        raw.result("fs/open", &open("w", "replace"));
        assert_eq!(raw.error("fs/writeBlock", &put("w", i64::MAX as u64, "x")).0, INTERNAL);
        assert_eq!(raw.error("fs/writeBlock", &put("w", 0, "x")).0, NOT_FOUND);
    });
}

#[test]
fn a_connection_has_as_many_open_files_as_it_may() {
    let server = Server::start(Way::Unix);
    let mut raw = server.ready();
    fs::write(server.path("ws/file"), "text").unwrap();
    let open = |id: usize| json!({"handleId": id.to_string(), "path": server.uri("ws/file")});
    let opened: Vec<i64> = (0..128).map(|id| raw.request("fs/open", &open(id))).collect();
    for id in opened {
        assert!(raw.answer(id).get("error").is_none());
    }
    let (code, message) = raw.error("fs/open", &open(128));
    assert_eq!(code, INVALID);
    assert!(message.contains("128 files are open already"), "{message}");
    raw.result("fs/close", &json!({"handleId": "7"}));
    raw.result("fs/open", &open(128));
    // All of them are held by few processes, and by none once the connection is gone.
    drop(raw);
    super::sessions::wait_for_children(&server, 0);
}

#[test]
fn a_level_that_the_machine_refuses_costs_no_request() {
    let Some(unshare) = require_tool("unshare") else { return };
    let server = Server::start(Way::Stdio);
    // The set-up of the first worker fails, and is tried again.
    let mut raw = server.without_namespaces(&unshare);
    write(&mut raw, &server, "made", "text");
    assert_eq!(text(&raw.result("fs/readFile", &at(&server, "made")), "dataBase64"), "text");
    let outside = under(&server, "../outside/made", &json!({"dataBase64": ""}));
    let (code, message) = raw.error("fs/writeFile", &outside);
    assert!(code == INVALID && message.ends_with("Permission denied (os error 13)"), "{message}");
}
