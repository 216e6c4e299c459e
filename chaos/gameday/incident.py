"""What an incident is, and what was seen of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chaos.gameday.fleet import GameFleet
from chaos.gameday.surfaces import Seen, View

#: Seconds in which a surface must name an incident, besides the time that health checks need.
NAMED_WITHIN = 5.0
#: Seconds in which the surfaces must be clean after the remedy.
ENDED_WITHIN = 30.0

#: Changes the fleet. What it leaves running is closed by the exit stack of the fleet's incident.
Change = Callable[[GameFleet], None]

#: No command of an advice.
NOTHING = "$^"


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident: how it begins, which words name it, and how it ends.

    `named` has a regular expression for each surface that must name it, with the name and the figure of the cause; at
    least one of `doctor` and `status`, unless the fleet repairs the fault by itself. `wrong` is one for lines of
    `doctor` that must not be marked ✓, and `advice` for the remedy in `doctor`. Its commands are executed as written,
    those that match `executes`; `by_hand` does what no command can do, which `hand` describes. `checks` is the time in
    seconds that health checks and leases need, `settles` the time for which the findings must stay away.
    """

    name: str
    inject: Change
    named: Mapping[str, str]
    anchor: str  #: of docs/runbook.md
    advice: str = ""
    wrong: str = ""
    by_hand: Change | None = None
    hand: str = ""
    executes: str = "."
    checks: float = 0.0
    settles: float = 0.0
    ended_within: float = ENDED_WITHIN
    viewer: int = 0  #: the instance whose surfaces are read

    @property
    def limit(self) -> float:
        """Seconds in which the incident must be named."""
        return NAMED_WITHIN + self.checks


@dataclass(slots=True)
class Sighting:
    """When each surface has named the incident, in seconds since its injection, and what was wrong meanwhile."""

    incident: Incident
    seconds: dict[str, float] = field(default_factory=dict)
    finding: Seen | None = None  #: of `doctor`, that names it
    still_good: str = ""  #: a line with ✓ for what is broken
    findings: list[str] = field(default_factory=list)  #: of the latest look that are not good

    def look(self, view: View, elapsed: float) -> None:
        """Take note of a view of the surfaces, so many seconds after the injection."""
        for surface, expression in self.incident.named.items():
            found = re.search(expression, view.text(surface), re.MULTILINE)
            if found is not None:
                self.seconds.setdefault(surface, elapsed)
        self.findings = [str(finding) for finding in view.findings if finding.level != "good"]
        named = [
            finding
            for finding in view.findings
            if finding.level != "good" and re.search(self.incident.named.get("doctor", NOTHING), str(finding))
        ]
        if named:
            self.finding = next((one for one in named if re.search(self.incident.advice, one.advice)), named[0])
        good = (str(one) for one in view.findings if one.level == "good")
        wrong = self.incident.wrong
        self.still_good = next((line for line in good if wrong and re.search(wrong, line)), "")

    @property
    def missing(self) -> list[str]:
        """The surfaces that have not named it."""
        return [surface for surface in self.incident.named if surface not in self.seconds]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and nothing is wrong."""
        return not self.faults

    @property
    def faults(self) -> list[str]:
        """What is missing or wrong, in words."""
        found = [f"not named by {surface}" for surface in self.missing]
        if found:
            found.append(f"doctor shows {'; '.join(self.findings) or 'nothing'}")
        if self.still_good:
            found.append(f"✓ {self.still_good}")
        advice = "" if self.finding is None else self.finding.advice
        if self.incident.advice and not re.search(self.incident.advice, advice):
            found.append(f"advice: {advice or 'none'}")
        return found


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an incident."""

    incident: Incident
    sighting: Sighting
    ended: float | None  #: seconds from the remedy to clean surfaces; None if they did not become clean
    executed: Sequence[str] = ()  #: of the advice, as written
    remains: str = ""
    error: str = ""

    @property
    def faults(self) -> list[str]:
        """All that was missed."""
        found = [*self.sighting.faults]
        if self.ended is None and not self.error:
            found.append(f"the remedy does not end it: {self.remains}")
        return [*found, self.error] if self.error else found

    @property
    def verdict(self) -> str:
        """Whether it passes, else what was missed."""
        return "pass" if not self.faults else "MISS: " + "; ".join(self.faults)

    def row(self) -> list[str]:
        """As a line of the table."""
        times = ", ".join(f"{surface} {seconds:.1f} s" for surface, seconds in self.sighting.seconds.items())
        ended = "no" if self.ended is None else f"{self.ended:.1f} s"
        written = ", ".join(dict.fromkeys(f"`{_of_any_run(one)}`" for one in self.executed))
        link = f"[{self.incident.anchor}](runbook.md#{self.incident.anchor})"
        passed = "pass" if not self.faults else "miss"
        return [self.incident.name, times or "none", written, self.incident.hand, ended, link, passed]


def _of_any_run(text: str) -> str:
    """A command without the host, the pids and the ports of one run."""
    return re.sub(r"\b\d{3,}\b(?!\.)", "N", text.replace(f"{os.uname().nodename}/", "HOST/"))
