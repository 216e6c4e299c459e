"""The effect of operators' actions on the override of a backend. Each action is idempotent.

Each function takes the current override, None for none, and returns the new one. If an action puts the backend back
into service, `since` becomes `now` (the store's clock): its slow start begins there (core/slow_start.py).
"""

from __future__ import annotations

from dataclasses import replace

from lbflask.core.model import Backend, Closing, Mode, Override
from lbflask.core.operator_note import OperatorNote

#: The type of the problem that an action would leave its pool without a backend: for clients of the admin API.
LAST_SERVING = "urn:lbflask:last-serving-backend"

_AS_CONFIGURED = Override()


def in_mode(before: Override | None, mode: Mode, now: float = 0.0, close_after: float | None = None) -> Override | None:
    """Set the mode to draining or off. With `close_after` long connections end within so many seconds from `now` on;
    the same once more changes nothing.
    """
    before = before or _AS_CONFIGURED
    closing = None if close_after is None else Closing(now, close_after)
    known = before.closing
    if closing is not None and known is not None and before.mode is mode and known.seconds == closing.seconds:
        closing = known
    return _kept(replace(before, mode=mode, closing=closing))


def enabled(before: Override | None, now: float) -> Override | None:
    """Set the mode to serving; also undoes a removal."""
    before = before or _AS_CONFIGURED
    comes_back = before.mode is not Mode.SERVING or before.removed
    since = now if comes_back else before.since
    return _kept(replace(before, mode=Mode.SERVING, removed=False, since=since, closing=None))


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


def signed(before: Override | None, after: Override | None, note: OperatorNote) -> Override | None:
    """The new override with the note on what it changes. What is as configured has no note.

    If nothing changes, a reason other than the one before replaces the notes on what differs from the configuration.
    """
    if after is None:
        return None
    was = before or _AS_CONFIGURED
    again = unsigned(was) == unsigned(after)

    def chosen(old: OperatorNote | None, *, differs: bool, changes: bool) -> OperatorNote | None:
        replaces = changes or (again and note.reason and (old is None or old.reason != note.reason))
        return None if not differs else note if replaces else old

    return replace(
        after,
        mode_note=chosen(was.mode_note, differs=after.mode is not Mode.SERVING, changes=after.mode != was.mode),
        weight_note=chosen(was.weight_note, differs=after.weight is not None, changes=after.weight != was.weight),
        member_note=chosen(
            was.member_note,
            differs=after.removed or after.added is not None,
            changes=(after.removed, after.added) != (was.removed, was.added),
        ),
    )


def unsigned(override: Override) -> Override:
    """The override without its notes."""
    return replace(override, mode_note=None, weight_note=None, member_note=None)


def deviates(override: Override | None) -> bool:
    """Whether the override changes the backend; `since` and notes alone do not."""
    return override is not None and replace(unsigned(override), since=0.0) != _AS_CONFIGURED


def _kept(override: Override) -> Override | None:
    """An override equal to the default, but for its notes, is removed."""
    return None if unsigned(override) == _AS_CONFIGURED else override
