"""An operator on call, who executes what the advice of `doctor` says as it is written."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from functools import partial

from chaos.gameday import advice
from chaos.gameday.fleet import GameFleet
from chaos.gameday.surfaces import Seen
from devtools.wait import eventually

#: Seconds for a command, and in which an instance whose workers are being replaced reloads again.
COMMAND_TIMEOUT, RELOADED_WITHIN = 60.0, 40.0
#: Commands after which no further finding is followed: such a remedy leads nowhere. Seconds for one to work.
MOST_STEPS, PATIENCE = 6, 3.0
#: Seconds after which a finding that remains is followed again: its figures may be others now.
AGAIN_AFTER = 15.0


class Operator:
    """`executes` is an expression for the commands of the advice that fit, where it names alternatives. `viewer` is the
    number of the instance whose admin listener is used. `patience` is in seconds.
    """

    def __init__(self, fleet: GameFleet, executes: str, viewer: int, patience: float = PATIENCE) -> None:
        self.executed: list[str] = []  #: in order: commands and lines of the configuration as written
        self._fleet = fleet
        self._executes = re.compile(executes)
        self._viewer = viewer
        self._patience = patience
        self._followed: set[str] = set()
        self._subject = ""
        self._acted_at = float("-inf")

    def relieve(self, finding: Seen) -> None:
        """Spare clients, before the cause is removed."""
        self._subject = finding.check
        self._run_all(command for command in advice.commands(finding.advice) if advice.relieves(command))

    def remedy(self, finding: Seen) -> None:
        """Execute all else of the advice: lines of the configuration before commands."""
        self._followed.add(_kind(finding))
        self._apply(advice.lines(finding.advice))
        self._run_all(command for command in advice.commands(finding.advice) if not advice.relieves(command))

    def follow(self, findings: Iterable[Seen]) -> None:
        """Execute the advice of findings that remain: of the same subject, and what puts back what was taken out. Each
        command has a while to work.
        """
        waited = time.monotonic() - self._acted_at
        if waited > AGAIN_AFTER:
            self._followed.clear()
        for finding in findings if waited > self._patience else ():
            if _kind(finding) in self._followed or len(self.executed) > MOST_STEPS:
                continue
            self._followed.add(_kind(finding))
            found = [command for command in advice.commands(finding.advice) if not advice.relieves(command)]
            if finding.check == self._subject:
                self._apply(advice.lines(finding.advice))
                self._run_all(found)
            else:
                self._run_all(command for command in found if advice.restores(command))

    def _apply(self, lines: Sequence[str]) -> None:
        if lines:
            self.executed += lines
            settings = advice.settings(lines)
            self._acted_at = time.monotonic()
            self._fleet.write(lambda usual: usual.update(advice.merged(usual, settings)))

    def _run_all(self, commands: Iterable[str]) -> None:
        for command in commands:
            if not self._executes.search(command):
                continue
            self.executed.append(command)
            self._acted_at = time.monotonic()
            if advice.starts(command):
                self._fleet.start_by(command)
            elif command == "lbflask reload":
                for number in self._fleet.running_instances:
                    eventually(partial(self._reloads, number), f"instance {number} reloads", RELOADED_WITHIN, every=0.2)
            else:
                self._shell(command, self._viewer)

    def _reloads(self, number: int) -> bool:
        """Reload an instance; False if its answer is to do so again later."""
        said = self._shell("lbflask reload", number)
        return "ask again" not in said and "as soon as it can" not in said

    def _shell(self, command: str, instance: int) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            env=self._fleet.shell_environment(instance),
            cwd=self._fleet.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        said = (done.stdout + done.stderr).strip()
        self._fleet.said.append(f"{command}: {done.returncode} {said}")
        return said


def _kind(finding: Seen) -> str:
    """A finding without its figures, which change from look to look; its commands with the pids in them."""
    return (
        f"{re.sub(r'[0-9.]+', '#', str(finding))} {advice.commands(finding.advice)} {advice.settings(finding.advice)}"
    )
