"""What the error log has of names that clients ask for."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from lbflask.server.server_name_errors import leave_out_of_log


def test_only_errors_of_names_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", written.append)
    leave_out_of_log()
    of_name = UnicodeDecodeError("ascii", b"\xff", 0, 1, "not in range")
    sys.unraisablehook(SimpleNamespace(exc_value=of_name, object=b"\xff"))
    assert written == []
    others = [
        SimpleNamespace(exc_value=of_name, object=b"other"),
        SimpleNamespace(exc_value=of_name, object=None),
        SimpleNamespace(exc_value=ValueError(), object=b"\xff"),
        SimpleNamespace(exc_value=None, object=None),
    ]
    for other in others:
        sys.unraisablehook(other)
    assert written == others
