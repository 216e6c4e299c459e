"""What an instance runs out of, as documents of the API."""

from __future__ import annotations

from collections.abc import Sequence

from lbflask.control.api import models
from lbflask.core.fleet_stats import WorkerReport


def lost_lines_view(reports: Sequence[WorkerReport]) -> models.LostLinesView | None:
    """The lost lines of all workers, with the reason of the one that lost most; None for none."""
    lost = [report.reserves.lost_lines for report in reports if report.reserves.lost_lines is not None]
    if not lost:
        return None
    most = max(lost, key=lambda one: one.count)
    total = sum(one.count for one in lost)
    return models.LostLinesView(count=total, path=most.path, reason=most.reason, cause=most.cause)


def nearly_full_views(reports: Sequence[WorkerReport]) -> list[models.FileSystemView]:
    """The file systems of all workers that are nearly full, each once, with what the last worker measured."""
    found = {one.path: one for report in reports for one in report.reserves.nearly_full}
    return [models.FileSystemView.model_validate(found[path]) for path in sorted(found)]
