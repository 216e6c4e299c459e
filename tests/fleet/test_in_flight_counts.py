"""Requests in flight, of one worker and of the fleet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fleet.desk import REFUSED, RULE, Desk


class TestLoads:
    def test_attempts_are_in_flight_from_their_beginning_to_their_end(self, desk: Desk) -> None:
        desk.traffic.began("a")
        desk.traffic.began("a")
        desk.traffic.began("b")
        desk.traffic.answered("a", 200)
        assert desk.loads() == {"a": 2, "b": 1}
        desk.traffic.ended("a")
        desk.traffic.failed("a", REFUSED)
        assert desk.loads() == {"b": 1}

    def test_those_of_others_are_added_to_our_own(self, desk: Desk) -> None:
        other = Desk(RULE, desk.facts, desk.clock)
        other.traffic.began("a")
        other.traffic.began("b")
        other.tell()
        desk.loads()  # from now on they are read
        desk.traffic.began("a")
        desk.tell()
        assert desk.loads() == {"a": 2, "b": 1}

    def test_those_of_the_dead_are_gone_within_three_seconds(self, desk: Desk) -> None:
        """Though it beat at the very end, and we hear of it only with our next beat."""
        other = Desk(RULE, desk.facts, desk.clock)
        other.traffic.began("a")
        other.tell()
        desk.loads()
        desk.tell()
        assert desk.loads() == {"a": 1}
        for _ in range(29):
            desk.clock.advance(0.1)
            desk.traffic.began("b")  # news, so that it beats
            desk.loads()
            desk.tell()
        assert desk.loads() == {"b": 29}

    @pytest.mark.parametrize("pool", [sorted("ab"), [f"b{number}" for number in range(200)]])
    def test_whenever_we_hear_of_the_others_what_is_kept_is_what_is_counted(self, desk: Desk, pool: list[str]) -> None:
        other = Desk(RULE, desk.facts, desk.clock)
        desk.loads()
        for number in range(300):
            for name, one in ((pool[number % len(pool)], desk), (pool[number * 7 % len(pool)], other)):
                one.traffic.began(name)
                if number % 3:
                    one.traffic.ended(name)
            desk.clock.advance(0.1 if number % 50 else 3.0)
            other.tell()
            desk.tell()
            assert desk.traffic.in_flight.live() == desk.traffic.in_flight.total()

    def test_until_we_hear_again_what_we_do_stands_for_what_the_others_do_too(self, desk: Desk) -> None:
        """Two of ours and four of others: each that begins here is one of three that begin."""
        other = Desk(RULE, desk.facts, desk.clock)
        for name in "aaab":
            other.traffic.began(name)
        other.tell()
        desk.loads()
        desk.traffic.began("a")
        desk.traffic.began("b")
        desk.tell()
        live = desk.traffic.in_flight.live()
        assert live == {"a": 4, "b": 2}
        desk.traffic.began("c")
        desk.traffic.ended("a")
        assert live == {"a": 1, "b": 2, "c": 3}
        desk.traffic.failed("c", REFUSED)
        desk.traffic.began("a")
        assert live == {"a": 4, "b": 2}
        desk.traffic.began("d")
        desk.clock.advance(0.1)
        desk.tell()
        assert live == {"a": 4, "b": 2, "d": 1}

    def test_who_is_alone_stands_for_nobody_else(self, desk: Desk) -> None:
        desk.loads()
        for name in "aab":
            desk.traffic.began(name)
            desk.tell()
        desk.traffic.began("c")
        assert desk.traffic.in_flight.live() == {"a": 2, "b": 1, "c": 1}

    def test_what_was_heard_of_the_dead_no_longer_counts_once_it_is_old(self, desk: Desk) -> None:
        other = Desk(RULE, desk.facts, desk.clock)
        other.traffic.began("a")
        other.tell()
        desk.loads()
        desk.tell()
        live = desk.traffic.in_flight.live()
        assert live == {"a": 1}
        desk.clock.advance(2.6)
        assert desk.traffic.in_flight.live() is live
        assert live == {} == desk.traffic.in_flight.total()
        desk.traffic.began("b")
        assert live == {"b": 1}

    def test_threads_that_begin_and_end_at_once_leave_nothing_behind(self, desk: Desk) -> None:
        def work(number: int) -> None:
            for turn in range(300):
                name = "abcd"[(number + turn) % 4]
                desk.traffic.began(name)
                assert desk.traffic.in_flight.live()[name] > 0
                desk.traffic.ended(name)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(4)))
        assert desk.loads() == {}
