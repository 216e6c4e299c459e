"""What clients got in the last seconds: no answer is lost within the window, and none is counted twice."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.answers import AnswerCause, AnswerKey
from lbflask.core.client_shares import ClientCounts
from lbflask.core.fleet_stats import WINDOW
from lbflask.fleet.recent_answers import PART, RecentAnswers
from lbflask.telemetry.events import RequestEvent
from tests.store.stores import ManualClock
from tests.telemetry.events import event

EVENTS = st.sampled_from(
    [
        event(),
        event(status=404),
        event(status=503, attempts=(), cause=AnswerCause.NO_BACKEND),
        event(status=429, attempts=(), cause=AnswerCause.RATE_LIMIT, limit="each"),
        event(cause=AnswerCause.CLIENT_LEFT),
    ]
)


@given(st.lists(st.tuples(st.lists(EVENTS, max_size=9), st.booleans(), st.sampled_from([0.05, 0.5, 3.0, 20.0]))))
def test_the_latest_answers_are_those_of_the_window(steps: list[tuple[list[RequestEvent], bool, float]]) -> None:
    clock = ManualClock()
    answers, happened = RecentAnswers(clock), list[tuple[float, AnswerKey]]()
    for events, queued, seconds in steps:
        if queued:
            answers.consume([(one, 0.0) for one in events])
        else:
            for one in events:
                answers.note_answer((one.status, one.client)) if one.cause is AnswerCause.BACKEND else answers.note(one)
            answers.consume(())
        happened += [(clock(), one.answer) for one in events]
        clock.advance(seconds)
    found = answers.latest()
    begin = clock() - found.seconds
    assert found.counts == Counter(answer for at, answer in happened if at >= begin - 1e-6)
    recent = Counter(answer for at, answer in happened if at > clock() - WINDOW + PART)
    assert Counter(found.counts) >= recent


def test_an_idle_worker_has_no_answers_after_the_window() -> None:
    clock = ManualClock()
    answers = RecentAnswers(clock)
    answers.note_answer((200, "a"))
    assert answers.latest().counts == {AnswerKey("2xx", "backend"): 1}
    for _ in range(13):
        clock.advance(1.0)
        answers.consume(())
    assert answers.latest().counts == {}
    assert answers.latest().seconds <= WINDOW * 1.05 + PART


def test_answers_before_a_long_silence_are_forgotten() -> None:
    clock = ManualClock()
    answers = RecentAnswers(clock)
    answers.note_answer((200, "a"))
    answers.latest()
    clock.advance(1000.0)
    answers.note_answer((500, "a"))
    clock.advance(0.1)
    found = answers.latest()
    assert found.counts == {AnswerKey("5xx", "backend"): 1}
    assert found.seconds < WINDOW


def test_clients_are_counted_with_and_without_events_but_for_requests_beyond_a_limit() -> None:
    clock = ManualClock()
    answers = RecentAnswers(clock)
    refused = event(client="b", status=429, attempts=(), cause=AnswerCause.RATE_LIMIT, limit="each")
    answers.note_answer((200, "a"))
    answers.note(event(client="c", cause=AnswerCause.CLIENT_LEFT))
    answers.note(refused)
    answers.consume([(event(client="b"), 0.0), (event(client="a", status=503), 0.0), (refused, 0.0)])
    assert answers.clients == ClientCounts()
    assert answers.refused_clients is None
    clock.advance(1.0)
    answers.consume(())
    assert answers.clients == ClientCounts(1.0, 4, {"a": 2, "b": 1, "c": 1})
    assert answers.refused_clients == ClientCounts(1.0, 2, {"b": 2})


def test_clients_are_those_of_the_last_five_seconds() -> None:
    clock = ManualClock()
    answers = RecentAnswers(clock)
    for number in range(8):
        answers.note_answer((200, "early" if number < 3 else "late"))
        answers.consume(())
        clock.advance(1.0)
    answers.consume(())
    assert answers.clients == ClientCounts(5.0, 5, {"late": 5})
