"""What an operator's action makes of what operators have set for a backend before: each the same when done twice.

Each takes the override that holds, None where there is none, and gives the one that is to hold.
"""

from __future__ import annotations

from dataclasses import replace

from lbflask.core.model import Backend, Mode, Override

_AS_CONFIGURED = Override()


def in_mode(before: Override | None, mode: Mode) -> Override | None:
    """Serving, draining or off."""
    return _kept(replace(before or _AS_CONFIGURED, mode=mode))


def enabled(before: Override | None) -> Override | None:
    """Serving again, also after it was removed."""
    return _kept(replace(before or _AS_CONFIGURED, mode=Mode.SERVING, removed=False))


def weighed(before: Override | None, weight: int | None) -> Override | None:
    """With this weight; None is the weight that it was configured or added with."""
    return _kept(replace(before or _AS_CONFIGURED, weight=weight))


def added(before: Override | None, backend: Backend, *, known: bool) -> Override | None:
    """In the pool. `known` is one that configuration or discovery brings anyway: it is only no longer removed."""
    if known:
        return _kept(replace(before or _AS_CONFIGURED, added=None, removed=False))
    return Override(Mode.SERVING if before is None else before.mode, added=backend)


def removed(before: Override | None, *, known: bool) -> Override | None:
    """Out of the pool. One that is not `known` otherwise is forgotten."""
    if not known:
        return None
    return replace(before or _AS_CONFIGURED, added=None, removed=True)


def _kept(override: Override) -> Override | None:
    """Nothing is kept of what says nothing."""
    return None if override == _AS_CONFIGURED else override
