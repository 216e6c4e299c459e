"""The files of ended workers, also of another version, as scrapes add them up."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbflask.telemetry.metrics import definitions, exposition
from lbflask.telemetry.metrics.definitions import Metric
from lbflask.telemetry.metrics.mmap_values import MmapValues

REQUESTS = (definitions.REQUESTS.name, "web", "a", "GET", "2xx")
LATER = Metric("later", ("pool",), "A counter of a later version.", "counter")
GAUGE = Metric("later_gauge", (), "A gauge of a later version.", "gauge")


def ended_worker(directory: Path, name: str, **values: float) -> Path:
    """The file of a worker that has ended, with these values of `REQUESTS` and of metrics of a later version."""
    file = MmapValues(directory / f"{name}.cells")
    names = {"requests": REQUESTS, "later": (LATER.name, "web"), "gauge": (GAUGE.name,)}
    for key, value in values.items():
        file.values[file.row(names[key], 1)] += value
    file.close()
    return directory / f"{name}.cells"


def test_the_file_of_a_later_version_is_folded_by_that_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = ended_worker(tmp_path, "same", requests=2)
    later = ended_worker(tmp_path, "later", requests=3, later=7, gauge=5)
    for _ in range(2):
        assert exposition.collect(tmp_path)[REQUESTS] == [5.0]
        assert (same.exists(), later.exists()) == (False, True)
    for metric in (LATER, GAUGE):
        monkeypatch.setitem(definitions.BY_NAME, metric.name, metric)
    for _ in range(2):
        numbers = exposition.collect(tmp_path)
        assert (numbers[REQUESTS], numbers[LATER.name, "web"]) == ([5.0], [7.0])
        assert (GAUGE.name,) not in numbers
        assert not later.exists()
    monkeypatch.undo()
    ended_worker(tmp_path, "another", requests=1)
    assert exposition.collect(tmp_path)[REQUESTS] == [6.0]
    for metric in (LATER, GAUGE):
        monkeypatch.setitem(definitions.BY_NAME, metric.name, metric)
    assert exposition.collect(tmp_path)[LATER.name, "web"] == [7.0], "kept while an older version has folded others"
