"""`make bench`: all benchmarks, one after another; a missed target does not keep the rest from running.

python -m benchmarks [--quick]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from devtools.environment import ROOT

#: Each benchmark, with its arguments in a full run of `make bench`.
BENCHMARKS = {
    "hot_path": [],
    "many_backends": [],
    "upkeep": [],
    "pool_size": [],
    "shares": [],
    "throughput": ["--readme"],
    "fairness": [],
    "bodies": [],
    "tls": [],
    "streams": [],
    "slow_clients": [],
    "buffering": [],
    "compression": [],
    "flaky_backends": [],
    "idle_reuse": [],
    "sessions": [],
    "counters": [],
    "fleet_sim": [],
    "ejection_shares": [],
    "retry_budget": [],
    "hedging": [],
    "limits": [],
    "access": [],
    "bans": [],
    "full_backend": [],
    "footprint": [],
}


def command(name: str, *, quick: bool) -> list[str]:
    """A short run is no news for README.md."""
    return [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else BENCHMARKS[name])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds of each, to see that they work")
    given = parser.parse_args()
    missed = []
    for name in BENCHMARKS:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run(command(name, quick=given.quick), cwd=ROOT, check=False).returncode:
            missed.append(name)
    if missed:
        sys.exit(f"a target was missed, or the benchmark failed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
