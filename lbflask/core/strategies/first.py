"""Fail-over: the first backend of the configuration that can serve takes all requests, the next takes over from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lbflask.core.model import NO_LOADS, Backend, Candidate


class First:
    """The candidates as they stand in the configuration."""

    __slots__ = ("_backends",)

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        ranked = sorted(candidates, key=lambda candidate: candidate.rank)
        self._backends = tuple(candidate.backend for candidate in ranked)

    def order(self, ticket: int, key: str | None = None, loads: Mapping[str, int] = NO_LOADS) -> Iterator[Backend]:  # noqa: ARG002 - always the same
        """The same for all requests; weights count for nothing."""
        return iter(self._backends)


def compile(candidates: Sequence[Candidate]) -> First:  # noqa: A001 - the strategy's verb
    """A schedule over the candidates; an empty one orders nothing."""
    return First(candidates)
