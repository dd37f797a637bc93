"""What can go wrong, each kind a class."""

from __future__ import annotations

from typing import Any


class CodexError(Exception):
    """Everything that this package raises by itself."""


class ProtocolError(CodexError):
    """The other side has said something that means nothing here."""


class Unsupported(CodexError):
    """The server does not know what goes beyond the protocol of Codex CLI."""


class ConnectionLost(CodexError):
    """The connection is gone. Whether what was asked for was done, nobody knows."""


class SessionLost(ConnectionLost):
    """The session is gone with it: its processes are ended."""


class RpcError(CodexError):
    """The server says no."""

    code: int
    """The code of the protocol."""
    data: Any
    """What came beside the message."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    @staticmethod
    def of(error: dict[str, Any]) -> RpcError:
        """An error as it came, by its code."""
        code, message = error.get("code"), error.get("message")
        if not isinstance(code, int) or not isinstance(message, str):
            raise ProtocolError(f"an error without code or message: {error}")
        return _KINDS.get(code, RpcError)(code, message, error.get("data"))


class InvalidRequest(RpcError):
    """Out of order, an id that is taken or unknown, or refused by the server's ceiling (-32600)."""


class MethodNotFound(RpcError):
    """No such method (-32601)."""


class InvalidParams(RpcError):
    """Parameters that are missing or have the wrong form (-32602)."""


class InternalError(RpcError):
    """It could not be started or done (-32603)."""


class NotFound(RpcError):
    """No such file (-32004)."""


class SessionAttached(RpcError):
    """The session is attached to another connection (-32010)."""


class Cancelled(RpcError):
    """The request was cancelled (-32800)."""


_KINDS: dict[int, type[RpcError]] = {
    -32600: InvalidRequest,
    -32601: MethodNotFound,
    -32602: InvalidParams,
    -32603: InternalError,
    -32004: NotFound,
    -32010: SessionAttached,
    -32800: Cancelled,
}
