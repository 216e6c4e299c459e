from __future__ import annotations

from lbflask.core.reload import ReloadOutcome, ReloadUnavailable


def test_a_reload_that_was_not_refused_lists_what_changed() -> None:
    outcome = ReloadOutcome(1.0, "abc", in_place=("via",))
    assert (outcome.refused, outcome.in_place, outcome.by_new_workers) == ("", ("via",), ())


def test_the_reason_is_the_message() -> None:
    assert str(ReloadUnavailable("the master did not answer")) == "the master did not answer"
