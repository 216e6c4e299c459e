"""Mixed traffic through two instances for ten minutes, with each failure in turn: nothing fails, and nothing grows.

GET, POST, sessions, uploads, downloads, event streams and WebSockets go to an instance without TLS and to one with it,
at 60 % of the capacity, which is measured first. The clients verify every byte. Meanwhile workers, backends, checkers
and the store are killed and frozen, and instances are reloaded, renewed and upgraded. docs/soak.md has the failures
that no balancer can avoid, and the rules that decide which ones are.

    python -m chaos.soak [--seconds 600] [--quick] [--list] [--only NAME] …
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from chaos.command_line import choice, parser_for
from chaos.soak.client import ClientProcess
from chaos.soak.cluster import MemorySampler, SoakCluster, soak_cluster
from chaos.soak.injections import INJECTIONS, Action, inject
from chaos.soak.summary import LOAD, Soak, checks, decides, document, text
from chaos.soak.verdict import Injection, LogLine, read_log
from devtools.report import machine, say, write


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: of the measurement of the capacity, of the traffic, of a failure that lasts, and between two samples."""

    capacity: float
    total: float
    trouble: float
    sample: float

    @property
    def calm(self) -> float:
        """Seconds of traffic before the first injection and after the last."""
        return max(2.0, self.total / 25)


QUICK = Pace(3.0, 0.0, 1.5, 0.5)


def full(seconds: float) -> Pace:
    """The pace of a run of so many seconds."""
    return Pace(10.0, seconds, 8.0, max(0.5, seconds / 200))


def inject_all(cluster: SoakCluster, actions: Mapping[str, Action], pace: Pace) -> list[Injection]:
    """One injection after another, at equal distances as far as the fleet recovers in time."""
    time.sleep(pace.calm)
    began, distance = time.monotonic(), (pace.total - 2 * pace.calm) / len(actions)
    injections = []
    for turn, (name, action) in enumerate(actions.items()):
        time.sleep(max(0.0, began + turn * distance - time.monotonic()))
        found = inject(cluster, name, action, pace.trouble)
        injections.append(found)
        say(f"{name}: {found.until - found.since:.1f} s{', ' + found.error if found.error else ''}")
    time.sleep(max(0.0, began + len(actions) * distance - time.monotonic()) + pace.calm)
    return injections


def soak(actions: Mapping[str, Action], pace: Pace) -> Soak:
    """A whole run."""
    with ExitStack() as running:
        cluster = running.enter_context(soak_cluster())
        clients = ClientProcess(pace.capacity, cluster.authority.ca_file, cluster.ports)
        running.callback(clients.kill)
        rate = LOAD * clients.capacity
        say(f"capacity {clients.capacity:,.0f} exchanges/s; traffic {rate:,.0f}/s")
        clients.begin(rate)
        sampler = MemorySampler(cluster, pace.sample)
        running.callback(sampler.stop)
        began = time.monotonic()
        injections = inject_all(cluster, actions, pace)
        ended = time.monotonic()
        sampler.stop()
        tally = clients.stop()
        for balancer in cluster.balancers:
            cluster.end(balancer)
        log = access_log(cluster, [failure.number for failure in tally.failures])
        tracebacks = sum("Traceback" in process.output for process in cluster.processes)
        return Soak(began, ended, clients.capacity, rate, tally, injections, sampler.samples, log, tracebacks)


def access_log(cluster: SoakCluster, numbers: Sequence[int]) -> dict[int, LogLine]:
    """The lines of both instances about exchanges with these numbers."""
    found: dict[int, LogLine] = {}
    for path in cluster.access_logs:
        with path.open(encoding="utf-8") as lines:
            found |= read_log(lines, numbers)
    return found


def positive(text: str) -> float:
    """A number of seconds above 0. Raises ValueError."""
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(text)
    return seconds


def main() -> None:
    parser = parser_for(__doc__, "soak", "injection")
    parser.add_argument("--seconds", type=positive, default=600.0, help="of traffic; more if the fleet recovers slowly")
    given = parser.parse_args()
    actions = choice(given, INJECTIONS, "injection")
    found = soak(actions, QUICK if given.quick else full(given.seconds))
    print(text(found))
    write(given.json, {"quick": given.quick, "machine": machine(), **document(found)})
    if any(not check.met and decides(check, quick=given.quick) for check in checks(found)):
        sys.exit(1)


if __name__ == "__main__":
    main()
