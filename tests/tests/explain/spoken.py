"""What the command does with the standard error that it has."""

import errno
import fcntl
import os
import socket
import sys


def tried(what, *arguments):
    try:
        return what(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno].encode()


kind = sys.argv[1]
if kind in ("conversation", "fifo"):
    os.write(1, b"read " + tried(os.read, 2, 100))
elif kind == "spliced":
    fcntl.fcntl(2, 1031, 1 << 20)  # F_SETPIPE_SZ
    os.set_blocking(2, False)
    here, there = socket.socketpair()
    here.setblocking(False)
    count, piece = 0, 1
    try:
        while piece:
            here.send(bytes(200000))
            count += (piece := os.splice(there.fileno(), 2, 1 << 20, flags=os.SPLICE_F_NONBLOCK))
    except BlockingIOError:
        pass
    print(count, flush=True)
else:
    print("wrote", tried(os.write, 2, b"x\n"))
