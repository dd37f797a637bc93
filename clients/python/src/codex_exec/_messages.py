"""What is said about processes, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, Union
from urllib.parse import unquote, urlsplit


def uri(path: str | PurePosixPath) -> str:
    """The URI of an absolute path on the server."""
    return PurePosixPath(path).as_uri()


def path_of(text: str) -> str:
    """The path of a URI."""
    return unquote(urlsplit(text).path)


class Stream(Enum):
    """Where output came from."""

    STDOUT = "stdout"
    STDERR = "stderr"
    PTY = "pty"


@dataclass(frozen=True)
class Output:
    """A process has written."""

    stream: Stream
    data: bytes


@dataclass(frozen=True)
class Gap:
    """Output that is gone: it came faster than it was taken, or this side was away for too long."""

    bytes: Mapping[Stream, int] | None
    """How many bytes of each stream; nothing where the server does not know."""
    spill: tuple[int | None, int] | None = None
    """Where they begin and end in what :meth:`Process.read_spill` reads, for a process that was started with ``spill``. The beginning is
    not known where the number of bytes is not."""


@dataclass(frozen=True)
class Exited:
    """A process has exited. What it has left behind may still write."""

    code: int
    """Its code; 128 and the number of the signal that ended it."""


@dataclass(frozen=True)
class Closed:
    """Nothing more comes of a process."""

    result: Mapping[str, Any] | None
    """How it ended and what the sandbox held, as ``codex sandbox --json`` has it; nothing where the connection was lost then."""


Event = Union[Output, Gap, Exited, Closed]


@dataclass(frozen=True)
class Spilled:
    """A piece of all that a process wrote."""

    chunks: list[tuple[Stream | None, bytes]]
    """Its bytes, in their order. Of which stream is not known where they took turns too often."""
    next_offset: int
    """Where the next piece begins."""
    written: int
    """How many bytes the file has."""
    ended: bool
    """Whether it gets no more."""
    stopped: str | None
    """Why it does not have all."""


@dataclass(frozen=True)
class Limits:
    """When a process is ended, in seconds and bytes."""

    deadline: float | None = None
    idle: float | None = None
    output: int | None = None
    grace: float | None = None
    """How long it has from being asked to end to being killed."""

    def message(self) -> dict[str, int]:
        """As it is sent."""
        times = {"deadlineMs": self.deadline, "idleMs": self.idle, "graceMs": self.grace}
        sent = {name: round(time * 1000) for name, time in times.items() if time is not None}
        return sent if self.output is None else {**sent, "outputBytes": self.output}


@dataclass(frozen=True)
class Policy:
    """What a process may do."""

    mode: str
    """``read-only``, ``workspace-write``, ``external-sandbox`` or ``danger-full-access``."""
    writable_roots: Sequence[str | PurePosixPath] = ()
    """Where it may write, with ``workspace-write``. Without one, the server's workspace. Absolute."""
    network: bool = False
    exclude_tmp: bool = False
    """Whether ``/tmp`` and ``$TMPDIR`` are not writable."""
    hosts: Sequence[str] | None = None
    """Single hosts that it may reach (``NAME``, ``*.NAME``, ``HOST:PORT``), the network being off otherwise. ``None``: those of the
    server's configuration."""

    def message(self) -> dict[str, Any]:
        """As it is sent."""
        sent = {
            "mode": self.mode,
            "writableRoots": [uri(root) for root in self.writable_roots],
            "network": self.network,
            "excludeTmp": self.exclude_tmp,
        }
        return sent if self.hosts is None else {**sent, "hosts": list(self.hosts)}


@dataclass(frozen=True)
class Listed:
    """A process of the session."""

    id: str
    argv: list[str]
    tty: bool
    running: bool
    exit_code: int | None
    started_at: float
    """Seconds since 1970, by the server's clock."""


@dataclass(frozen=True)
class Explanation:
    """What a policy comes to on a server."""

    allowed: bool
    reason: str | None
    """Why not."""
    writable_roots: list[str] | None
    """Where it may write, links followed; nothing where that is everywhere, or it is not allowed."""
    network: bool | None
    enforcement: Mapping[str, Any] | None
    """What would hold there."""


@dataclass
class Completed:
    """A process that has ended, and all that it has written."""

    exit_code: int
    stdout: bytes
    """With a terminal, everything."""
    stderr: bytes
    missed: int | None
    """How many bytes are gone; nothing where some are and the server does not know how many."""
    result: Mapping[str, Any] | None = field(default=None, repr=False)
