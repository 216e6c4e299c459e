from __future__ import annotations

import importlib
import sys

import pytest

import lbflask.hooks


def test_the_former_import_path_has_the_same_names_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lbflask.core.hooks", raising=False)
    with pytest.warns(DeprecationWarning, match="is now lbflask.hooks"):
        former = importlib.import_module("lbflask.core.hooks")
    for name in former.__all__:
        assert getattr(former, name) is getattr(lbflask.hooks, name)
