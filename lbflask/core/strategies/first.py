"""Fail-over: all requests go to the first backend of the configuration that can serve; the next one replaces it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lbflask.core.model import NO_LOADS, Backend, Candidate


class First:
    """The candidates in the order of the configuration."""

    __slots__ = ("_backends",)

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        ranked = sorted(candidates, key=lambda candidate: candidate.rank)
        self._backends = tuple(candidate.backend for candidate in ranked)

    def __repr__(self) -> str:
        return f"First({len(self._backends)} backends)"

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:  # noqa: ARG002 - none has an effect
        """The same for all requests; weights have no effect."""
        return iter(self._backends)
