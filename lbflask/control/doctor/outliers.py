"""Findings about backends that differ from their peers, with the figures of both."""

from __future__ import annotations

from collections.abc import Iterator

from lbflask.control.api.models import Finding, PoolView, State
from lbflask.control.doctor.findings import warning
from lbflask.core.outliers import BackendFigures, Deviation, Outlier, outliers

#: Seconds of the figures.
_WINDOW = "in the last ten seconds"


def outlier_findings(pool: PoolView) -> Iterator[Finding]:
    """One for each outlier. Of a backend that is down or ejected, that is said already."""
    figures = [
        BackendFigures(one.id, one.waiting, one.requests_per_second, one.error_share, one.p50)
        for one in pool.backends
        if one.state not in (State.DOWN, State.EJECTED, State.OFF)
    ]
    urls = {one.id: one.url for one in pool.backends}
    for outlier in outliers(figures):
        yield warning(f"backend {outlier.id}", _text(outlier), _advice(outlier, urls[outlier.id]))


def _text(outlier: Outlier) -> str:
    figure, usual = outlier.figure, outlier.usual
    if outlier.deviation is Deviation.SILENT:
        return f"{figure:.0f} requests wait for a first byte, and none came {_WINDOW}; its peers take {_ms(usual)}"
    if outlier.deviation is Deviation.FAILING:
        return f"{figure:.0%} of its attempts failed {_WINDOW}, at its peers {usual:.1%}"
    return (
        f"half of its responses take {_ms(figure)} or more, {figure / usual:.0f} times that of its peers ({_ms(usual)})"
    )


def _advice(outlier: Outlier, url: str) -> str:
    name = outlier.id
    if outlier.deviation is Deviation.SILENT:
        return f"it hangs: `curl -m 5 {url}` repeats it. `lbflask off {name}` sends it nothing; then restart it"
    if outlier.deviation is Deviation.FAILING:
        return (
            f"its log, and `fault` in the access log, have the reasons; `lbflask off {name}` spares clients meanwhile"
        )
    return (
        f"compare its load, version and disk with its peers; `lbflask drain {name}` takes it out meanwhile, if "
        "they can serve its share"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else f"{seconds * 1000:.1f} ms"
