from __future__ import annotations

from lbflask.store.fleet_records import parse_drains, parse_events
from tests.support.changes import property_test

test_any_drains_and_events_are_within_their_bounds_or_ignored = property_test("beats")

#: What clears a screen, and sets the title of a window.
OBEYED, SHOWN = b"alice\x1b[2J\x1b]0;x\x07\n", "alice?[2J?]0;x??"


def test_texts_of_events_and_drains_cannot_command_a_terminal() -> None:
    fields = {b"kind": b"operator", b"what": b"drained", b"reason": OBEYED, b"who": OBEYED, b"backend": b"\xff<b>"}
    (event,) = parse_events([(b"1000-0", fields)])
    assert (event.reason, event.actor, event.backend) == (SHOWN, SHOWN, "\ufffd<b>")
    drain = parse_drains(1.0, [("one", b"2000:" + OBEYED)], {"one": b"1000:" + OBEYED})["one"]
    assert (drain.actor, drain.reason) == (SHOWN, SHOWN)
