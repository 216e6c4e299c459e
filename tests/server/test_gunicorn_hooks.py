"""The hooks as users' configuration files import them."""

from __future__ import annotations

import importlib
import sys

import pytest

from lbflask.config.schema import Config
from lbflask.server import gunicorn_hooks


def test_the_former_import_path_is_the_same_module_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lbflask.hosting", raising=False)
    with pytest.warns(DeprecationWarning, match=r"lbflask\.server\.gunicorn_hooks"):
        hosting = importlib.import_module("lbflask.hosting")
    assert hosting is gunicorn_hooks


def test_hooks_and_settings_are_the_names_that_users_call() -> None:
    config = Config.model_validate({"backends": ["http://127.0.0.1:9"], "admin_bind": ""})
    settings = gunicorn_hooks._settings_of(config)
    for name in ("on_starting", "when_ready", "post_worker_init", "worker_exit", "on_exit"):
        assert settings[name] is getattr(gunicorn_hooks, name)
