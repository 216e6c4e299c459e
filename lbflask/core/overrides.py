"""What an operator's action makes of what operators have set for a backend before: each the same when done twice.

Each takes the override that holds, None where there is none, and gives the one that is to hold. A backend that comes
back into service by an action keeps the moment, `now` by the store's clock: its slow start begins there
(core/slow_start.py).
"""

from __future__ import annotations

from dataclasses import replace

from lbflask.core.model import Backend, Mode, Override

_AS_CONFIGURED = Override()


def in_mode(before: Override | None, mode: Mode) -> Override | None:
    """Draining or off."""
    return _kept(replace(before or _AS_CONFIGURED, mode=mode))


def enabled(before: Override | None, now: float) -> Override | None:
    """Serving again, also after it was removed."""
    before = before or _AS_CONFIGURED
    comes_back = before.mode is not Mode.SERVING or before.removed
    since = now if comes_back else before.since
    return _kept(replace(before, mode=Mode.SERVING, removed=False, since=since))


def weighed(before: Override | None, weight: int | None) -> Override | None:
    """With this weight; None is the weight that it was configured or added with. No slow start begins."""
    return _kept(replace(before or _AS_CONFIGURED, weight=weight))


def added(before: Override | None, backend: Backend, now: float, *, known: bool) -> Override | None:
    """In the pool, in the mode that it had. `known` is one that configuration or discovery brings anyway: it is only no
    longer removed.
    """
    before = before or _AS_CONFIGURED
    comes_back = before.removed or not (known or before.added)
    since = now if comes_back else before.since
    if known:
        return _kept(replace(before, added=None, removed=False, since=since))
    return Override(before.mode, added=backend, since=since)


def removed(before: Override | None, *, known: bool) -> Override | None:
    """Out of the pool. One that is not `known` otherwise is forgotten."""
    if not known:
        return None
    return replace(before or _AS_CONFIGURED, added=None, removed=True)


def deviates(override: Override | None) -> bool:
    """Whether the backend is another than without the override: the moment of its return alone changes nothing."""
    return override is not None and replace(override, since=0.0) != _AS_CONFIGURED


def _kept(override: Override) -> Override | None:
    """Nothing is kept of what says nothing."""
    return None if override == _AS_CONFIGURED else override
