"""What an operator sees of the fleet: `doctor`, `status`, `events`, `/metrics`, and the error logs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chaos.gameday.fleet import GameFleet
from devtools.servers import get

#: Events that are read.
EVENTS = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """A finding of `doctor`."""

    level: str
    check: str
    finding: str
    advice: str

    def __str__(self) -> str:
        return f"{self.check}: {self.finding}"

    @property
    def key(self) -> tuple[str, str]:
        """The subject and the level, by which findings are compared."""
        return self.check, self.level


@dataclass(frozen=True, slots=True)
class View:
    """The surfaces at one moment, as far as they have changed since the injection."""

    findings: list[Seen]
    texts: dict[str, str]

    def text(self, surface: str) -> str:
        """The text of a surface; that of `doctor` has the findings that are not good."""
        if surface == "doctor":
            return "\n".join(str(one) for one in self.findings if one.level != "good")
        return self.texts.get(surface, "")

    @property
    def troubles(self) -> set[tuple[str, str]]:
        """The findings that are not good."""
        return {one.key for one in self.findings if one.level != "good"}


class Surfaces:
    """Reads the surfaces of an instance. Events and log lines count from the making of this object on."""

    def __init__(self, fleet: GameFleet, instance: int, wanted: Iterable[str]) -> None:
        self._fleet = fleet
        self._instance = instance
        self._wanted = set(wanted)
        self._logs = {process.pid: len(process.output) for process in fleet.processes}
        self._events = set(self._event_lines())

    def read(self) -> View:
        """The view now. A surface that does not answer is empty."""
        texts = {}
        if "status" in self._wanted:
            texts["status"] = self._command("status")
        if "events" in self._wanted:
            texts["events"] = "\n".join(line for line in self._event_lines() if line not in self._events)
        if "metrics" in self._wanted:
            texts["metrics"] = self._metrics()
        if "log" in self._wanted:
            texts["log"] = "\n".join(
                process.output[self._logs.get(process.pid, 0) :]
                for process in self._fleet.processes
                if not process.output_file.closed
            )
        return View(self.findings(), texts)

    def findings(self) -> list[Seen]:
        """The findings of `doctor`."""
        document = _document(self._command("doctor", "--json"))
        return [Seen(one["level"], one["check"], one["finding"], one["advice"]) for one in document.get("findings", ())]

    def _event_lines(self) -> list[str]:
        return self._command("events", "--limit", str(EVENTS), "--json").splitlines()

    def _command(self, *arguments: str) -> str:
        return self._fleet.command(*arguments, code=None, instance=self._instance)

    def _metrics(self) -> str:
        try:
            return get(self._fleet.balancers[self._instance].admin_port, "/metrics").body.decode()
        except OSError:
            return ""


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
