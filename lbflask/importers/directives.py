"""Directives with arguments and blocks, and how inner blocks inherit from outer ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lbflask.importers.site import Place


@dataclass(frozen=True, slots=True, eq=False)
class Directive:
    """A directive; `block` is None without one. Two are equal only if they are the same."""

    place: Place
    name: str
    args: tuple[str, ...] = ()
    block: tuple[Directive, ...] | None = None

    @property
    def text(self) -> str:
        """The directive in one line, without its block."""
        return " ".join([self.name, *self.args])

    def named(self, name: str) -> list[Directive]:
        """The directives of its block with the name."""
        return [one for one in self.block or () if one.name == name]


class Ledger:
    """Which directives a reader has used, so that all others can be listed."""

    def __init__(self) -> None:
        self._used: set[Directive] = set()

    def use(self, directives: Iterable[Directive]) -> None:
        """The directives are translated, or have a finding."""
        self._used.update(directives)

    def unused(self, block: Sequence[Directive]) -> Iterator[Directive]:
        """The others; of an unused one with a block only the outer one."""
        for one in block:
            if one not in self._used:
                yield one
            elif one.block:
                yield from self.unused(one.block)


@dataclass(frozen=True, slots=True)
class Scope:
    """Blocks from the outermost to the innermost. Directives of the innermost block that has any of the name count."""

    blocks: tuple[tuple[Directive, ...], ...]
    ledger: Ledger

    def inner(self, block: Iterable[Directive]) -> Scope:
        """The scope of a block in it."""
        return Scope((*self.blocks, tuple(block)), self.ledger)

    def all(self, *names: str) -> list[Directive]:
        """The directives that count, and the outer ones too are used."""
        found: list[Directive] = []
        for block in self.blocks:
            here = [one for one in block if one.name in names]
            self.ledger.use(here)
            found = here or found
        return found

    def last(self, name: str) -> Directive | None:
        """The last one that counts."""
        found = self.all(name)
        return found[-1] if found else None

    def value(self, name: str, default: str = "") -> str:
        """The first argument of the last one that counts."""
        found = self.last(name)
        return found.args[0] if found and found.args else default

    def here(self, *names: str) -> list[Directive]:
        """Those of the innermost block."""
        found = [one for one in self.blocks[-1] if one.name in names]
        self.ledger.use(found)
        return found
