"""What others wait for while slow clients are served by backends on synchronous workers, with buffers and behind nginx.

`alone`: one gunicorn with one `sync` worker, and a client that sends 60 bytes over some seconds, or that reads 8 MiB
slowly. Another client asks for a short page meanwhile: its longest wait counts. `crowd`: three gunicorns with two
`sync` workers each, and 200 slow uploads at once, beside a steady rate of short requests: their p99 counts against that
without uploads. nginx with its defaults is measured in the same run if it is installed, and lbflask without buffers is
shown for comparison.

    python -m benchmarks.buffering [--uploads 200] [--seconds 6] [--rate 100]
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from benchmarks import load, proxies
from benchmarks.harness import WORKERS, Bench, Command, bench, free_ports, running
from devtools.environment import HOST, ROOT
from devtools.report import Check, conclude, options, ratio, say, table

#: Seconds that another client may wait beside one slow client, and the p99 beside a crowd against that without one.
WAIT, CROWD = 0.05, 2.0
#: The body of an upload, which takes `--seconds`.
BODY = 60
LARGE = 8 << 20
#: Bytes that a slow reader takes at a time.
SIP = 64 << 10
WITHOUT = "lbflask without buffers"
SETTINGS = {"BUFFERING__REQUESTS": "1MiB", "BUFFERING__RESPONSES": "1MiB", "HEALTH__KIND": "tcp"}


def application(port: int, workers: int) -> Command:
    """gunicorn with so many synchronous workers."""
    plain = "python:benchmarks.competitors"  # without it gunicorn takes ./gunicorn.conf.py
    command = [sys.executable, "-m", "gunicorn", "-c", plain, "-k", "sync", "-w", str(workers), "-t", "300"]
    return [*command, "-b", f"{HOST}:{port}", "--pythonpath", str(ROOT), "devtools.sync_app:app"]


def buffering_nginx(backends: list[int], rig: Bench) -> proxies.Competitor:
    """nginx with its defaults, which buffer both ways."""
    (port,) = free_ports(1)
    servers = " ".join(f"server {HOST}:{backend};" for backend in backends)
    body = (
        f"upstream pool {{ {servers} }} client_max_body_size 0;\n"
        f"server {{ listen {HOST}:{port}; location / {{ proxy_pass http://pool; }} }}"
    )
    return proxies.Competitor("nginx", [proxies.nginx_command(rig.work, "nginx-buffering", body, WORKERS)], port)


def competitors(backends: list[int], rig: Bench, *, without: bool) -> list[proxies.Competitor]:
    """lbflask with buffers, nginx, and where it ends in time lbflask without buffers."""
    found = [proxies.lbflask(backends, rig, **SETTINGS)]
    if proxies.here("nginx", shutil.which("nginx")):
        found.append(buffering_nginx(backends, rig))
    if without:
        found.append(proxies.lbflask(backends, rig, WITHOUT, HEALTH__KIND="tcp"))
    return found


async def upload(port: int, seconds: float) -> None:
    """Send a short body over so many seconds."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"POST / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % BODY)
    for _ in range(BODY):
        await asyncio.sleep(seconds / BODY)
        writer.write(b"x")
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"an upload failed: {answer[:80]!r}")


async def download(port: int, seconds: float) -> None:
    """Read a large response over so many seconds, through a small receive buffer."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP)
        sock.setblocking(False)
        await loop.sock_connect(sock, (HOST, port))
        await loop.sock_sendall(sock, b"GET /large HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        received, began = 0, loop.time()
        while data := await loop.sock_recv(sock, SIP):
            received += len(data)
            await asyncio.sleep(max(0.0, began + seconds * received / LARGE - loop.time()))
    if received < LARGE:
        raise RuntimeError(f"a download broke off after {received} bytes")


async def ask(port: int) -> float:
    """The seconds of one short request on a new connection."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"a request failed: {answer[:80]!r}")
    return time.monotonic() - began


async def longest_wait(port: int, slow: Callable[[int, float], Awaitable[None]], seconds: float) -> float:
    """The longest wait of another client while a slow one is served."""
    await ask(port)
    task = asyncio.ensure_future(slow(port, seconds))
    waits = []
    await asyncio.sleep(seconds / 10)
    while not task.done():
        waits.append(await ask(port))
        await asyncio.sleep(0.1)
    await task
    return max(waits)


@dataclass
class Waits:
    """The longest wait of another client beside a slow upload and a slow download, by proxy."""

    uploads: dict[str, float] = field(default_factory=dict)
    downloads: dict[str, float] = field(default_factory=dict)


async def alone(rig: Bench, seconds: float) -> Waits:
    """One slow client and one synchronous worker."""
    found = Waits()
    (backend,) = free_ports(1)
    with running([application(backend, 1)], backend):
        for proxy in competitors([backend], rig, without=True):
            with proxy.started():
                found.uploads[proxy.name] = await longest_wait(proxy.port, upload, seconds)
                found.downloads[proxy.name] = await longest_wait(proxy.port, download, seconds)
                say(f"{proxy.name}: {found.uploads[proxy.name]:.3f} s, {found.downloads[proxy.name]:.3f} s")
    return found


async def crowd(rig: Bench, uploads: int, rate: float, seconds: float) -> dict[str, tuple[load.Load, load.Load]]:
    """Short requests without slow uploads and among them, behind each proxy with buffers."""
    found = {}
    backends = free_ports(3)
    with ExitStack() as stack:
        for backend in backends:
            stack.enter_context(running([application(backend, 2)], backend))
        for proxy in competitors(backends, rig, without=False):
            with proxy.started():
                await load.run(proxy.port, rate, min(2.0, seconds))  # warm
                without = await load.run(proxy.port, rate, seconds)
                slow = [asyncio.ensure_future(upload(proxy.port, 2 * seconds)) for _ in range(uploads)]
                await asyncio.sleep(seconds / 4)
                among = await load.run(proxy.port, rate, seconds)
                still = sum(not task.done() for task in slow)
                await asyncio.gather(*slow)
                found[proxy.name] = (without, among)
                say(f"{proxy.name}: p99 {without.ms(99):.1f} ms, among {still} uploads {among.ms(99):.1f} ms")
    return found


def main() -> None:
    parser = options(__doc__, "buffering")
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rate", type=float, default=100, help="short requests a second beside the crowd")
    given = parser.parse_args()
    seconds = 2.0 if given.quick else given.seconds
    with bench() as rig, suppress(KeyboardInterrupt):
        waits = asyncio.run(alone(rig, seconds))
        crowds = asyncio.run(crowd(rig, given.uploads, given.rate, seconds))
    rows = [[name, f"{waits.uploads[name]:.3f}", f"{waits.downloads[name]:.3f}"] for name in waits.uploads]
    print(table(["one sync worker", "wait beside an upload, s", "beside a download, s"], rows), end="\n\n")
    checks = [
        Check("wait of another client beside a slow upload", waits.uploads["lbflask"], WAIT, "s"),
        Check("wait of another client beside a slow download", waits.downloads["lbflask"], WAIT, "s"),
    ]
    without, among = crowds["lbflask"]
    checks += [
        Check(f"p99 among {given.uploads} uploads, against none", ratio(among.ms(99), without.ms(99)), CROWD, "x"),
        Check("failed requests", without.errors + among.errors, 0),
    ]
    numbers = {
        "alone": {"uploads": waits.uploads, "downloads": waits.downloads},
        "crowd": {name: [one.summary() for one in pair] for name, pair in crowds.items()},
    }
    conclude(given, checks, numbers)


if __name__ == "__main__":
    main()
