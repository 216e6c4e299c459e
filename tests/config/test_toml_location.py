"""Where a key stands in a file."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lbflask.config.toml_location import line_of
from tests.support.changes import property_test

FILE = """\
# rise is told of below
via = "rise"
backends = [
    "http://a:1",
    { url = "http://b:1", weight = 3 },
]

[health]
rise = 1
fall = 2  # [retries]
timeout.x = 1

[pools.api]
backends = ["http://c:1"]
health.rise = 5

[[routes]]
host = "a"
[[routes]]
path = '''
host
'''
host = "b"
"""


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        (["via"], 2),
        (["backends"], 3),
        (["backends", 1, "weight"], 3),  # the statement begins there
        (["health"], 8),
        (["health", "rise"], 9),
        (["health", "timeout", "x"], 11),
        (["pools", "api", "health", "rise"], 15),
        (["routes", 0, "host"], 18),
        (["routes", 1, "host"], 23),
        (["backends", 7], 0),
        (["health", "interval"], 0),
        (["nothing"], 0),
        ([], 0),
        ([0], 0),
    ],
)
def test_the_line_is_that_of_the_statement(steps: Sequence[str | int], line: int) -> None:
    assert line_of(FILE, steps) == line


def test_what_is_no_toml_has_no_places() -> None:
    assert line_of("a = 1\nb = = 2\n", ["b"]) == 0
    assert line_of("", ["b"]) == 0


def test_the_line_is_found_in_a_large_file_without_parsing_it_for_each_line() -> None:
    tables = "".join(f'[[backends]]\nurl = "http://a{number}:1"\nweight = 1\n' for number in range(2000))
    assert line_of(f"{tables}[[backends]]\nweight = 999\n", ["backends", 2000, "weight"]) == 6002


def test_a_search_that_would_parse_too_much_finds_no_line() -> None:
    """An array of many lines is one statement, of which no part can be parsed by itself."""
    text = "backends = [\n" + "  1,\n" * 20_000 + "]\n"
    assert line_of(text, ["backends", 7]) == 0


test_any_file_is_a_configuration_or_rejected_in_one_line = property_test("configuration")
