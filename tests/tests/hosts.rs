//! P2: single hosts where the network is off. Those that are granted are reached through the proxy inside, byte by byte; nobody
//! else is, whatever is asked for and however; and nothing of it outlasts the call.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a suite reports by failing")]

#[path = "hosts/ends.rs"]
mod ends;
#[path = "hosts/outside.rs"]
mod outside;
#[path = "hosts/requests.rs"]
mod requests;
#[path = "hosts/told.rs"]
mod told;

use codex_tests::cases_at;
use codex_tests::harness::{Api, Invocation, Model, Policy, Run, Scene, require_tool};
use ends::{
    a_tunnel_ends_with_its_call, deadlines_and_signals_are_kept, many_connections_take_turns,
    the_listening_socket_is_nobodys, who_does_not_read_costs_no_memory,
};
use outside::{Outside, Serving};
use requests::{hostile_names_reach_nobody, what_is_sent_on_is_one_request};
use serde_json::{Value, json};
use told::{
    a_flood_is_bounded, learning_finds_the_line, the_answer_is_what_a_probe_experiences,
    what_is_refused_is_told_exactly,
};

cases_at!(
    Namespaces;
    what_is_granted_is_reached_and_nobody_else,
    bytes_arrive_as_they_are,
    by_all_ways_that_calls_begin,
    in_an_agents_run,
    where_there_is_no_proxy,
    the_environment_is_the_proxys,
    hostile_names_reach_nobody,
    what_is_sent_on_is_one_request,
    what_is_refused_is_told_exactly,
    a_flood_is_bounded,
    the_answer_is_what_a_probe_experiences,
    learning_finds_the_line,
    the_listening_socket_is_nobodys,
    a_tunnel_ends_with_its_call,
    deadlines_and_signals_are_kept,
    many_connections_take_turns,
    who_does_not_read_costs_no_memory,
);

const CLIENT: &str = include_str!("hosts/client.py");

fn json_of(run: &Run) -> Value {
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|error| run.fail(&format!("no JSON on stdout: {error}")))
}

/// An act in Python under a policy, with these hosts granted. Nothing where there is no Python.
fn act_under(
    scene: &Scene,
    policy: Policy,
    options: &[&str],
    hosts: &[&str],
    act: &str,
    words: &[&str],
) -> Option<Invocation> {
    let python = require_tool("python3")?;
    let script = format!("{CLIENT}\n{act}");
    let grants = hosts.iter().flat_map(|host| ["--allow-host", host]);
    let options: Vec<&str> = options.iter().copied().chain(grants).collect();
    let sandbox = scene.under(policy);
    let sandbox = if policy == Policy::Bare { sandbox } else { sandbox.options(options) };
    Some(sandbox.command(python, ["-c", &script].iter().chain(words)))
}

fn act(scene: &Scene, options: &[&str], hosts: &[&str], act: &str, words: &[&str]) -> Option<Invocation> {
    act_under(scene, Policy::WorkspaceWrite, options, hosts, act, words)
}

/// Asks for a host that is granted and for one that isn't, in both ways.
const BOTH: &str = "
granted, other = sys.argv[1:]
said = [get(f'http://{host}/') for host in (granted, other)]
for host in (granted, other):
    status, s = tunnel(host)
    if status == 200:
        s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        said.append((status, answer(s)[1]))
    else:
        said.append((status, ''))
print(json.dumps([[status, text if status == 200 else ''] for status, text in said]))
";

const BOTH_SAY: &str = r#"[[200, "hello\n"], [403, ""], [200, "hello\n"], [403, ""]]"#;

fn what_is_granted_is_reached_and_nobody_else(scene: &Scene) {
    let (Some(curl), granted) = (require_tool("curl"), Outside::serve("127.0.0.2", Serving::Http)) else {
        return;
    };
    let other = Outside::serve("127.0.0.3", Serving::Http);
    let (name, url) = (granted.name(), |host: &Outside| format!("http://{}/", host.name()));
    let fetch = |policy, host: &Outside| {
        let sandbox = scene.under(policy);
        let sandbox = if policy == Policy::Bare { sandbox } else { sandbox.options(["--allow-host", &name]) };
        sandbox.command(&curl, ["-s", "-w", "%{http_code}", &url(host)]).run().expect_code(0).text()
    };
    for host in [&granted, &other] {
        assert_eq!(fetch(Policy::Bare, host), "hello\n200");
        assert_eq!(host.arrivals().len(), 1);
    }
    for policy in Policy::OFFLINE {
        assert_eq!(fetch(policy, &granted), "hello\n200", "{policy:?}");
        assert_eq!(granted.arrivals().len(), 1, "{policy:?}");
        let refused = fetch(policy, &other);
        assert!(refused.ends_with("403") && refused.contains("--allow-host"), "{policy:?}: {refused}");
        assert_eq!(other.arrivals(), [] as [std::net::IpAddr; 0], "{policy:?}");
    }
    // One connection, and then somebody else. And the same host at another port.
    let script = "
granted, other, port = sys.argv[1:]
s = proxy()
for host in (granted, other, granted):
    s.sendall(f'GET http://{host}/ HTTP/1.1\\r\\nHost: {granted}\\r\\n\\r\\n'.encode())
    print(answer(s)[0])
print(get(f'http://{port}/')[0], tunnel(port)[0])
host, port = granted.split(':')
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    print(reached(kind, (host, int(port))), reached(kind, ('192.0.2.1', 80)))
";
    let next = Outside::serve("127.0.0.2", Serving::Http);
    let (other_name, next_name) = (other.name(), next.name());
    let hosts = [name.as_str(), "192.0.2.1"];
    let Some(run) = act(scene, &[], &hosts, script, &[&name, &other_name, &next_name]) else { return };
    let run = run.run().expect_code(0);
    // Datagrams to the sandbox's own loopback go nowhere; without the proxy there is no way to anybody.
    let expected = "200\n403\n200\n403 403\nECONNREFUSED ENETUNREACH\nreached ENETUNREACH\n";
    assert_eq!(run.text(), expected, "{}", run.describe());
    assert_eq!(granted.arrivals().len(), 2);
    for host in [&other, &next] {
        assert_eq!(host.arrivals(), [] as [std::net::IpAddr; 0]);
    }
}

fn bytes_arrive_as_they_are(scene: &Scene) {
    let http = Outside::serve("127.0.0.2", Serving::Http);
    let echo = Outside::serve("127.0.0.2", Serving::Echo);
    // The same without a proxy, which says that the host does as it should.
    let script = "
http, echo, direct = sys.argv[1:]

def to(target, url):
    host, port = target.split(':')
    return (socket.create_connection((host, int(port))), '') if direct else (proxy(), f'http://{target}')
big = bytes(range(256)) * (3 << 12)
if direct:
    s, _ = to(echo, '')
else:
    status, s = tunnel(echo)
    assert status == 200, status
sending = threading.Thread(target=lambda: (s.sendall(big), s.shutdown(socket.SHUT_WR)))
sending.start()
print(rest(s) == big + b'end')
for head, body in ((f'Content-Length: {len(big)}', big), ('Transfer-Encoding: chunked', b'5\\r\\nhello\\r\\n0\\r\\n\\r\\n')):
    for method in ('POST', 'GET'):
        s, at = to(http, '')
        s.sendall(f'{method} {at}/length HTTP/1.1\\r\\nHost: {http}\\r\\n{head}\\r\\n\\r\\n'.encode() + body)
        print(*answer(s))
s, at = to(http, '')
s.sendall(f'GET {at}/chunked HTTP/1.1\\r\\nHost: {http}\\r\\n\\r\\n'.encode())
response = HTTPResponse(s)
response.begin()
print(response.status, response.read(), response.getheader('x-hop'))
s, at = to(http, '')
s.sendall(f'GET {at}/ HTTP/1.0\\r\\n\\r\\n'.encode())
print(answer(s)[1])
";
    let (http_name, echo_name) = (http.name(), echo.name());
    let hosts = [http_name.as_str(), &echo_name];
    // What is about one connection ends at the proxy.
    for (policy, direct, hop) in [(Policy::Bare, "direct", "1"), (Policy::WorkspaceWrite, "", "None")] {
        let words = [http_name.as_str(), &echo_name, direct];
        let Some(run) = act_under(scene, policy, &[], &hosts, script, &words) else { return };
        let run = run.run().expect_code(0);
        let lengths = "200 3145728\n\n200 3145728\n\n200 15\n\n200 15\n\n";
        let expected = format!("True\n{lengths}200 b'in little pieces\\n' {hop}\nhello\n\n");
        assert_eq!(run.text(), expected, "{}", run.describe());
    }
}

/// Each kind of call has its own way to the helper, and the socket its own way back.
fn by_all_ways_that_calls_begin(scene: &Scene) {
    let granted = Outside::serve("127.0.0.2", Serving::Http);
    let other = Outside::serve("127.0.0.3", Serving::Http);
    let (name, other_name) = (granted.name(), other.name());
    for options in [&[][..], &["--json"], &["--pty"], &["--explain"], &["--explain", "--json"]] {
        let Some(run) = act(scene, options, &[&name], BOTH, &[&name, &other_name]) else { return };
        let run = run.run().expect_code(0);
        let text = if options.contains(&"--json") {
            json_of(&run)["stdout"]["text"].as_str().unwrap_or_default().to_owned()
        } else {
            run.text()
        };
        assert_eq!(text.trim(), BOTH_SAY, "{options:?}: {}", run.describe());
        assert_eq!((granted.arrivals().len(), other.arrivals().len()), (2, 0), "{options:?}");
    }
}

/// The second call of a run begins in a helper that has waited for it.
fn in_an_agents_run(scene: &Scene) {
    let Some(python) = require_tool("python3") else { return };
    let granted = Outside::serve("127.0.0.2", Serving::Http);
    let other = Outside::serve("127.0.0.3", Serving::Http);
    let script = scene.file("workspace/both.py", format!("{CLIENT}\n{BOTH}"));
    let line = format!("{} {} {} {}", python.display(), script.display(), granted.name(), other.name());
    let call = json!({ "calls": [{ "name": "exec_command", "arguments": { "cmd": line } }] });
    let done = json!({ "text": "done" });
    let model = Model::serve(Api::Responses, vec![call.clone(), call.clone(), call, done]);
    let options = model.options();
    let words = ["exec", "--skip-git-repo-check"].into_iter().chain(options.iter().map(String::as_str));
    let name = granted.name();
    let words = words.chain(["-s", "workspace-write", "--allow-host", &name, "--json", "--ephemeral", "go"]);
    let run = scene.codex(words).run().expect_code(0);
    let outputs = model.outputs();
    assert!(outputs.len() == 3 && outputs.iter().all(|output| output.contains(BOTH_SAY)), "{outputs:?}");
    assert_eq!((granted.arrivals().len(), other.arrivals().len()), (6, 0), "{}", run.describe());
}

/// Whether there is a proxy, and who answers without one.
const WITHOUT: &str = "
names = sorted(name for name in os.environ if 'proxy' in name.lower())
host, port = sys.argv[1].split(':')
print(names, reached(socket.SOCK_STREAM, (host, int(port))))
";

fn where_there_is_no_proxy(scene: &Scene) {
    let host = Outside::serve("127.0.0.2", Serving::Http);
    let name = host.name();
    for policy in [Policy::WorkspaceWriteNetwork, Policy::DangerFullAccess] {
        let Some(run) = act_under(scene, policy, &[], &[&name], WITHOUT, &[&name]) else { return };
        let run = run.run().expect_code(0);
        assert_eq!(run.text(), "[] reached\n", "{policy:?}: {}", run.describe());
        assert_eq!(host.arrivals().len(), 1, "{policy:?}");
    }
    // Nor without a grant.
    let Some(run) =
        act(scene, &[], &[], &format!("{WITHOUT}print(reached(socket.SOCK_STREAM, PROXY))"), &[&name])
    else {
        return;
    };
    assert_eq!(run.run().expect_code(0).text(), "[] ECONNREFUSED\nECONNREFUSED\n");
    assert_eq!(host.arrivals().len(), 0);
    // Where the network is closed by a filter alone, nobody can listen inside: nothing runs.
    let landlock = ["-s", "workspace-write", "--isolation", "landlock", "--allow-host", &name];
    let words = ["debug", "sandbox"].iter().chain(&landlock).chain(&["--", "touch", "ran"]);
    let run = scene.codex(words).run().expect_code(125);
    assert!(run.error_text().contains("allow_hosts"), "{}", run.describe());
    assert!(!scene.workspace().join("ran").exists());
}

fn the_environment_is_the_proxys(scene: &Scene) {
    let script =
        "print(json.dumps({n: v for n, v in os.environ.items() if 'proxy' in n.lower()}, sort_keys=True))";
    let own = [
        ("HTTP_PROXY", "http://me:secret@proxy.example:1"),
        ("https_proxy", "http://me:secret@proxy.example:2"),
        ("Https_Proxy", "http://me:secret@proxy.example:3"),
        ("ALL_PROXY", "socks5h://proxy.example:4"),
        ("NO_PROXY", "*"),
        ("no_proxy", "granted.example"),
    ];
    let environment = |policy, hosts: &[&str]| {
        let run = act_under(scene, policy, &[], hosts, script, &[])?;
        let run = own.iter().fold(run, |run, (name, value)| run.env(name, value)).run().expect_code(0);
        Some(json_of(&run))
    };
    let Some(bare) = environment(Policy::Bare, &[]) else { return };
    assert_eq!(bare.as_object().map(serde_json::Map::len), Some(own.len()));
    // Without a grant they are what they were.
    assert_eq!(environment(Policy::WorkspaceWrite, &[]), Some(bare.clone()));
    assert_eq!(environment(Policy::WorkspaceWriteNetwork, &["granted.example"]), Some(bare));
    let (proxy, none) = ("http://127.0.0.1:3128", "localhost,127.0.0.1,::1");
    let expected = json!({
        "ALL_PROXY": proxy, "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NODE_USE_ENV_PROXY": "1", "NO_PROXY": none,
        "all_proxy": proxy, "http_proxy": proxy, "https_proxy": proxy, "no_proxy": none,
    });
    assert_eq!(environment(Policy::WorkspaceWrite, &["granted.example"]), Some(expected));
}
