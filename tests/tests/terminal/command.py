"""A command that says what it is told by its terminal: sizes, interrupts, lines, the end of its input."""

import os
import select
import signal
import sys

reading, writing = os.pipe()
os.set_blocking(writing, False)
signal.set_wakeup_fd(writing)
for number in [signal.SIGWINCH, signal.SIGINT]:
    signal.signal(number, lambda *_: None)


def say(text):
    os.write(1, text.encode() + b"\n")


def size():
    columns, lines = os.get_terminal_size(0)
    return f"{lines} {columns}"


say(size())
say("ready")
while True:
    # Signals come as bytes, so that none can come just before the wait.
    ready, _, _ = select.select([0, reading], [], [])
    if reading in ready:
        for number in os.read(reading, 100):
            say(f"changed {size()}" if number == signal.SIGWINCH else "interrupted")
    elif line := os.read(0, 1000):
        say(f"got {line.decode().strip()}")
    else:
        say("over")
        sys.exit(7)
