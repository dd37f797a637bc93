"""A person at a terminal, and what they do with a command in it.

Takes what to do and the lines to run; says `NAME: yes` or `NAME: no` for each thing that is to be seen, and shows the screen
where one is not.
"""

import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 30
PROMPT = rb"PROMPT> "

act, *lines = sys.argv[1:]
master, slave = os.openpty()


def resize(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


resize(31, 97)
usual = termios.tcgetattr(slave)
screen = b""
pid = None


def start(*command):
    """Runs a program in the terminal."""
    global pid
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for stream in range(3):
            os.dup2(slave, stream)
        os.closerange(3, 100)
        os.environ["PS1"] = "PROMPT> "
        os.execvp(command[0], command)


def say(name, holds):
    print(f"{name}: {'yes' if holds else 'no'}", flush=True)
    if not holds:
        print(repr(screen), flush=True)
        sys.exit(1)


def more(patience):
    """Takes what the terminal is given. Nothing where nothing comes in time."""
    global screen
    ready, _, _ = select.select([master], [], [], patience)
    if ready:
        screen += os.read(master, 65536)
    return bool(ready)


def see(name, pattern):
    """Waits until something appears; forgets what came before it, and returns it."""
    global screen
    end = time.monotonic() + PATIENCE
    while not (found := re.search(pattern, screen, re.DOTALL)):
        if not more(max(0, end - time.monotonic())):
            break
    if not found or not name.startswith("("):
        say(name, bool(found))
    before, screen = screen[: found.start()], screen[found.end():]
    return before


def end():
    """Waits until the program has ended, and takes what is left. Returns its code."""
    watched = os.pidfd_open(pid)
    while True:
        ready, _, _ = select.select([master, watched], [], [], PATIENCE)
        if master in ready:
            more(0)
        elif watched in ready:
            break
        else:
            say("it ends", False)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def type(keys):
    os.write(master, keys)


def is_raw():
    return not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


def show():
    """All that the terminal is given, until the end."""
    start("sh", "-c", lines[0])
    code = end()
    sys.stdout.buffer.write(screen)
    sys.stdout.flush()
    sys.exit(code)


def keys():
    start("sh", "-c", lines[0])
    see("the size is that of the terminal", rb"31 97\r\n")
    see("(it runs)", rb"ready\r\n")
    say("keys are handed on one by one", is_raw())
    type(b"hello\r")
    see("what is typed is shown once, by the command's terminal", rb"\Ahello\r\ngot hello\r\n")
    resize(44, 55)
    see("another size is told", rb"changed 44 55\r\n")
    type(b"\x03")
    see("Ctrl-C interrupts the command", rb"interrupted\r\n")
    type(b"\x04")
    see("Ctrl-D ends its input", rb"over\r\n")
    say("the code is the command's", end() == 7)
    say("the modes are put back", termios.tcgetattr(slave) == usual)


def restored():
    """Each line ends in another way; the terminal is as it was."""
    for number, line in enumerate(lines):
        start("sh", "-c", "exec " + line)
        see("(another screen)", re.escape(b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[31m"))
        see("(it runs)", rb"ready")
        raw = is_raw()
        if number < len(SIGNALS):
            os.kill(pid, SIGNALS[number])
        else:
            type(b"go\r")
        code = end()
        print(f"code {code}", flush=True)
        for part in [b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?2004l", b"\x1b[0m"]:
            see(f"{part!r} at the end", re.escape(part))
        say("it was raw, and is as it was", raw and termios.tcgetattr(slave) == usual)


SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


def deaf():
    """A terminal that takes nothing any more."""
    for line in lines:
        start("sh", "-c", "exec " + line)
        ended, _, _ = select.select([os.pidfd_open(pid)], [], [], PATIENCE)
        say("it ends", bool(ended))
        print("code", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        say("the modes are put back", termios.tcgetattr(slave) == usual)


def jobs():
    """The command is a job of an interactive shell."""
    stops_itself, waits = [line.encode() for line in lines]
    start("bash", "--norc", "--noprofile", "-i")
    see("(a prompt)", PROMPT)

    type(stops_itself + b"\n")
    see("(another screen)", re.escape(b"\x1b[?1049h"))
    see("(it runs)", rb"ready")
    before = see("a command that stops itself stops the job", rb"Stopped")
    say("the screen was left before", b"\x1b[?1049l" in before)
    see("(a prompt)", PROMPT)
    type(b"fg\n")
    see("the screen is back", re.escape(b"\x1b[?1049h"))
    see("and the command goes on", rb"resumed")
    see("(a prompt)", PROMPT)

    type(waits + b"\n")
    see("(it runs)", rb"ready\r\n")
    os.kill(os.tcgetpgrp(master), signal.SIGTSTP)
    see("codex stops when it is told to", rb"Stopped")
    see("(a prompt)", PROMPT)
    type(b"fg\n")
    see("(it is in the foreground)", rb"\n")
    # Keys are handed on again by then.
    see("the command is told to draw its screen anew", rb"changed 31 97\r\n")
    say("keys are handed on again", is_raw())
    type(b"go\r")
    see("what is typed after that reaches it", rb"got go\r\n")
    type(b"\x04")
    see("(a prompt)", PROMPT)

    type(waits + b" &\n")
    see("(a prompt)", PROMPT)
    # The shell learns of it in its own time.
    for _ in range(1000):
        type(b"[[ $(jobs -s) ]] && echo is-stopped || echo not-yet\n")
        see("(the question)", rb"not-yet\r\n")
        if b"is-stopped" in see("(a prompt)", PROMPT):
            break
    else:
        say("a job in the background is stopped", False)
    type(b"fg\n")
    see("(it is in the foreground)", rb"fg\r\n")
    see("a job in the background waits for the terminal", rb"ready\r\n")
    type(b"go\r")
    see("and reads in the foreground", rb"got go\r\n")
    type(b"\x04")
    see("(a prompt)", PROMPT)
    type(b"exit\n")


{"show": show, "keys": keys, "restored": restored, "deaf": deaf, "jobs": jobs}[act]()
