"""Why clients got what they got, and sums of it over workers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.answers import MOST_KEYS, REGULAR, AnswerCause, AnswerKey, Answers, bounded, local_answer, rates
from tests.support.documentation import page, public_values

KEYS = st.builds(
    AnswerKey,
    st.sampled_from([*map(str, range(400, 599)), "1xx", "2xx", "3xx", "4xx", "5xx"]),
    st.sampled_from(AnswerCause),
    st.just("") | st.text(max_size=3),
)


def test_causes_have_the_names_that_users_read() -> None:
    assert sorted(AnswerCause) == public_values(AnswerCause)


def test_a_local_reply_is_counted_by_its_exact_status_and_its_cause() -> None:
    for cause in AnswerCause:
        assert local_answer(404, cause, "web") == local_answer(404, cause, "web") == ("404", cause.value, "web")


def test_the_page_on_metrics_explains_each_cause() -> None:
    table = page("metrics.md").partition("| cause | statuses |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert sorted(re.findall(r"`(\w+)`", "".join(first_cells))) == sorted(AnswerCause)


@pytest.mark.parametrize(
    ("key", "is_error"),
    [
        (AnswerKey("2xx", "backend"), False),
        (AnswerKey("4xx", "backend"), False),
        (AnswerKey("5xx", "backend"), True),
        (AnswerKey("301", "direct_response"), False),
        (AnswerKey("503", "direct_response"), True),
        (AnswerKey("429", "rate_limit", "each"), True),
        (AnswerKey("2xx", "client_left", "web"), True),
        (AnswerKey("418", "a cause of a newer version"), True),
    ],
)
def test_an_answer_is_an_error_unless_it_is_whole_and_below_500(key: AnswerKey, is_error: bool) -> None:
    assert key.is_error is is_error


def test_what_is_regular_is_a_cause() -> None:
    assert set(AnswerCause) > REGULAR


def test_few_keys_stay_as_they_are() -> None:
    counts = {AnswerKey("429", "rate_limit", f"limit-{number}"): 1 for number in range(MOST_KEYS)}
    assert bounded(counts) == counts


def test_of_many_keys_the_most_frequent_keep_their_names() -> None:
    counts = {AnswerKey("429", "rate_limit", f"limit-{number}"): number + 1 for number in range(MOST_KEYS + 1)}
    found = bounded(counts)
    assert found[AnswerKey("429", "rate_limit", f"limit-{MOST_KEYS}")] == MOST_KEYS + 1
    assert found[AnswerKey("4xx", "rate_limit")] == sum(range(1, MOST_KEYS // 2 + 2))


def test_a_rare_class_of_backends_is_counted_once() -> None:
    frequent = {AnswerKey("429", "rate_limit", f"limit-{number}"): 9 for number in range(MOST_KEYS)}
    rare = AnswerKey("3xx", "backend")
    assert bounded(frequent | {rare: 2})[rare] == 2


@given(st.dictionaries(KEYS, st.integers(1, 1000), max_size=3 * MOST_KEYS))
def test_no_count_is_lost_and_the_number_of_keys_has_a_bound(counts: dict[AnswerKey, int]) -> None:
    found = bounded(counts)
    assert sum(found.values()) == sum(counts.values())
    assert len(found) <= MOST_KEYS + 5 * len(AnswerCause)


def test_rates_of_workers_are_added() -> None:
    ok, limited = AnswerKey("2xx", "backend"), AnswerKey("429", "rate_limit", "each")
    workers = [Answers(10.0, {ok: 50, limited: 20}), Answers(5.0, {ok: 5}), Answers(0.1, {ok: 1}), Answers()]
    assert rates(workers) == {ok: 7.0, limited: 2.0}
    assert [one.per_second for one in workers] == [7.0, 1.0, 1.0, 0.0]
