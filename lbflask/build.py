"""Which build of lbflask is installed: the packages of the hot path are compiled by setup.py, or run as Python."""

from __future__ import annotations

from enum import StrEnum
from importlib.machinery import EXTENSION_SUFFIXES

from lbflask.core import faults


class Build(StrEnum):
    """How the packages of the hot path run. A wheel has all of them compiled or none."""

    COMPILED = "compiled"
    PYTHON = "python"


def build() -> Build:
    """The build that runs, judged by a module that every process has loaded."""
    return Build.COMPILED if faults.__file__.endswith(tuple(EXTENSION_SUFFIXES)) else Build.PYTHON
