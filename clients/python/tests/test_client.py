"""The client against a real server: ``CODEX_BIN`` is the program."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from codex_exec import (
    Cancelled,
    Client,
    Closed,
    Command,
    ConnectionLost,
    Exited,
    Gap,
    InternalError,
    InvalidParams,
    InvalidRequest,
    Limits,
    Output,
    Policy,
    SessionLost,
    Stream,
)
from codex_exec._transport import _Lines

CODEX = os.environ["CODEX_BIN"]
PATIENCE = 30


class Server:
    """A server of one test, gone with it."""

    def __init__(self, case: unittest.TestCase, address: str, *arguments: str) -> None:
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get("CODEX_SCRATCH"))
        case.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name).resolve()
        self.workspace = self.root / "ws"
        self.workspace.mkdir()
        (self.root / "home").mkdir()
        self.env = {"PATH": "/usr/bin:/bin", "CODEX_HOME": str(self.root / "home")}
        self.argv = [CODEX, "exec-server", "-C", str(self.workspace)]
        self.address = address.replace("ROOT", str(self.root))
        if address != "stdio":
            command = [*self.argv, "--listen", self.address, *arguments]
            self.process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, text=True)
            case.addCleanup(self.end)
            assert self.process.stdout is not None
            self.address = self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def way(self) -> str | Command:
        return Command([*self.argv, "--listen", "stdio"], self.env) if self.address == "stdio" else self.address


WAYS = ["stdio", "unix://ROOT/socket", "ws://127.0.0.1:0"]


class Relay:
    """Between a client and a server, to be cut."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers |= {writer, other}
        await asyncio.gather(self._copy(reader, other), self._copy(other_reader, writer), return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    def close(self) -> None:
        self.server.close()
        self.cut()


class ClientTest(unittest.IsolatedAsyncioTestCase):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        test = getattr(self, name)

        async def within_patience() -> None:
            await asyncio.wait_for(test(), PATIENCE)

        # Around the test itself: what sets it up may be another task.
        setattr(self, name, within_patience)

    async def test_a_command_over_every_transport(self) -> None:
        for way in WAYS:
            with self.subTest(way):
                server = Server(self, way)
                async with await Client.connect(server.way) as client:
                    process = await client.start(["sh", "-c", "cat; pwd; echo err >&2; exit 3"], stdin=True)
                    done = await process.communicate(b"in\n")
                    self.assertEqual(done.stdout.decode(), f"in\n{server.workspace}\n")
                    self.assertEqual((done.exit_code, done.stderr, done.missed), (3, b"err\n", 0))
                    assert done.result is not None
                    self.assertEqual(done.result["outcome"], "exited")
                    self.assertIsNone(await process.next())

    async def test_events_come_in_order_and_whole(self) -> None:
        server = Server(self, WAYS[1])
        async with await Client.connect(server.way) as client:
            process = await client.start(["sh", "-c", "head -c 8000000 /dev/zero; exit 1"])
            # Longer than what waits here, so that the rest has to be asked for.
            await asyncio.sleep(0)
            count, ends = 0, list[type]()
            async for event in process:
                if isinstance(event, Output):
                    self.assertFalse(ends)
                    self.assertEqual(event.stream, Stream.STDOUT)
                    count += len(event.data)
                else:
                    self.assertNotIsInstance(event, Gap)
                    ends.append(type(event))
            self.assertEqual((count, ends, process.exit_code), (8_000_000, [Exited, Closed], 1))

    async def test_one_process_that_is_not_read_holds_up_no_other(self) -> None:
        server = Server(self, WAYS[2])
        async with await Client.connect(server.way) as client:
            flood = await client.start(["sh", "-c", "head -c 6000000 /dev/zero"], limits=Limits(deadline=PATIENCE))
            for number in range(20):
                other = await client.start(["echo", str(number)])
                self.assertEqual((await other.communicate()).stdout, f"{number}\n".encode())
            done = await flood.communicate()
            # The server waits for readers for a time. What it drops then is told, if not always in bytes.
            self.assertIn(done.missed, (None, 6_000_000 - len(done.stdout)))
            self.assertGreater(len(done.stdout), 0)

    async def test_all_that_a_process_wrote_is_kept_for_who_asks(self) -> None:
        server = Server(self, WAYS[2])
        async with await Client.connect(server.way) as client:
            process = await client.start(["sh", "-c", "seq 1 300000; echo end >&2"], spill=True)
            await process.wait()
            whole, errors, offset = b"", b"", 0
            while True:
                piece = await process.read_spill(offset, 1 << 20)
                whole += b"".join(data for stream, data in piece.chunks if stream is Stream.STDOUT)
                errors += b"".join(data for stream, data in piece.chunks if stream is Stream.STDERR)
                offset = piece.next_offset
                if piece.ended and offset == piece.written:
                    break
            self.assertIsNone(piece.stopped)
            self.assertEqual((len(whole), errors), (sum(len(str(number)) + 1 for number in range(1, 300001)), b"end\n"))
            other = await client.start(["true"])
            with self.assertRaises(InvalidRequest):
                await other.read_spill()

    async def test_policies_are_the_servers_to_grant(self) -> None:
        server = Server(self, WAYS[1])
        async with await Client.connect(server.way) as client:
            write = ["sh", "-c", f"echo x > {server.workspace}/made"]
            self.assertNotEqual((await (await client.start(write)).communicate()).exit_code, 0)
            self.assertFalse((server.workspace / "made").exists())
            policy = Policy("workspace-write", [str(server.workspace)], exclude_tmp=True)
            self.assertEqual((await (await client.start(write, policy=policy)).communicate()).exit_code, 0)
            self.assertTrue((server.workspace / "made").exists())
            for wide in ("danger-full-access", Policy("workspace-write", ["/etc"]), None):
                with self.assertRaises(InvalidRequest):
                    await client.start(["true"], policy=wide)
            explained = await client.explain(policy)
            self.assertEqual((explained.allowed, explained.writable_roots), (True, [str(server.workspace)]))
            refused = await client.explain("danger-full-access")
            self.assertFalse(refused.allowed)
            self.assertIn("exec_server.max_policy", str(refused.reason))

    async def test_errors_have_kinds(self) -> None:
        server = Server(self, WAYS[1])
        async with await Client.connect(server.way) as client:
            with self.assertRaises(InternalError):
                await client.start(["/nowhere"])
            with self.assertRaises(InvalidParams):
                await client.start([])
            process = await client.start(["sleep", "600"], id="same")
            with self.assertRaises(InvalidRequest):
                await client.start(["true"], id="same")
            with self.assertRaises(InvalidParams):
                await process.signal("SIGNONE")
            await process.signal("SIGTERM")
            self.assertEqual(await process.wait(), 128 + 15)
            with self.assertRaises(ValueError):
                await Client.connect("http://127.0.0.1:1")
            with self.assertRaises(ConnectionLost):
                await Client.connect(f"unix://{server.root}/nobody")

    async def test_terminals_signals_and_the_list(self) -> None:
        server = Server(self, WAYS[2])
        async with await Client.connect(server.way) as client:
            script = "trap 'stty size; exit 5' WINCH; stty size; while :; do sleep 0.01; done"
            process = await client.start(["sh", "-c", script], tty=True, size=(30, 100))
            written = process.output()
            self.assertEqual(await anext(written), (Stream.PTY, b"30 100\r\n"))
            [listed] = await client.processes()
            self.assertEqual((listed.id, listed.tty, listed.running), (process.id, True, True))
            await process.resize(40, 120)
            self.assertEqual(await anext(written), (Stream.PTY, b"40 120\r\n"))
            self.assertEqual(await process.wait(), 5)
            [listed] = await client.processes()
            self.assertEqual((listed.running, listed.exit_code), (False, 5))
            interrupted = await client.start(["sleep", "600"])
            await interrupted.interrupt()
            self.assertEqual(await interrupted.wait(), 128 + 2)
            killed = await client.start(["sleep", "600"])
            self.assertTrue(await killed.terminate())
            self.assertEqual(await killed.wait(), 128 + 9)
            self.assertFalse(await killed.terminate())

    async def test_a_cut_connection_is_made_anew_and_nothing_is_lost(self) -> None:
        server = Server(self, WAYS[2])
        relay = Relay(int(server.address.rsplit(":", 1)[1]))
        async with await Client.connect(await relay.open()) as client:
            process = await client.start(["cat"], stdin=True)
            expected = b""
            for number in range(12):
                line = f"{number}\n".encode()
                expected += line
                if number % 3 == 1:
                    relay.cut()
                self.assertTrue(await process.write(line))
            self.assertTrue(await process.close_stdin())
            self.assertEqual(b"".join([data async for data in process.stdout()]), expected)
            self.assertEqual(process.exit_code, 0)
        relay.close()

    async def test_a_session_is_gone_on_with_and_ends(self) -> None:
        server = Server(self, WAYS[1])
        first = await Client.connect(server.way)
        process = await first.start(["sh", "-c", "echo one; cat"], stdin=True)
        self.assertEqual(await process.next(), Output(Stream.STDOUT, b"one\n"))
        with self.assertRaises(InvalidRequest):
            await Client.connect(server.way, resume="nobody")
        await first.close()
        with self.assertRaises(ConnectionLost):
            await process.wait()
        async with await Client.connect(server.way, resume=first.session) as second:
            self.assertEqual(second.session, first.session)
            again = second.find(process.id)
            done = await again.communicate(b"two\n")
            self.assertEqual((done.stdout, done.exit_code), (b"one\ntwo\n", 0))
        third = await Client.connect(server.way, patience=0.5)
        lost = await third.start(["sleep", "600"])
        server.end()
        with self.assertRaises(SessionLost):
            await lost.wait()
        with self.assertRaises(SessionLost):
            await third.start(["true"])
        await third.close()

    async def test_tokens_are_shown(self) -> None:
        secret = "0123456789abcdef0123456789abcdef"
        file = tempfile.NamedTemporaryFile("w")
        self.addCleanup(file.close)
        file.write(secret)
        file.flush()
        server = Server(self, WAYS[2], "--ws-shared-secret-file", file.name, "--ws-audience", "here")

        def token(audience: str = "here") -> str:
            parts = ({"alg": "HS256"}, {"exp": time.time() + 60, "aud": audience})
            text = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
            tag = hmac.new(secret.encode(), text, hashlib.sha256).digest()
            return (text + b"." + base64.urlsafe_b64encode(tag).rstrip(b"=")).decode()

        for wrong in (None, "x", token("there")):
            with self.assertRaises(ConnectionLost):
                await Client.connect(server.way, token=wrong)
        async with await Client.connect(server.way, token=token) as client:
            self.assertEqual(await (await client.start(["true"])).wait(), 0)

    async def test_a_token_that_is_not_to_be_had_is_told(self) -> None:
        server = Server(self, WAYS[2])
        relay = Relay(int(server.address.rsplit(":", 1)[1]))
        fails: list[BaseException] = [KeyError("vault"), asyncio.CancelledError("elsewhere")]
        for failure in fails:
            tokens: list[str | BaseException] = [failure, "some"]

            def token() -> str:
                one = tokens.pop()
                if isinstance(one, BaseException):
                    raise one
                return one

            client = await Client.connect(await relay.open(), token=token)
            process = await client.start(["sleep", "600"])
            answer = asyncio.create_task(client.call("process/read", {"processId": process.id, "waitMs": 600_000}))
            # It is asked before the connection is cut.
            await client.call("environment/status")
            relay.cut()
            for waits in (answer, process.wait(), client.start(["true"])):
                with self.assertRaises(SessionLost) as lost:
                    await waits
                self.assertIs(lost.exception.__cause__, failure)
            self.assertEqual(tokens, [])
            await client.close()
            relay.close()

    async def test_what_is_given_up_is_cancelled(self) -> None:
        server = Server(self, WAYS[1])
        async with await Client.connect(server.way) as client:
            process = await client.start(["sleep", "600"])
            poll = client.call("process/read", {"processId": process.id, "afterSeq": 0, "waitMs": 600_000})
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(poll, 0.1)
            self.assertEqual(await client.call("environment/status"), {"status": "ready"})
            # The server gave it up as well.
            with self.assertRaises(Cancelled):
                request = asyncio.create_task(client.call("process/read", {"processId": process.id, "waitMs": 600_000}))
                await client.call("environment/status")
                [number] = client._requests
                await client._tell("request/cancel", {"id": number})
                await request
            # Nothing comes of a start that nobody waits for.
            for turns in range(5):
                start = asyncio.create_task(client.start(["sleep", "600"], id=f"given up after {turns}"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                start.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await start
            while any(one.running and one.id != process.id for one in await client.processes()):
                await asyncio.sleep(0.01)

    async def test_nothing_comes_of_a_start_that_was_answered_when_it_was_given_up(self) -> None:
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get("CODEX_SCRATCH"))
        self.addCleanup(scratch.cleanup)
        answers: list[tuple[dict[str, object], list[str]]] = [
            ({"result": {}}, ["process/terminate"]),
            # What has the id is somebody else's, or nothing.
            ({"error": {"code": -32600, "message": "process id p is already in use"}}, []),
            ({"error": {"code": -32800, "message": "cancelled"}}, []),
        ]
        for number, (answer, expected) in enumerate(answers):
            begun = asyncio.Event()
            heard: list[tuple[str, str | None]] = []

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                started = None
                while line := await reader.readline():
                    message = json.loads(line)
                    said: dict[str, object]
                    if message["method"] == "initialize":
                        said = {"result": {"sessionId": "s", "extensions": {"version": 1}}}
                    elif message["method"] == "process/start":
                        started = message["id"]
                        begun.set()
                        continue
                    elif message["method"] == "request/cancel":
                        # It had answered before it heard of that.
                        self.assertEqual(message["params"]["id"], started)
                        message, said = {"id": started}, answer
                    elif message["method"] == "initialized":
                        continue
                    else:
                        heard.append((message["method"], message["params"].get("processId")))
                        said = {"result": {"running": True}}
                    writer.write(json.dumps({"id": message["id"], **said}).encode() + b"\n")
                writer.close()

            server = await asyncio.start_unix_server(serve, f"{scratch.name}/{number}")
            async with await Client.connect(f"unix://{scratch.name}/{number}", patience=0) as client:
                start = asyncio.create_task(client.start(["true"], cwd="/", id="p"))
                await begun.wait()
                start.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await start
                while client._beside:
                    await asyncio.sleep(0)
                await client.call("environment/status")
                self.assertEqual(heard, [*((method, "p") for method in expected), ("environment/status", None)])
            server.close()

    async def test_a_client_that_is_closed_waits_for_no_start(self) -> None:
        program = "import sys, json; sys.stdin.readline(); " \
            "print(json.dumps({'id': 0, 'result': {'sessionId': 's'}}), flush=True); sys.stdin.read()"
        client = await Client.connect(Command([sys.executable, "-c", program]))
        start = asyncio.create_task(client.start(["true"], cwd="/", policy=None))
        await asyncio.sleep(0)
        await client.close()
        with self.assertRaises(ConnectionLost):
            await start

    async def test_a_program_that_does_not_end_is_killed(self) -> None:
        answer = json.dumps({"id": 0, "result": {"sessionId": "s"}})
        wait = f"import sys, time; sys.stdin.readline(); print({answer!r}, flush=True); time.sleep(600)"
        end = f"import sys; sys.stdin.readline(); print({answer!r}, flush=True); sys.stdin.read()"
        for program, patience, code in [(wait, 0.1, -9), (end, PATIENCE, 0)]:
            with mock.patch("codex_exec._transport._ENDING", patience):
                client = await Client.connect(Command([sys.executable, "-c", program]))
                transport = client._transport
                await client.close()
            assert isinstance(transport, _Lines) and transport._child is not None
            self.assertEqual(transport._child.returncode, code)

    async def test_who_gives_up_waits_for_no_server_that_takes_nothing(self) -> None:
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get("CODEX_SCRATCH"))
        self.addCleanup(scratch.cleanup)
        done, gone = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            answer = {"id": 0, "result": {"sessionId": "s", "extensions": {"version": 1}}}
            writer.write(json.dumps(answer).encode() + b"\n")
            # And reads no more.
            await done.wait()
            writer.close()
            gone.set()

        async def serve_web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            [key] = [line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key")]
            accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
            answer = json.dumps({"id": 0, "result": {"sessionId": "s", "extensions": {"version": 1}}}).encode()
            writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x81" + bytes([len(answer)]) + answer)
            await done.wait()
            writer.close()
            gone.set()

        unix = await asyncio.start_unix_server(serve, f"{scratch.name}/socket")
        web = await asyncio.start_server(serve_web, "127.0.0.1", 0)
        for address in (f"unix://{scratch.name}/socket", f"ws://127.0.0.1:{web.sockets[0].getsockname()[1]}"):
            client = await Client.connect(address, patience=0)
            for _ in range(2):
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.call("process/list", {"long": "x" * 10_000_000}), 0.1)
            with mock.patch("codex_exec._transport._ENDING", 0.1):
                await client.close()
            done.set()
            await gone.wait()
            done.clear()
            gone.clear()
        unix.close()
        web.close()

    async def test_the_example_of_the_manual_works(self) -> None:
        server = Server(self, WAYS[2], "--ws-token-file", self._token())
        (server.workspace / "Makefile").write_text("all:\n\t@echo made; echo done >made\n")
        manual = (Path(__file__).parents[1] / "README.md").read_text()
        example = manual.split("```python\n")[1].split("```")[0]
        for there, here in (("ws://build-7:8722", server.address), ("/srv/work", str(server.workspace))):
            self.assertEqual(example.count(there), 1)
            example = example.replace(there, here)
        path = os.pathsep.join(os.path.abspath(one) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep))
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", example, cwd=os.path.dirname(self._token()), env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        out, err = await running.communicate()
        self.assertEqual((running.returncode, err), (0, b""))
        self.assertEqual(out.decode(), "stdout b'made\\n'\n0\n")
        self.assertEqual((server.workspace / "made").read_text(), "done\n")

    def _token(self) -> str:
        """A file with a token, nobody else's."""
        if not hasattr(self, "token"):
            scratch = tempfile.TemporaryDirectory(dir=os.environ.get("CODEX_SCRATCH"))
            self.addCleanup(scratch.cleanup)
            self.token = Path(scratch.name) / "token"
            self.token.touch(0o600)
            self.token.write_text("0123456789abcdef0123456789abcdef\n")
        return str(self.token)


class WithoutWebSockets(unittest.TestCase):
    def test_streams_and_sockets_need_no_package(self) -> None:
        script = """
import asyncio, sys
sys.modules["websockets"] = None
from codex_exec import Client, Command
async def main():
    async with await Client.connect(Command(sys.argv[1:])) as client:
        print((await (await client.start(["echo", "hello"])).communicate()).stdout)
asyncio.run(main())
"""
        server = Server(self, "stdio")
        argv = [sys.executable, "-c", script, *server.argv, "--listen", "stdio"]
        output = subprocess.run(argv, env={**os.environ, **server.env}, capture_output=True, check=False)
        self.assertEqual((output.returncode, output.stdout), (0, b"b'hello\\n'\n"), output.stderr.decode())


if __name__ == "__main__":
    unittest.main()
