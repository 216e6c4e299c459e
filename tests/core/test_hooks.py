from __future__ import annotations

import importlib

import pytest

import lbflask.hooks


def test_the_former_import_path_has_the_same_names_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match="is now lbflask.hooks"):
        former = importlib.import_module("lbflask.core.hooks")
    for name in former.__all__:
        assert getattr(former, name) is getattr(lbflask.hooks, name)
