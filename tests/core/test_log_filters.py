from __future__ import annotations

import pytest

from lbflask.core.log_filters import LogFilter

ERRORS = frozenset({*range(400, 600)})


@pytest.mark.parametrize(
    ("log_filter", "status", "seconds", "target", "taken"),
    [
        (LogFilter(), 200, 0.1, "/", True),
        (LogFilter(ERRORS), 200, 9.0, "/", False),
        (LogFilter(ERRORS), 503, 0.1, "/", True),
        (LogFilter(slower_than=0.5), 503, 0.5, "/", False),
        (LogFilter(slower_than=0.5), 200, 0.6, "/", True),
        (LogFilter(slower_than=0.0), 200, 0.001, "/", True),
        (LogFilter(ERRORS, 0.5), 503, 0.1, "/", True),
        (LogFilter(ERRORS, 0.5), 200, 0.6, "/", True),
        (LogFilter(ERRORS, 0.5), 200, 0.1, "/", False),
        (LogFilter(paths=("/api",)), 200, 0.1, "/api?a=/b", True),
        (LogFilter(paths=("/api",)), 200, 0.1, "/%61pi/x", True),
        (LogFilter(paths=("/api",)), 200, 0.1, "/apix", False),
        (LogFilter(paths=("/a", "/b")), 200, 0.1, "/b/c", True),
        (LogFilter(ERRORS, paths=("/api",)), 200, 0.1, "/api", False),
        (LogFilter(paths=("/api",), except_paths=("/api/live",)), 200, 0.1, "/api/live", False),
        (LogFilter(except_paths=("/live",)), 200, 0.1, "/lively", True),
        (LogFilter(except_paths=("/live",)), 200, 0.1, "http://a.example/live?x", False),
        (LogFilter(except_paths=("/live",)), 200, 0.1, "http://a.example", True),
        (LogFilter(except_paths=("/live",)), 400, 0.1, "-", True),
        (LogFilter(paths=("/live",)), 400, 0.1, "-", False),
        (LogFilter(paths=("",)), 400, 0.1, "-", True),
    ],
)
def test_a_request_is_logged_for_its_status_or_time_and_below_its_paths(
    log_filter: LogFilter, status: int, seconds: float, target: str, taken: bool
) -> None:
    assert log_filter.takes(status, seconds, target) is taken
