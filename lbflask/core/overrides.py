"""The effect of operators' actions on the override of a backend. Each action is idempotent.

Each function takes the current override, None for none, and returns the new one. If an action puts the backend back
into service, `since` becomes `now` (the store's clock): its slow start begins there (core/slow_start.py).
"""

from __future__ import annotations

from dataclasses import replace

from lbflask.core.model import Backend, Mode, Override

_AS_CONFIGURED = Override()


def in_mode(before: Override | None, mode: Mode) -> Override | None:
    """Set the mode to draining or off."""
    return _kept(replace(before or _AS_CONFIGURED, mode=mode))


def enabled(before: Override | None, now: float) -> Override | None:
    """Set the mode to serving; also undoes a removal."""
    before = before or _AS_CONFIGURED
    comes_back = before.mode is not Mode.SERVING or before.removed
    since = now if comes_back else before.since
    return _kept(replace(before, mode=Mode.SERVING, removed=False, since=since))


def weighed(before: Override | None, weight: int | None) -> Override | None:
    """Set the weight; None restores the one that was configured or added. No slow start begins."""
    return _kept(replace(before or _AS_CONFIGURED, weight=weight))


def added(before: Override | None, backend: Backend, now: float, *, known: bool) -> Override | None:
    """Add the backend to the pool, in its previous mode. If `known` by configuration or discovery, only its removal is
    undone.
    """
    before = before or _AS_CONFIGURED
    comes_back = before.removed or not (known or before.added)
    since = now if comes_back else before.since
    if known:
        return _kept(replace(before, added=None, removed=False, since=since))
    return Override(before.mode, added=backend, since=since)


def removed(before: Override | None, *, known: bool) -> Override | None:
    """Remove the backend from the pool. The override of one that is not `known` by other means is deleted."""
    if not known:
        return None
    return replace(before or _AS_CONFIGURED, added=None, removed=True)


def deviates(override: Override | None) -> bool:
    """Whether the override changes the backend; `since` alone does not."""
    return override is not None and replace(override, since=0.0) != _AS_CONFIGURED


def _kept(override: Override) -> Override | None:
    """An override equal to the default is removed."""
    return None if override == _AS_CONFIGURED else override
