//! Harmless programs that people run every day do inside what they do outside.
//!
//! Every row runs without the sandbox first, and must succeed there; then in a workspace of its own under each policy
//! that should let it work.

#[path = "programs/builds.rs"]
mod builds;

use builds::{cargo, java, packages};
use codex_tests::cases_by_level;
use codex_tests::harness::{Failures, Level, Policy, Scene, at_hand, require_tool};

cases_by_level!(
    python, node, packages, git, make, java, cargo, shells, terminals, processes, debuggers, agents
);

/// A program that must work, and what it prints.
struct Row {
    name: &'static str,
    program: &'static str,
    script: &'static str,
    prints: &'static str,
    /// Whether it works where nothing is writable as well.
    anywhere: bool,
    /// Whether it takes sockets with names, which only a network of its own lets it have.
    sockets: bool,
}

const fn writes(
    name: &'static str,
    program: &'static str,
    script: &'static str,
    prints: &'static str,
) -> Row {
    Row { name, program, script, prints, anywhere: false, sockets: false }
}

const fn anywhere(
    name: &'static str,
    program: &'static str,
    script: &'static str,
    prints: &'static str,
) -> Row {
    Row { name, program, script, prints, anywhere: true, sockets: false }
}

const fn sockets(
    name: &'static str,
    program: &'static str,
    script: &'static str,
    prints: &'static str,
) -> Row {
    Row { name, program, script, prints, anywhere: false, sockets: true }
}

fn judge(scene: &Scene, rows: &[Row], option: &str) {
    judge_under(scene, rows, option, &[Policy::WorkspaceWriteNetwork, Policy::DangerFullAccess]);
}

/// Rows that take seconds: without the sandbox, and under the one policy that they are most used under.
fn judge_slow(scene: &Scene, rows: &[Row]) {
    judge_under(scene, rows, "-c", &[]);
}

fn judge_under(scene: &Scene, rows: &[Row], option: &str, others: &[Policy]) {
    let mut failures = Failures::new();
    for (number, row) in rows.iter().enumerate() {
        let Some(tool) = require_tool(row.program) else { return };
        if row.sockets && scene.level() != Level::Namespaces {
            continue;
        }
        let mut policies = vec![Policy::Bare, Policy::WorkspaceWrite];
        let closed = |policy: &&Policy| row.sockets && **policy == Policy::WorkspaceWriteNetwork;
        policies.extend(others.iter().filter(|policy| !closed(policy)));
        if row.anywhere {
            policies.push(Policy::ReadOnly);
        }
        for policy in policies {
            let stage = scene.fresh(&format!("{}-{number}-{policy:?}", row.program));
            // Beside the workspace, which is the program's own.
            let script = stage.file("home/script", row.script);
            // Level landlock has no shared memory of its own, which takes the host's.
            let sandbox = match scene.level() {
                Level::Landlock => stage.under(policy).with_slash_tmp(),
                Level::Namespaces => stage.under(policy),
            };
            let run = if option.is_empty() {
                sandbox.command(&tool, [script.as_os_str()]).run()
            } else {
                sandbox.command(&tool, [option, row.script]).run()
            };
            failures.check(run.code() == Some(0) && run.text().trim_end() == row.prints, || {
                format!("{} [{policy:?}]: expected {:?}\n{}", row.name, row.prints, run.describe())
            });
        }
    }
    failures.finish_if_judged();
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
        sockets("asyncio, server and client", "python3", "
import asyncio
async def serve(reader, writer):
    writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
async def talk(connect):
    reader, writer = await connect
    writer.write(b'hello\\n'); print((await asyncio.wait_for(reader.read(), 20)).decode().strip())
async def main():
    async with await asyncio.start_server(serve, '127.0.0.1', 0) as s:
        await talk(asyncio.open_connection(*s.sockets[0].getsockname()))
    async with await asyncio.start_unix_server(serve, 'path'):
        await talk(asyncio.open_unix_connection('path'))
asyncio.run(main())
", "HELLO\nHELLO"),
        sockets("http.server and urllib", "python3", "
import http.server, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'served ' + self.path.encode())
    def log_message(self, *_): pass
s = http.server.ThreadingHTTPServer(('localhost', 0), Handler)
threading.Thread(target=s.serve_forever, daemon=True).start()
print(urllib.request.urlopen('http://localhost:%d/page' % s.server_port, timeout=20).read().decode())
", "served /page"),
        sockets("multiprocessing, forkserver", "python3", "
import multiprocessing as m
def double(n): return 2 * n
if __name__ == '__main__':
    m.set_start_method('forkserver')
    with m.Pool(2) as pool: print(sum(pool.map(double, range(10))))
", "90"),
        sockets("multiprocessing, a manager", "python3", "
import multiprocessing as m
if __name__ == '__main__':
    with m.Manager() as manager:
        d = manager.dict(); d['key'] = 'kept'; print(d['key'])
", "kept"),
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
        sockets("http, server and client", "node",
            "const http = require('http'); const s = http.createServer((q, a) => a.end('served ' + q.url));\
             s.listen(0, '127.0.0.1', () => http.get({ port: s.address().port, path: '/page' }, a => {\
             a.on('data', d => console.log(d.toString())); a.on('end', () => s.close()); }))", "served /page"),
        sockets("a socket with a path", "node",
            "const net = require('net'); const s = net.createServer(c => c.end('said'));\
             s.listen('path', () => net.connect('path').on('data', d => { console.log(d.toString()); s.close(); }))", "said"),
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
        writes("worktree, rebase, submodule", "sh", r#"set -e
export GIT_AUTHOR_NAME=Test GIT_AUTHOR_EMAIL=test@example.org GIT_COMMITTER_NAME=Test GIT_COMMITTER_EMAIL=test@example.org
new() { git -c init.defaultBranch=main init -q $1; (cd $1; echo $1 > file; git add file; git commit -q -m "First of $1"); }
new library; new project; cd project
git -c protocol.file.allow=always submodule --quiet add ../library vendor; git commit -q -m Vendored
git worktree add -q ../tree -b topic; (cd ../tree; echo more >> file; git commit -q -a -m Topic)
echo other > other; git add other; git commit -q -m Other
(cd ../tree; git rebase -q main; git log --format=%s); git merge -q --ff-only topic
git worktree remove --force ../tree; git branch -q -d topic; git stash list; git tag -m Tagged tag; git status --short
git submodule status | wc -l; git clone -q . ../clone; git -C ../clone log --format=%s -n 1"#,
            "Topic\nOther\nVendored\nFirst of project\n1\nTopic"),
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

/// Programs that look at processes find those that there are.
#[rustfmt::skip]
fn processes(scene: &Scene) {
    if require_tool("ps").is_none() { return }
    judge(scene, &[
        anywhere("ps", "sh", "sleep 100 & until ps -o comm= -p $! | grep -x sleep; do :; done; kill $!", "sleep"),
        anywhere("top", "sh", "top -b -n 1 | grep ' top$' > /dev/null && echo shown", "shown"),
        anywhere("pgrep and pkill", "sh", "sleep 100 & until pgrep -P $$ -x sleep > /dev/null; do :; done; pkill -P $$ -x sleep; wait $!; echo $?", "143"),
        anywhere("stopped and continued", "sh", "(while kill -CONT $$ 2> /dev/null; do sleep 0.05; done) & kill -STOP $$; kill $!; echo went on", "went on"),
        anywhere("the locale", "sh", "LC_ALL=C.UTF-8 locale charmap", "UTF-8"),
    ], "-c");
}

/// A debugger is told no, at once and in words.
fn debuggers(scene: &Scene) {
    for (name, arguments, says) in [
        ("gdb", &["-batch", "-nx", "-ex", "run", "--args", "/bin/true"][..], "Operation not permitted"),
        ("strace", &["/bin/true"], "Operation not permitted"),
    ] {
        if !at_hand(name) {
            continue;
        }
        for policy in [Policy::ReadOnly, Policy::WorkspaceWrite] {
            let run = scene.under(policy).command(name, arguments).run();
            let told = run.error_text() + &run.text();
            assert!(run.code().is_some() && told.contains(says), "{name}\n{}", run.describe());
        }
    }
}

/// An agent that is started inside serves those inside.
#[rustfmt::skip]
fn agents(scene: &Scene) {
    if require_tool("ssh-agent").is_none() { return }
    judge(scene, &[
        sockets("ssh-agent", "sh", "eval $(ssh-agent -a agent.socket) > /dev/null; ssh-add -l; echo $?; kill $SSH_AGENT_PID",
            "The agent has no identities.\n1"),
    ], "-c");
}
