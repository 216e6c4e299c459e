"""The head of a client request as it arrived, and the facts about the names of its fields."""

from __future__ import annotations

from typing import Any, Final

from lbflask.server.worker.name_cache import HeaderNameCache


class ReceivedHead:
    """A head that gunicorn's checks have passed.

    `fields` keeps order, case and repeats; `special` are those that gunicorn checks, with names in capitals. `message`
    is gunicorn's request, which reads the body; None for a request that has none.
    """

    def __init__(
        self,
        method: str,
        target: str,
        version: tuple[int, int],
        fields: list[tuple[str, str]],
        special: list[tuple[str, str]],
        message: Any = None,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.protocol = "HTTP/1.1" if version == (1, 1) else f"HTTP/{version[0]}.{version[1]}"
        self.fields = fields
        self.special = special
        self.message = message
        self.has_body = message is not None and bool(message.has_body)  #: whether a framing field announces a body

    @property
    def proxy_info(self) -> dict[str, Any] | None:
        """What the PROXY protocol states."""
        info: dict[str, Any] | None = None if self.message is None else self.message.proxy_protocol_info
        return info

    @property
    def closes(self) -> bool:
        """Whether the connection ends after the response, by a field or by the version (RFC 9112 §9.3)."""
        options: list[str] = []
        for name, value in self.special:
            if name == "CONNECTION":
                options += [option.strip(" \t").lower() for option in value.split(",")]
        if self.method == "CONNECT" or "close" in options or (self.message is not None and self.message.must_close):
            return True
        return self.version < (1, 1) and "keep-alive" not in options

    def __repr__(self) -> str:
        path = self.target.partition("?")[0]
        return f"<ReceivedHead {self.method} {path} {self.protocol} fields={len(self.fields)} body={self.has_body}>"


#: The fields that gunicorn checks, by gunicorn's names.
_SPECIAL: Final = {
    name.lower(): name
    for name in ("CONTENT-LENGTH", "TRANSFER-ENCODING", "CONNECTION", "EXPECT", "HOST", "CONTENT-TYPE")
}
#: The parser in C gives a continuation line (obs-fold) an empty name; only gunicorn's own parser rejects it.
FOLDED: Final = " "


def _name_facts(raw: bytes) -> tuple[str, str | None]:
    """A field's name as text, and its name in gunicorn's checks: None if gunicorn does not check it, empty if the field
    is dropped.
    """
    name = raw.decode("latin-1")
    return name, FOLDED if not name else "" if "_" in name else _SPECIAL.get(name.lower())


#: Name and name in gunicorn's checks, by the bytes of a name.
NAMES: Final = HeaderNameCache(_name_facts, 4096)
