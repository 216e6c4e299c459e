"""The results of a soak: which failures are explained, tables for people, checks, and a document for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from chaos.soak.client import MIX, Tally
from chaos.soak.injections import WARMING
from chaos.soak.verdict import (
    CALM,
    Failure,
    Injection,
    LogLine,
    MemorySample,
    Move,
    explanation,
    growth,
    injection_at,
    median,
    unexplained_moves,
)
from devtools.report import MIB, Check, number, ratio, table

#: The part of the capacity that the traffic uses, and the least part of this rate that must have been reached.
LOAD, REACHED = 0.6, 0.95
#: Descriptors of a process that come and go: a checker that leads, or has led, has three connections more, and probes.
FEW = 4
#: The last third of the time against the first.
GROWTH = 1.05
#: Columns of the tables over time.
COLUMNS = 8
KINDS = tuple(MIX)


@dataclass(frozen=True, slots=True)
class Explained:
    """A failure, the injection at its time, and why it was unavoidable: empty if nothing explains it."""

    failure: Failure
    injection: str
    reason: str


@dataclass
class Soak:
    """A run. Times are of the monotonic clock; the rate is in exchanges a second."""

    began: float
    ended: float
    capacity: float
    rate: float
    tally: Tally
    injections: list[Injection]
    samples: list[MemorySample]
    log: Mapping[int, LogLine]
    tracebacks: int
    failures: list[Explained] = field(init=False)
    moves: list[Move] = field(init=False)  #: those that nothing explains

    def __post_init__(self) -> None:
        self.failures = [
            Explained(one, injection_at(one.ended, self.injections), explanation(one, self.injections, self.log))
            for one in self.tally.failures
        ]
        self.moves = unexplained_moves(self.tally.moves, self.injections)

    @property
    def unexplained(self) -> list[Explained]:
        """The failures that are faults of the balancer."""
        return [one for one in self.failures if not one.reason]

    @property
    def warm(self) -> list[MemorySample]:
        """The samples after the injections that renew processes and enlarge them; all if no other injection follows."""
        if not self.injections or self.injections[-1].name in WARMING:
            return self.samples
        began = max((one.until for one in self.injections if one.name in WARMING), default=self.began)
        return [sample for sample in self.samples if sample.moment >= began]

    def growth(self, role: str, name: str) -> float:
        """The growth of a value of the processes of a role since they are warm."""
        return growth(self.warm, role, name, slack=FEW if name == "descriptors" else 0)

    @property
    def roles(self) -> list[str]:
        """The roles of processes, in the order of their first samples."""
        return list(dict.fromkeys(sample.role for sample in self.samples))

    def exchanges(self) -> Counter[tuple[str, str]]:
        """The exchanges that have ended, by injection and kind."""
        found: Counter[tuple[str, str]] = Counter()
        for (second, kind), count in self.tally.succeeded.items():
            found[injection_at(second + 0.5, self.injections), kind] += count
        for one in self.failures:
            found[one.injection, one.failure.kind] += 1
        return found


def checks(soak: Soak) -> list[Check]:
    """The targets."""
    begun = soak.rate * (soak.ended - soak.began)
    kinds = Counter(kind for (_, kind), count in soak.tally.succeeded.items() for _ in range(count))
    return [
        Check("failures that the documentation does not announce", len(soak.unexplained), 0),
        Check("sessions that moved although their backend served", len(soak.moves), 0),
        Check("injections after which the fleet did not recover", sum(bool(i.error) for i in soak.injections), 0),
        Check("processes with a traceback in their log", soak.tracebacks, 0),
        Check("exchanges, of those planned", ratio(soak.tally.total, begun), REACHED, "", at_least=True),
        Check("least exchanges of a kind", min(kinds[kind] for kind in KINDS), 1, at_least=True),
        *(
            Check(f"{title} of {role}, last third to first", soak.growth(role, name), GROWTH, "x")
            for title, name in (("memory", "proportional"), ("descriptors", "descriptors"))
            for role in soak.roles
        ),
    ]


def decides(check: Check, *, quick: bool) -> bool:
    """Whether a miss fails the run: in a short run, growth proves nothing."""
    return not quick or check.unit != "x"


def traffic_table(soak: Soak) -> str:
    """Exchanges by injection, and failures by kind; in brackets those that are explained."""
    exchanges = soak.exchanges()
    found = Counter((one.injection, one.failure.kind, bool(one.reason)) for one in soak.failures)
    rows = []
    for name in dict.fromkeys([CALM, *(injection.name for injection in soak.injections)]):
        count = sum(exchanges[name, kind] for kind in KINDS)
        cells = [_cell(found[name, kind, False], found[name, kind, True]) for kind in KINDS]
        rows.append([name, f"{count:,}", *cells])
    totals = [f"{sum(exchanges[name, kind] for name, *_ in rows):,}" for kind in KINDS]
    rows.append(["all exchanges", f"{sum(exchanges.values()):,}", *totals])
    return table(["failed during", "exchanges", *KINDS], rows)


def _cell(unexplained: int, explained: int) -> str:
    return " ".join([*([str(unexplained)] if unexplained else []), *([f"({explained})"] if explained else [])])


def reasons_table(soak: Soak) -> str:
    """The failures by the rule that explains them."""
    found = Counter((one.reason or one.failure.text[:100], one.failure.kind) for one in soak.failures)
    return table(["failure", "kind", "number"], [[reason, kind, str(n)] for (reason, kind), n in sorted(found.items())])


def time_table(soak: Soak, title: str, name: str, unit: int = 1) -> str:
    """A value of each role over time: the median over its processes."""
    if not soak.samples:
        return table([title], [])
    first, last = soak.samples[0].moment, soak.samples[-1].moment
    width = max((last - first) / COLUMNS, 1e-3)
    starts = [first + turn * width for turn in range(COLUMNS)]
    rows = []
    for role in soak.roles:
        medians = [median(soak.samples, role, name, start, start + width) / unit for start in starts]
        rows.append([role, *(number(round(value, 1)) for value in medians), f"{soak.growth(role, name):.3f}"])
    return table([title, *(f"{start - first:.0f} s" for start in starts), "last third to first"], rows)


def text(soak: Soak) -> str:
    """All tables."""
    return "\n\n".join(
        [
            f"capacity {soak.capacity:,.0f} exchanges/s, traffic {soak.rate:,.0f}/s for "
            f"{soak.ended - soak.began:,.0f} s, {soak.tally.left_out:,} left out",
            traffic_table(soak),
            reasons_table(soak),
            time_table(soak, "unique set, MiB", "unique", MIB),
            time_table(soak, "proportional set, MiB", "proportional", MIB),
            time_table(soak, "descriptors", "descriptors"),
            table(["", "measured", "target", ""], [check.row() for check in checks(soak)]),
        ]
    )


def document(soak: Soak) -> dict[str, Any]:
    """For JSON; times count from the beginning."""

    def since(moment: float) -> float:
        return round(moment - soak.began, 3)

    exchanges = soak.exchanges()
    return {
        "seconds": soak.ended - soak.began,
        "capacity": soak.capacity,
        "rate": soak.rate,
        "left_out": soak.tally.left_out,
        "checks": [asdict(check) | {"met": check.met} for check in checks(soak)],
        "injections": [
            {
                "name": one.name,
                "since": since(one.since),
                "until": since(one.until),
                "error": one.error,
                "exchanges": {kind: exchanges[one.name, kind] for kind in KINDS},
            }
            for one in soak.injections
        ],
        "failures": [
            asdict(one.failure)
            | {"began": since(one.failure.began), "ended": since(one.failure.ended)}
            | {"injection": one.injection, "reason": one.reason, "log": _line(soak.log.get(one.failure.number))}
            for one in soak.failures
        ],
        "moves": [asdict(move) | {"since": since(move.since), "until": since(move.until)} for move in soak.moves],
        "memory": [asdict(sample) | {"moment": since(sample.moment)} for sample in soak.samples],
    }


def _line(line: LogLine | None) -> dict[str, str] | None:
    return None if line is None else asdict(line)
