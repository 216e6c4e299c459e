"""The competitors: how each proxy is started on a port in front of backends, and which of them this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.harness import WORKERS, Bench, Command, free_ports, need, running
from devtools.builds import python_commands
from devtools.certificates import Pair
from devtools.environment import HOST, ROOT
from lbflask.build import Build

HERE = Path(__file__).parent

#: lbflask by its build, and as it was before.
BUILD_NAMES = {Build.COMPILED: "lbflask, compiled", Build.PYTHON: "lbflask"}
BEFORE = "lbflask before"
GO_TUNED = "Go ReverseProxy, 512 idle"


@dataclass
class Competitor:
    """A proxy: how to start it so that it listens on a port."""

    name: str
    commands: list[Command]
    port: int
    environ: dict[str, str] = field(default_factory=dict)
    processes: list[int] = field(default_factory=list)  #: those that `started` has started

    @contextmanager
    def started(self) -> Iterator[int]:
        """The process that was started first, while it runs; `rig.serving` returns its workers."""
        with running(self.commands, self.port, self.environ) as children:
            self.processes[:] = [child.pid for child in children]
            yield children[0].pid


def lbflask(
    backends: Sequence[int],
    bench: Bench,
    name: str = "lbflask",
    python: Sequence[str] = (sys.executable,),
    **settings: str,
) -> Competitor:
    """Us: gunicorn with two workers, and the checker. `python` begins a command that runs Python with the package.
    Settings are LBFLASK_… without the prefix.
    """
    port, admin = free_ports(2)
    environ = {
        "LBFLASK_CONFIG": os.devnull,
        "LBFLASK_BACKENDS": ",".join(f"http://{HOST}:{backend}" for backend in backends),
        "LBFLASK_BIND": f"{HOST}:{port}",
        "LBFLASK_ADMIN_BIND": f"{HOST}:{admin}",
        "LBFLASK_REDIS_URL": bench.redis_url,
        "LBFLASK_ACCESS_LOG": str(bench.work / "access.log"),
        **{f"LBFLASK_{key}": value for key, value in settings.items()},
    }
    gunicorn = [*python, "-m", "gunicorn", "--workers", str(WORKERS), "-c", "python:lbflask.gunicorn_conf"]
    return Competitor(name, [[*gunicorn, "lbflask.wsgi"], [*python, "-m", "lbflask.healthcheck"]], port, environ)


def builds(backends: Sequence[int], bench: Bench, before: Path | None = None, **settings: str) -> list[Competitor]:
    """Us in every build that is here, and the version in the checkout `before`, with the Python in its `.venv`."""
    pythons = {BUILD_NAMES[build]: command for build, command in python_commands().items()}
    if before is not None:
        pythons[BEFORE] = ["env", f"--chdir={before}", "PYTHONPATH=", str(before / ".venv" / "bin" / "python")]
    return [lbflask(backends, bench, name, python, **settings) for name, python in pythons.items()]


def nginx_command(work: Path, name: str, body: str, workers: int = 1) -> Command:
    """nginx in the foreground with this in its `http` block."""
    path = work / f"{name}.conf"
    path.write_text(
        f"daemon off; pid {work}/{name}.pid; error_log /dev/null;\n"
        f"worker_processes {workers};\n"
        "events { worker_connections 16384; }\n"
        f"http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {work};"
        f" proxy_temp_path {work}; fastcgi_temp_path {work}; uwsgi_temp_path {work}; scgi_temp_path {work};\n"
        f"{body}\n}}\n"
    )
    return ["nginx", "-c", str(path)]


def nginx_backends(backends: Sequence[int], work: Path) -> Command:
    """Backends with a short response, much faster than any proxy."""
    servers = "\n".join(
        f"server {{ listen {HOST}:{port}; location / {{ return 200 'hello from {port}\\n'; }} }}" for port in backends
    )
    return nginx_command(work, "backends", servers)


def nginx(backends: Sequence[int], work: Path, piece: str = "", tls: Pair | None = None) -> Competitor:
    """nginx as a proxy that passes everything on as it arrives, upgrades too; in pieces of its default size or this.

    With the certificate it takes TLS 1.2 and 1.3, and resumes sessions by tickets, as is its default.
    """
    (port,) = free_ports(1)
    servers = " ".join(f"server {HOST}:{backend};" for backend in backends)
    sizes = f"proxy_buffer_size {piece}; proxy_buffers 8 {piece}; client_body_buffer_size {piece};" if piece else ""
    passing = "proxy_pass http://pool; proxy_http_version 1.1; proxy_buffering off; proxy_request_buffering off;"
    secured = ";"
    if tls is not None:
        files = f"ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key};"
        secured = f" ssl; ssl_protocols TLSv1.2 TLSv1.3; {files}"
    body = (
        f"upstream pool {{ {servers} keepalive {max(256, len(backends))}; keepalive_requests 100000000; }}\n"
        f"client_max_body_size 0; {sizes}\n"
        f"server {{ listen {HOST}:{port}{secured}\n"
        f'location / {{ {passing} proxy_set_header Connection ""; }}\n'
        f"location /ws {{ {passing} proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade; }}\n"
        "}"
    )
    return Competitor("nginx", [nginx_command(work, "nginx-proxy", body, WORKERS)], port)


def haproxy(backends: Sequence[int], work: Path, check: str = "") -> Competitor:
    """HAProxy with two threads, and health checks by these options, if any."""
    (port,) = free_ports(1)
    path = work / "haproxy.cfg"
    servers = "\n".join(f"  server b{n} {HOST}:{backend} {check}" for n, backend in enumerate(backends))
    path.write_text(
        f"global\n  nbthread {WORKERS}\n  maxconn 9000\ndefaults\n  mode http\n  timeout connect 5s\n"
        "  timeout client 60s\n  timeout server 60s\n  timeout tunnel 1h\n  http-reuse always\n"
        f"frontend f\n  bind {HOST}:{port}\n  default_backend b\nbackend b\n  balance roundrobin\n{servers}\n"
    )
    return Competitor("HAProxy", [["haproxy", "-f", str(path)]], port)


def go_binary(source: Path, work: Path) -> Path:
    """The program of this source, built once in a run."""
    binary = work / source.stem
    if not binary.exists():
        subprocess.run(
            ["go", "build", "-o", str(binary), str(source)],
            check=True,
            env={**os.environ, "GOCACHE": str(work / "go-cache"), "GO111MODULE": "off"},
        )
    return binary


def go_proxy(backends: Sequence[int], work: Path, name: str, idle: int, tls: Pair | None = None) -> Competitor:
    """Go's ReverseProxy on two cores, keeping so many idle connections (0: its default, which is two a backend)."""
    binary = go_binary(HERE / "competitors" / "go_proxy.go", work)
    (port,) = free_ports(1)
    command = [str(binary), f"{HOST}:{port}", str(idle), *(f"http://{HOST}:{backend}" for backend in backends)]
    environ = {"GOMAXPROCS": str(WORKERS)}
    if tls is not None:
        environ |= {"TLS_CERTIFICATE": tls.certificate, "TLS_KEY": tls.key}
    return Competitor(name, [command], port, environ)


def aiohttp_proxy(backends: Sequence[int]) -> Competitor:
    """A proxy written in aiohttp on uvloop, two processes."""
    (port,) = free_ports(1)
    script = str(HERE / "competitors" / "aiohttp_proxy.py")
    command = [sys.executable, script, str(port), *(f"http://{HOST}:{backend}" for backend in backends)]
    return Competitor("aiohttp + uvloop", [command] * WORKERS, port)


def naive(backends: Sequence[int], bench: Bench) -> Competitor:
    """The usual first attempt at a proxy."""
    (port,) = free_ports(1)
    plain = "python:benchmarks.competitors"  # without it gunicorn takes ./gunicorn.conf.py
    command = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "-c", plain, "-k", "gthread"]
    command += ["--threads", "32", "-b", f"{HOST}:{port}", "benchmarks.competitors.naive:app"]
    environ = {
        "BACKENDS": ",".join(f"http://{HOST}:{backend}" for backend in backends),
        "REDIS_URL": bench.redis_url,
        "PYTHONPATH": str(ROOT),
    }
    return Competitor("Flask + requests + Redis", [command], port, environ)


def competitors(backends: Sequence[int], bench: Bench, before: Path | None = None) -> list[Competitor]:
    """All proxies that are installed, lbflask first; prints those that are missing."""
    found = builds(backends, bench, before)
    found.append(lbflask(backends, bench, "lbflask, no log, no metrics", ACCESS_LOG="", METRICS="false"))
    if here("go", shutil.which("go")):
        found.append(go_proxy(backends, bench.work, "Go ReverseProxy", 0))
        found.append(go_proxy(backends, bench.work, GO_TUNED, 512))
    if here("aiohttp with uvloop", find_spec("aiohttp") and find_spec("uvloop")):
        found.append(aiohttp_proxy(backends))
    found.append(naive(backends, bench))
    found.append(nginx(backends, bench.work))
    if here("haproxy", shutil.which("haproxy")):
        found.append(haproxy(backends, bench.work))
    return found


def here(what: str, found: object) -> bool:
    """Whether the program is installed; prints a line if not."""
    if not found:
        print(f"{what} is not installed, and so left out", file=sys.stderr)
    return bool(found)


def one_of(name: str, backends: Sequence[int], bench: Bench, **settings: str) -> Competitor:
    """A single proxy by its name on the command line; the settings are lbflask's. Ends if it is not installed."""
    if name != "lbflask":
        need(name)
    match name:
        case "lbflask":
            return lbflask(backends, bench, **settings)
        case "nginx":
            return nginx(backends, bench.work)
        case "haproxy":
            return haproxy(backends, bench.work)
        case "go":
            return go_proxy(backends, bench.work, GO_TUNED, 512)
        case _:
            raise ValueError(name)


#: The names for `one_of`.
NAMES = ("lbflask", "nginx", "haproxy", "go")
