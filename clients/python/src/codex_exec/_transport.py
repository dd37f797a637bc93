"""Ways to a server. Behind them, messages are texts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Union
from urllib.parse import urlsplit

from ._errors import ConnectionLost

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_AT_ONCE = 256 * 1024
_LONGEST = 1 << 30
"""A server's messages have no bound of their own."""
_ENDING = 5.0
"""How many seconds a connection may take to end, and then a program behind it."""

Token = Union[str, Callable[[], str], None]


@dataclass(frozen=True)
class Command:
    """A server that is started for this client, and ends with it: a program that serves over its standard streams."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    """Its environment; without it, our own."""


class Transport(Protocol):
    """A connection."""

    async def receive(self) -> str | bytes:
        """The next message. Raises :class:`ConnectionLost` at the end."""

    async def send(self, text: str) -> None:
        """Sends a message. Raises :class:`ConnectionLost`."""

    async def close(self) -> None:
        """Ends the connection."""


class _Lines:
    """A message a line."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        child: asyncio.subprocess.Process | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._child = child
        self._lines: list[bytes] = []
        self._rest = bytearray()

    async def receive(self) -> bytes:
        while not self._lines:
            try:
                read = await self._reader.read(_AT_ONCE)
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            if not read or len(self._rest) > _LONGEST:
                raise ConnectionLost("the connection has ended")
            if b"\n" not in read:
                self._rest += read
                continue
            first, *others = read.split(b"\n")
            lines = [bytes(self._rest) + first, *others]
            self._rest = bytearray(lines.pop())
            lines.reverse()
            self._lines = lines
        return self._lines.pop()

    async def send(self, text: str) -> None:
        try:
            self._writer.write(text.encode() + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    async def close(self) -> None:
        self._writer.close()
        await _end(self._writer.wait_closed(), self._writer.transport)
        if self._child is not None:
            # It ends with its input, and has ended what it has started by then.
            ended = asyncio.ensure_future(self._child.wait())
            if not (await asyncio.wait([ended], timeout=_ENDING))[0]:
                self._child.kill()
            await ended


class _WebSocket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            return await self._connection.recv()
        except ConnectionClosed as error:
            raise ConnectionLost(str(error)) from error

    async def send(self, text: str) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(text)
        except ConnectionClosed as error:
            raise ConnectionLost(str(error)) from error

    async def close(self) -> None:
        await _end(self._connection.close(), self._connection.transport)


async def _end(closing: Coroutine[Any, Any, None], transport: asyncio.BaseTransport) -> None:
    """Waits for the end of a connection, but for nobody who takes nothing of what is still to be sent."""
    ended = asyncio.ensure_future(closing)
    if not (await asyncio.wait([ended], timeout=_ENDING))[0] and isinstance(transport, asyncio.WriteTransport):
        transport.abort()
    try:
        await ended
    except OSError:
        # It was gone already.
        pass


async def _web_socket(address: str, token: Token) -> Transport:
    # Who does not need it need not have it.
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    shown = token() if callable(token) else token
    headers = {} if shown is None else {"Authorization": f"Bearer {shown}"}
    try:
        # The server has no compression, and says itself whether it is there. No proxy of the environment's is asked for what may
        # be on this machine.
        return _WebSocket(
            await connect(address, additional_headers=headers, compression=None, max_size=None, proxy=None)
        )
    except (OSError, WebSocketException) as error:
        raise ConnectionLost(f"{address} can't be reached: {error}") from error


async def open_transport(address: str | Command, token: Token) -> Transport:
    """Connects. Raises :class:`ConnectionLost` where nobody answers, and :class:`ValueError` for what is no address."""
    try:
        if isinstance(address, Command):
            child = await asyncio.create_subprocess_exec(
                *address.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=None if address.env is None else dict(address.env),
            )
            if child.stdout is None or child.stdin is None:
                raise ConnectionLost("the program has no streams")
            return _Lines(child.stdout, child.stdin, child)
        parts = urlsplit(address)
        if parts.scheme == "unix" and not parts.netloc and os.path.isabs(parts.path):
            return _Lines(*await asyncio.open_unix_connection(parts.path))
    except OSError as error:
        raise ConnectionLost(f"the server can't be reached: {error}") from error
    if parts.scheme in ("ws", "wss"):
        return await _web_socket(address, token)
    raise ValueError("not the address of a server: there are ws://HOST:PORT, wss://… and unix:///ABSOLUTE/PATH")
