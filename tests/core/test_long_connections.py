"""The end of long connections: spread over their time, and of no backend that serves."""

from __future__ import annotations

from lbflask.core.long_connections import DOWN_WITHIN, closings, is_over
from lbflask.core.model import ActiveHealth, Closing, Health, Mode, Override, Snapshot

CLOSING = Closing(1000.0, 300.0)
DOWN = ActiveHealth(Health.DOWN, since=900.0)


def test_connections_end_one_after_another_within_the_time() -> None:
    names = [f"id-{number}" for number in range(1000)]
    ended = [sum(is_over(CLOSING, name, 1000.0 + after) for name in names) for after in (-1, 75, 150, 225, 300)]
    assert ended[0] == 0
    assert ended[-1] == 1000
    assert all(abs(count - 250 * part) < 60 for part, count in enumerate(ended)), ended


def test_only_backends_that_are_drained_with_a_time_lose_them() -> None:
    overrides = {
        "a": Override(Mode.DRAINING, closing=CLOSING),
        "b": Override(Mode.DRAINING),
        "c": Override(closing=CLOSING),
        "d": Override(Mode.OFF, closing=CLOSING),
    }
    assert closings(Snapshot(overrides=overrides), when_down=False) == {"a": CLOSING, "d": CLOSING}


def test_those_that_are_down_lose_them_where_that_is_set_and_the_checker_is_there() -> None:
    active = {"a": DOWN, "b": ActiveHealth(Health.UP)}
    known = Snapshot(active=active, heartbeat=0.0, interval=10.0)
    assert closings(known, when_down=True) == {"a": Closing(900.0, DOWN_WITHIN)}
    assert closings(known, when_down=False) == {}
    assert closings(Snapshot(active=active, heartbeat=1000.0, interval=10.0), when_down=True) == {}
