from __future__ import annotations

from lbflask.core.faults import Blame, Fault, Resource, Shortage, Stage


def test_a_fault_says_whose_it_was_how_far_the_request_had_got_and_why() -> None:
    fault = Fault(Blame.BACKEND, Stage.WAIT, 504, "no answer within 3 s")
    assert str(fault) == "no answer within 3 s"
    assert repr(fault) == "Fault(backend/wait 504: no answer within 3 s)"


def test_a_fault_is_of_a_new_and_silent_connection_unless_told_otherwise() -> None:
    fault = Fault(Blame.BACKEND, Stage.SEND, 502, "reset")
    assert (fault.reused, fault.answered) == (False, False)


def test_a_shortage_is_to_blame_on_this_process_and_answered_503() -> None:
    shortage = Shortage(Stage.CONNECT, Resource.PORTS, "no free port")
    assert (shortage.blame, shortage.status, str(shortage)) == (Blame.SELF, 503, "no free port")
    assert shortage.resource is Resource.PORTS
