//! The same acts through `process/start`: a command that somebody else asks for by a protocol gets no less of a sandbox.
//!
//! That each act does its harm without one is shown where it is asked for at the command line.

use std::ffi::OsString;
use std::path::Path;

use codex_exec_server::client::{Event, ExecServerClient};
use codex_exec_server::protocol::{FileUri, NamedPolicy, PolicyValue, StartParams, Stream};
use codex_tests::harness::{Failures, Level, Policy, Scene, Verdict};

use super::tables;
use super::world::World;

/// Runs the probe on a server, with a workspace of its own.
async fn run(
    client: &ExecServerClient,
    scene: &Scene,
    id: &str,
    cwd: &Path,
    arguments: &[OsString],
) -> Verdict {
    let word = |word: &OsString| word.to_str().expect("a word of a table is text").to_owned();
    let argv = [scene.probe_program().into_os_string()].iter().chain(arguments).map(word).collect();
    let cwd = FileUri::of(cwd).expect("a scene's path is absolute");
    let policy = PolicyValue {
        mode: "workspace-write".to_owned(),
        writable_roots: vec![cwd.clone()],
        network: false,
        exclude_tmp: true,
        hosts: None,
    };
    let params = StartParams { policy: Some(NamedPolicy::Value(policy)), ..StartParams::new(id, argv, cwd) };
    let mut process = client.start(&params).await.expect("the probe is started");
    let (mut output, mut code) = (Vec::new(), 0);
    while let Some(event) = process.next().await {
        match event {
            Event::Output { stream: Stream::Stdout, bytes } => output.extend(bytes),
            Event::Exited { code: exited } => code = exited,
            Event::Output { .. } | Event::Gap(_) | Event::Closed { .. } => {}
        }
    }
    Verdict::of_remote(&output, code)
}

pub(crate) fn judge(scene: &Scene) {
    let level = format!("sandbox.isolation = \"{}\"\n", scene.level().name());
    // The configuration lies elsewhere.
    let below = scene.fresh("served");
    let roots = format!("exec_server.writable_roots = [{:?}]\n", below.root());
    scene.file("codex-home/config.toml", level + &roots);
    let address = format!("unix://{}", scene.path("socket").display());
    let mut server = scene.codex(["exec-server", "--listen", &address]).start();
    let endpoint = server.line().and_then(|url| url.parse().ok()).expect("the server listens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = runtime.block_on(ExecServerClient::connect(endpoint, "hostile")).expect("a session");
    let (mut failures, mut judged) = (Failures::new(), 0);
    // What it may do, it can.
    let allowed = World::new(&below, "allowed", "", |_scene| {}, &[]);
    let words = ["write", "made", "WRONLY,CREAT"].map(OsString::from);
    let verdict = runtime.block_on(run(&client, scene, "allowed", &allowed.workspace(), &words));
    failures.check(verdict.is_ok(), || format!("writing in the workspace: {verdict}"));
    for table in tables().iter().filter(|table| table.policies.contains(&Policy::WorkspaceWrite)) {
        for (number, row) in table.rows.iter().enumerate() {
            // What the machine may lack has its control elsewhere.
            let concerns = row.identity.is_none_or(|identity| identity == scene.identity());
            let Some(expected) = row.at(Level::Namespaces, Policy::WorkspaceWrite) else { continue };
            if !concerns || row.machine_may_lack {
                continue;
            }
            let name = format!("{}: {}", table.promise, row.name);
            let place = format!("{judged}-{number}");
            let world = World::new(&below, &place, &row.words, table.furnish, table.watched);
            let Some(arguments) = world.fill(&row.words) else { continue };
            let before = world.look();
            let verdict = runtime.block_on(run(&client, scene, &place, &world.workspace(), &arguments));
            let harm = world.harm_since(&before);
            failures.check(expected.admits(&verdict), || {
                format!("{name} [process/start]: expected {expected}, got {verdict}")
            });
            failures.check(harm.is_empty(), || format!("{name} [process/start]: harm\n{harm}"));
            judged += 1;
        }
    }
    assert!(judged >= 200, "{judged} acts");
    failures.finish();
}
