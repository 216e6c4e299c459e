"""Loads the modules of the application in gunicorn's master, so that workers share their memory and start at once.

gevent patches a worker after the fork: then `socket.socket` is another class. A module that was loaded before, and took
the name by value (`from time import sleep`), would keep the original, which blocks all greenlets of the worker. The
master notes such names, and each worker takes them anew after the patches.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

from lbflask.server.worker.arbiter_startup import load_patches

#: The modules that gevent patches. A name that two of them have belongs to the first.
PATCHED = (
    "threading", "queue", "socket", "ssl", "select", "selectors", "subprocess", "time", "signal", "os", "_thread"
)  # fmt: skip


class _TakenName(NamedTuple):
    """An attribute of a module or of a class whose value is an attribute of a patched module."""

    holder: ModuleType | type
    name: str
    source: ModuleType
    attribute: str


class SharedModules:
    """The modules that the master has loaded for its workers."""

    def __init__(self) -> None:
        self._taken: list[_TakenName] = []

    def __repr__(self) -> str:
        return f"<SharedModules names={len(self._taken)}>"

    def load(self) -> None:
        """Load what every worker needs, before the first fork. No thread is started, and no connection is opened."""
        with collector_off():
            load_patches()
            before = set(sys.modules)
            import lbflask.wiring.worker_runtime  # noqa: F401, PLC0415 - not when gunicorn reads its settings

            self._taken = list(_taken_names(_holders(sys.modules.keys() - before)))
        # gevent warns of modules that have taken `SSLContext`: the workers take it anew.
        warnings.filterwarnings("ignore", "Monkey-patching ssl after ssl", RuntimeWarning)

    def take_anew(self) -> None:
        """In a worker, after gevent's patches: give the loaded modules what they would take now."""
        for holder, name, source, attribute in self._taken:
            value = getattr(source, attribute, None)  # gevent removes `select.epoll`, and others
            if value is not None and vars(holder)[name] is not value:
                setattr(holder, name, value)


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collections meanwhile: what is loaded stays, and they would take an eighth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def share_objects() -> None:
    """Leave the objects of this process out of all later collections, here and in forked processes: a collection writes
    into each object that it visits, and the kernel would copy the page. What is garbage now stays: it is next to
    nothing, and to look for it would take as long as the start of a worker.
    """
    gc.freeze()


def _holders(names: set[str]) -> Iterator[ModuleType | type]:
    """The modules of these names, and the classes which they define. gevent itself keeps the originals, and so do the
    modules in C below the patched ones.
    """
    for module in (sys.modules[name] for name in sorted(names)):
        if isinstance(module, ModuleType) and not module.__name__.startswith(("gevent.", "_")):
            yield module
            for value in tuple(vars(module).values()):
                if isinstance(value, type) and value.__module__ == module.__name__:
                    yield value


def _taken_names(holders: Iterable[ModuleType | type]) -> Iterator[_TakenName]:
    originals: dict[int, tuple[ModuleType, str]] = {}
    for source in (sys.modules[name] for name in PATCHED):
        # Public names first: gevent leaves some private ones of the same value as they are.
        for attribute, value in sorted(vars(source).items(), key=lambda item: item[0].startswith("_")):
            if callable(value):
                originals.setdefault(id(value), (source, attribute))
    for holder in holders:
        for name, value in vars(holder).items():
            if id(value) in originals:
                yield _TakenName(holder, name, *originals[id(value)])
