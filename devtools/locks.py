"""Writes locks/, the versions and hashes of all that is installed, from pyproject.toml: `make lock`.

`base.txt` is what the package needs, `NAME.txt` what an extra adds to it, `build.txt` the build backend: one resolution
for every platform and version of Python that the project supports. `lowest.txt` has the lowest version that
pyproject.toml allows of what it names, for the tests of these bounds on the oldest Python. The files name no index:
pip's configuration does.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib

from packaging.requirements import Requirement

from devtools.environment import ROOT

LOCKS = ROOT / "locks"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
#: What pyproject.toml names, by the file of locks/ that pins it.
NAMED: dict[str, list[str]] = {
    "build": PYPROJECT["build-system"]["requires"],
    "base": PYPROJECT["project"]["dependencies"],
    **EXTRAS,
}
#: The extras whose lower bounds are tested. `fast` names one version, and the others only serve development.
LOWEST = ("acme", "auth", "compression", "embedded", "otel", "dev")
#: Every platform, and this version of Python or any newer: one version of a package for all of them.
ANYWHERE = ("--universal", "--fork-strategy", "fewest")


def pins(name: str) -> dict[Requirement, list[str]]:
    """The pinned requirements of `locks/NAME.txt`, and the hashes of each."""
    return _parse((LOCKS / f"{name}.txt").read_text("utf-8"))


def _parse(text: str) -> dict[Requirement, list[str]]:
    lines = (line for line in text.replace("\\\n", "").splitlines() if not line.startswith("#"))
    parts = (line.split("--hash=") for line in lines)
    return {Requirement(pin): [one.strip() for one in hashes] for pin, *hashes in parts}


def _compile(*options: str, requirements: str = "pyproject.toml", given: str = "") -> str:
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
    ]
    command += ["--python-version", "3.11", *options, requirements]
    return subprocess.run(command, cwd=ROOT, input=given, check=True, stdout=subprocess.PIPE, text=True).stdout


def _extra(name: str) -> tuple[str, str]:
    return ("--extra", name)


def _write(name: str, locked: str) -> None:
    (LOCKS / f"{name}.txt").write_text(f"# Written by `make lock`.\n{locked}", "utf-8")


def _added(locked: str, base: str) -> str:
    """The requirements of `locked` that `base` does not have, with their hashes."""
    known = _parse(base)
    blocks = re.findall(r"^\S.*\n(?:[ \t].*\n)*", locked, re.MULTILINE)
    return "".join(block for block in blocks if not _parse(block).keys() <= known.keys())


def main() -> None:
    LOCKS.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as everything:
        everything.write(_compile(*ANYWHERE, "--all-extras"))
        everything.flush()
        agreeing = (*ANYWHERE, "--constraint", everything.name)
        base = _compile(*agreeing)
        _write("base", base)
        for name in EXTRAS:
            _write(name, _added(_compile(*agreeing, *_extra(name)), base))
    _write("build", _compile(*ANYWHERE, requirements="-", given="\n".join(NAMED["build"])))
    lowest = ("--resolution", "lowest-direct", "--python-platform", "linux")
    _write("lowest", _compile(*lowest, *(part for name in LOWEST for part in _extra(name))))


if __name__ == "__main__":
    main()
