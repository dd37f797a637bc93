//! What is told of hosts that were refused, and what is said of them before.

use std::fs;

use codex_tests::harness::{Policy, Scene, require_tool};
use serde_json::{Value, json};

use super::outside::{Outside, Serving};
use super::{act, json_of};

pub(super) fn what_is_refused_is_told_exactly(scene: &Scene) {
    let granted = Outside::serve("127.0.0.2", Serving::Http);
    let other = Outside::serve("127.0.0.3", Serving::Http);
    let (granted_name, other_name) = (granted.name(), other.name());
    let script = "
granted, other, code = sys.argv[1:]
get(f'http://{granted}/')
for _ in range(3): get(f'http://{other}/')
tunnel('secret.example:443'); tunnel('Secret.Example.:443'); tunnel('metadata.google.internal:80')
get('http://[2606:4700:0::1111]/')
sys.exit(int(code))
";
    let words = |code| [granted_name.as_str(), other_name.as_str(), code];
    let Some(run) = act(scene, &["--json"], &[&granted_name], script, &words("3")) else { return };
    let run = run.run().expect_code(3);
    let told: Vec<Value> = json_of(&run)["denials"].as_array().cloned().unwrap_or_default();
    let brief = |denial: &Value| {
        json!([denial["target"], denial["count"], denial["allow"]["toml"], denial["allow"]["flag"]])
    };
    // What was typed is no line of the configuration.
    let list = |host: &str| format!("sandbox.allow_hosts = [\"{host}\"]");
    let mut found: Vec<Value> = told.iter().map(brief).collect();
    found.sort_by_key(Value::to_string);
    let mut expected = vec![
        json!([other_name, 3, list(&other_name), format!("--allow-host {other_name}")]),
        json!(["secret.example:443", 2, list("secret.example:443"), "--allow-host secret.example:443"]),
        json!(["metadata.google.internal:80", 1, null, null]),
        json!([
            "[2606:4700::1111]:80",
            1,
            list("[2606:4700::1111]:80"),
            "--allow-host '[2606:4700::1111]:80'"
        ]),
    ];
    expected.sort_by_key(Value::to_string);
    assert_eq!(found, expected, "{}", run.describe());
    for denial in &told {
        let setting = &denial["allow"]["setting"];
        assert!(setting.is_null() || setting == "sandbox.allow_hosts", "{denial}");
        assert_eq!(denial["rule"]["setting"], "sandbox.allow_hosts", "{denial}");
        // The one host that is allowed is so by the flag.
        assert_eq!(denial["rule"]["origin"], "--allow-host", "{denial}");
        let fixed = [&denial["operation"], &denial["certainty"], &denial["promise"], &denial["errno"]];
        assert_eq!(fixed, [&json!("connect"), &json!("exact"), &json!("P2"), &Value::Null], "{denial}");
    }
    // A command that succeeds had another way.
    let Some(run) = act(scene, &["--json"], &[&granted_name], script, &words("0")) else { return };
    assert_eq!(json_of(&run.run().expect_code(0))["denials"], json!([]));
    let Some(run) = act(scene, &["--json", "--explain"], &[&granted_name], script, &words("0")) else {
        return;
    };
    let told = json_of(&run.run().expect_code(0))["denials"].as_array().map(Vec::len);
    assert_eq!(told, Some(expected.len()));
    assert_eq!((granted.arrivals().len(), other.arrivals().len()), (3, 0));
    // And in words, one line each.
    let Some(run) = act(scene, &[], &[&granted_name], script, &words("3")) else { return };
    let text = run.run().expect_code(3).error_text();
    assert!(text.contains(&other_name) && text.contains("allow_hosts"), "{text}");
}

pub(super) fn a_flood_is_bounded(scene: &Scene) {
    let script = "
s = proxy()
def send():
    for at in range(0, 10000, 100):
        s.sendall(b''.join(b'GET http://h%d.example/ HTTP/1.1\\r\\n\\r\\n' % n for n in range(at, at + 100)))
threading.Thread(target=send).start()
answers, refused, last = s.makefile('rb'), 0, b''
while refused < 10000:
    line = answers.readline()
    if line.startswith(b'HTTP/1.1 403'): refused += 1
    if not line: break
print('refused', refused)
sys.exit(1)
";
    let Some(run) = act(scene, &["--json"], &["granted.example"], script, &[]) else { return };
    let run = run.run().expect_code(1);
    let result = json_of(&run);
    assert_eq!(result["stdout"]["text"], "refused 10000\n", "{}", run.describe());
    let told = result["denials"].as_array().expect("a list");
    let counted: u64 = told.iter().filter_map(|denial| denial["count"].as_u64()).sum();
    assert_eq!(told.len(), 64, "{}", run.describe());
    assert_eq!(counted + result["denials_untold"].as_u64().unwrap_or_default(), 10_000, "{}", run.describe());
}

pub(super) fn the_answer_is_what_a_probe_experiences(scene: &Scene) {
    let outside = Outside::serve("0.0.0.0", Serving::Http);
    let port = outside.port();
    let next = Outside::serve("127.0.0.2", Serving::Http);
    let hosts =
        [format!("127.0.0.2:{port}"), format!("web.localhost:{port}"), "*.below.example:443".to_owned()];
    let targets = [
        (format!("127.0.0.2:{port}"), true),
        (format!("web.localhost:{port}"), true),
        (format!("WEB.localhost.:{port}"), true),
        (next.name(), false),
        (format!("127.0.0.3:{port}"), false),
        (format!("x.web.localhost:{port}"), false),
        ("below.example:443".to_owned(), false),
        ("other.example:443".to_owned(), false),
    ];
    let grants: Vec<&str> = hosts.iter().flat_map(|host| ["--allow-host", host]).collect();
    for (target, expected) in &targets {
        let words = ["debug", "why", "--json", "-s", "workspace-write"].iter().chain(&grants);
        let run = scene.codex(words.chain(&["connect", target])).run();
        assert_eq!(json_of(&run)["allowed"], *expected, "{target}: {}", run.describe());
        assert_eq!(run.code(), Some(i32::from(!expected)), "{target}");
    }
    let script = "
for target in sys.argv[1:]: print(tunnel(target)[0])
";
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let words: Vec<&str> = targets.iter().map(|(target, _)| target.as_str()).collect();
    let Some(run) = act(scene, &[], &hosts, script, &words) else { return };
    let run = run.run().expect_code(0);
    let experienced: Vec<bool> = run.text().lines().map(|line| line == "200").collect();
    let expected: Vec<bool> = targets.iter().map(|(_, expected)| *expected).collect();
    assert_eq!(experienced, expected, "{}", run.describe());
    assert_eq!((outside.arrivals().len(), next.arrivals().len()), (3, 0));
}

pub(super) fn learning_finds_the_line(scene: &Scene) {
    let Some(curl) = require_tool("curl") else { return };
    let outside = Outside::serve("127.0.0.2", Serving::Http);
    let line = format!("{} -sf http://{}/", curl.display(), outside.name());
    let learn = ["--json", "--learn", "--learn-also", "hosts"];
    let run = scene.under(Policy::WorkspaceWrite).options(learn).shell(&line).run();
    let learned = &json_of(&run)["learned"];
    assert_eq!(
        (&learned["stopped"], &learned["complete"]),
        (&"passed".into(), &true.into()),
        "{}",
        run.describe()
    );
    let toml = learned["toml"].as_str().unwrap_or_default().to_owned();
    assert!(toml.contains(&format!("\"{}\"", outside.name())), "{}", run.describe());
    assert!(!outside.arrivals().is_empty() && !toml.contains("network_access"), "{toml}");
    let passes = |toml: &str| {
        fs::remove_file(scene.path("codex-home/config.toml")).ok();
        scene.file("codex-home/config.toml", toml);
        let run = scene.codex(["sandbox", "-q", "--", "sh", "-c", &line]).run();
        assert_eq!(run.text(), if run.code() == Some(0) { "hello\n" } else { "" }, "{}", run.describe());
        (run.code() == Some(0), outside.arrivals().len())
    };
    assert_eq!(passes(&toml), (true, 1), "{toml}");
    let without: Vec<&str> = toml.lines().filter(|line| !line.contains(&outside.name())).collect();
    assert_eq!(passes(&without.join("\n")), (false, 0), "{toml}");
}
