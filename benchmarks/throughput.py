"""`make bench`: requests a second and latency of lbflask and of others, in turn on loopback, as ratios within one run.

Needs wrk and nginx (which plays the backends); Go, HAProxy, aiohttp with uvloop take part where they are installed.
Every contestant gets two workers or two cores, the same three backends and the same load, round by round, so that a
machine whose speed drifts bends all of them alike; what is compared is the median of the ratios of the rounds.

    python -m benchmarks.throughput [--rounds 5] [--seconds 3] [--connections 1,32,128] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from lbflask.state.embedded import EmbeddedServer, find_binary

HERE = Path(__file__).parent
ROOT = HERE.parent
WORKERS = 2


@dataclass
class Result:
    """One measurement."""

    requests: float
    p50: float  #: milliseconds
    p99: float
    errors: int


@dataclass
class Contestant:
    """A proxy: how to start it so that it listens on a port, and what it said of its version."""

    name: str
    commands: list[list[str]]
    port: int
    environ: dict[str, str] = field(default_factory=dict)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def running(commands: list[list[str]], port: int, environ: dict[str, str] | None = None) -> Iterator[None]:
    """The processes, once the port answers; ended afterwards."""
    children = [
        subprocess.Popen(
            command,
            env={**os.environ, **(environ or {})},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > deadline or any(child.poll() is not None for child in children):
                raise RuntimeError(f"did not start: {' '.join(commands[0])}")
            time.sleep(0.05)
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def contestants(backends: list[int], work: Path, redis_url: str) -> list[Contestant]:
    """All that can take part on this machine; lbflask first."""
    urls = [f"http://127.0.0.1:{port}" for port in backends]
    ports = iter(free_ports(16))
    python = sys.executable
    gunicorn = [python, "-m", "gunicorn", "--workers", str(WORKERS)]

    def ours(name: str, **settings: str) -> Contestant:
        port = next(ports)
        environ = {
            "LBFLASK_CONFIG": os.devnull,
            "LBFLASK_BACKENDS": ",".join(urls),
            "LBFLASK_BIND": f"127.0.0.1:{port}",
            "LBFLASK_ADMIN_BIND": f"127.0.0.1:{next(ports)}",
            "LBFLASK_REDIS_URL": redis_url,
            **settings,
        }
        commands = [[*gunicorn, "-c", "gunicorn.conf.py", "lbflask.wsgi"], [python, "-m", "lbflask.healthcheck"]]
        return Contestant(name, commands, port, environ)

    found = [
        ours("lbflask", LBFLASK_ACCESS_LOG=str(work / "access.log")),
        ours("lbflask, no access log", LBFLASK_ACCESS_LOG=""),
    ]
    if shutil.which("go"):
        binary = str(work / "go_proxy")
        subprocess.run(
            ["go", "build", "-o", binary, str(HERE / "contestants" / "go_proxy.go")],
            check=True,
            env={**os.environ, "GOCACHE": str(work / "go-cache"), "GO111MODULE": "off"},
        )
        for name, idle in (("Go ReverseProxy", "0"), ("Go ReverseProxy, 512 idle", "512")):
            port = next(ports)
            command = [binary, f"127.0.0.1:{port}", idle, *urls]
            found.append(Contestant(name, [command], port, {"GOMAXPROCS": str(WORKERS)}))
    if find_spec("aiohttp") and find_spec("uvloop"):
        port = next(ports)
        command = [python, str(HERE / "contestants" / "aiohttp_proxy.py"), str(port), *urls]
        found.append(Contestant("aiohttp + uvloop", [command] * WORKERS, port))
    port = next(ports)
    plain = "python:benchmarks.contestants"  # without it gunicorn takes ./gunicorn.conf.py
    naive = [*gunicorn, "-c", plain, "-k", "gthread", "--threads", "32", "-b", f"127.0.0.1:{port}"]
    environ = {"BACKENDS": ",".join(urls), "REDIS_URL": redis_url}
    found.append(Contestant("Flask + requests + Redis", [[*naive, "benchmarks.contestants.naive:app"]], port, environ))
    found.append(nginx_proxy(backends, next(ports), work))
    if shutil.which("haproxy"):
        found.append(haproxy(backends, next(ports), work))
    return found


def nginx_command(work: Path, name: str, body: str) -> list[str]:
    path = work / f"{name}.conf"
    path.write_text(
        f"daemon off; pid {work}/{name}.pid; error_log /dev/null;\n"
        f"worker_processes {WORKERS if 'proxy' in name else 1};\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {work};"
        f" proxy_temp_path {work}; fastcgi_temp_path {work}; uwsgi_temp_path {work}; scgi_temp_path {work};\n"
        f"{body}\n}}\n"
    )
    return ["nginx", "-c", str(path)]


def nginx_proxy(backends: list[int], port: int, work: Path) -> Contestant:
    servers = " ".join(f"server 127.0.0.1:{backend};" for backend in backends)
    body = (
        f"upstream pool {{ {servers} keepalive 256; keepalive_requests 100000000; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://pool; proxy_http_version 1.1;"
        ' proxy_set_header Connection ""; proxy_buffering off; } }'
    )
    return Contestant("nginx", [nginx_command(work, "nginx-proxy", body)], port)


def haproxy(backends: list[int], port: int, work: Path) -> Contestant:
    path = work / "haproxy.cfg"
    servers = "\n".join(f"  server b{n} 127.0.0.1:{backend}" for n, backend in enumerate(backends))
    path.write_text(
        f"global\n  nbthread {WORKERS}\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n"
        f"  timeout server 60s\n  http-reuse always\nfrontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n"
        f"backend b\n  balance roundrobin\n{servers}\n"
    )
    return Contestant("HAProxy", [["haproxy", "-f", str(path)]], port)


def measure(port: int, connections: int, seconds: int) -> Result:
    """A run of wrk."""
    script = HERE / "report.lua"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", output)
    if found is None:
        raise RuntimeError(f"wrk said nothing useful: {output}")
    count, micros, p50, p99, errors = map(int, found.groups())
    return Result(count / micros * 1e6, p50 / 1000, p99 / 1000, errors)


def version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "not installed"
    return (done.stdout + done.stderr).strip().splitlines()[0]


def machine() -> dict[str, str]:
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "go": version(["go", "version"]),
        "nginx": version(["nginx", "-v"]),
        "haproxy": version(["haproxy", "-v"]),
    }


def table(results: dict[str, dict[int, list[Result]]], connections: list[int]) -> str:
    """A markdown table: medians, and the ratio of requests/s of the others to lbflask, round by round."""
    head = "| | " + " | ".join(f"req/s, {c} conn. | lbflask is | p50 ms | p99 ms" for c in connections) + " |"
    lines = [
        head,
        "| --- |" + " --- |" * (4 * len(connections)),
    ]
    ours = results["lbflask"]
    for name, by_connections in results.items():
        cells = []
        for count in connections:
            rounds = by_connections[count]
            ratio = statistics.median(
                mine.requests / theirs.requests for mine, theirs in zip(ours[count], rounds, strict=True)
            )
            cells += [
                f"{statistics.median(r.requests for r in rounds):,.0f}",
                "" if name == "lbflask" else f"{ratio:.2f} x",
                f"{statistics.median(r.p50 for r in rounds):.2f}",
                f"{statistics.median(r.p99 for r in rounds):.2f}",
            ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", default="1,32,128")
    parser.add_argument("--only", default="", help="names of contestants, separated by ;")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results.json"))
    options = parser.parse_args()
    connections = [int(part) for part in options.connections.split(",")]
    for tool in ("wrk", "nginx"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is needed for the measurement: apt-get install {tool}")
    find_binary()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbf-bench-")))
        work.chmod(0o700)
        store = EmbeddedServer(work)
        store.start()
        stack.callback(store.stop)
        backends = free_ports(3)
        servers = "\n".join(
            f"server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello from {port}\\n'; }} }}"
            for port in backends
        )
        stack.enter_context(running([nginx_command(work, "backends", servers)], backends[0]))
        wanted = [name for name in options.only.split(";") if name]
        entered = [c for c in contestants(backends, work, f"unix://{store.socket}") if not wanted or c.name in wanted]
        for contestant in entered:
            stack.enter_context(running(contestant.commands, contestant.port, contestant.environ))
        results: dict[str, dict[int, list[Result]]] = {c.name: {n: [] for n in connections} for c in entered}
        for contestant in entered:
            measure(contestant.port, 32, 1)  # warm
        for turn in range(options.rounds):
            for count in connections:
                for contestant in entered:
                    result = measure(contestant.port, count, options.seconds)
                    results[contestant.name][count].append(result)
                    print(
                        f"round {turn + 1}, {count} connections, {contestant.name}: {result.requests:,.0f}/s,"
                        f" p99 {result.p99:.2f} ms, {result.errors} errors",
                        file=sys.stderr,
                    )
    print(table(results, connections))
    plain = {
        name: {str(count): [vars(result) for result in rounds] for count, rounds in by_count.items()}
        for name, by_count in results.items()
    }
    options.json.write_text(json.dumps({"machine": machine(), "results": plain}, indent=1) + "\n")
    if any(result.errors for by_count in results.values() for rounds in by_count.values() for result in rounds):
        print("there were errors: see the lines above", file=sys.stderr)


if __name__ == "__main__":
    main()
