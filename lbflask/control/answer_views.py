"""What clients got, as a document of the API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from lbflask.control.api import models
from lbflask.core.answers import AnswerCause, AnswerKey


def answers_view(per_second: Mapping[AnswerKey, float]) -> models.AnswersView:
    """The view of answers per second, by key."""
    total, by_class = sum(per_second.values()), defaultdict[str, float](float)
    for key, rate in per_second.items():
        by_class[key.status_class] += rate
    causes = [
        models.CauseView(status=key.status, cause=key.cause, name=key.name, per_second=round(rate, 2))
        for key, rate in sorted(per_second.items(), key=lambda item: -item[1])
        if key.is_error or key.cause != AnswerCause.BACKEND
    ]
    failed = sum(rate for key, rate in per_second.items() if key.is_error)
    return models.AnswersView(
        per_second=round(total, 2),
        error_share=round(failed / total, 6) if total else None,
        by_class={name: round(rate, 2) for name, rate in sorted(by_class.items())},
        causes=causes,
    )
