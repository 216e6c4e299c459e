"""What the metadata of pyproject.toml cannot say: the compiled build, and the description on an index page.

The packages of the hot path are compiled by mypyc when a wheel is built and a C compiler exists; the wheel has the same
files otherwise, and the same behaviour. `LBFLASK_COMPILE=0` leaves them as Python, `1` requires that they are compiled.
An editable installation is never compiled. mypy is installed for the build by pip; without isolation it must be there.

The description is README.md, whose links into the repository lead nowhere from there. With a `Source` in [project.urls]
of pyproject.toml they become absolute, for the version that is built. Without it, which says that the project has no
public address, they become text, and pictures are left out.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
import tomllib
from pathlib import Path

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

HERE = Path(__file__).parent
#: The packages of the hot path. Each becomes one library: all in one would compile for minutes, on one core.
COMPILED = ("core", "upstream", "fleet", "files", "proxy", "telemetry", "server/worker")
#: Their modules that stay Python: the classes derive from those of a library or of the standard library, which a
#: compiled class cannot do, the module runs outside the path of a request and works on the modules themselves, hooks of
#: operators derive from its classes, or the docstrings of its enumerations, which compiled ones lack, are shown.
INTERPRETED = frozenset(
    f"lbflask/{name}.py"
    for name in (
        "core/admin_tokens",
        "core/checks",
        "core/discovery",
        "core/ejection",
        "core/explain",
        "core/failure_causes",
        "core/fleet_events",
        "core/hook_api",
        "core/model",
        "core/outliers",
        "core/reload",
        "core/reserves",
        "proxy/app",
        "server/worker/acceptor",
        "server/worker/arbiter_listeners",
        "server/worker/arbiter_signals",
        "server/worker/arbiter_startup",
        "server/worker/arbiter_termination",
        "server/worker/connection_balance",
        "server/worker/deadline_reader",
        "server/worker/proxy_worker",
        "server/worker/request_parser",
        "server/worker/server_log",
        "server/worker/settings",
        "server/worker/side_threads",
        "server/worker/stock_error_page",
        "telemetry/error_log",
        "telemetry/metrics/definitions",
        "telemetry/metrics/exposition",
        "telemetry/standard_streams",
        "telemetry/tracing",
        "upstream/health_probe",
        "upstream/requests_adapter",
        "upstream/shortage",
    )
)
#: Types of libraries are not read, so that the result does not depend on what the build environment has. A compiled
#: class that derives from a class of theirs would end the process, so it is an error.
MYPY_CONFIG = """
[mypy]
no_site_packages = true
ignore_missing_imports = true
[mypy-{modules}]
disallow_subclassing_any = true
"""


#: Functions of a library are called directly and may be inlined. Without these options a compiler assumes that another
#: library could replace each of them, which costs a tenth of a request.
DIRECT_CALLS = ["-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt"] if sys.platform == "linux" else []


def description(readme: str, source: str | None, version: str) -> str:
    """The README with absolute links below `source`, or with the paths as text when there is no `source`."""
    picture = r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)\n*"
    link = r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)"
    if source:
        base = f"{source.removesuffix('/')}/blob/v{version}/"
        readme = re.sub(picture, rf"![\1]({base}\2?raw=true)\n\n", readme)
        return re.sub(link, rf"[\1]({base}\2)", readme)
    readme = re.sub(picture, "", readme)
    return re.sub(link, lambda found: f"`{found[2]}`" if found[1] == found[2] else f"{found[1]} (`{found[2]}`)", readme)


def missing() -> str:
    """What a compiled build lacks here; empty if nothing."""
    if sys.implementation.name != "cpython":
        return "CPython"
    if importlib.util.find_spec("mypyc") is None:
        return "mypy"
    return "" if compiles() else "a C compiler with Python's headers"


def compiles() -> bool:
    """Whether a C compiler makes an extension module here."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "probe.c"
        source.write_text("#include <Python.h>\nPyObject *PyInit_probe(void) { return NULL; }\n", "utf-8")
        trial = build_ext(Distribution({"name": "probe", "ext_modules": [Extension("probe", [str(source)])]}))
        trial.build_lib = trial.build_temp = place
        try:
            trial.ensure_finalized()
            trial.run()
        except (BaseError, CCompilerError, OSError):
            return False
    return True


def build_requirements(wanted: str, command: list[str], mypy: list[str]) -> list[str]:
    """What pip installs for the build besides the backend: mypy, where it is of use. pip's question is `egg_info`."""
    if wanted == "0" or "egg_info" not in command or sys.implementation.name != "cpython":
        return []
    return mypy if wanted == "1" or compiles() else []


def groups() -> list[tuple[list[str], str]]:
    """The files to compile, by package, each with the name of its library."""
    found = []
    for package in COMPILED:
        files = [path.relative_to(HERE).as_posix() for path in sorted((HERE / "lbflask" / package).rglob("*.py"))]
        modules = [file for file in files if file not in INTERPRETED and not file.endswith("/__init__.py")]
        found.append((modules, f"lbflask.{package.replace('/', '_')}"))
    return found


def mypy_options(files: list[str], place: Path) -> list[str]:
    """The options of mypy for these files; the directory is for its configuration and its cache."""
    modules = ",".join(file.removesuffix(".py").replace("/", ".") for file in files)
    config = place / "mypy.ini"
    config.write_text(MYPY_CONFIG.format(modules=modules), "utf-8")
    return [f"--config-file={config}", f"--cache-dir={place / 'cache'}"]


def extensions(wanted: str, command: list[str]) -> list[Extension]:
    """The extension modules of the build. `wanted` is the value of LBFLASK_COMPILE, `command` that of setup."""
    if wanted not in ("0", "1", "auto"):
        raise SystemExit(f"LBFLASK_COMPILE must be 0, 1 or auto, not {wanted!r}")
    if wanted == "0" or "bdist_wheel" not in command:
        return []
    if lacks := missing():
        if wanted == "1":
            raise SystemExit(f"LBFLASK_COMPILE=1: the compiled build needs {lacks}")
        sys.stderr.write(f"lbflask is built as Python: the compiled build needs {lacks}\n")
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - a build without it is no error

    libraries = groups()
    files = [file for library, _ in libraries for file in library]
    with tempfile.TemporaryDirectory() as place:  # with the cache of an earlier build mypyc fails
        modules = mypycify(
            [*mypy_options(files, Path(place)), *files],
            only_compile_paths=files,
            separate=libraries,
            opt_level=os.environ.get("MYPYC_OPT_LEVEL", "3"),
            debug_level="0",
        )
    for module in modules:
        module.extra_compile_args += DIRECT_CALLS
    return list(modules)


if __name__ == "__main__":
    project = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]
    readme = (HERE / "README.md").read_text("utf-8")
    wanted = os.environ.get("LBFLASK_COMPILE", "auto")
    setup(
        long_description=description(readme, project["urls"].get("Source"), project["version"]),
        long_description_content_type="text/markdown",
        options={"build_ext": {"parallel": os.cpu_count()}},
        ext_modules=extensions(wanted, sys.argv),
        setup_requires=build_requirements(wanted, sys.argv, project["optional-dependencies"]["compile"]),
    )
