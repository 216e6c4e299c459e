"""The cost of `access` for a request, in µs of processor time, with one network and with a hundred thousand.

"the gate" is all that a request with `access` has more than one without: the origin of the client, the list, the call
of the handler behind it. A known client's verdict is cached; of a new one, the list is searched. Where `make compiled`
was run, both builds of the package are measured, in turns, each in processes of its own.

    python -m benchmarks.access [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.hot_path import Rig, micros
from devtools.builds import python_commands
from devtools.report import Check, conclude, options, table
from lbflask.build import Build
from lbflask.core.access_list import AccessList, network_list
from lbflask.proxy import client_request
from lbflask.proxy.access import AccessCheck
from lbflask.proxy.admission import AdmissionHandler
from lbflask.server.worker.http_exchange import HttpExchange

MANY = 100_000
#: µs of a request, and seconds to load a list.
TARGET, LOAD_TARGET = 1.0, 1.0
KNOWN, LOAD = f"the gate, {MANY:,} networks", "load the list, ms"
#: Before a list of one network, and before the large one.
NEW = "a client not seen before, one network", f"a client not seen before, {MANY:,} networks"


def addresses(count: int, seed: int) -> list[str]:
    """Addresses of the public range."""
    chance = random.Random(seed)
    return [".".join(str(chance.randrange(1, 224)) for _ in range(4)) for _ in range(count)]


class Behind:
    """A handler that does nothing."""

    def dispatch(self, request: client_request.ClientRequest) -> None:
        pass


def measured(rounds: int) -> dict[str, float]:
    """The costs with the build of this process."""
    rig, behind = Rig(9), Behind()
    request = client_request.from_exchange(HttpExchange(rig.read(), rig.client))
    replies = rig.plane.front.handler._replies

    def gate(access: AccessList) -> Callable[[], Any]:
        handler = AdmissionHandler(behind, [AccessCheck(access)], replies)
        return lambda: handler.dispatch(request)

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "deny.txt"
        path.write_text("\n".join(addresses(MANY, 1)))
        began = time.process_time()
        large = AccessList([], [network_list(path.read_text().split("\n"))])
        loaded = time.process_time() - began
    small, clients = AccessList([], [network_list(["203.0.113.0/24"])]), cycle(addresses(20_000, 2))  # beyond the cache
    found = {
        "all of a request, without access": micros(rig.serve, rounds),
        "the gate, one network": micros(gate(small), rounds),
        KNOWN: micros(gate(large), rounds),
        NEW[0]: micros(lambda: small.admits(next(clients)), rounds),
        NEW[1]: micros(lambda: large.admits(next(clients)), rounds),
    }
    nothing = micros(lambda: behind.dispatch(request), rounds), micros(lambda: next(clients), rounds)
    for name in found:
        if name.startswith("the gate"):
            found[name] -= nothing[0]
    for name in NEW:
        found[name] -= nothing[1]
    return {**found, LOAD: loaded * 1000}


def measured_apart(python: list[str], given: argparse.Namespace) -> dict[str, float]:
    """The same, by another process of this module."""
    command = [*python, "-m", "benchmarks.access", "--one", *(["--quick"] if given.quick else [])]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = options(__doc__, "access")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(5 if given.quick else 50)))
        return
    builds = {build: measured_apart(python, given) for build, python in python_commands().items()}
    first = next(iter(builds.values()))
    rows = [[name, *(f"{found[name]:.2f}" for found in builds.values())] for name in first]
    print(table(["µs", *builds], rows), end="\n\n")
    best = builds.get(Build.COMPILED, first)
    checks = [
        Check(KNOWN, best[KNOWN], TARGET, "µs"),
        Check("what the many networks add for a new client", best[NEW[1]] - best[NEW[0]], TARGET, "µs"),
        Check(LOAD, best[LOAD] / 1000, LOAD_TARGET, "s"),
    ]
    conclude(given, checks, {"builds": builds})


if __name__ == "__main__":
    main()
