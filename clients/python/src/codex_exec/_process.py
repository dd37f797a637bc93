"""A process on a server, as a handle."""

from __future__ import annotations

import asyncio
import uuid
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from ._errors import ConnectionLost, ProtocolError
from ._messages import Closed, Completed, Event, Exited, Gap, Output, Spilled, Stream

if TYPE_CHECKING:
    from ._client import Client

_MOST = 1 << 20
"""How many bytes of events wait here. What comes beyond is asked for once they are taken: the server keeps it."""
_AT_A_TIME = 256 * 1024
_PIECE = 1 << 20
"""How much input is sent in a message."""


class Process:
    """A process. ``async for event in process`` has what it does, in order and to its end; :meth:`output` and
    :meth:`communicate` are shorter. One of these at a time."""

    def __init__(self, client: Client, id: str, *, has_input: bool) -> None:
        self._client = client
        self._has_input = has_input
        self._events: deque[tuple[int, Event]] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        # The last number that was queued, and the newest one that was heard of.
        self._last = 0
        self._newest = 0
        self._behind = False
        self._exited = False
        self._closed = False
        self._lost: ConnectionLost | None = None
        # A number of this handle's alone: other clients may have written before.
        self._writer = uuid.uuid4().hex
        self._writes = 0
        self._writing = asyncio.Lock()
        self.id: str = id
        """By what the server knows it."""
        self.exit_code: int | None = None
        """Its exit code, once that was taken; 128 and the number of the signal that ended it."""

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Event]:
        while (event := await self.next()) is not None:
            yield event

    async def next(self) -> Event | None:
        """What it does next; nothing after its end. Raises :class:`ConnectionLost` where nobody will ever know."""
        while True:
            if self._events:
                _, event = self._events.popleft()
                if isinstance(event, Output):
                    self._waiting -= len(event.data)
                if isinstance(event, Exited):
                    self.exit_code = event.code
                return event
            if self._closed:
                return None
            if self._lost is not None:
                raise self._lost
            if self._behind:
                await self._catch_up()
                continue
            self._news.clear()
            await self._news.wait()

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """What it writes, to its end."""
        async for event in self:
            if isinstance(event, Output):
                yield event.stream, event.data

    async def stdout(self) -> AsyncIterator[bytes]:
        """What it writes to its standard output, or its terminal. The rest is left out."""
        async for stream, data in self.output():
            if stream is not Stream.STDERR:
                yield data

    async def stderr(self) -> AsyncIterator[bytes]:
        """What it writes to its standard error. The rest is left out."""
        async for stream, data in self.output():
            if stream is Stream.STDERR:
                yield data

    async def wait(self) -> int:
        """Waits for its end, and returns its exit code. What it writes until then is left out."""
        async for _event in self:
            pass
        if self.exit_code is None:
            raise ProtocolError("the process was closed without an exit code")
        return self.exit_code

    async def communicate(self, input: bytes | None = None) -> Completed:
        """Writes its input and ends that, and returns when it has ended, with all that it has written."""
        writing = asyncio.create_task(self._feed(input)) if self._has_input else None
        collected = {stream: bytearray() for stream in Stream}
        missed: int | None = 0
        result: Mapping[str, Any] | None = None
        try:
            async for event in self:
                if isinstance(event, Output):
                    collected[event.stream] += event.data
                elif isinstance(event, Gap):
                    known = missed is not None and event.bytes is not None
                    missed = (missed or 0) + sum((event.bytes or {}).values()) if known else None
                elif isinstance(event, Closed):
                    result = event.result
            if writing is not None:
                await writing
        finally:
            if writing is not None:
                writing.cancel()
        out = collected[Stream.STDOUT] + collected[Stream.PTY]
        return Completed(await self.wait(), bytes(out), bytes(collected[Stream.STDERR]), missed, result)

    async def _feed(self, input: bytes | None) -> None:
        if input:
            await self.write(input)
        await self.close_stdin()

    async def write(self, data: bytes) -> bool:
        """Writes to its input, and returns when the server has taken it. False where nobody reads it any more. What is written
        is written once, whatever becomes of the connection."""
        async with self._writing:
            for start in range(0, len(data), _PIECE):
                self._writes += 1
                piece = b64encode(data[start : start + _PIECE]).decode()
                params = {"processId": self.id, "chunk": piece, "writeId": f"{self._writer}-{self._writes}"}
                result = await self._client.call("process/write", params)
                if result["status"] != "accepted":
                    return False
        return True

    async def close_stdin(self) -> bool:
        """Ends its input behind what was written. Says whether it was open. Raises :class:`Unsupported`."""
        self._client._need_extensions()
        async with self._writing:
            result = await self._client.call("process/closeStdin", {"processId": self.id})
        return bool(result["status"] == "accepted")

    async def interrupt(self) -> None:
        """Interrupts it, as Ctrl-C does."""
        await self._client.call("process/signal", {"processId": self.id, "signal": "interrupt"})

    async def signal(self, signal: str | int) -> None:
        """Sends it a signal, by name or number. Raises :class:`InvalidParams` where there is no such signal."""
        self._client._need_extensions()
        await self._client.call("process/signal", {"processId": self.id, "signal": signal})

    async def resize(self, rows: int, columns: int) -> None:
        """Changes the size of its terminal. Raises :class:`Unsupported`."""
        self._client._need_extensions()
        params = {"processId": self.id, "size": {"rows": rows, "columns": columns}}
        await self._client.call("process/resize", params)

    async def read_spill(self, offset: int = 0, most: int = 256 * 1024) -> Spilled:
        """A piece of all that it wrote, from so many bytes on, at most 1 MiB of it. Raises :class:`Unsupported`, and
        :class:`InvalidRequest` for a process that was not started with ``spill``."""
        self._client._need_extensions()
        params = {"processId": self.id, "offset": offset, "maxBytes": most}
        read = await self._client.call("process/readSpill", params)
        try:
            chunks = [
                (Stream(chunk["stream"]) if "stream" in chunk else None, b64decode(chunk["chunk"]))
                for chunk in read["chunks"]
            ]
            return Spilled(chunks, read["nextOffset"], read["written"], read["ended"], read.get("stopped"))
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"process/readSpill without {error}") from error

    async def terminate(self) -> bool:
        """Kills it, and all that it has started. Says whether it was running."""
        result = await self._client.call("process/terminate", {"processId": self.id})
        return bool(result["running"])

    def _hear(self, method: str, params: dict[str, Any]) -> bool:
        """Takes a notification. Says whether it was the last one, and nothing is missing."""
        try:
            event, first, seq = _read(method, params)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"{method} without {error}") from error
        if event is None:
            return False
        self._newest = max(self._newest, seq)
        if seq <= self._last or self._behind:
            return False
        if first > self._last + 1 or self._waiting > _MOST:
            # Who takes the events asks for it, once those are taken that are here.
            self._fall_behind()
            return False
        self._put(seq, event)
        return self._closed

    def _put(self, seq: int, event: Event) -> None:
        self._last = seq
        if isinstance(event, Output):
            if not event.data:
                return
            self._waiting += len(event.data)
        if isinstance(event, Exited):
            if self._exited:
                # It was asked for before it was told.
                return
            self._exited = True
        self._closed |= isinstance(event, Closed)
        self._events.append((seq, event))
        self._news.set()

    def _fall_behind(self) -> None:
        self._behind = True
        self._news.set()

    def _lose(self, lost: ConnectionLost) -> None:
        self._lost = lost
        self._news.set()

    async def _catch_up(self) -> None:
        # What comes from here on is newer than what is asked for, or in it.
        asked = {"processId": self.id, "afterSeq": self._last, "maxBytes": _AT_A_TIME, "waitMs": 0}
        read = await self._client.call("process/read", asked)
        try:
            self._caught_up(read)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"process/read without {error}") from error

    def _caught_up(self, read: dict[str, Any]) -> None:
        missed = read.get("missed")
        if missed is not None:
            event, _, seq = _read("process/gap", missed)
            if event is not None and seq > self._last:
                self._put(seq, event)
        for chunk in read["chunks"]:
            if chunk["seq"] > self._last:
                self._put(chunk["seq"], Output(Stream(chunk["stream"]), b64decode(chunk["chunk"])))
        chunks, after = read["chunks"], read["nextSeq"] - 1
        # Then there may have been no room for the rest: whatever is said of the end, that comes first.
        was_cut = bool(chunks) and chunks[-1]["seq"] == after
        self._last = max(self._last, after)
        if read["exited"] and not was_cut:
            self._put(self._last, Exited(read["exitCode"]))
        if read["closed"] and not was_cut:
            self._put(self._last, Closed(None))
            self._client._processes.pop(self.id, None)
        elif self._last >= self._newest and not (was_cut and read["exited"]):
            self._behind = False


def _read(method: str, params: dict[str, Any]) -> tuple[Event | None, int, int]:
    """An event, the first number that it stands for, and the last one."""
    if method == "process/output":
        event: Event = Output(Stream(params["stream"]), b64decode(params["chunk"]))
    elif method == "process/exited":
        event = Exited(params["exitCode"])
    elif method == "process/closed":
        event = Closed(params.get("result"))
    elif method == "process/gap":
        counts = params.get("bytes")
        gone = None if counts is None else {stream: counts.get(stream.value, 0) for stream in Stream}
        at = params.get("spill")
        return Gap(gone, None if at is None else (at["offset"], at["end"])), params["fromSeq"], params["toSeq"]
    else:
        return None, 0, 0
    return event, params["seq"], params["seq"]
