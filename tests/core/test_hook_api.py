from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from lbflask.core.hook_api import RESERVED, Change, HookRequest, HookResponse, Refusal
from tests.support.changes import property_test


def test_a_change_sets_and_removes_fields_whatever_their_case_and_number() -> None:
    change = Change(set={"X-User": "7"}, remove=("cookie",))
    fields = [("Accept", "*/*"), ("x-user", "1"), ("X-USER", "2"), ("Cookie", "a"), ("Z", "z")]
    assert change.applied_to(fields) == [("Accept", "*/*"), ("Z", "z"), ("X-User", "7")]
    assert Change().applied_to(fields) == fields


def test_hooks_may_copy_what_they_receive_and_derive_from_what_they_return() -> None:
    """In a compiled build too, so that a hook that works with one works with the other."""

    class Marking(Change):
        pass

    request = HookRequest("id-1", "203.0.113.9", "GET", "/", "shop.example", "default", (("A", "b"),))
    assert [copy.copy(request), copy.deepcopy(request), pickle.loads(pickle.dumps(request))] == [request] * 3
    names: Any = ["cookie"]
    assert Marking(remove=names).applied_to([("Cookie", "a"), ("Z", "z")]) == [("Z", "z")]


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Host", "Content-Length", "", "a b", "a:", "a\r\nb", "ü"])
def test_framing_hop_and_what_is_no_name_are_not_for_hooks_to_change(name: str) -> None:
    for change in ({"set": {name: "x"}}, {"remove": (name,)}):
        with pytest.raises(ValueError, match=r"may not be changed by hooks|is not the name"):
            Change(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Proxy-Authenticate", "Proxy-Authorization"])
def test_the_credentials_for_another_proxy_may_be_set(name: str) -> None:
    """RFC 9110 §11.7: they are for the next proxy that demands them, which may be the backend."""
    assert Change(set={name: "x"}).applied_to([]) == [(name, "x")]


@pytest.mark.parametrize("value", ["a\r\nInjected: b", "a\n", "\0", "\u20ac"])
def test_what_is_no_value_can_be_set_by_nobody(value: str) -> None:
    with pytest.raises(ValueError, match="is not the value of a field"):
        Change(set={"A": value})


@pytest.mark.parametrize("status", [400, 403, 451, 503])
def test_a_refusal_is_an_error_that_everybody_knows(status: int) -> None:
    assert Refusal(status, "no").status == status


@pytest.mark.parametrize("status", [200, 399, 499, 599, 600])
def test_no_other_status_refuses(status: int) -> None:
    with pytest.raises(ValueError, match="not a status for a refusal"):
        Refusal(status, "no")


def test_a_refusal_may_have_fields_but_not_those_of_its_body() -> None:
    assert Refusal(401, "no", {"WWW-Authenticate": "Bearer"}).headers == {"WWW-Authenticate": "Bearer"}
    for headers in ({"Content-Length": "3"}, {"content-type": "a/b"}, {"A": "b\r\nC: d"}, {"a b": "c"}):
        with pytest.raises(ValueError, match=r"may not be changed|Content-Type|is not the"):
            Refusal(401, "no", headers)


def test_a_response_tells_its_fields_by_any_case() -> None:
    response = HookResponse(200, (("Server", "a"), ("SERVER", "b")))
    assert [response.field(name) for name in ("server", "other")] == ["a", None]


def test_a_request_tells_its_fields_by_any_case() -> None:
    settings: dict[str, Any] = dict.fromkeys(("request_id", "client", "method", "target", "host", "pool"), "x")
    request = HookRequest(**settings, fields=(("Accept", "a"), ("ACCEPT", "b")))
    assert [request.field(name) for name in ("accept", "Accept", "ACCEPT", "other")] == ["a", "a", "a", None]


test_any_edits_leave_the_framing_alone_or_are_rejected = property_test("header_edits")
