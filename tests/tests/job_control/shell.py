"""An interactive shell in a terminal of its own, and what a person does with a job in it.

Takes the lines to type; says `NAME: yes` or `NAME: no` for each thing that is to be seen, and shows the screen where one is not.
"""

import os
import pty
import re
import select
import sys
import time

PROMPT = rb"PROMPT> "
PATIENCE = 60

(stops_itself, stops_its_group, waits, reads, ignores) = [line.encode() for line in sys.argv[1:]]

pid, terminal = pty.fork()
if pid == 0:
    os.environ["PS1"] = "PROMPT> "
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])

screen = b""


def see(name, pattern):
    """Waits until something appears, and forgets what came before it."""
    global screen
    end = time.monotonic() + PATIENCE
    while not (found := re.search(pattern, screen)):
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        try:
            more = os.read(terminal, 65536) if ready else b""
        except OSError:
            more = b""
        if not more:
            print(f"{name}: no\n{screen!r}", flush=True)
            sys.exit(1)
        screen += more
    screen = screen[found.end():]
    if not name.startswith("("):
        print(f"{name}: yes", flush=True)


def type(line):
    os.write(terminal, line)


see("(a prompt)", PROMPT)

type(stops_itself + b"\n")
see("a command that stops itself stops the job", rb"Stopped")
see("(a prompt)", PROMPT)
type(b"fg\n")
see("and goes on in the foreground", rb"resumed\r\n")
see("(a prompt)", PROMPT)

type(stops_its_group + b"\n")
see("a command that stops its group stops the job", rb"Stopped")
see("(a prompt)", PROMPT)
type(b"fg\n")
see("and goes on as well", rb"resumed\r\n")
see("(a prompt)", PROMPT)

type(waits + b"\n")
see("(it runs)", rb"ready\r\n")
type(b"\x1a")
see("Ctrl-Z stops the job", rb"Stopped")
see("(a prompt)", PROMPT)
type(b"fg\n")
see("(it is in the foreground)", rb"\n")
type(b"go\n")
see("what is typed after that reaches it", rb"got go\r\n")
see("(a prompt)", PROMPT)

type(reads + b" &\n")
see("(a prompt)", PROMPT)
# The shell tells of it before the next prompt.
for _ in range(1000):
    type(b"jobs\n")
    see("(jobs)", rb"jobs\r\n")
    see("(a prompt)", rb"(?s)(Stopped|Running).*?" + PROMPT)
    type(b"jobs -s\n")
    see("(jobs -s)", rb"jobs -s\r\n")
    end = time.monotonic() + PATIENCE
    while PROMPT not in screen and time.monotonic() < end:
        screen += os.read(terminal, 65536)
    listed, screen = screen.split(PROMPT, 1)
    if b"Stopped" in listed:
        print("reading in the background stops the job: yes", flush=True)
        break
else:
    print("reading in the background stops the job: no", flush=True)
type(b"fg\n")
see("(it is in the foreground)", rb"\n")
type(b"hello\n")
see("and in the foreground it reads", rb"got hello\r\n")
see("(a prompt)", PROMPT)

type(ignores + b"\n")
see("(it runs)", rb"ready\r\n")
type(b"\x1a")
type(b"more\n")
see("a command that ignores Ctrl-Z goes on", rb"got more\r\n")
see("(a prompt)", PROMPT)

type(waits + b"\n")
see("(it runs)", rb"ready\r\n")
type(b"\x03")
see("(a prompt)", PROMPT)
type(b"echo code=$?\n")
see("Ctrl-C ends the job as a shell expects", rb"code=130")
see("(a prompt)", PROMPT)
type(b"exit\n")
