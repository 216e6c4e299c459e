"""Large bodies down and up, of known length and chunked: throughput against nginx, and what they cost in memory.

nginx streams bodies, as lbflask does (proxy_buffering and proxy_request_buffering are off), in pieces of 64 KiB, which
is much faster than its default. The backend and the client use raw sockets, and neither copy nor parse the body;
"direct" is the two without a proxy, the limit of this machine. All take turns, round by round; the medians of the
ratios of the rounds are compared. Memory is the highest RSS of a worker during the transfers, less its RSS before the
first.

    python -m benchmarks.bodies [--size MIB] [--rounds 3]
"""

from __future__ import annotations

import shutil
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from itertools import product
from typing import Any

from benchmarks import proxies
from benchmarks.backends import bulk
from benchmarks.harness import WORKERS, PeakMemory, bench, free_ports, running, serving
from devtools.environment import HOST
from devtools.report import MIB, Check, conclude, options, ratio, say, table

#: Against nginx, in the same round.
THROUGHPUT = 0.5
GROWTH_MIB = 16

KINDS = [(way, framing) for way, framing in product(("down", "up"), ("length", "chunked"))]


def transfer(port: int, way: str, framing: str, size: int) -> float:
    """Seconds that a body of so many bytes takes. Raises OSError unless all of it arrives."""
    chunked = framing == "chunked"
    with socket.create_connection((HOST, port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(True)  # sendfile(2) is called on the descriptor itself
        began = time.monotonic()
        if way == "down":
            sock.sendall(b"GET /%b/%d HTTP/1.1\r\nHost: bench\r\n\r\n" % (framing.encode(), size))
        else:
            sock.sendall(b"PUT / HTTP/1.1\r\nHost: bench\r\n" + bulk.framing(size, chunked=chunked) + b"\r\n")
            bulk.send_body(sock, size, chunked=chunked)
        read = bulk.read_head(sock)
        if read is None or read[0].line[1] != "200":
            raise ConnectionError(f"{way}, {framing}: no answer, or not the one expected")
        head, begun = read
        if way == "down":
            arrived = bulk.discard_body(sock, head, begun, memoryview(bytearray(bulk.READ)))
        else:
            arrived = int(begun + sock.recv(head.length - len(begun)))
        seconds = time.monotonic() - began
    if arrived != size:
        raise ConnectionError(f"{way}, {framing}: {arrived} of {size} bytes arrived")
    return seconds


def warm(port: int) -> None:
    """All kinds, often enough that every worker has met each."""
    for way, framing in KINDS * WORKERS * 4:
        transfer(port, way, framing, 16 * bulk.CHUNK)


def measure(ports: dict[str, int], rounds: int, size: int) -> dict[str, dict[str, list[float]]]:
    """MiB a second of each competitor for each kind, round by round."""
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in ports}
    for turn, (way, framing), (name, port) in product(range(rounds), KINDS, ports.items()):
        rate = size / MIB / transfer(port, way, framing, size)
        rates[name].setdefault(f"{way}, {framing}", []).append(rate)
        say(f"round {turn + 1}, {way}, {framing}, {name}: {rate:,.0f} MiB/s")
    return rates


def against(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios of the rounds."""
    return statistics.median(ratio(mine, other) for mine, other in zip(ours, theirs, strict=True))


def judge(rates: dict[str, dict[str, list[float]]], growth: dict[str, int]) -> list[Check]:
    """The targets. Without nginx there is nothing to compare the throughput with."""
    ours = rates["lbflask"]
    checks = []
    if "nginx" in rates:
        checks = [
            Check(f"{kind}: throughput against nginx", against(ours[kind], rates["nginx"][kind]), THROUGHPUT, "x", True)
            for kind in ours
        ]
    return [*checks, Check("a worker's memory grew by", growth["lbflask"] / MIB, GROWTH_MIB, "MiB")]


def show(rates: dict[str, dict[str, list[float]]], growth: dict[str, int]) -> str:
    kinds = list(rates["lbflask"])
    rows = [
        [name]
        + [f"{statistics.median(rates[name][kind]):,.0f}" for kind in kinds]
        + [f"{growth[name] / MIB:.1f}" if name in growth else ""]
        for name in rates
    ]
    return table(["MiB/s", *kinds, "memory, MiB"], rows)


def main() -> None:
    parser = options(__doc__, "bodies")
    parser.add_argument("--size", type=int, default=1024, help="MiB of a body")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    size, rounds = (32 * MIB, 1) if given.quick else (given.size * MIB, given.rounds)
    with ExitStack() as stack:
        rig = stack.enter_context(bench())
        (backend,) = free_ports(1)
        command = [sys.executable, "-m", "benchmarks.backends.bulk", str(backend)]
        stack.enter_context(running([command], backend))
        entered = [proxies.lbflask([backend], rig)]
        if proxies.here("nginx", shutil.which("nginx")):
            entered.append(proxies.nginx([backend], rig.work, "64k"))
        ports = {"direct": backend, **{one.name: one.port for one in entered}}
        processes = {one.name: stack.enter_context(one.started()) for one in entered}
        for port in ports.values():
            warm(port)
        memory = {name: PeakMemory(serving(process)) for name, process in processes.items()}
        rates = measure(ports, rounds, size)
        for each in memory.values():
            each.stop()
    growth = {name: each.growth for name, each in memory.items()}
    print(show(rates, growth), end="\n\n")
    numbers: dict[str, Any] = {"size": size, "MiB/s": rates, "growth": growth}
    conclude(given, judge(rates, growth), numbers)


if __name__ == "__main__":
    main()
