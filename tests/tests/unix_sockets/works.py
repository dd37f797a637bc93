"""What programs do with unix sockets among themselves. Run in a directory that can be written; prints "done"."""

import asyncio
import ctypes
import errno
import multiprocessing
import os
import select
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from multiprocessing.managers import BaseManager

PATIENCE = 30


def stream():
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def listening(name, backlog=128, kind=socket.SOCK_STREAM):
    server = socket.socket(socket.AF_UNIX, kind)
    server.bind(name)
    server.listen(backlog)
    return server


def asyncio_server():
    async def main():
        async def answer(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()

        server = await asyncio.start_unix_server(answer, os.path.abspath("asyncio"))
        for name in ["asyncio", os.path.abspath("asyncio")]:
            reader, writer = await asyncio.open_unix_connection(name)
            writer.write(b"hello\n")
            assert await reader.readline() == b"HELLO\n"
            writer.close()
        server.close()

    asyncio.run(main())


def double(number):
    return 2 * number


class Doubler:
    def double(self, number):
        return 2 * number


class Doublers(BaseManager):
    pass


Doublers.register("Doubler", Doubler)


def manager():
    with Doublers(address=os.path.abspath("manager"), authkey=b"key") as doublers:
        assert doublers.Doubler().double(21) == 42


def pool(method):
    with multiprocessing.get_context(method).Pool(2) as workers:
        assert workers.map(double, range(3)) == [0, 2, 4]


def forkserver():
    pool("forkserver")


def spawn():
    pool("spawn")


def threaded_server():
    class Answer(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(self.rfile.readline())

    with socketserver.ThreadingUnixStreamServer("threaded", Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with stream() as client:
            client.connect("threaded")
            client.sendall(b"line\n")
            assert client.recv(10) == b"line\n"
        server.shutdown()


def names():
    """Every kind of name that leads to a socket of our own."""
    os.makedirs("deep/er", exist_ok=True)
    server = listening("deep/er/socket")
    os.symlink("deep/er/socket", "link")
    os.link("deep/er/socket", "hard")
    directory = os.open("deep/er", os.O_PATH)
    whole = os.path.abspath("deep/er/socket")
    routes = ["deep/er/socket", "./deep/../deep/er/socket", whole, "link", "hard", f"/proc/self/fd/{directory}/socket"]
    routes += [f"/dev/fd/{directory}/socket", f"/proc/{os.getpid()}/cwd/link", f"/proc/thread-self/cwd/link"]
    # The kernel's name of a program is any bytes: a long one is cut in the middle of a letter.
    ctypes.CDLL(None).prctl(15, b"cut in a \xe6\x97")  # PR_SET_NAME
    for route in routes:
        with stream() as client:
            client.connect(route)
            assert server.accept()[0], route
    os.rename("deep/er/socket", "moved")
    with stream() as client:
        client.connect("moved")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # An address that fills its structure has no NUL byte at the end.
        long = "x" * 108
        end = listening("short")
        os.rename("short", long)
        address = struct.pack("H", socket.AF_UNIX) + long.encode()
        assert ctypes.CDLL(None).connect(client.fileno(), address, len(address)) == 0
        end.accept()
    packets = listening("packets", kind=socket.SOCK_SEQPACKET)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect("packets")
        client.send(b"one")
        assert packets.accept()[0].recv(10) == b"one"
    abstract = listening("\0ours")
    with stream() as client:
        client.connect("\0ours")
        assert abstract.accept()[0]


def failures():
    """What goes wrong goes wrong as ever."""
    server = listening("closed")
    server.close()
    open("file", "w").close()
    cases = [
        ("closed", errno.ECONNREFUSED),
        ("file", errno.ECONNREFUSED),
        ("missing", errno.ENOENT),
        ("file/below", errno.ENOTDIR),
        ("\0nobody", errno.ECONNREFUSED),
    ]
    for name, expected in cases:
        with stream() as client:
            assert client.connect_ex(name) == expected, name
    libc = ctypes.CDLL(None, use_errno=True)

    def raw(number, place, length):
        assert libc.connect(number, place, length) == -1
        return ctypes.get_errno()

    with stream() as client, open("file") as file:
        number = client.fileno()
        assert raw(999, b"", 10) == errno.EBADF
        assert raw(file.fileno(), b"\x01\0file\0", 7) == errno.ENOTSOCK
        assert raw(number, ctypes.c_void_p(8), 10) == errno.EFAULT
        assert raw(number, b"\x01\0file\0", -1) == errno.EINVAL
        assert raw(number, b"\x01\0file\0", 2) == errno.EINVAL
        assert raw(number, b"\x02\0file\0", 7) == errno.EINVAL
        assert raw(number, b"\x01\0" + 200 * b"x", 120) == errno.EINVAL
    server = listening("twice")
    with stream() as client:
        client.connect("twice")
        assert client.connect_ex("twice") == errno.EISCONN


def credentials():
    """A client sees who listens; a server sees the right user."""
    server = listening("credentials")
    with stream() as client:
        client.connect("credentials")
        peer = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert peer == (os.getpid(), os.getuid(), os.getgid()), peer
        peer = struct.unpack("3i", server.accept()[0].getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert peer[1:] == (os.getuid(), os.getgid()), peer


def descriptors_travel():
    server = listening("travel")
    with stream() as client:
        client.connect("travel")
        reading, writing = os.pipe()
        socket.send_fds(client, [b"x"], [writing])
        (received,) = socket.recv_fds(server.accept()[0], 1, 1)[1]
        os.write(received, b"through")
        assert os.read(reading, 10) == b"through"


def hidden_from_tracers():
    """A process that lets nobody trace it, as an ssh-agent, serves and connects all the same."""
    assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
    server = listening("hidden")
    with stream() as client:
        client.connect("hidden")
        assert server.accept()[0]


def agent():
    program = next((f"{d}/ssh-agent" for d in ["/usr/bin", "/bin"] if os.path.exists(f"{d}/ssh-agent")), None)
    if program is None:
        return
    server = subprocess.Popen([program, "-D", "-a", "agent"], stdout=subprocess.PIPE)
    server.stdout.readline()
    listed = subprocess.run(
        ["ssh-add", "-l"], env={**os.environ, "SSH_AUTH_SOCK": "agent"}, capture_output=True, timeout=PATIENCE
    )
    server.kill()
    assert b"no identities" in listed.stdout, listed


def tcp():
    from http.client import HTTPConnection
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = HTTPConnection(*server.server_address, timeout=PATIENCE)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        with socket.socket() as client:
            client.setblocking(False)
            assert client.connect_ex(server.server_address) in (0, errno.EINPROGRESS)
            assert select.select([], [client], [], PATIENCE)[1]
            assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", 9))
            # To an address without a family: it is nobody's again.
            assert ctypes.CDLL(None).connect(client.fileno(), bytes(16), 16) == 0
        server.shutdown()


def many():
    server = listening("many", backlog=5)
    answered = []

    def client():
        with stream() as one:
            one.connect("many")
            answered.append(one.recv(1))

    clients = [threading.Thread(target=client) for _ in range(200)]
    for one in clients:
        one.start()
    for _ in clients:
        server.accept()[0].send(b"x")
    for one in clients:
        one.join(PATIENCE)
    assert answered == 200 * [b"x"], len(answered)


def full(name):
    """A server that accepts nobody, and whose backlog is full."""
    server, waiting = listening(name, backlog=0), []
    while True:
        one = stream()
        one.setblocking(False)
        waiting.append(one)
        if one.connect_ex(name) == errno.EAGAIN:
            return server, waiting


def blocked():
    """Whoever waits is waited for, holds up nobody, and can be interrupted, timed out, and killed."""
    held = full("full")
    other = listening("other")

    def wait():
        with stream() as one:
            one.connect_ex("full")

    for _ in range(300):
        threading.Thread(target=wait, daemon=True).start()
    with stream() as one:
        one.connect("other")
    assert other.accept()[0]

    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            with stream() as one:
                one.connect("full")
        except Interrupted:
            os._exit(3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    child = os.fork()
    if child == 0:
        with stream() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("2l", 0, 100_000))
            os._exit(5 if one.connect_ex("full") == errno.EAGAIN else 6)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert held


def flood():
    """More wait than can be waited for at a time: they, and whoever comes then, get an answer; later, all is well."""
    server, waiting = full("flooded")
    other = listening("other")
    answers = []

    def wait():
        with stream() as one:
            answers.append(one.connect_ex("flooded"))

    threads = [threading.Thread(target=wait) for _ in range(1300)]
    threading.stack_size(64 * 1024)
    for one in threads:
        one.start()
    with stream() as one:
        assert one.connect_ex("other") in (0, errno.EAGAIN)
    server.close()
    for one in threads:
        one.join(PATIENCE)
    assert len(answers) == 1300 and set(answers) <= {errno.EAGAIN, errno.ECONNREFUSED}, set(answers)
    with stream() as one:
        one.connect("other")
    assert other.accept()[0] and waiting


def killed():
    """The end of a caller is the end of its call. A connection that it had begun may still come, and is closed."""
    server, waiting = full("killed")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"x")
        with stream() as one:
            one.connect_ex("killed")
        os._exit(0)
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for one in waiting:
        one.close()

    def client():
        with stream() as one:
            one.connect("killed")
            one.send(b"alive")

    threading.Thread(target=client).start()
    while server.accept()[0].recv(10) != b"alive":
        pass


def forgotten():
    """Sockets whose files are gone make room for others."""
    kept = [listening("first")]
    for number in range(700):
        name = f"many-{number}"
        kept.append(listening(name))
        os.unlink(name)
    with stream() as client:
        client.connect("first")
        assert kept[0].accept()[0]


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("done", flush=True)
