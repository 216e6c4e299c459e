"""SIGHUP at the master, and word to the workers, before fakes of gunicorn's parts that show what is done with them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config

from devtools.wait import eventually
from lbflask.server.worker.arbiter_signals import (
    NOTIFICATION,
    BadSettings,
    changed_settings,
    on_hang_up,
    on_notification,
)


def hook(source: str) -> Any:
    """A function as a configuration file makes it: another object each time."""
    found: dict[str, Any] = {}
    exec(source, found)
    return found["post_fork"]


class App:
    """gunicorn's application, whose configuration is what `settings` says when it is loaded."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.do_load_config()

    def do_load_config(self) -> None:
        self.cfg = Config()
        for name, value in self.settings.items():
            if value == "broken":
                sys.exit(1)
            self.cfg.set(name, value)


class Arbiter:
    def __init__(self, app: App) -> None:
        self.app = app
        self.reloads = self.worker_age = self.master_pid = 0

    def manage_workers(self) -> None: ...

    def handle_hup(self) -> None:
        self.reloads += 1


FORK = "def post_fork(server, worker): return 1"


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({}, {}, set()),
        ({"keepalive": 5}, {"keepalive": 5}, set()),
        ({"keepalive": 5}, {"keepalive": 6}, {"keepalive"}),
        ({"bind": ["a:1"]}, {"bind": ["a:1", "b:2"], "workers": 3}, {"bind", "workers"}),
        ({"post_fork": hook(FORK)}, {"post_fork": hook(FORK)}, set()),
        ({"post_fork": hook(FORK)}, {"post_fork": hook(FORK.replace("1", "2"))}, {"post_fork"}),
    ],
)
def test_settings_are_compared_without_taking_effect(
    before: dict[str, Any], after: dict[str, Any], changed: set[str]
) -> None:
    arbiter = Arbiter(App(**before))
    cfg = arbiter.app.cfg
    arbiter.app.settings = after
    assert changed_settings(arbiter) == changed
    assert arbiter.app.cfg is cfg


def test_a_configuration_that_cannot_be_read_ends_nothing() -> None:
    arbiter = Arbiter(App(keepalive=5))
    cfg = arbiter.app.cfg
    arbiter.app.settings = {"keepalive": "broken"}
    with pytest.raises(BadSettings):
        changed_settings(arbiter)
    assert arbiter.app.cfg is cfg


@pytest.mark.parametrize("done", [True, False])
def test_gunicorn_reloads_if_the_callback_does_not(done: bool) -> None:
    arbiter = Arbiter(App())
    on_hang_up(arbiter, lambda: done)
    arbiter.handle_hup()
    assert arbiter.reloads == (not done)


@pytest.fixture
def restored() -> Iterator[None]:
    before = signal.getsignal(NOTIFICATION)
    yield
    signal.signal(NOTIFICATION, before)


@pytest.mark.usefixtures("restored")
def test_word_is_heard_and_before_that_ignored(recwarn: pytest.WarningsRecorder) -> None:
    heard: list[int] = []
    os.kill(os.getpid(), NOTIFICATION)
    on_notification(lambda: heard.append(1))
    os.kill(os.getpid(), NOTIFICATION)
    eventually(lambda: heard == [1], "the word is heard")
