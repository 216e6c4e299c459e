from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbflask.core.http.field_names import members
from lbflask.core.http.types import Fields
from lbflask.core.http.upgrade import accepted_upgrade, requested_upgrade, with_upgrade
from tests.support.changes import property_test


def asking(*offers: str, connection: tuple[str, ...] = ("Upgrade",)) -> Fields:
    return [*(("Connection", line) for line in connection), *(("Upgrade", offer) for offer in offers)]


@pytest.mark.parametrize(
    "connection",
    [
        ("upgrade",),
        ("Upgrade",),
        ("UPGRADE",),
        ("keep-alive, Upgrade",),
        ("keep-alive,\tupgrade ,",),
        ("keep-alive", "Upgrade"),
    ],
)
def test_an_upgrade_that_connection_nominates_is_asked_for(connection: tuple[str, ...]) -> None:
    assert requested_upgrade(asking("websocket", connection=connection), "HTTP/1.1") == "websocket"


@pytest.mark.parametrize(
    "connection", [(), ("",), ("keep-alive",), ("upgraded",), ("up grade",), ("close", "keep-alive")]
)
def test_an_upgrade_that_connection_does_not_nominate_is_none(connection: tuple[str, ...]) -> None:
    assert requested_upgrade(asking("websocket", connection=connection), "HTTP/1.1") == ""


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/0.9", "HTTP/2", ""])
def test_only_http_1_1_can_be_left_by_upgrade(version: str) -> None:
    assert requested_upgrade(asking("websocket"), version) == ""


@pytest.mark.parametrize("offers", [(), ("",), (" ,\t",), ("", "")])
def test_an_empty_offer_is_none(offers: tuple[str, ...]) -> None:
    assert requested_upgrade(asking(*offers), "HTTP/1.1") == ""


@pytest.mark.parametrize(
    ("offers", "passed"),
    [
        (("WebSocket",), "WebSocket"),
        (("foo/2, websocket",), "foo/2, websocket"),
        (("foo/2", "websocket"), "foo/2, websocket"),
        (("h2c",), ""),
        (("H2C",), ""),
        (("h2c, websocket",), "websocket"),
        (("websocket , h2c",), "websocket"),
        (("websocket", "h2C", "foo"), "websocket, foo"),
        (("h2c/1, h2, h3, HTTP/2.0, http/1.1, TLS/1.0, tls",), ""),
        (("h2c\x0b", "\th2c"), ""),
        (('"h2c"', "a b", "/", "websocket/", "web/sock/et"), ""),
        (("h2cat",), "h2cat"),
    ],
)
def test_no_offer_passes_by_which_http_could_be_talked_behind_our_back(offers: tuple[str, ...], passed: str) -> None:
    assert requested_upgrade(asking(*offers), "HTTP/1.1") == passed


@given(
    st.lists(st.text(st.characters(codec="latin-1"), max_size=10) | st.sampled_from(["h2c", "H2c", "websocket,h2c"]))
)
def test_h2c_never_passes(offers: list[str]) -> None:
    passed = requested_upgrade(asking(*offers), "HTTP/1.1")
    assert "h2c" not in {offer.lower().partition("/")[0] for offer in members([passed])}


@pytest.mark.parametrize(
    ("answered", "requested", "accepted"),
    [
        (("websocket",), "websocket", True),
        (("WebSocket",), "websocket", True),
        (("websocket",), "foo/2, WEBSOCKET", True),
        (("foo/2, websocket",), "websocket, foo/2", True),
        (("foo/2", "websocket"), "websocket, foo/2", True),
        ((), "websocket", False),
        (("",), "websocket", False),
        (("other",), "websocket", False),
        (("websocket, other",), "websocket", False),
        (("foo/3",), "foo/2", False),
        (("websocket",), "", False),
        (("web",), "websocket", False),
    ],
)
def test_a_protocol_is_accepted_only_if_it_was_asked_for(
    answered: tuple[str, ...], requested: str, accepted: bool
) -> None:
    fields = [("Connection", "upgrade"), *(("upgrade", line) for line in answered)]
    assert accepted_upgrade(fields, requested) is accepted


def test_an_upgrade_goes_on_with_the_option_that_names_it() -> None:
    assert with_upgrade([("A", "1")], "websocket") == [
        ("A", "1"), ("Connection", "Upgrade"), ("Upgrade", "websocket")
    ]  # fmt: skip


def test_other_options_of_the_connection_share_its_line() -> None:
    fields = [("TE", "trailers"), ("Connection", "TE"), ("A", "1")]
    assert with_upgrade(fields, "websocket") == [
        ("TE", "trailers"), ("A", "1"), ("Connection", "TE, Upgrade"), ("Upgrade", "websocket")
    ]  # fmt: skip


test_any_head_is_forwarded_without_fields_of_this_hop = property_test("fields")
