"""The start of every program that breaks things: its options, its choice of parts, and what it needs to run."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

from devtools.environment import raise_file_limit
from devtools.report import options
from lbflask.store.embedded import NoServer, find_binary

Part = TypeVar("Part")


def chosen(available: Mapping[str, Part], parts: Sequence[str], kind: str) -> dict[str, Part]:
    """Those whose name contains one of the parts; all without any. Raises ValueError when there is none."""
    found = {name: one for name, one in available.items() if not parts or any(part in name for part in parts)}
    if not found:
        raise ValueError(f"there is no such {kind}; there are: {', '.join(available)}")
    return found


def parser_for(doc: str | None, name: str, kind: str) -> argparse.ArgumentParser:
    """The options that all of these programs share. `kind` is what `--only` chooses."""
    parser = options(doc, name)
    parser.add_argument("--list", action="store_true", help=f"print the names of the {kind}s, and end")
    parser.add_argument(
        "--only", action="append", default=[], help=f"only {kind}s whose name contains this; repeatable"
    )
    return parser


def choice(given: argparse.Namespace, available: Mapping[str, Part], kind: str) -> dict[str, Part]:
    """The parts to run, with this process ready to run them: SIGTERM ends it with all that it has started. Exits with a
    line if there is nothing to run, or no server for a store.
    """
    if given.list:
        print("\n".join(available))
        sys.exit(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    raise_file_limit()
    try:
        find_binary()
        return chosen(available, given.only, kind)
    except (NoServer, ValueError) as error:
        sys.exit(str(error))
