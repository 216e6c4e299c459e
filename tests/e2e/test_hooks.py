"""Other people's code in a worker and in the checker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.servers import ROOT, Gunicorn, free_port, get, start_checker, start_demo, urls
from devtools.wait import eventually

pytestmark = pytest.mark.e2e

TAGGING, RAISING, SLEEPING = (f"tests.support.hooks:{name}" for name in ("Tagging", "Raising", "Sleeping"))


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hooks") / "hooked"


@pytest.fixture(scope="module")
def balancer(store: str, demos: list[int], hooked: Path) -> Iterator[Gunicorn]:
    with Gunicorn(
        workers=1,
        backends=urls(demos),
        redis_url=store,
        hooks=",".join((RAISING, SLEEPING, TAGGING)),
        hook_budget=0.02,
        environ={"HOOKED": str(hooked)},
        access_log_format="json",
    ) as running:
        yield running


def test_hooks_that_sleep_and_raise_fail_no_request(balancer: Gunicorn) -> None:
    assert [get(balancer.port).status for _ in range(30)] == [200] * 30
    found = get(balancer.admin_port, "/metrics").body.decode()
    for hook, outcome in ((RAISING, "failed"), (SLEEPING, "late"), (SLEEPING, "skipped")):
        for where in ("request", "choice", "response_head"):
            assert f'hook="{hook}",outcome="{outcome}",point="{where}"' in found
    assert "ZeroDivisionError" in balancer.output
    assert "took longer than 0.02 s" in balancer.output


def test_hooks_change_and_refuse_requests_and_choose_backends(
    balancer: Gunicorn, demos: list[int], hooked: Path
) -> None:
    refused = get(balancer.port, "/refused")
    assert (refused.status, refused.body) == (403, b"403 Forbidden: not here\n")
    assert refused.field("X-Refused-By") == "a hook"
    changed = get(balancer.port, "/head/tag")
    assert changed.field("X-Status") == str(changed.status)
    assert changed.field("X-Tag") == "127.0.0.1"
    assert changed.field("Content-Type") is None
    last = f"127.0.0.1:{max(map(str, demos))}"
    for _ in range(5):
        assert get(balancer.port, "/last").status == 200
    told = eventually(lambda: len(found := logged(balancer, "/last")) == 5 and found, "the log")
    assert {one["backend"] for one in told} == {last}
    assert "hook" in {one["why"] for one in told}
    eventually(lambda: "response /refused 403" in hooked.read_text(), "the response is told")


def logged(balancer: Gunicorn, target: str) -> list[dict[str, Any]]:
    """The lines of the access log about the target."""
    lines = (json.loads(line) for line in balancer.output.splitlines() if line.startswith('{"time"'))
    return [line for line in lines if line["target"] == target]


def test_the_checker_tells_hooks_of_health(redis_url: str, hooked: Path) -> None:
    port = free_port()
    settings = {"backends": urls([port]), "redis_url": redis_url, "hooks": TAGGING, "health__fast_interval": 0.05}
    with start_demo(port), start_checker({"HOOKED": str(hooked)}, **settings):
        eventually(
            lambda: hooked.exists() and f"health 127.0.0.1:{port} checking->up" in hooked.read_text(), "it is told"
        )


@pytest.mark.long
def test_a_hook_that_cannot_be_loaded_ends_the_start_with_one_line() -> None:
    environ = {
        **os.environ,
        "LBFLASK_BACKENDS": "http://a:1",
        "LBFLASK_HOOKS": "missing:x",
        "LBFLASK_CONFIG": os.devnull,
    }
    run = subprocess.run(
        [sys.executable, "-m", "lbflask.healthcheck"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr == "lbflask: hooks: missing:x: ModuleNotFoundError: No module named 'missing'\n"
