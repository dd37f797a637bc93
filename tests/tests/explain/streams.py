"""Runs a command with one stream after another as its standard error, and says what came of each.

Takes the command, to which the name of the stream is added.
"""

import os
import socket
import subprocess
import sys


def run(name, **streams):
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | streams
    return subprocess.Popen(sys.argv[1:] + [name], **streams)


def say(name, *what):
    print(f"{name}:", *what, flush=True)


# One connection for all three, as a server started by inetd has it.
ours, theirs = socket.socketpair()
ours.sendall(b"question\n")
command = run("conversation", stdin=theirs, stdout=theirs, stderr=theirs)
theirs.close()
say("conversation", b"".join(iter(lambda: ours.recv(65536), b"")), command.wait())

os.mkfifo("fifo")
fifo = os.open("fifo", os.O_RDWR)
os.write(fifo, b"question\n")
command = run("fifo", stderr=fifo)
say("fifo", command.communicate()[0], command.returncode)

reader, writer = os.pipe()
command = run("reader", stderr=reader)
said = command.communicate()[0]
os.close(writer)
say("reader", said, command.returncode, os.read(reader, 100))

listens = socket.socket(socket.AF_UNIX)
listens.bind("listens")
listens.listen()
command = run("listens", stderr=listens)
say("listens", command.communicate()[0], command.returncode)

# More than there would be were each of its pieces a page. Nothing is read before the command has ended.
reader, writer = os.pipe()
command = run("spliced", stderr=writer)
os.close(writer)
count = int(command.stdout.readline())
came = sum(map(len, iter(lambda: os.read(reader, 1 << 20), b"")))
say("spliced", command.wait(), count > 1 << 20, came == count or f"{came} of {count}")
