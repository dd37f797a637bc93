//! Harmless programs that people run every day do inside what they do outside.
//!
//! Every row runs without the sandbox first, and must succeed there; then in a workspace of its own under each policy
//! that should let it work.

use codex_tests::cases;
use codex_tests::harness::{Failures, Policy, Scene, require_tool};

cases!(python, node, git, make, shells, terminals);

/// A program that must work, and what it prints.
struct Row {
    name: &'static str,
    program: &'static str,
    script: &'static str,
    prints: &'static str,
    /// Whether it works where nothing is writable as well.
    anywhere: bool,
}

const fn writes(
    name: &'static str,
    program: &'static str,
    script: &'static str,
    prints: &'static str,
) -> Row {
    Row { name, program, script, prints, anywhere: false }
}

const fn anywhere(
    name: &'static str,
    program: &'static str,
    script: &'static str,
    prints: &'static str,
) -> Row {
    Row { name, program, script, prints, anywhere: true }
}

fn judge(scene: &Scene, rows: &[Row], option: &str) {
    let mut failures = Failures::new();
    for (number, row) in rows.iter().enumerate() {
        let Some(tool) = require_tool(row.program) else { return };
        let mut policies = vec![
            Policy::Bare,
            Policy::WorkspaceWrite,
            Policy::WorkspaceWriteNetwork,
            Policy::DangerFullAccess,
        ];
        if row.anywhere {
            policies.push(Policy::ReadOnly);
        }
        for policy in policies {
            let stage = scene.fresh(&format!("{}-{number}-{policy:?}", row.program));
            // Beside the workspace, which is the program's own.
            let script = stage.file("home/script", row.script);
            let run = if option.is_empty() {
                stage.under(policy).command(&tool, [script.as_os_str()]).run()
            } else {
                stage.under(policy).command(&tool, [option, row.script]).run()
            };
            failures.check(run.code() == Some(0) && run.text().trim_end() == row.prints, || {
                format!("{} [{policy:?}]: expected {:?}\n{}", row.name, row.prints, run.describe())
            });
        }
    }
    failures.finish();
}

#[rustfmt::skip]
fn python(scene: &Scene) {
    judge(scene, &[
        anywhere("subprocess", "python3", "
import subprocess
print(subprocess.run(['sh', '-c', 'cat; echo err >&2'], input='in', capture_output=True, text=True).stdout)
", "in"),
        anywhere("threads", "python3", "
import threading, queue
q = queue.Queue()
threads = [threading.Thread(target=q.put, args=(n,)) for n in range(50)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sum(q.get() for _ in range(50)))
", "1225"),
        anywhere("asyncio", "python3", "
import asyncio
async def main():
    loop = asyncio.get_running_loop()
    woken = loop.create_future()
    await loop.run_in_executor(None, lambda: loop.call_soon_threadsafe(woken.set_result, 'woken'))
    print(await asyncio.wait_for(woken, 20))
asyncio.run(main())
", "woken"),
        anywhere("asyncio subprocess", "python3", "
import asyncio
async def main():
    p = await asyncio.create_subprocess_exec('cat', stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(p.communicate(b'through a pipe'), 20)
    print(out.decode(), p.returncode)
asyncio.run(main())
", "through a pipe 0"),
        anywhere("socketpair", "python3", "
import socket
a, b = socket.socketpair()
a.sendall(b'hello'); a.shutdown(socket.SHUT_WR)
print(b.recv(16).decode(), b.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM)
", "hello True"),
        writes("multiprocessing, fork", "python3", "
import multiprocessing as m
def double(n): return 2 * n
if __name__ == '__main__':
    m.set_start_method('fork')
    with m.Pool(3) as pool: print(sum(pool.map(double, range(100))))
", "9900"),
        writes("multiprocessing, spawn", "python3", "
import multiprocessing as m
def put(q, s):
    with s: q.put('from a child')
if __name__ == '__main__':
    m.set_start_method('spawn')
    q, s = m.Queue(), m.Semaphore(1)
    p = m.Process(target=put, args=(q, s)); p.start()
    print(q.get(timeout=30)); p.join(); assert p.exitcode == 0
", "from a child"),
        writes("multiprocessing, shared values", "python3", "
import multiprocessing as m
from multiprocessing import shared_memory
def add(v, l):
    for _ in range(100):
        with l: v.value += 1
if __name__ == '__main__':
    v, l = m.Value('i', 0, lock=False), m.Lock()
    ps = [m.Process(target=add, args=(v, l)) for _ in range(4)]
    [p.start() for p in ps]; [p.join() for p in ps]
    s = shared_memory.SharedMemory(create=True, size=16); s.buf[0] = 7; n = s.buf[0]; s.close(); s.unlink()
    print(v.value, n)
", "400 7"),
        writes("sqlite with a write-ahead log", "python3", "
import sqlite3
d = sqlite3.connect('data.db')
print(d.execute('pragma journal_mode=wal').fetchone()[0], end=' ')
d.execute('create table t(x)'); d.executemany('insert into t values(?)', [(n,) for n in range(1000)]); d.commit()
print(sqlite3.connect('data.db').execute('select sum(x) from t').fetchone()[0])
", "wal 499500"),
        writes("temporary files", "python3", "
import tempfile, os, fcntl, mmap
with tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile(dir=d) as f:
    f.truncate(4096); fcntl.flock(f, fcntl.LOCK_EX)
    m = mmap.mmap(f.fileno(), 4096); m[:2] = b'ok'; m.flush()
    os.chmod(f.name, 0o640); os.utime(f.name, (1, 1)); os.rename(f.name, f.name + '2'); os.rename(f.name + '2', f.name)
    print(m[:2].decode())
", "ok"),
    ], "");
}

#[rustfmt::skip]
fn node(scene: &Scene) {
    judge(scene, &[
        anywhere("evaluate", "node", "console.log([1, 2, 3].map(n => n * n).join())", "1,4,9"),
        anywhere("child process", "node",
            "const c = require('child_process'); console.log(c.execFileSync('cat', { input: 'piped' }).toString());\
             c.spawn('sh', ['-c', 'exit 3']).on('exit', code => console.log(code))", "piped\n3"),
        anywhere("fork with messages", "node",
            "const { Worker, isMainThread, parentPort } = require('worker_threads');\
             const w = new Worker('require(\"worker_threads\").parentPort.postMessage(6 * 7)', { eval: true });\
             w.on('message', n => console.log(n))", "42"),
        writes("files", "node",
            "const fs = require('fs'); fs.writeFileSync('f', 'x'); fs.renameSync('f', 'g'); fs.mkdirSync('a/b', { recursive: true });\
             fs.copyFileSync('g', 'a/b/h'); fs.promises.readFile('a/b/h', 'utf8').then(console.log)", "x"),
    ], "-e");
}

#[rustfmt::skip]
fn git(scene: &Scene) {
    if require_tool("git").is_none() { return }
    judge(scene, &[
        writes("init, add, commit, status", "sh", "set -e
git init -q -b main . && git config user.name Test && git config user.email test@example.org
echo one > file && git add file && git commit -q -m First
echo two >> file && git status --short && git diff --stat | tail -n 1
git stash -q && git stash pop -q && git commit -q -a -m Second
git checkout -q -b branch HEAD~1 && git merge -q --no-edit main && git gc -q
git log --format=%s && rm -rf .git", " M file\n 1 file changed, 1 insertion(+)\nSecond\nFirst"),
    ], "-c");
}

#[rustfmt::skip]
fn make(scene: &Scene) {
    if require_tool("make").is_none() || require_tool("gcc").is_none() { return }
    judge(scene, &[
        writes("a parallel build", "sh", r#"set -e
for n in 1 2 3 4 5 6; do echo "int f$n(void) { return $n; }" > f$n.c; done
echo 'int f1(void), f6(void); int puts(const char *); int main(void) { return puts(f1() + f6() == 7 ? "built" : "broken") < 0; }' > main.c
printf 'program: main.o sub\n\t$(CC) -o $@ main.o f*.o\nsub:\n\t+$(MAKE) -s f1.o f2.o f3.o f4.o f5.o f6.o\n.PHONY: sub\n' > Makefile
make -s -j4 program >&2 && ./program"#, "built"),
    ], "-c");
}

#[rustfmt::skip]
fn shells(scene: &Scene) {
    judge(scene, &[
        anywhere("pipelines", "bash", "set -o pipefail; seq 1000 | sort -rn | head -n 1 2>&1; seq 3 | (read a; echo $a; cat | wc -l)", "1000\n1\n2"),
        anywhere("process substitution", "bash", "paste -d+ <(seq 3) <(seq 4 6); echo x | tee >(cat >&2) 2>/dev/null", "1+4\n2+5\n3+6\nx"),
        anywhere("job control", "bash", "set -m; sleep 100 & kill %1; wait %1; echo $?; (exit 3) & wait $!; echo $?", "143\n3"),
        anywhere("traps", "bash", "trap 'echo trapped' TERM; kill $$; trap 'echo leaving' EXIT", "trapped\nleaving"),
        anywhere("limits and umask", "bash", "ulimit -S -n 100; umask 027; ulimit -n; umask; nice -n 3 nice", "100\n0027\n3"),
        anywhere("descriptors", "bash", "exec 5< <(echo five) 6>&1; cat <&5 >&6; exec 5<&- 6>&-", "five"),
        anywhere("coprocess", "bash", "coproc cat; echo said >&${COPROC[1]}; read -r line <&${COPROC[0]}; echo $line", "said"),
        writes("here-documents", "bash", "cat <<EOF\nin a document\nEOF\ncat <<< 'in a string'", "in a document\nin a string"),
        writes("fifos and locks", "bash", "mkfifo p; echo through > p & cat p; exec 9> lock; flock -n 9 && echo locked", "through\nlocked"),
        writes("files and modes", "bash", "mkdir -p a/b; echo x > a/b/f; ln a/b/f a/g; ln -s b/f a/h; chmod 600 a/g; cp -a a c; mv c d; touch -d @1 a/g; stat -c '%a %h %Y' a/g; cat d/h; tar cf t a && tar xf t && rm -rf a d t; ls -A", "600 2 1\nx"),
    ], "-c");
}

/// Programs that make a terminal for others.
#[rustfmt::skip]
fn terminals(scene: &Scene) {
    if require_tool("script").is_some() {
        judge(scene, &[
            writes("script", "sh", "script -qec 'test -t 0 && test -t 1 && echo on a terminal' /dev/null", "on a terminal"),
        ], "-c");
    }
    judge(scene, &[
        writes("pty", "python3", "
import pty, os
pid, terminal = pty.fork()
if pid == 0: os.execlp('sh', 'sh', '-c', 'test -t 0 && stty -echo && tty > /dev/null && echo on a terminal')
seen = b''
try:
    while True:
        chunk = os.read(terminal, 100)
        if not chunk: break
        seen += chunk
except OSError: pass
print(seen.decode().strip(), os.waitpid(pid, 0)[1])
", "on a terminal 0"),
    ], "");
}
