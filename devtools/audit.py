"""Looks for known vulnerabilities of what locks/ pins: `make audit`. Options are passed to pip-audit.

Exits with 1 when there is one. Without a reachable source of advisories it prints a line, and exits with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys

from devtools.locks import LOCKS, NAMED

UNREACHABLE = ("ConnectionError", "Max retries exceeded", "timed out")


def main() -> None:
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--disable-pip",
        "--require-hashes",
        "--format",
        "json",
        "--timeout",
        "30",
    ]
    command += [part for name in NAMED for part in ("--requirement", str(LOCKS / f"{name}.txt"))]
    result = subprocess.run([*command, *sys.argv[1:]], check=False, capture_output=True, text=True)
    try:
        audited = json.loads(result.stdout)["dependencies"]
    except json.JSONDecodeError:
        if any(word in result.stderr for word in UNREACHABLE):
            audited = []
        else:
            sys.exit(result.stderr)
    known = [one for one in audited if "skip_reason" not in one]
    if not known:
        print("not audited: no source of advisories answers")
        return
    print(f"audited: {len(known)} of {len(audited)} pinned packages")
    found = [f"{one['name']} {one['version']}: {bug['id']}" for one in known for bug in one["vulns"]]
    sys.exit("\n".join(found) or 0)


if __name__ == "__main__":
    main()
