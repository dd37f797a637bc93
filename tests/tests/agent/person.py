"""A person at a terminal: runs a command there, and answers its questions.

person.py TRANSCRIPT ANSWERS COMMAND...

ANSWERS is a JSON list, an answer a question: text that is typed with Enter, null for Ctrl-C, false for silence, {"until": FILE, "text": TEXT} for
text that is typed once there is such a file; with "asked" as well, that file is made first, when the question is there. `TYPED` in the environment is
typed before anything is asked. What the terminal shows goes to the file TRANSCRIPT; the command's streams are ours.
"""

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time

transcript, answers, command = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
master, slave = pty.openpty()


def at_the_terminal():
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


if "TYPED" in os.environ:
    os.write(master, os.environ["TYPED"].encode())
child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=at_the_terminal)
# We keep the terminal open, so that it is there when nobody has it open. The end of the command is that of its pidfd.
ended = os.pidfd_open(child.pid)
shown = b""
asked = 0
while True:
    ready, _, _ = select.select([master, ended], [], [])
    if master not in ready:
        break
    shown += os.read(master, 65536)
    while shown.count(b"Enter denies: ") > asked:
        answer = answers[asked] if asked < len(answers) else ""
        asked += 1
        if isinstance(answer, dict):
            if "asked" in answer:
                open(answer["asked"], "x").close()
            while not os.path.exists(answer["until"]):
                time.sleep(0.02)
            answer = answer["text"]
        if answer is not False:
            os.write(master, b"\x03" if answer is None else answer.encode() + b"\n")
with open(transcript, "wb") as file:
    file.write(shown)
code = child.wait()
sys.exit(code if code >= 0 else 128 - code)
