"""Following a source: what it says when it changes, and what holds while it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import pytest

from lbflask.core.discovery import DiscoveredBackend, SourceCause, at_addresses
from lbflask.discovery.source import DiscoveryFailure, DiscoveryResult, difference, follow

A, B, AB = (at_addresses(addresses, 80, "http") for addresses in (["10.0.0.1"], ["10.0.0.2"], ["10.0.0.1", "10.0.0.2"]))


class Script:
    """A source that says one thing after the other."""

    patience = 10.0

    def __init__(self, *script: DiscoveryResult | str) -> None:
        self.script = list(script)

    def __str__(self) -> str:
        return "dns://web.test:80"

    async def ask(self) -> DiscoveryResult:
        if not self.script:
            raise Ended
        said = self.script.pop(0)
        if isinstance(said, str):
            raise DiscoveryFailure(said)
        return said


class Ended(Exception):
    """The script is over."""


def followed(*script: DiscoveryResult | str) -> tuple[list[tuple[DiscoveredBackend, ...]], list[float]]:
    """What was told, and the pauses."""
    pauses: list[float] = []
    told: list[tuple[DiscoveredBackend, ...]] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def scene() -> None:
        async for found in follow(Script(*script), "web", pause=pause):
            told.append(found)  # noqa: PERF401 - what came before the end of the script counts

    with suppress(Ended):
        asyncio.run(scene())
    return told, pauses


def messages(caplog: pytest.LogCaptureFixture) -> Sequence[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "lbflask.discovery"]


def test_what_changes_is_told_and_the_source_is_left_alone_for_as_long_as_its_answer_is_good() -> None:
    assert followed(DiscoveryResult(A, 5), DiscoveryResult(A, 3), DiscoveryResult(AB, 60), DiscoveryResult(B, 1)) == (
        [A, AB, B],
        [5, 3, 60, 1],
    )


def test_that_there_are_none_is_told_too() -> None:
    assert followed(DiscoveryResult((), 5)) == ([()], [5])
    assert followed(DiscoveryResult(A, 5), DiscoveryResult((), 5)) == ([A, ()], [5, 5])


def test_the_last_answer_holds_while_the_source_fails() -> None:
    told, _ = followed(DiscoveryResult(A, 5), "gone", "gone", DiscoveryResult(A, 5), "gone", DiscoveryResult(B, 5))
    assert told == [A, B]


def test_a_source_that_fails_is_asked_less_and_less_often_until_it_answers() -> None:
    _, pauses = followed(*["gone"] * 6, DiscoveryResult(A, 60), "gone", "gone")
    assert pauses == [1, 2, 4, 8, 10, 10, 60, 1, 2]


def test_a_source_that_fails_for_years_is_still_asked() -> None:
    _, pauses = followed(*["gone"] * 3000)
    assert set(pauses[10:]) == {10}


def test_an_answer_in_doubt_counts_as_one_but_is_soon_asked_for_again() -> None:
    told, pauses = followed(
        *[DiscoveryResult(A, 60, "half of it failed")] * 3,
        DiscoveryResult(A, 3, "half of it failed"),
        DiscoveryResult(B, 60),
    )
    assert (told, pauses) == ([A, B], [1, 2, 4, 3, 60])


def test_each_poll_is_reported_with_its_reason_and_cause() -> None:
    reports: list[tuple[str, SourceCause]] = []

    async def report(reason: str, cause: SourceCause) -> None:
        reports.append((reason, cause))

    async def pause(_: float) -> None:
        pass

    async def scene() -> None:
        script = Script(DiscoveryResult(A, 9), "no", DiscoveryResult(A, 9, "b", SourceCause.NO_NAME))
        async for _ in follow(script, "web", pause=pause, report=report):
            pass

    with suppress(Ended):
        asyncio.run(scene())
    assert reports == [("", SourceCause.OTHER), ("no", SourceCause.OTHER), ("b", SourceCause.NO_NAME)]


def test_each_reason_is_logged_once_and_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    followed(
        "gone",
        "gone",
        "broken",
        DiscoveryResult(A, 5, "in part"),
        DiscoveryResult(A, 5, "in part"),
        DiscoveryResult(A, 5),
        "gone",
    )
    start = "pool web: dns://web.test:80: "
    assert messages(caplog) == [
        ("WARNING", start + "gone; its last result stays in force"),
        ("WARNING", start + "broken; its last result stays in force"),
        ("INFO", start + "1 in all: new 10.0.0.1:80"),
        ("WARNING", start + "in part; its last result stays in force"),
        ("INFO", start + "answers again"),
        ("WARNING", start + "gone; its last result stays in force"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((), A, "1 in all: new 10.0.0.1:80"),
        (A, AB, "2 in all: new 10.0.0.2:80"),
        (AB, A, "1 in all: gone 10.0.0.2:80"),
        (A, B, "1 in all: new 10.0.0.2:80, gone 10.0.0.1:80"),
        (A, (), "0 in all: gone 10.0.0.1:80"),
        ((), (), "no backends"),
        (A, at_addresses(["10.0.0.1"], 80, "http", 7), "1 in all: the same, with other settings"),
        (
            (),
            at_addresses([f"10.0.0.{number}" for number in range(1, 13)], 80, "http"),
            "12 in all: new " + " ".join(f"10.0.0.{number}:80" for number in range(1, 11)) + " and 2 more",
        ),
    ],
)
def test_what_has_changed_is_said_in_words(
    before: tuple[DiscoveredBackend, ...], after: tuple[DiscoveredBackend, ...], said: str
) -> None:
    assert difference(before, after) == said
