"""What the answer to `POST /api/v1/reload` says of each outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from lbflask.core.reload import ReloadOutcome, ReloadUnavailable
from tests.control.servers import GRAFANA, TOKENS, Counter


def asked(outcome: Callable[[], ReloadOutcome], admin: bool = True, **fields: str) -> TestResponse:
    counter = Counter()
    counter.reload = outcome
    return counter.ask("POST", "/reload", admin=admin, headers=fields, base_url="http://localhost")


def nobody() -> ReloadOutcome:
    raise ReloadUnavailable("busy")


@pytest.mark.parametrize(
    ("outcome", "status", "told"),
    [
        (ReloadOutcome(0, "v2"), 200, {"config_version": "v2", "in_place": [], "by_new_workers": [], "warnings": []}),
        (
            ReloadOutcome(0, "v2", in_place=("backends",)),
            200,
            {"config_version": "v2", "in_place": ["backends"], "by_new_workers": [], "warnings": []},
        ),
        (
            ReloadOutcome(0, "v2", in_place=("backends",), by_new_workers=("bind",), warnings=("it has expired",)),
            202,
            {
                "config_version": "v2",
                "in_place": ["backends"],
                "by_new_workers": ["bind"],
                "warnings": ["it has expired"],
            },
        ),
    ],
)
def test_what_has_changed_is_told(outcome: ReloadOutcome, status: int, told: dict[str, Any]) -> None:
    response = asked(lambda: outcome)
    assert (response.status_code, response.json) == (status, told)
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("outcome", "status", "detail"),
    [
        (lambda: ReloadOutcome(0, "v1", "file: key = 1: is wrong"), 422, "file: key = 1: is wrong"),
        (nobody, 503, "busy"),
    ],
)
def test_what_went_wrong_is_told_as_problem_details(
    outcome: Callable[[], ReloadOutcome], status: int, detail: str
) -> None:
    response = asked(outcome)
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert response.json is not None
    assert (response.json["status"], response.json["detail"]) == (status, detail)
    assert response.json["title"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost", 200), ("https://localhost", 200), ("http://elsewhere", 403), ("null", 403)],
)
def test_a_page_of_another_origin_may_not_ask(origin: str, status: int) -> None:
    assert asked(lambda: ReloadOutcome(0, "v"), Origin=origin).status_code == status


def test_only_the_admin_listener_takes_it() -> None:
    assert asked(lambda: pytest.fail("it was asked"), admin=False).status_code == 404


def test_a_reader_may_not_ask() -> None:
    assert Counter(admin={"tokens": TOKENS}).ask("POST", "/reload", GRAFANA).status_code == 403


def test_who_had_it_done_is_an_event() -> None:
    counter = Counter()
    assert counter.ask("POST", "/reload").status_code == 200
    (event,) = counter.facts.read_events(5)
    assert (event.kind, event.what, event.reason, event.actor) == (
        "configuration", "reload", "backends", "local (127.0.0.1)",
    )  # fmt: skip
