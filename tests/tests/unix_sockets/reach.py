"""Ways to a socket of the host. Prints a line for each: its name, and "connected" or the name of the errno."""

import errno
import os
import socket
import sys


def attempt(name, address, kind=socket.SOCK_STREAM, client=None):
    client = client or socket.socket(socket.AF_UNIX, kind)
    with client:
        error = client.connect_ex(address)
        if error == 0:
            client.send(name.encode())
    print(name, errno.errorcode[error] if error else "connected", flush=True)


def ways(path):
    directory, name = os.path.split(path)
    attempt("absolute", path)
    attempt("relative", os.path.relpath(path))
    attempt("root", "/proc/self/root" + path)
    attempt("pid-root", f"/proc/{os.getpid()}/root" + path)
    attempt("parent-root", "/proc/1/root" + path)
    place = os.open(directory, os.O_PATH)
    attempt("directory", f"/proc/self/fd/{place}/{name}")
    file = os.open(path, os.O_PATH)
    attempt("file", f"/proc/self/fd/{file}")
    attempt("dev-fd", f"/dev/fd/{file}")
    os.symlink(path, "symlink")
    attempt("symlink", "symlink")
    os.symlink(directory, "through")
    attempt("through", f"through/{name}")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind("bound")
    attempt("bound", path, client=bound)
    pair, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if pair.connect_ex(path) != errno.EISCONN:
        print("pair connected")


def own_ways(path):
    """Those that take a directory that can be written."""
    os.link(path, "hardlink")
    attempt("hardlink", "hardlink")
    # The name of a socket that is known to be our own, which another one takes over.
    server = socket.socket(socket.AF_UNIX)
    server.bind("ours")
    server.listen()
    socket.socket(socket.AF_UNIX).connect("ours")
    os.rename("hardlink", "ours")
    attempt("replaced", "ours")


if __name__ == "__main__":
    os.chdir(sys.argv[2])
    {"ways": ways, "own_ways": own_ways}[sys.argv[1]](sys.argv[3])
