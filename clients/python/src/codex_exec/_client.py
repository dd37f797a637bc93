"""A connection to a server: answers to whom they belong, events to their processes, a new connection where the old one is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any

from ._errors import ConnectionLost, InvalidRequest, ProtocolError, RpcError, SessionAttached, SessionLost, Unsupported
from ._messages import Explanation, Limits, Listed, Policy, path_of, uri
from ._process import Process
from ._transport import Command, Token, Transport, open_transport

_EXTENSIONS = 1
_PAUSE = 0.1
"""Seconds between two attempts to connect again."""
_TWICE = frozenset(
    ["environment/info", "environment/status", "policy/explain", "process/list", "process/read", "process/readSpill",
     "process/resize", "process/terminate", "process/write"]
)
"""What may be asked again over the next connection: it changes nothing, or the server knows that it was done."""


class _Request:
    """A request that waits for its answer."""

    def __init__(self, method: str, params: Mapping[str, Any]) -> None:
        self.method = method
        self.params = params
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Client:
    """A session on a server. Made by :meth:`connect`; closed with ``async with``, or :meth:`close`."""

    def __init__(self, address: str | Command, token: Token, name: str, patience: float) -> None:
        self._address = address
        self._token = token
        self._name = name
        self._patience = patience
        self._transport: Transport | None = None
        self._requests: dict[int, _Request] = {}
        self._numbers = itertools.count(1)
        self._processes: dict[str, Process] = {}
        self._task: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] = set()
        self._lost: ConnectionLost | None = None
        self._closing = False
        self.session: str = ""
        """The session's id, which is the right to its processes."""
        self.environment: Mapping[str, Any] = {}
        """What the server says of its machine."""
        self.extended: bool = False
        """Whether the server knows what goes beyond the protocol of Codex CLI."""

    @classmethod
    async def connect(
        cls,
        address: str | Command,
        *,
        token: Token = None,
        name: str = "codex-exec-python",
        resume: str | None = None,
        patience: float = 45.0,
    ) -> Client:
        """Connects, and opens a session.

        ``address`` is ``ws://HOST:PORT``, ``wss://…``, ``unix:///ABSOLUTE/PATH`` or a :class:`Command` that serves over its
        standard streams. ``token`` is what the server asks for, or a function that makes one for each connection: signed tokens
        expire. ``resume`` goes on with a session, once it has no other connection; ``patience`` is how many seconds that is waited
        for, and how many it is tried to connect again where the connection is lost.

        Raises :class:`ConnectionLost`, :class:`RpcError` or :class:`ProtocolError`, and what ``token`` raises. Where ``token``
        raises later, for another connection, the session is lost (:class:`SessionLost`, with that as its ``__cause__``).
        """
        client = cls(address, token, name, patience)
        if resume is None:
            client._transport = await client._open(None)
        else:
            client._transport = await client._open_again(resume, (SessionAttached,))
        client._task = asyncio.create_task(client._run())
        return client

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection. The server keeps the session and its processes for a while, unless it was started for this
        client."""
        self._closing = True
        if self._transport is not None:
            await self._transport.close()
        if self._task is not None:
            tasks = [self._task, *self._beside]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._end(ConnectionLost("the client was closed"))

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Calls a method, and returns its result.

        Raises :class:`RpcError`, or :class:`ConnectionLost` where the connection is, and it can't be asked twice.
        """
        number = next(self._numbers)
        try:
            return await self._ask(number, method, params or {})
        except asyncio.CancelledError:
            self._give_up(number)
            raise

    async def start(
        self,
        argv: Sequence[str],
        *,
        cwd: str | PurePosixPath | None = None,
        policy: str | Policy | None = "read-only",
        env: Mapping[str, str] | None = None,
        inherit_env: bool = True,
        stdin: bool = False,
        tty: bool = False,
        size: tuple[int, int] | None = None,
        limits: Limits | None = None,
        detach: bool = False,
        spill: bool = False,
        id: str | None = None,
    ) -> Process:
        """Starts a process, and returns once its program is executed.

        ``cwd`` is absolute, and the server's workspace without it. ``policy`` is a mode by its name or a :class:`Policy`; ``None``
        asks for no sandbox at all, which most servers refuse. ``env`` is added to the server's own environment, unless
        ``inherit_env`` is false. With ``stdin`` it can be written to; ``tty`` gives it a terminal of ``size`` (rows, columns).
        With ``detach``, what it leaves behind goes on; with ``spill``, the server keeps all that it writes in a file
        (:meth:`Process.read_spill`). Where nobody waits for it any more (``asyncio.wait_for``), it is not
        started, or killed.

        Raises :class:`InvalidRequest` where the server does not allow it, :class:`InternalError` where it can't be started, and
        :class:`Unsupported` where the server knows no policies.
        """
        if not self.extended and (policy is not None or limits or detach or size or spill):
            raise Unsupported("this server knows neither policies by name nor limits, detach, spill and sizes")
        workspace = self.environment.get("cwd")
        if cwd is None and not isinstance(workspace, str):
            raise ProtocolError("the server has not said where it is: cwd has to be given")
        identifier = id if id is not None else str(uuid.uuid4())
        everything = {"inherit": "all", "ignoreDefaultExcludes": True, "exclude": [], "set": {}, "includeOnly": []}
        params: dict[str, Any] = {
            "processId": identifier,
            "argv": list(argv),
            "cwd": workspace if cwd is None else uri(cwd),
            "env": dict(env or {}),
            "envPolicy": everything if inherit_env else None,
            "tty": tty,
            "pipeStdin": stdin,
        }
        if policy is not None:
            params["policy"] = policy.message() if isinstance(policy, Policy) else policy
        if limits is not None:
            params["limits"] = limits.message()
        if detach:
            params["detach"] = True
        if spill:
            params["spill"] = True
        if size is not None:
            params["size"] = {"rows": size[0], "columns": size[1]}
        if identifier in self._processes:
            raise InvalidRequest(-32600, f"process id {identifier} is already in use")
        process = Process(self, identifier, has_input=stdin or tty)
        # Before the answer: what the process does may be told right behind it.
        self._processes[identifier] = process
        number = next(self._numbers)
        # In a task: whether it was started is to be known even where nobody waits for it.
        starting = asyncio.create_task(self._ask(number, "process/start", params))
        try:
            await asyncio.wait([starting])
            starting.result()
        except BaseException as error:
            self._processes.pop(identifier, None)
            if isinstance(error, asyncio.CancelledError):
                self._give_up(number)
                self._keep(self._undo(starting, identifier, is_known=id is not None))
            raise
        return process

    def find(self, id: str) -> Process:
        """A process of a session that was resumed, from its beginning as far as the server has kept it."""
        process = self._processes.get(id)
        if process is None:
            process = self._processes[id] = Process(self, id, has_input=True)
            process._fall_behind()
        return process

    async def processes(self) -> list[Listed]:
        """The session's processes, ended ones included. Raises :class:`Unsupported`."""
        self._need_extensions()
        result = await self.call("process/list")
        return [
            Listed(
                one["processId"], list(one["argv"]), one["tty"], one["running"], one.get("exitCode"),
                one["startedAtMs"] / 1000,
            )
            for one in result["processes"]
        ]

    async def explain(self, policy: str | Policy) -> Explanation:
        """What a policy comes to on this server, without starting anything. Raises :class:`Unsupported`."""
        self._need_extensions()
        asked = policy.message() if isinstance(policy, Policy) else policy
        result = await self.call("policy/explain", {"policy": asked})
        roots = result.get("writableRoots")
        return Explanation(
            result["allowed"], result.get("reason"), None if roots is None else [path_of(root) for root in roots],
            result.get("network"), result.get("enforcement"),
        )

    async def _ask(self, number: int, method: str, params: Mapping[str, Any]) -> Any:
        if self._lost is not None:
            raise self._lost
        self._requests[number] = request = _Request(method, params)
        try:
            await self._send(number, request)
            return await request.answer
        finally:
            self._requests.pop(number, None)

    def _give_up(self, number: int) -> None:
        """Tells the server that nobody waits for an answer."""
        if self.extended:
            # Not here: who gives up waits for no server that takes nothing.
            self._keep(self._tell("request/cancel", {"id": number}))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something beside everything else, until the client is closed."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _undo(self, starting: asyncio.Task[Any], id: str, *, is_known: bool) -> None:
        """Ends a process that nobody has a handle of, where it was started all the same."""
        try:
            await starting
        except RpcError:
            # It was not. Where its id was taken, what has it is somebody else's.
            return
        except ConnectionLost:
            # Nobody knows. An id that was made here is nobody else's.
            if is_known:
                return
        try:
            await self.call("process/terminate", {"processId": id})
        except (RpcError, ConnectionLost):
            # It had ended, or the session has.
            pass

    def _need_extensions(self) -> None:
        if not self.extended:
            raise Unsupported("this server speaks the protocol of Codex CLI, and no more")

    async def _open(self, resume: str | None) -> Transport:
        transport = await open_transport(self._address, self._token)
        try:
            params = {"clientName": self._name, "resumeSessionId": resume, "extensions": {"version": _EXTENSIONS}}
            await transport.send(json.dumps({"id": 0, "method": "initialize", "params": params}))
            while (message := _parse(await transport.receive())).get("id") != 0:
                # What comes of processes before it is asked for again.
                continue
            if "error" in message:
                raise RpcError.of(message["error"])
            result = message["result"]
            self.session = result["sessionId"]
            self.environment = result.get("environmentInfo") or {}
            self.extended = bool(result.get("extensions"))
            await transport.send(json.dumps({"method": "initialized", "params": {}}))
            return transport
        except (KeyError, TypeError) as error:
            await transport.close()
            raise ProtocolError(f"an answer to initialize without {error}") from error
        except BaseException:
            await transport.close()
            raise

    async def _open_again(self, session: str, passing: tuple[type[Exception], ...]) -> Transport:
        """Opens a session that is known, trying as long as these are what it fails with."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        while True:
            try:
                return await self._open(session)
            except passing:
                # The server may not have seen yet that the old connection is gone.
                if loop.time() >= until:
                    raise
                await asyncio.sleep(_PAUSE)

    async def _run(self) -> None:
        try:
            while True:
                try:
                    await self._read()
                except (ConnectionLost, ProtocolError) as error:
                    if self._closing:
                        return
                    await self._resume(error)
        except ConnectionLost as lost:
            self._end(lost)
        except BaseException as error:
            if self._closing:
                raise
            # Whoever waits would do so for ever: the function that makes tokens can raise anything.
            end = SessionLost(str(error) or type(error).__name__)
            end.__cause__ = error
            self._end(end)
            if self._transport is not None:
                await self._transport.close()
            if not isinstance(error, Exception):
                raise

    async def _read(self) -> None:
        transport = self._transport
        if transport is None:
            raise ConnectionLost("there is no connection")
        while True:
            message = _parse(await transport.receive())
            number, method = message.get("id"), message.get("method")
            if isinstance(method, str):
                params = message.get("params")
                if isinstance(params, dict) and "sessionId" not in params:
                    process = self._processes.get(params.get("processId", ""))
                    if process is not None and process._hear(method, params):
                        del self._processes[process.id]
                continue
            request = self._requests.get(number) if isinstance(number, int) else None
            if request is None or request.answer.done():
                continue
            if "error" in message:
                request.answer.set_exception(RpcError.of(message["error"]))
            else:
                request.answer.set_result(message.get("result"))

    async def _resume(self, error: Exception) -> None:
        """Makes a new connection, and goes on with the session."""
        if isinstance(self._address, Command):
            # The server has ended with it.
            raise SessionLost(str(error))
        self._transport = None
        try:
            self._transport = await self._open_again(self.session, (ConnectionLost, SessionAttached))
        except ConnectionLost as failed:
            raise SessionLost(f"the connection could not be made again: {failed}") from failed
        for number, request in sorted(self._requests.items()):
            if request.answer.done():
                continue
            if request.method in _TWICE:
                await self._send(number, request)
            else:
                request.answer.set_exception(ConnectionLost(f"{request.method}: {error}; it may have been done"))
        for process in self._processes.values():
            process._fall_behind()

    async def _send(self, number: int, request: _Request) -> None:
        transport = self._transport
        message = {"id": number, "method": request.method, "params": request.params}
        try:
            if transport is not None:
                return await transport.send(json.dumps(message))
        except ConnectionLost:
            # Who reads finds out as well, and sees to it.
            pass
        if request.method not in _TWICE and not request.answer.done():
            request.answer.set_exception(ConnectionLost(f"{request.method}: there is no connection"))

    async def _tell(self, method: str, params: Mapping[str, Any]) -> None:
        if self._transport is not None:
            try:
                await self._transport.send(json.dumps({"method": method, "params": params}))
            except ConnectionLost:
                pass

    def _end(self, lost: ConnectionLost) -> None:
        self._lost = self._lost or lost
        for request in self._requests.values():
            if not request.answer.done():
                request.answer.set_exception(lost)
        for process in self._processes.values():
            process._lose(lost)
        self._processes.clear()


def _parse(message: str | bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(message)
    except ValueError as error:
        raise ProtocolError(f"a message that is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ProtocolError("a message that is no object")
    return parsed
