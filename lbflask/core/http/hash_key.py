"""What of a request a strategy that hashes goes by: byte for byte, as the client sent it, never decoded."""

from __future__ import annotations

import re
from typing import NamedTuple

from lbflask.core.http.fields import Fields

#: RFC 9110 §5.6.2; names of cookies are tokens too (RFC 6265 §4.1.1).
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
#: What may stand in a query before `=` (RFC 3986 §3.4).
_PARAMETER = re.compile(r"[A-Za-z0-9._~!$'()*+,;:@/?%-]+", re.ASCII)


class HashKey(NamedTuple):
    """Where the key stands: `client`, `uri`, or the `header`, `cookie` or `query` parameter of a name."""

    kind: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> HashKey:
        """The key as it is configured, such as `cookie:session`. Raises ValueError."""
        kind, colon, name = text.partition(":")
        if text in ("client", "uri"):
            return cls(text)
        allowed = {"header": _TOKEN, "cookie": _TOKEN, "query": _PARAMETER}.get(kind)
        if not colon or allowed is None:
            raise ValueError("must be client, uri, header:NAME, cookie:NAME or query:NAME")
        if not allowed.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a {kind}" + (" parameter" if kind == "query" else ""))
        return cls(kind, name.lower() if kind == "header" else name)

    def of(self, client: str, target: str, fields: Fields) -> str | None:
        """The key of a request from `client` for `target` (origin-form); None if it has none, or an empty one.

        Of several lines of a header all count, as if they were one (RFC 9110 §5.3); of several cookies or parameters
        of the name, the first.
        """
        if self.kind == "client":
            return None if client in ("", "unix:") else client  # all who come through a unix socket would be one
        if self.kind == "uri":
            return target
        if self.kind == "header":
            return ", ".join([value for name, value in fields if name.lower() == self.name]) or None
        if self.kind == "cookie":
            lines = ";".join([value for name, value in fields if name.lower() == "cookie"])
            return self._named(lines.split(";"))
        return self._named(target.partition("?")[2].split("&"))

    def _named(self, pairs: list[str]) -> str | None:
        for pair in pairs:
            name, _, value = pair.strip(" \t").partition("=")
            if name == self.name:
                return value or None
        return None
