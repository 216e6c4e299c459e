"""The fields of the access log: the keys of JSON lines, and the names in a custom format."""

from __future__ import annotations

from string import Formatter

#: Each name and its meaning. A missing value is `-`, and is left out of JSON.
FIELDS = {
    "time": "when the request ended, in UTC to the millisecond",
    "id": "its `X-Request-ID`",
    "client": "the client's address, behind trusted proxies",
    "method": "",
    "target": "path and query as they came; the values of secrets are masked",
    "protocol": "`HTTP/1.1` or `HTTP/1.0`",
    "status": "what the client was told",
    "sent": "bytes of the response's body passed on; of a tunnel, those to the client",
    "received": "bytes of the request's body taken from the client",
    "seconds": "from the request's head to the last byte of its response",
    "route": "the route that it took; without routes none",
    "pool": "",
    "backend": "the backend whose response was passed on",
    "why": "why that one: `turn`, `least`, `random`, `hash`, `first`, `sticky`, `probe` (of one that was ejected), "
    "`hook` or `retry`",
    "upstream": "seconds until the head of its response had come",
    "attempts": "each try: in JSON a list of `backend`, `at` and `seconds`, and `fault`, `blame`, `reason` where it "
    "failed; else how many",
    "tried": "each try in short, as `web-2:connect,web-1:ok`; not in JSON",
    "cut": "why the response broke off, or why the request was refused",
}


def parsed(form: str) -> list[tuple[str, str | None]]:
    """The parts of a format: literal text, each followed by the name of a field or by None. `{{` and `}}` are braces.

    Raises ValueError with the reason.
    """
    parts: list[tuple[str, str | None]] = []
    for text, name, spec, conversion in Formatter().parse(form):
        if name is not None and name not in FIELDS:
            raise ValueError(f"there is no {{{name}}}; there are {', '.join(FIELDS)}")
        if spec or conversion:
            raise ValueError(f"{{{name}}} takes no conversion")
        if "\n" in text or "\r" in text:
            raise ValueError("a request is one line")
        parts.append((text, name))
    return parts
