"""Caddy's request matchers as matches of routes (caddyserver.com/docs/caddyfile/matchers)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbflask.importers.directives import Directive
from lbflask.importers.precedence import escaped
from lbflask.importers.site import Site, merged

_PRIVATE = ("192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "::1/128")


class UnknownMatcher(ValueError):
    """A matcher without an equal; the message is its text."""


class Matchers:
    """The named matchers of a block, and those of blocks around it."""

    def __init__(self, block: Sequence[Directive], site: Site, outer: Matchers | None = None) -> None:
        self._site = site
        self._named: dict[str, Directive] = dict(outer._named) if outer else {}
        self._named |= {one.name: one for one in block if one.name.startswith("@")}

    def split(self, one: Directive) -> tuple[list[dict[str, Any]], tuple[str, ...], bool]:
        """The matches of a directive, its other arguments, and whether it has a matcher. Raises UnknownMatcher."""
        args = one.args
        if args[:1] == ("*",):
            return [{}], args[1:], False
        if args and args[0].startswith("@"):
            named = self._named.get(args[0])
            if named is None:
                raise UnknownMatcher(f"{args[0]} is not defined")
            return self._of_block(named), args[1:], True
        if args and args[0].startswith("/") and (len(args) > 1 or one.name not in ("redir", "respond", "rewrite")):
            return [self._paths(args[:1], one)], args[1:], True
        return [{}], args, False

    def _of_block(self, named: Directive) -> list[dict[str, Any]]:
        lines = named.block
        if lines is None:
            lines = (Directive(named.place, named.args[0], named.args[1:]),) if named.args else ()
        found: list[dict[str, Any]] = [{}]
        for line in lines:
            found = [merged(one, other) for one in found for other in self._line(line)]
        return found

    def _line(self, line: Directive) -> list[dict[str, Any]]:
        args = list(line.args)
        if line.name == "not":
            inner = line.block or ((Directive(line.place, args[0], tuple(args[1:])),) if args else ())
            return [{"not": [merged(*(match for one in inner for match in self._line(one)))]}]
        if line.name == "path" and args:
            return [self._paths(args, line)] if _alike(args) else [self._paths([arg], line) for arg in args]
        if line.name == "path_regexp" and args:
            return [{"regex": args[-1]}]
        if line.name == "method" and args:
            return [{"methods": [arg.upper() for arg in args]}]
        if line.name == "host" and args:
            return [{"host": [arg.lower() for arg in args]}]
        if line.name in ("remote_ip", "client_ip") and args and "forwarded" not in args:
            return [{"client": networks_of(args)}]
        if line.name == "protocol" and args[:1] in (["http"], ["https"]):
            return [{"scheme": args[0]}]
        if line.name in ("header", "header_regexp") and args:
            return [{"headers": {args[-2] if len(args) > 1 else args[0]: self._value(line, args[1:] and args[-1])}}]
        if line.name == "query" and args and "=" in args[0]:
            name, _, value = args[0].partition("=")
            return [{"query": {name: True if value == "*" else value}}]
        raise UnknownMatcher(line.text)

    def _value(self, line: Directive, value: Any) -> Any:
        if not value or value == "*":
            return True
        if line.name == "header_regexp":
            return {"regex": value}
        if "*" in value:
            return {"regex": f"^{escaped(value).replace(chr(92) + '*', '.*')}$"}
        return value

    def _paths(self, paths: Sequence[str], one: Directive) -> dict[str, Any]:
        """Caddy's paths: exact, or with stars."""
        if all(path.endswith("*") and "*" not in path[:-1] and path.startswith("/") for path in paths):
            for path in paths:
                if path != "/*":
                    what = f"it has {path[:-2]} too" if path.endswith("/*") else "whole segments only"
                    self._site.differ(one.place, path, what)
            return {"path": [path.removesuffix("*").rstrip("/") or "/" for path in paths]}
        if all(path.startswith("*") and "*" not in path[1:] for path in paths):
            return {"suffix": [path[1:] for path in paths]}
        if all("*" not in path for path in paths):
            return {"exact": list(paths)}
        if len(paths) == 1:
            return {"regex": f"^{escaped(paths[0]).replace(chr(92) + '*', '[^/]*')}$"}
        raise UnknownMatcher(" ".join(paths))


def networks_of(words: Sequence[str]) -> list[str]:
    """Networks, with those that `private_ranges` stands for."""
    return [network for text in words for network in (_PRIVATE if text == "private_ranges" else (text,))]


def _alike(paths: Sequence[str]) -> bool:
    kinds = {(path.startswith("*"), path.endswith("*"), path.count("*")) for path in paths}
    return len(kinds) == 1


def rank_of(match: Mapping[str, Any], *, has_matcher: bool) -> tuple[int, int]:
    """The order of directives of one name: a single path, the longest first; other matchers; none."""
    places = match.get("path") or match.get("exact") or []
    if has_matcher and len(places) == 1 and len(match) == 1:
        return 0, -len(str(places[0]))
    return (1, 0) if has_matcher else (2, 0)
