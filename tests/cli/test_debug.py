"""The command `lbflask debug`."""

from __future__ import annotations

import pytest

from tests.cli.servers import piped, served
from tests.control.servers import Counter


def test_it_switches_and_shows() -> None:
    counter = Counter()
    with served(counter) as url:
        assert piped("debug", "status", "--url", url) == (0, "one: off\n")
        code, shown = piped("debug", "on", "--for", "2m", "--url", url)
        assert (code, shown[:9]) == (0, "one: on, ")
        assert 110 < counter.debug.remaining() <= 120
        assert '"enabled": true' in piped("debug", "status", "--json", "--url", url)[1]
        assert piped("debug", "off", "--url", url) == (0, "one: off\n")
    assert not counter.debug.enabled


@pytest.mark.parametrize(
    "arguments", [("on", "--for", "2h"), ("on", "--for", "0"), ("on", "--for", "x"), ("off", "--for", "5m")]
)
@pytest.mark.sampled(4)
def test_a_wrong_time_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert piped("debug", *arguments, "--url", "http://127.0.0.1:1")[0] == 2
