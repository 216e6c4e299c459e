"""Hooks that behave, and hooks that do not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from devtools.wait import eventually
from lbflask.core.hook_api import Change, HealthChange, HookRequest, HookResponse, Refusal
from lbflask.hooks import runner as under_test
from lbflask.hooks.runner import BadHook, Hooks
from lbflask.telemetry.metrics import definitions
from tests.telemetry.events import event

ASKED = HookRequest("id-1", "203.0.113.9", "GET", "/", "shop.example", "default", ())
BACKENDS = ("a", "b", "c")
#: Longer than any machine is slow, and shorter than a test may be.
ENOUGH = 20.0
HERE = "tests.hooks.test_runner"

point: Any = SimpleNamespace()


def hooks(*given: SimpleNamespace, budget: float = ENOUGH, monkeypatch: pytest.MonkeyPatch) -> Hooks:
    for number, hook in enumerate(given):
        monkeypatch.setattr(point, f"hook{number}", hook, raising=False)
    return Hooks([f"{HERE}:point.hook{number}" for number in range(len(given))], budget)


def outcomes(found: Hooks) -> dict[tuple[str, str], float]:
    counted: dict[tuple[str, str], float] = {}
    for metric, (_, where, outcome), value in found.samples():
        assert metric is definitions.HOOK_CALLS
        counted[where, outcome] = value
    return counted


def answering(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


def raising(error: BaseException) -> Callable[..., Any]:
    def hook(*_: Any) -> None:
        raise error

    return hook


# Loading


def test_a_class_is_made_an_object_and_an_object_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Hooks(["tests.support.hooks:Tagging", "tests.support.hooks:instance"], ENOUGH)
    assert (found.has_blocking, found.has_choice, found.has_responses) == (True, True, True)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("missing_module:x", "No module named 'missing_module'"),
        ("tests.support.hooks:Missing", "has no attribute 'Missing'"),
        ("tests.support.hooks:Pointless", "has none of request, choice, response_head, response, health"),
        ("tests.support.hooks:seconds", "has none of request"),
        ("nobody", "neither module:object nor an entry point of the group lbflask.hooks"),
    ],
)
def test_a_hook_that_cannot_be_loaded_is_named(name: str, wrong: str) -> None:
    with pytest.raises(BadHook, match=wrong):
        Hooks([name], ENOUGH)


def test_entry_points_are_found_by_name_or_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [SimpleNamespace(name=name, load=answering(SimpleNamespace(request=answering(None)))) for name in "xy"]

    def find(*, group: str, name: str | None = None) -> list[SimpleNamespace]:
        assert group == "lbflask.hooks"
        return [entry for entry in entries if name in (None, entry.name)]

    monkeypatch.setattr(under_test, "entry_points", find)
    assert len(Hooks(["y"], ENOUGH)._blocking["request"]) == 1
    assert [hook.name for hook in Hooks(["*"], ENOUGH)._blocking["request"]] == ["x", "y"]


# Those that are waited for


def test_the_answers_of_hooks_come_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    change, refusal = Change(set={"A": "b"}), Refusal(403, "no")
    answers = [SimpleNamespace(request=answering(answer)) for answer in (change, None, refusal)]
    found = hooks(*answers, monkeypatch=monkeypatch)
    assert list(found.request(ASKED)) == [change, refusal]
    assert outcomes(found) == {("request", "ok"): 1}


def test_the_choice_of_one_hook_is_what_the_next_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Sequence[str]] = []

    def second(_: HookRequest, backends: Sequence[str]) -> None:
        given.append(backends)

    first = SimpleNamespace(choice=answering(["c", "unknown", "a", "c"]))
    found = hooks(first, SimpleNamespace(choice=second), monkeypatch=monkeypatch)
    assert found.choice(ASKED, BACKENDS) == ("c", "a")
    assert given == [("c", "a")]


def test_each_hook_gets_the_response_as_the_one_before_left_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def second(_: HookRequest, response: HookResponse) -> Change:
        return Change(set={"X-Seen": response.field("X-First") or "none"}, remove=("Server",))

    first = SimpleNamespace(response_head=answering(Change(set={"X-First": "1"})))
    wrong, late = (SimpleNamespace(response_head=one) for one in (answering("yes"), raising(ZeroDivisionError())))
    found = hooks(first, wrong, late, SimpleNamespace(response_head=second), monkeypatch=monkeypatch)
    assert found.has_blocking
    assert found.has_response_head
    left = found.response_head(ASKED, HookResponse(200, (("Server", "a"), ("Z", "z"))))
    assert left == HookResponse(200, (("Z", "z"), ("X-First", "1"), ("X-Seen", "1")))
    assert outcomes(found).keys() == {("response_head", "ok"), ("response_head", "failed")}


@pytest.mark.parametrize("answer", [[], ["unknown"], 7])
def test_an_empty_choice_changes_nothing_and_counts_as_failed(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hooks(SimpleNamespace(choice=answering(answer)), monkeypatch=monkeypatch)
    assert found.choice(ASKED, BACKENDS) == BACKENDS
    assert outcomes(found)["choice", "failed"] == 1


def test_an_answer_that_is_none_is_skipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hooks(SimpleNamespace(request=answering("yes")), monkeypatch=monkeypatch)
    assert list(found.request(ASKED)) == []
    assert outcomes(found)["request", "failed"] == 1


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_a_hook_that_raises_is_logged_counted_and_skipped(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fine = SimpleNamespace(request=answering(Refusal(403, "x")))
    found = hooks(SimpleNamespace(request=raising(error)), fine, monkeypatch=monkeypatch)
    with caplog.at_level(logging.WARNING, "lbflask"):
        for _ in range(3):
            assert list(found.request(ASKED)) == [Refusal(403, "x")]
    assert outcomes(found) == {("request", "failed"): 3, ("request", "ok"): 3}
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info


def test_a_hook_that_stalls_is_left_alone_and_rests_when_it_does_so_again(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    called: list[int] = []

    def stall(_: HookRequest) -> Refusal:
        called.append(1)
        over.wait(ENOUGH)
        return Refusal(403, "too late to say")

    found = hooks(SimpleNamespace(request=stall), budget=0.001, monkeypatch=monkeypatch)
    for _ in range(10):
        assert list(found.request(ASKED)) == []
    over.set()
    assert outcomes(found) == {("request", "late"): 3, ("request", "skipped"): 7}
    assert len(called) == 3


def test_a_hook_of_which_many_calls_hang_is_skipped_until_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MAX_HANGING", 1)
    over = threading.Event()
    found = hooks(SimpleNamespace(request=lambda _: over.wait(ENOUGH) and None), budget=0.001, monkeypatch=monkeypatch)
    for _ in range(2):
        assert list(found.request(ASKED)) == []
    assert outcomes(found) == {("request", "late"): 1, ("request", "skipped"): 1}
    over.set()
    (hook,) = found._blocking["request"]
    eventually(lambda: hook._hanging == 0, "the call has ended")


# Those that are told later


def test_responses_and_changes_of_health_are_passed_on_and_the_rest_at_the_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    change = HealthChange("default", "a", "down", "up", "refused")
    found = hooks(SimpleNamespace(response=told.append, health=told.append), monkeypatch=monkeypatch)
    found.consume([(event(target="/1"), 0.0), (event(target="/2"), 0.0)])
    found.health(change)
    found.stop()
    assert [one.target for one in told if one is not change] == ["/1", "/2"]
    assert change in told
    assert (found.has_blocking, found.has_responses) == (False, True)


def test_one_that_stalls_keeps_nothing_from_another_and_one_that_raises_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_test, "MAX_PENDING", 3)
    monkeypatch.setattr(under_test, "STOP_TIMEOUT", 0.0)
    over = threading.Event()
    told: list[Any] = []
    found = hooks(
        SimpleNamespace(response=lambda _: over.wait(ENOUGH)),
        SimpleNamespace(response=raising(ZeroDivisionError())),
        SimpleNamespace(response=told.append),
        monkeypatch=monkeypatch,
    )
    stalls, raises, goes_on = found._queued["response"]
    for number in range(10):
        found.consume([(event(), 0.0)])
        eventually(lambda: len(told) == number + 1, "it is told")  # noqa: B023
        eventually(lambda: raises.outcomes["failed"] == number + 1, "it raised")  # noqa: B023
    assert goes_on.outcomes == {"ok": 10}
    assert stalls.outcomes["skipped"] >= 6
    found.stop()  # does not wait for it
    over.set()
