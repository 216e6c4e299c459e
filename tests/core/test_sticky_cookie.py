"""The sticky cookie: what it says to us, and that it says nothing to anybody else."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from lbflask.core import sticky_cookie
from lbflask.core.sticky_cookie import (
    MOST_CHARACTERS,
    MOST_REMEMBERED,
    MOST_TRIED,
    Affinity,
    CookieRefusal,
)
from tests.support.changes import property_test

NOW = 1_700_000_000.75
OLD, NEW, OTHER = ("o" * 16, "n" * 16, "x" * 16)
IDS = ("10.0.0.1:80", "web-2", "größer")


def known(*secrets: str, pool: str = "shop", max_age: float | None = None, ids: tuple[str, ...] = IDS) -> Affinity:
    made = Affinity(pool, secrets or (NEW,), max_age)
    made.know(ids)
    return made


@pytest.mark.parametrize("backend", IDS)
def test_a_cookie_leads_back_to_its_backend_in_every_process(backend: str) -> None:
    cookie = known().cookie(backend, NOW)
    assert known().home([cookie], NOW) == backend
    assert known().cookie(backend, NOW) == cookie


def test_cookies_of_other_versions_stay_valid() -> None:
    """The bytes of a cookie are a contract between releases: a change of them ends every session."""
    assert known().cookie("web-2", NOW) == "qzupmRakehuEFFnz.6553f100.QoSkynaqEEE8GCqnBbzZiZiDehxH0wVjiA4cH4_6hW4"


def test_a_cookie_is_short_and_made_of_what_cookies_may_have() -> None:
    for backend in (*IDS, "x" * 64):
        assert re.fullmatch(r"[A-Za-z0-9._-]{60,80}", known().cookie(backend, NOW))


def test_it_gives_neither_name_nor_address_away() -> None:
    """Without the secret nobody can tell which backend a mark stands for, even who knows all names."""
    marks = {secret: known(secret).cookie(IDS[0], NOW).split(".")[0] for secret in (OLD, NEW)}
    assert len({*marks.values(), known(pool="other").cookie(IDS[0], NOW).split(".")[0]}) == 3


def test_it_tells_no_client_from_another() -> None:
    made = known()
    assert made.cookie(IDS[0], NOW) == made.cookie(IDS[0], NOW + 0.2)
    assert made.cookie(IDS[0], NOW) != made.cookie(IDS[0], NOW + 1)


@given(st.text(max_size=200))
def test_what_anybody_makes_up_is_no_cookie(value: str) -> None:
    assert known().home([value], NOW) == ""


def test_a_cookie_that_was_tampered_with_is_none() -> None:
    """Any one character taken for another, but the last, of which two bits are nothing."""
    made = known()
    cookie = made.cookie(IDS[0], NOW)
    for place, sign in product(range(len(cookie) - 1), "aB3-._"):
        if cookie[place] != sign:
            assert known().home([cookie[:place] + sign + cookie[place + 1 :]], NOW) == ""
    for end in range(len(cookie)):
        assert known().home([cookie[:end]], NOW) == ""


def test_parts_of_two_cookies_make_no_third() -> None:
    made = known()
    one, two = (made.cookie(backend, moment).split(".") for backend, moment in ((IDS[0], NOW), (IDS[1], NOW + 9)))
    for parts in product(*zip(one, two, strict=True)):
        if list(parts) not in (one, two):
            assert made.home([".".join(parts)], NOW) == ""


def test_a_cookie_of_another_pool_or_another_secret_is_none() -> None:
    assert known().home([known(pool="other").cookie(IDS[0], NOW)], NOW) == ""
    assert known().home([known(OTHER).cookie(IDS[0], NOW)], NOW) == ""


def test_one_who_knows_how_it_is_made_but_not_the_secret_makes_none() -> None:
    mark = known().cookie(IDS[0], NOW).split(".")[0]
    for derivation in ("none", "hmac", "concat", "django-concat"):
        forger = Signer(OTHER, key_derivation=derivation)
        assert known().home([forger.sign(f"{mark}.6553f100").decode()], NOW) == ""


def test_a_signed_value_of_another_kind_is_none() -> None:
    """Another version of us may come to sign something else."""
    made = known()
    for value in ("", ".", "mark", "mark.", "mark.zz", ".6553f100"):
        assert made.home([made._signer.sign(value).decode()], NOW) == ""


def test_a_backend_that_is_not_there_has_no_sessions() -> None:
    made = known()
    cookie = made.cookie(IDS[0], NOW)
    made.know(IDS[1:])
    assert made.home([cookie], NOW) == ""
    made.know(IDS)
    assert made.home([cookie], NOW) == IDS[0]


def test_a_cookie_can_be_made_for_a_backend_that_has_just_left() -> None:
    made = known(ids=())
    assert known().home([made.cookie(IDS[0], NOW)], NOW) == IDS[0]


@pytest.mark.parametrize(
    ("age", "valid"), [(-50, True), (0, True), (99, True), (99.25, True), (99.5, False), (1e9, False)]
)
def test_a_cookie_expires(age: float, valid: bool) -> None:
    made = known(max_age=100.0)
    cookie = made.cookie(IDS[0], NOW)
    for _ in range(2):  # also once it is remembered
        assert (made.home([cookie], NOW + age) == IDS[0]) is valid
    assert known().home([cookie], NOW + 1e9) == IDS[0]


def test_secrets_change_without_a_session_lost() -> None:
    before = known(OLD).cookie(IDS[0], NOW)
    during = known(NEW, OLD)
    assert during.home([before], NOW) == IDS[0]
    after = during.cookie(IDS[0], NOW)
    assert after == known(NEW).cookie(IDS[0], NOW)
    assert known(NEW).home([before], NOW) == ""
    assert known(OLD, NEW).home([after], NOW) == IDS[0]


def test_of_several_cookies_the_first_of_ours_counts() -> None:
    made = known()
    one, two = (made.cookie(backend, NOW) for backend in IDS[:2])
    assert made.home(["forged", one, two], NOW) == IDS[0]
    assert made.home([], NOW) == ""


def test_no_more_than_a_few_of_a_request_are_looked_at() -> None:
    made = known()
    cookie = made.cookie(IDS[0], NOW)
    assert made.home([*["forged"] * (MOST_TRIED - 1), cookie], NOW) == IDS[0]
    assert made.home([*["forged"] * MOST_TRIED, cookie], NOW) == ""


def test_each_refused_cookie_is_reported_with_its_reason() -> None:
    made = known(max_age=100.0)
    forged, foreign = "forged", known(OTHER).cookie(IDS[0], NOW)
    old, gone, valid = made.cookie(IDS[0], NOW - 101), made.cookie("gone", NOW), made.cookie(IDS[1], NOW)
    refused: list[CookieRefusal] = []
    assert made.home([foreign, old, valid, forged], NOW, refused.append) == IDS[1]
    assert refused == [CookieRefusal.SIGNATURE, CookieRefusal.EXPIRED]
    assert made.home([gone, forged], NOW, refused.append) == ""
    assert refused[2:] == [CookieRefusal.BACKEND, CookieRefusal.SIGNATURE]


def test_what_is_too_long_is_not_even_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    made = known()
    monkeypatch.setattr(made, "_signer", None)
    assert made.home(["x" * (MOST_CHARACTERS + 1)], NOW) == ""


def test_a_cookie_is_verified_once_and_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sticky_cookie, "MOST_REMEMBERED", 5)
    made = known()
    for moment in range(20):
        assert made.home([made.cookie(IDS[0], NOW + moment)], NOW) == IDS[0]
        assert made.home([f"forged {moment}"], NOW) == ""
        assert len(made._read) <= 5
    remembered = [made.cookie(IDS[0], NOW + moment) for moment in (18, 19)]
    monkeypatch.setattr(made, "_signer", None)
    assert [made.home([cookie], NOW) for cookie in remembered] == [IDS[0]] * 2
    assert MOST_REMEMBERED >= 1024


def test_a_repr_shows_sizes_and_no_secret() -> None:
    assert repr(known(NEW, OLD)) == "Affinity(3 backends, 2 secrets)"


test_any_cookies_are_read_as_by_another_library = property_test("cookie")
