"""Sandboxed commands on a ``codex exec-server``.

    async with await Client.connect("ws://127.0.0.1:8722", token=token) as client:
        process = await client.start(["make", "test"], cwd="/srv/work", policy="workspace-write")
        async for event in process:
            ...

One connection has any number of processes. Where it is lost it is made anew and the session resumed: what processes have written
meanwhile is read, and nothing is written twice.
"""

from ._client import Client
from ._errors import (
    Cancelled,
    CodexError,
    ConnectionLost,
    InternalError,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    NotFound,
    ProtocolError,
    RpcError,
    SessionAttached,
    SessionLost,
    Unsupported,
)
from ._messages import (
    Closed,
    Completed,
    Event,
    Exited,
    Explanation,
    Gap,
    Limits,
    Listed,
    Output,
    Policy,
    Spilled,
    Stream,
)
from ._process import Process
from ._transport import Command

__all__ = [
    "Cancelled",
    "Client",
    "Closed",
    "CodexError",
    "Command",
    "Completed",
    "ConnectionLost",
    "Event",
    "Exited",
    "Explanation",
    "Gap",
    "InternalError",
    "InvalidParams",
    "InvalidRequest",
    "Limits",
    "Listed",
    "MethodNotFound",
    "NotFound",
    "Output",
    "Policy",
    "Process",
    "ProtocolError",
    "RpcError",
    "SessionAttached",
    "SessionLost",
    "Spilled",
    "Stream",
    "Unsupported",
]
