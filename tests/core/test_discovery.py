"""What was found, as backends."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product

import pytest

from lbflask.core.discovery import DiscoveredBackend, Service, SourceCause, at_addresses, at_services, whole_weights
from lbflask.core.model import Backend


def test_one_address_is_one_backend_however_it_is_written() -> None:
    (found,) = at_addresses(["fd00::1", "fd00:0:0:0:0:0:0:1", "FD00::0001"], 80, "http")
    assert (found.backend.id, found.backend.host, found.check) == ("[fd00::1]:80", "fd00::1", None)


def test_a_backend_at_an_address_is_no_backup_and_has_the_weight_of_one_unless_given() -> None:
    expected = Backend("10.0.0.1:80", "10.0.0.1", 80, "http://10.0.0.1:80", weight=1, backup=False)
    assert at_addresses(["10.0.0.1"], 80, "http") == (DiscoveredBackend(expected),)
    assert at_addresses(["10.0.0.1"], 80, "http", 7)[0].backend.weight == 7


def test_addresses_are_ordered_by_version_and_number_whatever_the_response() -> None:
    addresses = ["10.0.0.2", "10.0.0.10", "10.0.1.0", "fd00::1", "fd00::a"]
    for response in permutations(addresses):
        assert [one.backend.host for one in at_addresses(response, 80, "http")] == addresses


@pytest.mark.parametrize(
    ("shares", "weights"),
    [
        ([], []),
        ([0, 0, 0], [1, 1, 1]),
        ([5, 3, 2], [5, 3, 2]),
        ([100, 200], [100, 200]),
        ([128, 256], [128, 256]),
        ([1000, 2000, 3000], [1, 2, 3]),
        ([100, 1000], [1, 10]),
        ([Fraction(500, 3), Fraction(250, 3)], [2, 1]),
        ([65_535, 1], [256, 1]),
        ([0, 10, 20], [1, 128, 256]),
        ([0, 1], [1, 256]),
        ([Fraction(1, 2), Fraction(1, 2), 1], [1, 1, 2]),
        ([Fraction(10, 3)] * 3 + [5], [10, 10, 10, 15]),
    ],
)  # fmt: skip
def test_weights_are_whole_and_keep_their_proportions(shares: list[Fraction], weights: list[int]) -> None:
    assert whole_weights([Fraction(share) for share in shares]) == weights


def test_weights_are_always_in_range_and_never_turn_around() -> None:
    values = [Fraction(value) for value in (0, 1, 7, 256, 257, 65_535)] + [Fraction(1, 3), Fraction(65_535, 7)]
    for shares in product(values, repeat=3):
        weights = whole_weights(shares)
        assert all(1 <= weight <= 256 for weight in weights)
        for (share, weight), (other, than) in permutations(zip(shares, weights, strict=True), 2):
            assert share < other or weight >= than


def test_the_order_of_records_makes_no_difference() -> None:
    services = [
        Service(1, 10, 80, ("10.0.0.1", "fd00::1")),
        Service(1, 5, 80, ("10.0.0.2",)),
        Service(2, 5, 81, ("10.0.0.2",)),
        Service(3, 0, 80, ("10.0.0.1",)),
    ]
    assert len({at_services(order, "http") for order in permutations(services)}) == 1


def test_a_target_has_its_weight_however_many_addresses_it_has() -> None:
    found = at_services([Service(1, 10, 80, ("10.0.0.1", "fd00::1")), Service(1, 10, 80, ("10.0.0.2",))], "https")
    assert {one.backend.url: one.backend.weight for one in found} == {
        "https://10.0.0.1:80": 5,
        "https://10.0.0.2:80": 10,
        "https://[fd00::1]:80": 5,
    }


def test_of_two_records_for_one_place_the_lower_priority_counts_and_then_the_greater_weight() -> None:
    place = ("10.0.0.1",)
    both = at_services([Service(2, 9, 80, place), Service(1, 3, 80, place), Service(1, 4, 80, place)], "http")
    assert [(one.backend.weight, one.backend.backup) for one in both] == [(4, False)]


def test_records_of_a_higher_priority_are_backups() -> None:
    """RFC 2782: a client must use the reachable targets of the lowest number first."""
    services = [Service(priority, 1, 80, (f"10.0.0.{priority}",)) for priority in (30, 10, 20)]
    found = [(one.backend.host, one.backend.backup) for one in at_services(services, "http")]
    assert found == [("10.0.0.10", False), ("10.0.0.20", True), ("10.0.0.30", True)]


def test_no_services_are_no_backends() -> None:
    assert at_services([], "http") == ()


def test_a_cause_of_a_later_version_is_another_one() -> None:
    assert SourceCause("quota") is SourceCause.OTHER
    assert [SourceCause(cause.value) for cause in SourceCause] == list(SourceCause)
