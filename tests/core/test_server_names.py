from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.server_names import MAX_NAME, CertificateNames, default_numbers, find, numbers_by_name

A_RSA = CertificateNames(("a.example", "b.example"), "RSA")
A_EC = CertificateNames(("a.example",), "ECDSA")
WILD = CertificateNames(("*.example", "c.example"), "ECDSA")
NAMELESS = CertificateNames((), "RSA")


def test_each_name_has_the_first_certificate_of_each_key_type() -> None:
    found = numbers_by_name([A_RSA, A_EC, WILD, CertificateNames(("a.example", "*.example"), "ECDSA")])
    assert found == {"a.example": (0, 1), "b.example": (0,), "*.example": (2,), "c.example": (2,)}


@pytest.mark.parametrize(
    ("certificates", "numbers"),
    [
        ([A_RSA], (0,)),
        ([A_RSA, WILD, A_EC], (0, 2)),
        ([A_EC, A_RSA], (0, 1)),
        ([NAMELESS, A_EC], (0,)),
        ([WILD, A_RSA], (0,)),
    ],
)
def test_the_first_is_the_default_with_those_of_other_types_for_its_name(
    certificates: list[CertificateNames], numbers: tuple[int, ...]
) -> None:
    assert default_numbers(certificates) == numbers


TABLE = {"a.example": 1, "*.example": 2, "*.b.example": 3}


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("a.example", 1),
        ("A.Example", 1),
        ("a.example.", 1),
        ("x.example", 2),
        ("x.b.example", 3),
        ("b.example", 2),
        ("x.y.example", None),
        ("example", None),
        (".example", 2),
        ("*.example", 2),
        ("", None),
        ("a.example..", None),
        ("other", None),
        ("a" * MAX_NAME + ".example", None),
    ],
)
def test_the_exact_name_wins_over_the_wildcard_for_one_label(name: str, entry: int | None) -> None:
    assert find(TABLE, name) == entry


@given(
    st.lists(
        st.builds(CertificateNames, st.lists(st.sampled_from("abc"), max_size=3).map(tuple), st.sampled_from("xy"))
    )
)
def test_every_certificate_for_a_name_has_it_and_no_two_have_one_type(certificates: list[CertificateNames]) -> None:
    for name, numbers in numbers_by_name(certificates).items():
        assert all(name in certificates[number].names for number in numbers)
        assert len({certificates[number].key_type for number in numbers}) == len(numbers)
    if certificates:
        assert 0 in default_numbers(certificates)
