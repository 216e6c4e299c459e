"""HAProxy's `mode tcp`: connections that listeners pass on, by the name that TLS clients ask for or without one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lbflask.importers.directives import Directive
from lbflask.importers.haproxy.binds import BindReader
from lbflask.importers.haproxy.conditions import Conditions, UnknownCondition
from lbflask.importers.site import Site

_SNI = re.compile(r"req[._]ssl_sni(?:_(?P<how>\w+))?|req\.ssl_sni")
_HELLO = re.compile(r"req[._]ssl_hello_type")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class ConnectionReader:
    """Reads a section in this mode. `pool` gives the name of a backend's pool, empty for none."""

    def __init__(self, site: Site, section: Directive, pool: Callable[[Directive, str], str]) -> None:
        self._site, self._section, self._pool = site, section, pool
        self._conditions = Conditions(section)

    def read(self, lines: Sequence[Directive]) -> None:
        """Add its listeners; `lines` are its own and those of its defaults."""
        names: dict[str, str] = {}
        for one in self._section.named("use_backend"):
            for name in self._names(one) if one.args else ():
                names.setdefault(name, self._pool(one, one.args[0]))
        default = [one for one in lines if one.name == "default_backend" and one.args]
        last = ""
        if default:
            last = self._pool(default[-1], default[-1].args[0])
        elif self._section.name == "listen" and self._section.args:
            last = self._pool(self._section, self._section.args[0])
        sni = {name: pool for name, pool in names.items() if pool}
        settings: dict[str, Any] = {**({"tcp": last} if last else {}), **({"sni": sni} if sni else {})}
        if settings:
            BindReader(self._site, self._section).passing(settings)
        else:
            self._site.lose(self._section.place, self._section.text, "no pool gets its connections")
        for one in self._section.named("tcp-request"):
            self._check_rule(one)

    def _names(self, one: Directive) -> list[str]:
        """The names of a condition on SNI."""
        try:
            alternatives = self._conditions.terms(one.args[1:])
            found = [name for terms in alternatives for name in self._alternative(one, terms)]
        except UnknownCondition:
            found = []
        if not found:
            self._site.lose(one.place, one.text, "a listener chooses a pool by SNI only: sni, and tcp for all others")
        return found

    def _alternative(self, one: Directive, terms: Sequence[tuple[list[tuple[str, ...]], bool]]) -> Iterator[str]:
        wanted = [(criteria, negated) for criteria, negated in terms if not _is_hello(criteria)]
        if len(wanted) != 1 or wanted[0][1]:
            raise UnknownCondition(one.text)
        for words in wanted[0][0]:
            found = _SNI.fullmatch(words[0] if words else "")
            if found is None:
                raise UnknownCondition(one.text)
            values = [part for part in words[1:] if part not in ("-i", "-m", "str", "end", "--")]
            ends = found["how"] == "end" or "end" in words
            for value in values:
                name = value.lower()
                if not _NAME.fullmatch(name.removeprefix(".") if ends else name) or (ends and name[:1] != "."):
                    raise UnknownCondition(one.text)
                if ends:
                    self._site.differ(one.place, one.text, "*. stands for one label")
                yield f"*{name}" if ends else name

    def _check_rule(self, one: Directive) -> None:
        words = one.args
        is_wait = words[:1] == ("inspect-delay",) or words[:2] == ("content", "accept")
        if is_wait:
            self._site.skip(one.place, one.text, "with sni the first message of a client is awaited")
        elif words[:2] != ("connection", "expect-proxy"):
            self._site.lose(one.place, one.text, "connections without HTTP have no access lists: a firewall")


def _is_hello(criteria: Sequence[Sequence[str]]) -> bool:
    return all(words and _HELLO.fullmatch(words[0]) for words in criteria)
