//! A command outlives the thread that asked for it.
//!
//! The kernel binds a parent-death signal to the *thread* that started a process. Threads of a runtime come and go, so
//! that a command started from one of them would be killed in the middle of its work, with nobody to say why.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use codex_core::exec::{Outcome, process_exec_tool_call};

use crate::fifo::Fifo;
use crate::runs::{runtime, sandbox, shell, workspace_write};

#[test]
fn a_command_survives_the_thread_that_asked_for_it() {
    let workspace = tempfile::tempdir().unwrap();
    let sandbox = Arc::new(sandbox(&workspace_write(), workspace.path()));
    let runtime = Arc::new(runtime());
    let mut fifo = Fifo::create(workspace.path());
    let gate = workspace.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Says that it runs, then waits until somebody opens the gate.
    let line = format!("echo here > {}; read word < {}; echo $word; exit 7", fifo.path(), gate.display());

    let asking = std::thread::spawn({
        let (runtime, sandbox) = (runtime.clone(), sandbox.clone());
        move || {
            let mut call = Box::pin(async move { process_exec_tool_call(shell(&line), &sandbox).await });
            let (say, said) = tokio::sync::oneshot::channel();
            let listener = std::thread::spawn(move || {
                assert_eq!(fifo.said(), "here\n");
                say.send(()).unwrap();
            });
            runtime.block_on(async {
                tokio::select! {
                    result = &mut call => panic!("the command has ended by itself: {result:?}"),
                    begun = said => begun.unwrap(),
                }
            });
            listener.join().unwrap();
            (call, nix::unistd::gettid())
        }
    });
    let (call, thread) = asking.join().unwrap();
    // To have joined a thread is to know that its code is done; the kernel sends death signals a moment later, and
    // takes the thread out of the list after that.
    let listed = Path::new("/proc/self/task").join(thread.to_string());
    while listed.exists() {
        std::thread::yield_now();
    }
    // A command that was killed by then takes nothing more through the gate, and opening it would wait for ever.
    let opener = std::thread::spawn(move || {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(gate)
            .map(|gate| std::io::Write::write_all(&mut &gate, b"open\n").map(|()| gate))
    });
    let result = runtime.block_on(call).unwrap();
    assert_eq!((result.outcome, result.stdout.head), (Outcome::Exited { code: 7 }, b"open\n".to_vec()));
    drop(opener.join().unwrap().unwrap().unwrap());
}

#[test]
fn a_command_is_run_from_every_kind_of_runtime() {
    let builders: [fn() -> tokio::runtime::Builder; 2] =
        [tokio::runtime::Builder::new_current_thread, tokio::runtime::Builder::new_multi_thread];
    for builder in builders {
        let runtime = builder().enable_all().build().unwrap();
        let call = runtime.spawn(async {
            let sandbox = crate::runs::read_only();
            process_exec_tool_call(shell("exit 8"), &sandbox).await
        });
        assert_eq!(runtime.block_on(call).unwrap().unwrap().outcome, Outcome::Exited { code: 8 });
    }
}
