from __future__ import annotations

import pytest

from lbflask.core.client_shares import ClientCounts, ClientRates, client_rates, dominant


def test_the_rates_of_all_workers_add_up_the_busiest_first() -> None:
    one = ClientCounts(10.0, 130, {"a": 30, "b": 100})
    two = ClientCounts(5.0, 60, {"a": 50, "c": 10})
    rates = client_rates([one, two])
    assert rates == ClientRates(25.0, {"a": 13.0, "b": 10.0, "c": 2.0})
    assert list(rates.by_client) == ["a", "b", "c"]


def test_clients_with_the_same_rate_come_by_name() -> None:
    assert list(client_rates([ClientCounts(1.0, 2, {"b": 1, "a": 1})]).by_client) == ["a", "b"]


def test_a_worker_that_has_just_begun_makes_no_high_rate_of_few_requests() -> None:
    assert client_rates([ClientCounts(0.1, 3, {"a": 3})]) == ClientRates(3.0, {"a": 3.0})
    assert client_rates([]) == ClientRates(0.0, {})


@pytest.mark.parametrize(
    ("total", "by_client", "found"),
    [
        (500.0, {"a": 415.0, "b": 12.0}, "a"),
        (20.5, {"a": 20.0, "b": 0.5}, "a"),
        (20.0, {"a": 10.0, "b": 6.25}, "a"),
        (19.5, {"a": 9.75, "b": 4.0}, None),
        (20.0, {"a": 9.9, "b": 4.0}, None),
        (30.0, {"a": 16.0, "b": 10.1, "c": 1.0}, None),
        (100.0, {"a": 49.0, "b": 1.0}, None),
        (100.4, {"a": 100.0, "b": 0.4}, None),
        (100.0, {"a": 100.0}, None),
        (100.0, {"a": 60.0}, "a"),
        (100.0, {}, None),
        (0.0, {}, None),
    ],
    ids=[
        "most of much",
        "others hardly ask",
        "at all limits",
        "half of little",
        "below the rate",
        "not far from the next",
        "less than half",
        "a proxy and one that looks after it",
        "the only one",
        "many others with little",
        "none with much",
        "none",
    ],
)
def test_a_client_dominates_beside_others_and_with_a_burden(
    total: float, by_client: dict[str, float], found: str | None
) -> None:
    assert dominant(ClientRates(total, by_client)) == found


def test_counts_of_no_time_are_none() -> None:
    assert ClientCounts() == ClientCounts(0.0, 0, {})
