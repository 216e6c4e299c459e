"""What operators have set, as documents of the API."""

from __future__ import annotations

from lbflask.control.api import models
from lbflask.control.pool_state import PoolState
from lbflask.core.forgotten import commands
from lbflask.core.operator_note import OperatorNote


def note_view(note: OperatorNote | None) -> models.NoteView | None:
    """Who changed something, when and why; None if the record does not say."""
    return None if note is None else models.NoteView.model_validate(note)


def forgotten_view(pool_state: PoolState) -> models.ForgottenView | None:
    """What an emptied store has lost of a pool; None if nothing is missing."""
    if not pool_state.forgotten:
        return None
    lost, pool = pool_state.forgotten, pool_state.pool.name
    again = [command for id_, override in lost.items() for command in commands(pool, id_, override)]
    return models.ForgottenView(at=round(pool_state.forgotten_at, 3), backends=list(lost), commands=again)
