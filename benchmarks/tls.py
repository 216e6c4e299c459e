"""TLS of clients against nginx and Go: handshakes a second, full and resumed, and large bodies.

All serve the same certificate (ECDSA P-256) with two workers or on two cores, round by round; the medians of the ratios
of the rounds are compared. lbflask takes part in each build that is here, and the compiled one is held to the targets.
The client is a program in Go. A handshake is a connection from its opening until the server has closed it; "with a
request" has one small GET. Beside each rate is the processor time of the server for one handshake or MiB, and that of
the client, which shares the two cores. What OpenSSL needs for a handshake in memory is measured as well.

    python -m benchmarks.tls [--rounds 5] [--seconds 3] [--connections 32] [--size MIB]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import proxies, tls_alone
from benchmarks.harness import Bench, Command, bench, free_ports, need, processor_seconds, running
from benchmarks.proxies import Competitor
from devtools.certificates import Authority, Pair
from devtools.environment import HOST
from devtools.report import MIB, Check, conclude, options, ratio, say, table
from lbflask.build import Build

HERE = Path(__file__).parent
#: Against nginx, in the same round.
TARGET = 0.5

#: What is measured, with the arguments of the client.
SHAKES = {
    f"TLS {version}, {what}": (version, kind)
    for version, (what, kind) in product(
        ("1.3", "1.2"),
        (("full", "full"), ("resumed", "resumed"), ("full with a request", "full+get")),
    )
}
BODIES = {f"TLS 1.3, {way}, {framing}": (way, framing) for way in ("down", "up") for framing in ("length", "chunked")}


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement: handshakes or MiB a second, and the microseconds of processor time of each one."""

    rate: float
    server: float
    client: float
    resumed: float = 0.0  #: the share of the handshakes
    errors: int = 0


#: By what is measured, then by competitor: the rounds.
Results = dict[str, dict[str, list[Measured]]]


class Client:
    """The program in Go."""

    def __init__(self, work: Path) -> None:
        self._binary = str(proxies.go_binary(HERE / "clients" / "tls_client.go", work))

    def run(self, port: int, *arguments: object) -> dict[str, Any]:
        """What it reports. Raises CalledProcessError."""
        command = [self._binary, f"{HOST}:{port}", *map(str, arguments)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def handshakes(self, one: Competitor, kind: tuple[str, str], connections: int, seconds: float) -> Measured:
        """So many connections at a time, for so long. Raises RuntimeError if there is no handshake."""
        before = processor_seconds(one.processes)
        found = self.run(one.port, *kind, connections, seconds)
        used, count = processor_seconds(one.processes) - before, found["handshakes"]
        if not count:
            raise RuntimeError(f"no handshake: {found['error']}")
        cost, own = used / count * 1e6, found["cpu"] / count * 1e6
        return Measured(count / found["seconds"], cost, own, found["resumed"] / count, found["errors"])

    def body(self, one: Competitor, kind: tuple[str, str], size: int) -> Measured:
        """A body of so many MiB."""
        before = processor_seconds(one.processes)
        found = self.run(one.port, "1.3", "body", size * MIB, *kind)
        used = processor_seconds(one.processes) - before
        return Measured(size / found["seconds"], used / size * 1e6, found["cpu"] / size * 1e6)


def entrants(backends: Sequence[int], rig: Bench, pair: Pair) -> list[Competitor]:
    """lbflask, nginx and Go, with this certificate."""
    ours = proxies.builds(backends, rig, TLS__CERTIFICATE=pair.certificate, TLS__KEY=pair.key)
    go = proxies.go_proxy(backends, rig.work, proxies.GO_TUNED, 512, pair)
    return [*ours, proxies.nginx(backends, rig.work, "64k", pair), go]


def judged(by_name: dict[str, list[Measured]]) -> str:
    """The name of the build that is held to the targets."""
    compiled = proxies.BUILD_NAMES[Build.COMPILED]
    return compiled if compiled in by_name else proxies.BUILD_NAMES[Build.PYTHON]


def measure_handshakes(
    backends: Sequence[int], command: Command, rig: Bench, pair: Pair, rounds: int, connections: int, seconds: float
) -> Results:
    """All kinds, all competitors in turn, round by round."""
    client = Client(rig.work)
    results: Results = {kind: {} for kind in SHAKES}
    with ExitStack() as stack:
        stack.enter_context(running([command], backends[0]))
        entered = entrants(backends, rig, pair)
        for one in entered:
            stack.enter_context(one.started())
            client.handshakes(one, ("1.3", "full+get"), connections, 1)  # warm
        for turn, (kind, arguments), one in product(range(rounds), SHAKES.items(), entered):
            found = client.handshakes(one, arguments, connections, seconds)
            results[kind].setdefault(one.name, []).append(found)
            say(
                f"round {turn + 1}, {kind}, {one.name}: {found.rate:,.0f}/s, {found.server:.0f} µs each,"
                f" client {found.client:.0f} µs, resumed {found.resumed:.0%}, {found.errors} errors"
            )
    return results


def measure_bodies(backend: int, command: Command, rig: Bench, pair: Pair, rounds: int, size: int) -> Results:
    """The same for bodies, of so many MiB."""
    client = Client(rig.work)
    results: Results = {kind: {} for kind in BODIES}
    with ExitStack() as stack:
        stack.enter_context(running([command], backend))
        entered = entrants([backend], rig, pair)
        for one in entered:
            stack.enter_context(one.started())
            for arguments in BODIES.values():
                client.body(one, arguments, 8)  # warm
        for turn, (kind, arguments), one in product(range(rounds), BODIES.items(), entered):
            found = client.body(one, arguments, size)
            results[kind].setdefault(one.name, []).append(found)
            say(f"round {turn + 1}, {kind}, {one.name}: {found.rate:,.0f} MiB/s, {found.server:.0f} µs a MiB")
    return results


def against(ours: list[Measured], theirs: list[Measured]) -> float:
    """The median of the ratios of the rates, round by round."""
    return statistics.median(ratio(mine.rate, other.rate) for mine, other in zip(ours, theirs, strict=True))


def judge(results: Results) -> list[Check]:
    """The targets. A handshake with a request has none of its own: it is for the most part a request."""
    checks = [
        Check(f"{kind}, against nginx", against(rounds[judged(rounds)], rounds["nginx"]), TARGET, "x", at_least=True)
        for kind, rounds in results.items()
        if "request" not in kind
    ]
    ours = {kind: rounds[judged(rounds)] for kind, rounds in results.items()}
    shares = [one.resumed for kind, rounds in ours.items() if "resumed" in kind for one in rounds]
    failed = sum(one.errors for rounds in ours.values() for one in rounds)
    return [
        *checks,
        Check("resumed, where the client offers a session", min(shares), 0.99, "x", at_least=True),
        Check("failed handshakes of lbflask", failed, 0),
    ]


def show(results: Results, unit: str) -> str:
    """A markdown table of the medians."""
    rows = []
    for kind, by_name in results.items():
        for name, rounds in by_name.items():
            rate, server, client = (
                statistics.median(getattr(one, what) for one in rounds) for what in ("rate", "server", "client")
            )
            times = "" if name == judged(by_name) else f"{against(by_name[judged(by_name)], rounds):.2f} x"
            rows.append([kind, name, f"{rate:,.0f}", times, f"{server:,.0f}", f"{client:,.0f}"])
    return table(["", "", f"{unit}/s", "the judged build is", f"server, µs/{unit}", f"client, µs/{unit}"], rows)


def plain(results: Results) -> dict[str, Any]:
    """For the file."""
    return {
        kind: {
            name: [{field: getattr(one, field) for field in Measured.__slots__} for one in rounds]
            for name, rounds in by_name.items()
        }
        for kind, by_name in results.items()
    }


def main() -> None:
    parser = options(__doc__, "tls")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--size", type=int, default=512, help="MiB of a body")
    given = parser.parse_args()
    rounds, seconds, size = (1, 1, 32) if given.quick else (given.rounds, given.seconds, given.size)
    need("nginx", "go")
    with bench() as rig:
        authority = Authority(rig.work)
        pair = authority.pair("localhost", HOST)
        alone = tls_alone.microseconds(authority, pair)
        *backends, bulk = free_ports(4)
        small = proxies.nginx_backends(backends, rig.work)
        shakes = measure_handshakes(backends, small, rig, pair, rounds, given.connections, seconds)
        large = [sys.executable, "-m", "benchmarks.backends.bulk", str(bulk)]
        bodies = measure_bodies(bulk, large, rig, pair, rounds, size)
    floor = table(["", *alone], [["OpenSSL alone, µs", *(f"{cost:.0f}" for cost in alone.values())]])
    print(show(shakes, "handshake"), floor, show(bodies, "MiB"), sep="\n\n", end="\n\n")
    numbers = {"handshakes": plain(shakes), "OpenSSL alone": alone, "bodies": plain(bodies)}
    conclude(given, judge(shakes | bodies), numbers)


if __name__ == "__main__":
    main()
