from __future__ import annotations

from typing import Any

import pytest

from lbflask.core.hook_api import RESERVED, Change, HookRequest, Refusal


def test_a_change_sets_and_removes_fields_whatever_their_case_and_number() -> None:
    change = Change(set={"X-User": "7"}, remove=("cookie",))
    fields = [("Accept", "*/*"), ("x-user", "1"), ("X-USER", "2"), ("Cookie", "a"), ("Z", "z")]
    assert change.applied_to(fields) == [("Accept", "*/*"), ("Z", "z"), ("X-User", "7")]
    assert Change().applied_to(fields) == fields


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Host", "Content-Length", "", "a b", "a:", "a\r\nb", "ü"])
def test_framing_hop_and_what_is_no_name_are_not_for_hooks_to_change(name: str) -> None:
    for change in ({"set": {name: "x"}}, {"remove": (name,)}):
        with pytest.raises(ValueError, match=r"may not be changed by hooks|is not the name"):
            Change(**change)  # type: ignore[arg-type]


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


def test_a_request_tells_its_fields_by_any_case() -> None:
    settings: dict[str, Any] = dict.fromkeys(("request_id", "client", "method", "target", "host", "pool"), "x")
    request = HookRequest(**settings, fields=(("Accept", "a"), ("ACCEPT", "b")))
    assert (request.field("accept"), request.field("other")) == ("a", None)
